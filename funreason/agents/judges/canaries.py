"""Canaries: samples known to be good or bad, made from references, to measure how often a judge errs.

A good canary is the reference's answer with its thinking, or with a plain one. A bad canary is a good one with a fault
that its stage should find. The choice of tasks and faults depends only on the seed, the round and the task. Canaries
are shown to judges only: they are never kept, counted or trained on.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from funreason.agents.judges.perturbations import FAULTS
from funreason.agents.references import reference_sample
from funreason.calls.render import CallRenderError, render_call
from funreason.types import Outcome, Sample, Task, changed

PREFIX = "canary/"
FIRST = "response"
"""The only stage that sees plain text."""


class Canary(NamedTuple):
    """A sample and its fault; the fault of a good one is empty."""

    sample: Sample
    fault: str = ""

    @property
    def bad(self) -> bool:
        """Whether a judge should refuse it."""
        return bool(self.fault)

    def misjudged(self, outcome: str) -> bool:
        """Whether `outcome` is wrong: a bad canary accepted, or a good one not."""
        if self.bad:
            return outcome in (Outcome.PASS, Outcome.KEEP_TEXT)
        return outcome != (Outcome.PASS if self.sample.task.reference else Outcome.KEEP_TEXT)


class CanarySet:
    """The good samples of a round, from which good and bad canaries are made."""

    def __init__(self, tasks: Iterable[Task], seed: int, round: int) -> None:
        ranked = sorted(tasks, key=lambda task: _rank(seed, round, task.id))
        found = [good for task in ranked if (good := _good(task, round)) is not None]
        self.calls = [sample for sample in found if sample.task.reference]
        self.texts = [sample for sample in found if not sample.task.reference]

    def good(self, stage: str, count: int) -> list[Canary]:
        """`count` good canaries: calls, and for the stage that sees plain text up to a quarter texts."""
        texts = self.texts[: count // 4] if stage == FIRST else []
        return [Canary(sample) for sample in (*self.calls[: count - len(texts)], *texts)]

    def bad(self, stage: str, count: int) -> list[Canary]:
        """Up to `count` bad canaries for a stage, its faults in turn. Empty for a judge of no known stage."""
        return list(islice(self._spoilt(stage), count)) if stage in FAULTS else []

    def _spoilt(self, stage: str) -> Iterator[Canary]:
        faults = deque(FAULTS[stage])
        for place, sample in enumerate(self.calls):
            donor = _donor(sample, self.calls, place)
            for fault in tuple(faults):
                spoilt = fault(sample, donor)
                if spoilt is not None:
                    faults.remove(fault)
                    faults.append(fault)
                    yield Canary(_named(spoilt, fault.__name__), fault.__name__)
                    break


def _good(task: Task, round: int) -> Sample | None:
    """The reference as a sample; None if there is none or it cannot be rendered."""
    try:
        sample = reference_sample(task, f"{PREFIX}r{round}/{task.id}/good", round=round)
    except (ValueError, CallRenderError):
        return None
    thinking = sample.thinking or " ".join(f"The query asks for {render_call(call)}." for call in task.reference or ())
    return changed(sample, thinking=thinking or None, task=_apart(task, ""))


def _named(sample: Sample, fault: str) -> Sample:
    name = f"{sample.id.removesuffix('good')}{fault}"
    return changed(sample, id=name, task=_apart(sample.task, f"/{fault}"))


def _apart(task: Task, suffix: str) -> Task:
    """The task under another id, so that it cannot be confused with the round's task."""
    return msgspec.structs.replace(task, id=f"{PREFIX}{task.id.removeprefix(PREFIX)}{suffix}")


def _donor(sample: Sample, among: Sequence[Sample], place: int) -> Sample | None:
    """The next sample that calls no function which this one calls or is offered."""
    names = {call.name for call in sample.task.reference or ()} | {tool["name"] for tool in sample.task.tools}
    for other in (*among[place + 1 :], *among[:place]):
        if names.isdisjoint(call.name for call in other.task.reference or ()):
            return other
    return None


def _rank(seed: int, round: int, task: str) -> bytes:
    return hashlib.blake2b(f"canary/{seed}/{round}/{task}".encode(), digest_size=8).digest()
