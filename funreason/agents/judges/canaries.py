"""Canaries: samples known to be good or bad, made from references, to learn how often a judge errs.

A good one is the reference's own answer, with its thinking or a plain one. A bad one is a good one spoilt by a fault
that its stage ought to find. Which tasks serve, and how they are spoilt, depends on the seed, the round and the task
alone. No canary is ever kept, counted among the samples, or trained on: they are shown to judges and to nobody else.
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
"""The one stage that is shown ordinary text."""


class Canary(NamedTuple):
    """A sample and what is known of it: `fault` names what is wrong, empty for a good one."""

    sample: Sample
    fault: str = ""

    @property
    def bad(self) -> bool:
        """Whether a judge ought to refuse it."""
        return bool(self.fault)

    def misjudged(self, outcome: str) -> bool:
        """Whether `outcome` is wrong: a bad one let on towards training, or a good one kept from where it belongs."""
        if self.bad:
            return outcome in (Outcome.PASS, Outcome.KEEP_TEXT)
        return outcome != (Outcome.PASS if self.sample.task.reference else Outcome.KEEP_TEXT)


class CanarySet:
    """The good samples of a round, to be asked as they are or spoilt."""

    def __init__(self, tasks: Iterable[Task], seed: int, round: int) -> None:
        ranked = sorted(tasks, key=lambda task: _rank(seed, round, task.id))
        found = [good for task in ranked if (good := _good(task, round)) is not None]
        self.calls = [sample for sample in found if sample.task.reference]
        self.texts = [sample for sample in found if not sample.task.reference]

    def good(self, stage: str, count: int) -> list[Canary]:
        """`count` good ones: calls, and for the stage that is shown texts a quarter of those."""
        texts = self.texts[: count // 4] if stage == FIRST else []
        return [Canary(sample) for sample in (*self.calls[: count - len(texts)], *texts)]

    def bad(self, stage: str, count: int) -> list[Canary]:
        """`count` bad ones for a stage, all its faults by turns; none for a judge whose question nobody knows."""
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
    """The reference as a sample; None when it has none that can be written."""
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
    """The task under a name of its own: a canary's must not be taken for the round's."""
    return msgspec.structs.replace(task, id=f"{PREFIX}{task.id.removeprefix(PREFIX)}{suffix}")


def _donor(sample: Sample, among: Sequence[Sample], place: int) -> Sample | None:
    """The next sample that calls none of the functions that this one calls or is offered."""
    names = {call.name for call in sample.task.reference or ()} | {tool["name"] for tool in sample.task.tools}
    for other in (*among[place + 1 :], *among[:place]):
        if names.isdisjoint(call.name for call in other.task.reference or ()):
            return other
    return None


def _rank(seed: int, round: int, task: str) -> bytes:
    return hashlib.blake2b(f"canary/{seed}/{round}/{task}".encode(), digest_size=8).digest()
