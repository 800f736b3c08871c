"""The tasks of hard-data rounds: all of them in round 1, afterwards those that are still hard.

What a round gets follows from the record before it, so a run that is resumed asks what it asked before. A task that
the gate gave back is in the pool again. A repaired reference takes the place of the task's own.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

import msgspec

from funreason.config import HardData
from funreason.record.hard_tasks import FIRST, HARD, QUALIFIED
from funreason.record.state import State
from funreason.sources.tasks import Pool
from funreason.types import Call, Task

LEAST_SHARE = 0.01
"""A round that accepts a smaller share of its tasks has learned next to nothing."""
LEAN_ROUNDS = 2
"""So many such rounds in a row end the run."""
REPAIRED = "label.repaired"
"""The flag of a task whose reference was replaced."""
Labels = Callable[[int], Mapping[str, tuple[Call, ...]]]
"""The repaired references by task id, of the rounds before one."""


@dataclass(frozen=True, slots=True)
class HardPool(Pool):
    """A `Source` of hard-data rounds.

    The control `random_qualified` has as many random qualified tasks in place of the hard ones, drawn once.
    """

    settings: HardData = field(default_factory=HardData)
    seed: int = 0
    labels: Labels = lambda k: {}

    @classmethod
    def over_tasks(cls, pool: Pool, settings: HardData, seed: int, labels: Labels) -> HardPool:
        """The tasks of `pool` as the source of hard-data rounds."""
        inner = {each.name: getattr(pool, each.name) for each in fields(pool)}
        return cls(**inner, settings=settings, seed=seed, labels=labels)

    def next(self, k: int, history: State | None = None) -> list[Task] | None:
        """The tasks of round `k`: all in round 1, else those left in the pool; None when the run is over."""
        if k == FIRST:
            return Pool.next(self, FIRST)
        if self.over(k, history):
            return None
        wanted, labels = self.in_pool(k, history), self.labels(k)
        tasks = [task for task in self.tasks if task.id in wanted]
        return [_relabelled(task, labels[task.id]) if task.id in labels else task for task in tasks]

    def in_pool(self, k: int, history: State | None = None) -> set[str]:
        """The ids of the tasks in the pool when round `k` begins."""
        if history is None:
            return set()
        return self.members(history) - history.pool.gone(history.promoted, k)

    def members(self, history: State) -> set[str]:
        """The ids of the tasks that later rounds are about: the hard ones, or those of the control."""
        hard = history.pool.tasks(HARD)
        if self.settings.control == "none":
            return set(hard)
        ranked = sorted(history.pool.tasks(QUALIFIED), key=lambda id: _rank(self.seed, id))
        return set(ranked[: len(hard)])

    def over(self, k: int, history: State | None = None) -> str:
        """Why no round `k` is played; "" where one is."""
        left = self.in_pool(k, history)
        if not left:
            return "the pool is empty"
        if k > FIRST + self.settings.max_rounds:
            return f"hdr.max_rounds={self.settings.max_rounds} is reached, and {len(left)} tasks are left"
        played = [each for each in history.pool.rounds(history.promoted) if each.round < k] if history else []
        recent = played[-LEAN_ROUNDS:]
        if len(recent) == LEAN_ROUNDS and all(each.accepted < LEAST_SHARE * each.asked for each in recent):
            rounds = " and ".join(str(each.round) for each in recent)
            share = f"less than {100 * LEAST_SHARE:g} % of their tasks"
            return f"rounds {rounds} each accepted {share}, and {len(left)} tasks are left"
        return ""

    def contaminated_in(self, k: int) -> Counter[str]:
        """Contaminated tasks among those that round `k` is the first to take, by kind: round 1 takes them all."""
        return Pool.contaminated_in(self, k) if k == FIRST else Counter()


def _relabelled(task: Task, calls: tuple[Call, ...]) -> Task:
    # What was written for the old reference, its text and its thinking, does not belong to the new one.
    return msgspec.structs.replace(
        task, reference=list(calls), reference_text=None, reference_thinking=None, flags=[*task.flags, REPAIRED]
    )


def _rank(seed: int, id: str) -> bytes:
    return hashlib.blake2b(f"{seed}/control/{id}".encode(), digest_size=8).digest()
