"""Canaries: samples known to be good or bad, made from references, to measure how often a judge errs.

A good one is the reference's own answer, with its thinking or a plain one. A bad one is a good one with a fault that
its stage ought to find. Which tasks are used, and with which faults, depends on the seed, the round and the task alone.
No canary is ever kept, counted among the samples, or trained on: only judges see them.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from funreason.agents.judges.perturbations import FAULTS
from funreason.agents.references import reference_sample
from funreason.calls.render import CallRenderError, render_call
from funreason.types import Outcome, Sample, Task, changed

PREFIX = "canary/"
FIRST = "response"
"""The one stage that judges ordinary text."""


class Canary(NamedTuple):
    """A sample whose verdict is known: `fault` names what is wrong with it, empty for a good one."""

    sample: Sample
    fault: str = ""

    @property
    def bad(self) -> bool:
        """Whether a judge ought to refuse it."""
        return bool(self.fault)

    def misjudged(self, outcome: str) -> bool:
        """Whether `outcome` is wrong: a bad one passed on towards training, or a good one held back."""
        if self.bad:
            return outcome in (Outcome.PASS, Outcome.KEEP_TEXT)
        return outcome != (Outcome.PASS if self.sample.task.reference else Outcome.KEEP_TEXT)


class CanarySet:
    """The good samples of a round, to be judged as they are or with a fault."""

    def __init__(self, tasks: Iterable[Task], seed: int, round: int) -> None:
        def rank(task: Task) -> bytes:
            return hashlib.blake2b(f"canary/{seed}/{round}/{task.id}".encode(), digest_size=8).digest()

        found = [good for task in sorted(tasks, key=rank) if (good := _good(task, round)) is not None]
        self.calls = [sample for sample in found if sample.task.reference]
        self.texts = [sample for sample in found if not sample.task.reference]

    def good(self, stage: str, count: int) -> list[Canary]:
        """`count` good ones: calls, and for the stage that judges texts a quarter of those."""
        texts = self.texts[: count // 4] if stage == FIRST else []
        return [Canary(sample) for sample in (*self.calls[: count - len(texts)], *texts)]

    def bad(self, stage: str, count: int) -> list[Canary]:
        """`count` bad ones for a stage, all its faults by turns; none for a custom judge, whose question is unknown."""
        faults, found = deque(FAULTS.get(stage, ())), list[Canary]()
        for place, sample in enumerate(self.calls):
            if len(found) >= count:
                break
            donor = _donor(sample, self.calls, place)
            for fault in tuple(faults):
                faulty = fault(sample, donor)
                if faulty is None:
                    continue
                faults.remove(fault)
                faults.append(fault)
                name = f"{sample.id.removesuffix('good')}{fault.__name__}"
                task = _apart(faulty.task, f"/{fault.__name__}")
                found.append(Canary(changed(faulty, id=name, task=task), fault.__name__))
                break
        return found


def _good(task: Task, round: int) -> Sample | None:
    """The reference as a sample; None when it has none that can be written."""
    try:
        sample = reference_sample(task, f"{PREFIX}r{round}/{task.id}/good", round=round)
    except (ValueError, CallRenderError):
        return None
    thinking = sample.thinking or " ".join(f"The query asks for {render_call(call)}." for call in task.reference or ())
    return changed(sample, thinking=thinking or None, task=_apart(task, ""))


def _apart(task: Task, suffix: str) -> Task:
    """The task under another id: a canary's must not be taken for the round's."""
    return msgspec.structs.replace(task, id=f"{PREFIX}{task.id.removeprefix(PREFIX)}{suffix}")


def _donor(sample: Sample, among: Sequence[Sample], place: int) -> Sample | None:
    """The next sample that calls none of the functions that this one calls or is offered."""
    names = {call.name for call in sample.task.reference or ()} | {tool["name"] for tool in sample.task.tools}
    for other in (*among[place + 1 :], *among[:place]):
        if names.isdisjoint(call.name for call in other.task.reference or ()):
            return other
    return None
