"""Where tasks come from: a data file, or the embedded toolbox domain as `toolbox:<split>`.

Which tasks a round takes depends on the seed and the round alone, so a resumed run takes the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from funreason.config import ConfigError, Suite, Tasks
from funreason.data.reading import read_tasks
from funreason.data.refusal import Refusal
from funreason.record.types import Task

TOOLBOX = "toolbox:"
HELD_OUT = "tasks:held_out"
HELD_OUT_SHARE = 0.1
HELD_OUT_MOST = 200


class Held(NamedTuple):
    """A pool's tasks split in two: to train on, and held back for the gate."""

    train: list[Task]
    gate: list[Task]


@dataclass(frozen=True, slots=True)
class Pool:
    """All tasks of a run, and the records that never became one."""

    tasks: list[Task]
    refusals: list[Refusal] = field(default_factory=list)
    summary: str = ""
    """What was read and what was not, in a sentence; empty for the embedded domain."""
    contaminated: list[tuple[int, str]] = field(default_factory=list)
    """Tasks whose query stands in the gate: the number of `tasks` before each, and `exact` or `near`."""

    def round(self, k: int, per_round: int | None) -> list[Task]:
        """The tasks of round `k`, counted from 1: the next `per_round` ones, from the start again at the end."""
        if per_round is None or per_round >= len(self.tasks):
            return self.tasks
        first = (k - 1) * per_round
        return [self.tasks[i % len(self.tasks)] for i in range(first, first + per_round)]

    def contaminated_in(self, k: int, per_round: int | None) -> Counter[str]:
        """How many contaminated tasks round `k` came upon while taking its tasks for the first time, by kind."""
        if per_round is None or per_round >= len(self.tasks):
            return Counter(kind for _, kind in self.contaminated)
        return Counter(kind for place, kind in self.contaminated if place // per_round + 1 == k)


def read_pool(settings: Tasks, rounds: int, seed: int) -> Pool:
    """The tasks of a run in the order its rounds take them. DataError when a file has none that can be used."""
    if settings.path.startswith(TOOLBOX):
        per_round = settings.per_round or 500
        return Pool(toolbox_tasks(settings.path, per_round * rounds, seed))
    reading = read_tasks(Path(settings.path), strict=settings.strict)
    return Pool(sorted(reading.tasks, key=lambda t: _rank(seed, t.id)), reading.refusals, reading.summary())


def references(path: str, count: int, seed: int) -> list[Task]:
    """`count` tasks with a reference answer, fewer where the source has fewer."""
    if path.startswith(TOOLBOX):
        return toolbox_tasks(path, count, seed)
    known = [task for task in read_tasks(Path(path)).tasks if task.reference is not None]
    return sorted(known, key=lambda t: _rank(seed, t.id))[:count]


def toolbox_tasks(path: str, count: int, seed: int) -> list[Task]:
    """`count` tasks of a toolbox split; ConfigError names the splits there are."""
    from funreason.data.toolbox import SPLITS, generate

    split = path.removeprefix(TOOLBOX)
    if split not in SPLITS:
        raise ConfigError(f"{path}: the toolbox has no split {split!r}; it has {', '.join(sorted(SPLITS))}")
    return generate(split, count, seed)


def hold_out(pool: Pool, suites: Collection[Suite]) -> Held:
    """Take gate items from the pool where a suite asks for `tasks:held_out`; only tasks with a reference can serve."""
    asking = next((suite for suite in suites if suite.path == HELD_OUT), None)
    if asking is None:
        return Held(pool.tasks, [])
    able = [task for task in pool.tasks if task.reference is not None]
    count = asking.count or min(HELD_OUT_MOST, int(len(able) * HELD_OUT_SHARE))
    chosen = {task.id for task in able[:count]}
    return Held([t for t in pool.tasks if t.id not in chosen], [t for t in pool.tasks if t.id in chosen])


def _rank(seed: int, task_id: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{task_id}".encode(), digest_size=8).digest()
