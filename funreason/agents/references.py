"""Reference answers as samples: what supervised start, replay and the control of references alone learn from.

Supervised data, always of origin `reference`, so that no table counts it among what the model found itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any

from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.render import CallRenderError
from funreason.calls.thinking import THINK_TAGS, Tags, join_thinking
from funreason.types import Sample, Task


def reference_sample(task: Task, sample_id: str, *, round: int = 0, form: CallFormat = PYTHONIC) -> Sample:
    """The reference answer of a task as a sample, its calls written in `form`.

    ValueError when it has none, CallRenderError when `form` cannot carry it.
    """
    if task.reference is None:
        raise ValueError(f"task {task.id} has no reference answer")
    answer = form.render(task.reference, task.tools) if task.reference else (task.reference_text or "")
    if not answer:
        raise ValueError(f"task {task.id}: its reference is neither a call nor a text")
    return Sample.of(
        id=sample_id, task=task, answer=answer, thinking=task.reference_thinking, origin="reference", round=round
    )


def replay_samples(tasks: Iterable[Task], round: int, form: CallFormat = PYTHONIC) -> list[Sample]:
    """Reference samples of old tasks, for replay in this round; those without a usable reference are left out."""
    return usable_references(tasks, round, prefix="replay", form=form)[0]


def usable_references(
    tasks: Iterable[Task], round: int, prefix: str = "start", form: CallFormat = PYTHONIC
) -> tuple[list[Sample], int]:
    """Tasks' references as samples, and how many tasks have none that can be written as a call or a text."""
    samples, unusable = [], 0
    for task in tasks:
        try:
            samples.append(reference_sample(task, f"{prefix}/{task.id}", round=round, form=form))
        except (ValueError, CallRenderError):
            unusable += 1
    return samples, unusable


COUNTED = 1_000
"""References whose tokens are counted: enough for a share, and done in a second."""


def cut_references(
    tasks: Iterable[Task], tokenizer: Any, limit: int, *, form: CallFormat = PYTHONIC, tags: Tags = THINK_TAGS
) -> str:
    """A sentence about references of more than `limit` tokens: answers like them would be cut off and never count.

    Thinking and the token that ends the turn are counted too. "" where at least 99 of 100 fit.
    """
    samples, _ = usable_references(islice(tasks, COUNTED), 0, form=form)
    texts = [join_thinking(sample.thinking, sample.answer, tags) for sample in samples]
    sizes = [len(ids) + 1 for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]] if texts else []
    every = Counter(sample.task.category for sample in samples)
    cut = Counter(sample.task.category for sample, size in zip(samples, sizes, strict=True) if size > limit)
    if 100 * cut.total() <= len(samples):
        return ""
    worst = max(cut, key=lambda name: cut[name] / every[name])
    return (
        f"sample.max_new_tokens is {limit}, and {cut.total()} of {len(samples)} references are longer "
        f"({100 * cut[worst] / every[worst]:.0f} % of those of category {worst or 'none'}; the longest has "
        f"{max(sizes)} tokens): answers like them will be cut off, neither trained on nor counted as right. Raise it."
    )
