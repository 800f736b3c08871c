"""The tasks of hard-data rounds, folded from the record: which are hard, which were accepted, which were given back.

Nothing is kept but events, by round and task, so what a killed run wrote twice counts once. A task leaves the pool in
the round that accepts it, and only if the gate promotes that round's weights: a refused round gives its tasks back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from funreason.record import events as ev

FIRST = 1
"""The round that sorts the tasks."""
QUALIFIED, HARD, DISCARDED, ACCEPTED = "qualified", "hard", "discarded", "accepted"
UNJUDGED = "error"
"""The stage of a task of which no answer could be judged."""


class PooledTask(NamedTuple):
    """A task over all rounds so far: its answers, how many of them passed, and what its last round said."""

    id: str
    attempts: int
    passed: int
    stage: str
    weights: str
    repaired: bool

    @property
    def pass_rate(self) -> float:
        """The share of its answers that passed every judge."""
        return self.passed / self.attempts if self.attempts else 0.0


class HardRound(NamedTuple):
    """A round in numbers: tasks asked, accepted by the judges, of these given back by the gate, left for the next."""

    round: int
    asked: int
    accepted: int
    returned: int
    left: int
    unjudged: int
    repaired: int
    judges: str
    control: str


@dataclass(slots=True)
class TaskPool:
    """Every `PoolDrawn`, `TaskSorted` and `LabelRepaired` of a run."""

    drawn: dict[int, ev.PoolDrawn] = field(default_factory=dict)
    fates: dict[int, dict[str, ev.TaskSorted]] = field(default_factory=dict)
    repaired: dict[int, dict[str, ev.LabelRepaired]] = field(default_factory=dict)

    def fold(self, event: ev.PoolDrawn | ev.TaskSorted | ev.LabelRepaired) -> None:
        """Fold one event in; a later one replaces an earlier one of the same round and task."""
        match event:
            case ev.PoolDrawn():
                self.drawn[event.round] = event
            case ev.TaskSorted():
                self.fates.setdefault(event.round, {})[event.task] = event
            case ev.LabelRepaired():
                self.repaired.setdefault(event.round, {})[event.task] = event

    def tasks(self, fate: str, round: int = FIRST) -> list[str]:
        """The ids of the tasks of a round that had this fate."""
        return [id for id, event in self.fates.get(round, {}).items() if event.fate == fate]

    def counts(self) -> Counter[str]:
        """How round 1 sorted the tasks: `qualified`, `hard`, `discarded`."""
        return Counter(event.fate for event in self.fates.get(FIRST, {}).values())

    def gone(self, promoted: Mapping[int, bool], before: int) -> set[str]:
        """The ids of tasks that left the pool before a round: accepted in a round whose weights were promoted."""
        rounds = [k for k, kept in promoted.items() if kept and FIRST < k < before]
        return {id for k in rounds for id in self.tasks(ACCEPTED, k)}

    def history(self) -> dict[str, PooledTask]:
        """Each task that was hard, or that the control asked, over all rounds."""
        found: dict[str, PooledTask] = {}
        for k, events in sorted(self.fates.items()):
            for id, event in events.items():
                if k == FIRST and event.fate != HARD:
                    continue
                old = found.get(id, PooledTask(id, 0, 0, "", "", False))
                repaired = old.repaired or id in self.repaired.get(k, {})
                counts = (old.attempts + event.attempts, old.passed + event.passed)
                found[id] = PooledTask(id, *counts, event.stage, event.weights, repaired)
        return found

    def rounds(self, promoted: Mapping[int, bool]) -> list[HardRound]:
        """The rounds after the first in numbers; `promoted` says of each decided round whether its weights were."""
        found = []
        for k, drawn in sorted(self.drawn.items()):
            events = self.fates.get(k, {}).values()
            accepted = sum(event.fate == ACCEPTED for event in events)
            returned = 0 if promoted.get(k, True) else accepted
            unjudged = sum(event.stage == UNJUDGED for event in events)
            found.append(
                HardRound(
                    k,
                    drawn.tasks,
                    accepted,
                    returned,
                    drawn.tasks - accepted + returned,
                    unjudged,
                    len(self.repaired.get(k, {})),
                    drawn.judges,
                    drawn.control,
                )
            )
        return found

    def summary(self, promoted: Mapping[int, bool]) -> dict[str, Any]:
        """As plain JSON data; empty in a run without hard-data rounds."""
        if not self.fates and not self.drawn:
            return {}
        repairs = [{"round": k, "task": id} for k, found in sorted(self.repaired.items()) for id in found]
        return {
            "first": dict(self.counts()),
            "rounds": [each._asdict() for each in self.rounds(promoted)],
            "tasks": [task._asdict() | {"pass_rate": task.pass_rate} for task in self.history().values()],
            "repaired": repairs,
        }
