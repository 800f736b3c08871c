"""Refined samples as flat rows: what a round kept, with what is needed to trust or to leave out each.

A sample stands once, as it ended. What has no fixed shape (tools, verdicts) is JSON in a text column, so that every
row of every run has the same columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from funreason.record.folder import RunFolder
from funreason.record.sample_files import KEPT
from funreason.record.state import State
from funreason.types import Sample

COLUMNS = {
    "id": "the sample's id in the run",
    "round": "the round that drew it",
    "category": "of its task, where known",
    "source": "where its task came from",
    "query": "what was asked",
    "tools": "JSON: the tools offered",
    "thinking": "the model's reasoning; empty when it gave none",
    "answer": "the calls as `[f(a=v)]`, or text where no call is right",
    "kind": "`kept`: calls that passed five stages; `text`: an answer in words",
    "origin": "`sampled`, `rerendered`, `resampled`, `rewritten`: the model's own; `repaired`, `reference`: supervised",
    "attempt": "how many attempts before this one failed",
    "weights": "the weights that made it",
    "verdicts": "JSON: each judge's word",
}
"""The columns and what they hold; `round` and `attempt` are integers, all others text."""


def refined(run: RunFolder, state: State) -> Iterator[tuple[str, Sample]]:
    """(kind, sample) for every sample that the run kept, in the order of rounds; each once."""
    for k in sorted(state.rounds):
        for kind in KEPT:
            ended = {sample.id: sample for sample in run.texts(k).get(kind)}
            yield from ((kind, sample) for sample in ended.values())


def row(kind: str, sample: Sample) -> dict[str, Any]:
    """One sample as a row of `COLUMNS`."""
    task = sample.task
    return {
        "id": sample.id,
        "round": sample.round,
        "category": task.category,
        "source": task.source,
        "query": _text(task.query),
        "tools": _json(task.tools),
        "thinking": _text(sample.thinking or ""),
        "answer": _text(sample.answer),
        "kind": kind,
        "origin": sample.origin,
        "attempt": sample.attempt,
        "weights": sample.weights_id,
        "verdicts": _json(sample.verdicts),
    }


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _text(text: str) -> str:
    """Parquet's text is UTF-8: a lone surrogate is replaced, as no encoder would take it."""
    return text.encode("utf-8", "replace").decode()
