"""Keys and values of earlier configurations, and what they are called now. Used by every "unknown key" error."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

_UPDATE = {
    "batch": "batch_size",
    "average": "loss_reduction",
    "head": "lm_head",
    "head_chunk": "lm_head_chunk",
    "pack": "packing",
    "warmup_steps": "lr_warmup_steps",
    "warmup_ratio": "lr_warmup_ratio",
}

RENAMED = {
    "warmup": "start",
    "sample.k": "sample.samples_per_task",
    "fcdr.judging": "fcdr.stages",
    "fcdr.judges": "agents",
    "fcdr.judges.seconds": "agents.timeout_s",
    "agents.seconds": "agents.timeout_s",
    "fcdr.llm.draws": "fcdr.llm.samples_per_model",
    "fcdr.llm.asks": "fcdr.llm.max_attempts",
    "fcdr.llm.accept": "fcdr.llm.vote",
    "fcdr.accept": "fcdr.llm.vote",
    "fcdr.threshold": "fcdr.llm.threshold",
    "fcdr.error_limit": "fcdr.max_error_rate",
    "fcdr.agreement": "fcdr.self_agreement_share",
    "fcdr.workers": "fcdr.max_in_flight",
    "train.learn_from": "train.data",
    "train.most_solved": "train.max_solved_share",
    "train.per_task": "train.max_per_task",
    "train.quotas": "train.max_category_share",
    "train.counts": "train.exact_counts",
    "gate.p": "gate.p_value",
    "gate.contamination.near": "gate.contamination.near_threshold",
    **{
        f"{section}.update.{old}": f"{'start' if section == 'warmup' else section}.update.{new}"
        for section in ("warmup", "start", "train")
        for old, new in _UPDATE.items()
    },
}
"""Old dotted key to new dotted key. A renamed section stands for all its keys; list positions are left out."""

RENAMED_VALUES = {
    "sample.render": {"here": "local"},
    "gate.suites.*.role": {"decide": "decision", "watch": "report"},
}
"""By dotted key, with `*` for a name of the user's own: old value to new value."""


def new_name(key: str) -> str | None:
    """What the dotted key `key` is called now, if it or a section around it was renamed."""
    head, tail = key, ""
    while head:
        if head in RENAMED:
            return RENAMED[head] + tail
        head, dot, last = head.rpartition(".")
        tail = f"{dot}{last}{tail}"
    return None


def new_value(key: str, value: Any) -> str | None:
    """What the value of the dotted key is called now, if it was renamed."""
    for pattern, values in RENAMED_VALUES.items():
        if fnmatchcase(key, pattern) and isinstance(value, str):
            return values.get(value)
    return None


def renamed_inside(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """The keys within `value`, the value of `key`, that have a new name of their own, each with that name."""
    for item in value if isinstance(value, list) else [value]:
        for name, inner in item.items() if isinstance(item, dict) else ():
            inside = f"{key}.{name}"
            if inside in RENAMED:
                yield inside, RENAMED[inside]
            yield from renamed_inside(inside, inner)
