"""Where tasks come from: a data file, or embedded tasks as `toolbox:<split>` (`toolbox:composed_train`: composed ones).

The tasks of a round depend only on the seed and the round, so a resumed run takes the same ones.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from funreason.calls.schema import check_call
from funreason.config import COMPOSED, OWN_TASKS, ConfigError, References, Suite, Tasks
from funreason.config import TOOLBOX as TOOLBOX
from funreason.data.reading import Turns, read_tasks
from funreason.data.records import DataError, Refusal
from funreason.record.state import State
from funreason.types import Task

HELD_OUT = "tasks:held_out"
HELD_OUT_SHARE = 0.1
HELD_OUT_MOST = 200
TOOLBOX_PER_ROUND = 500
_TURN = re.compile(r"\.t\d+$")
"""What the id of a dialogue's earlier turn ends with."""


class HeldOut(NamedTuple):
    """A pool's tasks, split into those to train on and those held out for the gate."""

    train: list[Task]
    gate: list[Task]
    siblings: list[Task]
    """Other turns of the dialogues that the gate's tasks are from: neither trained on nor scored."""


class Source(Protocol):
    """Where the tasks of each round come from."""

    def next(self, k: int, history: State | None = None) -> list[Task] | None:
        """The tasks of round `k`, counted from 1; None when there are no more, which ends the run.

        `history` is the record so far, for sources that choose by what became of earlier tasks. The same round and
        history give the same tasks, so a resumed run takes what it took before.
        """
        ...


@dataclass(frozen=True, slots=True)
class Pool:
    """A `Source` of all tasks of a run, and the records that never became one."""

    tasks: list[Task]
    refusals: list[Refusal] = field(default_factory=list)
    summary: str = ""
    """One sentence on what was read and refused; empty for the embedded domain."""
    contaminated: list[tuple[int, str]] = field(default_factory=list)
    """Contaminated tasks: the number of `tasks` before each, and `exact` or `near`."""
    left: dict[str, int] = field(default_factory=dict)
    """What the records hold and no task carries, by code."""

    per_round: int | None = None
    """Tasks per round; None for all."""

    def next(self, k: int, history: State | None = None) -> list[Task] | None:
        """The tasks of round `k`, counted from 1: the next `per_round` ones, from the first again after the last."""
        if self.per_round is None or self.per_round >= len(self.tasks):
            return self.tasks
        first = (k - 1) * self.per_round
        return [self.tasks[i % len(self.tasks)] for i in range(first, first + self.per_round)]

    def contaminated_in(self, k: int) -> Counter[str]:
        """Contaminated tasks among those that round `k` is the first to take, by kind."""
        if self.per_round is None or self.per_round >= len(self.tasks):
            return Counter(kind for _, kind in self.contaminated)
        return Counter(kind for place, kind in self.contaminated if place // self.per_round + 1 == k)


def read_pool(
    settings: Tasks, rounds: int, seed: int, turns: Turns = "each", input_map: Mapping[str, str] | None = None
) -> Pool:
    """The tasks of a run in the order its rounds take them.

    More rounds only append tasks, so a run can be resumed with another number of rounds. DataError when a file has no
    usable task, ConfigError when no file is named.
    """
    if settings.path.startswith(TOOLBOX):
        each = settings.per_round or TOOLBOX_PER_ROUND
        seeds = [_seed(seed, k) for k in range(1, rounds + 1)]
        tasks = [task for own in seeds for task in toolbox_tasks(settings.path, each, own, settings.mix)]
        return Pool(tasks, per_round=each)
    if not settings.path:
        raise ConfigError("tasks.path is empty, and this configuration needs a data file: give --tasks FILE.")
    reading = read_tasks(Path(settings.path), strict=settings.strict, turns=turns, input_map=input_map)
    tasks = sorted(reading.tasks, key=lambda t: _rank(seed, t.id))
    return Pool(tasks, reading.refusals, reading.summary(), per_round=settings.per_round, left=reading.left)


def references(source: References, seed: int, round: int, turns: Turns = "each") -> list[Task]:
    """The tasks with a reference that `source` gives to a round (0 for the supervised start); each round takes others.

    A file starts again after its last record, and gives fewer tasks if it has fewer.
    """
    if source.path.startswith(TOOLBOX):
        return toolbox_tasks(source.path, source.count, _seed(seed, round), source.mix)
    known = [task for task in read_tasks(Path(source.path), turns=turns).tasks if task.reference is not None]
    known.sort(key=lambda t: _rank(seed, t.id))
    first = round * source.count
    return [known[i % len(known)] for i in range(first, first + min(source.count, len(known)))]


def start_tasks(source: References, pool: Pool, seed: int, turns: Turns = "each") -> list[Task]:
    """The tasks of the supervised start, all with a reference: from `pool` where the source is the run's own tasks."""
    if source.path != OWN_TASKS:
        return references(source, seed, 0, turns)
    return [task for task in pool.tasks if task.reference is not None][: source.count]


def toolbox_tasks(path: str, count: int, seed: int, mix: Mapping[str, float] | None = None) -> list[Task]:
    """`count` tasks of a toolbox split or of a composed one. ConfigError lists the splits if there is no such one."""
    from funreason.data import composed, toolbox

    split = path.removeprefix(TOOLBOX)
    if path.startswith(COMPOSED) and path.removeprefix(COMPOSED) in composed.SPLITS:
        return composed.compose(path.removeprefix(COMPOSED), count, seed, shares=dict(mix) if mix else None)
    if split not in toolbox.SPLITS:
        known = sorted([*toolbox.SPLITS, *(f"composed_{name}" for name in composed.SPLITS)])
        raise ConfigError(f"{path}: the toolbox has no split {split!r}; it has {', '.join(known)}")
    return toolbox.generate(split, count, seed, quotas=dict(mix) if mix else None)


def hold_out(pool: Pool, suites: Collection[Suite]) -> HeldOut:
    """Hold out tasks that can be scored, if a suite uses `tasks:held_out`. DataError when there are none."""
    asking = next((suite for suite in suites if suite.path == HELD_OUT), None)
    if asking is None:
        return HeldOut(pool.tasks, [], [])
    able = [task for task in pool.tasks if can_be_scored(task)]
    if not able:
        raise DataError(
            f"{pool.summary or 'the tasks'}: no record has a reference answer that can be scored, so none can be "
            "held out for the gate. Name another suite and skip the supervised start, which needs references: "
            "--set gate.suites.held_out.path=FOLDER --set start.references=null"
        )
    count = asking.count or min(HELD_OUT_MOST, max(1, int(len(able) * HELD_OUT_SHARE)))
    chosen = {task.id for task in able[:count]}
    records = {_TURN.sub("", name) for name in chosen}
    split = HeldOut([], [], [])
    for task in pool.tasks:
        same = task.id in records or _TURN.sub("", task.id) in records
        (split.gate if task.id in chosen else split.siblings if same else split.train).append(task)
    return split


def can_be_scored(task: Task) -> bool:
    """Whether the reference calls offered functions with valid arguments. Otherwise no answer could be correct.

    A turn after calls cannot be scored: the gate's cases are single questions.
    """
    if task.reference is None or not task.tools or task.after_calls:
        return False
    offered = {tool["name"]: tool for tool in task.tools}
    return all(call.name in offered and not check_call(call, offered[call.name]) for call in task.reference)


def _seed(seed: int, round: int) -> int:
    return seed * 1000 + round


def _rank(seed: int, task_id: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{task_id}".encode(), digest_size=8).digest()
