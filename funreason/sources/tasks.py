"""Where tasks come from: a data file, or the embedded toolbox domain as `toolbox:<split>`.

Which tasks a round takes depends on the seed and the round alone, so a resumed run takes the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from funreason.calls.schema import check_call
from funreason.config import OWN_TASKS, ConfigError, References, Suite, Tasks
from funreason.config import TOOLBOX as TOOLBOX
from funreason.data.reading import read_tasks
from funreason.data.records import DataError, Refusal
from funreason.types import Task

HELD_OUT = "tasks:held_out"
HELD_OUT_SHARE = 0.1
HELD_OUT_MOST = 200
TOOLBOX_PER_ROUND = 500


class HeldOut(NamedTuple):
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

    per_round: int | None = None
    """How many tasks a round takes; None: all."""

    def round(self, k: int) -> list[Task]:
        """The tasks of round `k`, counted from 1: the next `per_round` ones, from the start again at the end."""
        if self.per_round is None or self.per_round >= len(self.tasks):
            return self.tasks
        first = (k - 1) * self.per_round
        return [self.tasks[i % len(self.tasks)] for i in range(first, first + self.per_round)]

    def contaminated_in(self, k: int) -> Counter[str]:
        """How many contaminated tasks round `k` came upon while taking its tasks for the first time, by kind."""
        if self.per_round is None or self.per_round >= len(self.tasks):
            return Counter(kind for _, kind in self.contaminated)
        return Counter(kind for place, kind in self.contaminated if place // self.per_round + 1 == k)


def read_pool(settings: Tasks, rounds: int, seed: int) -> Pool:
    """The tasks of a run in the order its rounds take them.

    More rounds only add tasks at the end, so a run can be taken up again with another number of them. DataError when
    a file has none that can be used, ConfigError when no file is named.
    """
    if settings.path.startswith(TOOLBOX):
        each = settings.per_round or TOOLBOX_PER_ROUND
        seeds = [_seed(seed, k) for k in range(1, rounds + 1)]
        tasks = [task for own in seeds for task in toolbox_tasks(settings.path, each, own, settings.mix)]
        return Pool(tasks, per_round=each)
    if not settings.path:
        raise ConfigError("tasks.path names no data file, and this configuration learns from yours: give --tasks FILE.")
    reading = read_tasks(Path(settings.path), strict=settings.strict)
    tasks = sorted(reading.tasks, key=lambda t: _rank(seed, t.id))
    return Pool(tasks, reading.refusals, reading.summary(), per_round=settings.per_round)


def references(source: References, seed: int, round: int) -> list[Task]:
    """The tasks with a reference that `source` gives to one round (0: the warm-up); each round takes others.

    A file is begun again at its end, and gives fewer where it has fewer.
    """
    if source.path.startswith(TOOLBOX):
        return toolbox_tasks(source.path, source.count, _seed(seed, round), source.mix)
    known = [task for task in read_tasks(Path(source.path)).tasks if task.reference is not None]
    known.sort(key=lambda t: _rank(seed, t.id))
    first = round * source.count
    return [known[i % len(known)] for i in range(first, first + min(source.count, len(known)))]


def warmup_tasks(source: References, pool: Pool, seed: int) -> list[Task]:
    """The tasks with a reference that the warm-up learns: of `pool` where the source is the run's own tasks."""
    if source.path != OWN_TASKS:
        return references(source, seed, 0)
    return [task for task in pool.tasks if task.reference is not None][: source.count]


def toolbox_tasks(path: str, count: int, seed: int, mix: Mapping[str, float] | None = None) -> list[Task]:
    """`count` tasks of a toolbox split; ConfigError names the splits there are."""
    from funreason.data.toolbox import SPLITS, generate

    split = path.removeprefix(TOOLBOX)
    if split not in SPLITS:
        raise ConfigError(f"{path}: the toolbox has no split {split!r}; it has {', '.join(sorted(SPLITS))}")
    return generate(split, count, seed, quotas=dict(mix) if mix else None)


def hold_out(pool: Pool, suites: Collection[Suite]) -> HeldOut:
    """Take gate items from the pool where a suite asks for `tasks:held_out`; only tasks that can be scored serve."""
    asking = next((suite for suite in suites if suite.path == HELD_OUT), None)
    if asking is None:
        return HeldOut(pool.tasks, [])
    able = [task for task in pool.tasks if can_be_scored(task)]
    if not able:
        raise DataError(
            f"{pool.summary or 'the tasks'}: no record has a reference answer that could be scored, so nothing can be "
            "held out for the gate. Name a suite of your own, and go without a warm-up, which learns from references: "
            "--set gate.suites.held_out.path=FOLDER --set warmup.references=null"
        )
    count = asking.count or min(HELD_OUT_MOST, max(1, int(len(able) * HELD_OUT_SHARE)))
    chosen = {task.id for task in able[:count]}
    return HeldOut([t for t in pool.tasks if t.id not in chosen], [t for t in pool.tasks if t.id in chosen])


def can_be_scored(task: Task) -> bool:
    """Whether a task's reference calls only what is offered, with what the schema allows: else no answer could pass."""
    if task.reference is None or not task.tools:
        return False
    offered = {tool["name"]: tool for tool in task.tools}
    return all(call.name in offered and not check_call(call, offered[call.name]) for call in task.reference)


def _seed(seed: int, round: int) -> int:
    return seed * 1000 + round


def _rank(seed: int, task_id: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{task_id}".encode(), digest_size=8).digest()
