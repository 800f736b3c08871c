"""The reducer: folds events into what a person or a resumed run wants to know.

`State.apply(event)` is the only way a state changes. The live view, `status --json`, resume and the tests all
fold the same log, so they cannot disagree. No text, no clock and no file is touched here.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from funreason.record import events as ev
from funreason.record.hard_tasks import TaskPool
from funreason.record.rounds import FAILED, AskCount, EndState, NodeCount, RoundState, round_summary

RECENT_EVENTS = 2000


class OpenPhase(NamedTuple):
    """A phase that has begun and not ended; `at` is when it began."""

    round: int
    phase: str
    at: float
    todo: int = 0


@dataclass(slots=True)
class State:
    """A whole run as far as its log tells."""

    run: str = ""
    rounds_planned: int = 0
    nodes: list[str] = field(default_factory=list)
    status: str = "running"
    reason: str = ""
    round: int = 0
    phase: str = ""
    weights: str = ""
    started_at: float = 0.0
    last_at: float = 0.0
    refused: Counter[str] = field(default_factory=Counter)
    left: dict[str, int] = field(default_factory=dict)
    """What records hold and no task carries, by code."""
    notes: list[ev.LogMessage] = field(default_factory=list)
    machines: list[ev.MachineDescribed] = field(default_factory=list)
    """Of each process that played the run, in order."""
    rounds: dict[int, RoundState] = field(default_factory=dict)
    tasks_read: bool = False
    """Whether every record that was refused is known."""
    ended: dict[tuple[int, str], EndState] = field(default_factory=dict)
    """How each sample, by round and id, ended."""
    requeued: set[tuple[int, str]] = field(default_factory=set)
    """Samples put back that have not ended again."""
    requeues: Counter[tuple[int, str]] = field(default_factory=Counter)
    """How often each sample was put back."""
    pool: TaskPool = field(default_factory=TaskPool)
    """The tasks of hard-data rounds."""
    events: int = 0
    edges: list[tuple[str, str, str]] = field(default_factory=list)
    paused: bool = False
    phase_at: float = 0.0
    """When the newest open phase began; when the last one ended where none is open."""
    open_phases: dict[str, OpenPhase] = field(default_factory=dict)
    """The phases under way by id, in the order they began. `round` and `phase` are those of the newest."""
    away_s: float = 0.0
    """Seconds between the end of one process and the start of the next one."""
    recent_events: deque[ev.AnyEvent] = field(default_factory=lambda: deque(maxlen=RECENT_EVENTS))
    """The last events a person would want to see one by one: all but judgements, ends and steps."""

    def apply(self, event: ev.AnyEvent) -> None:
        """Fold one event in."""
        kind = type(event)
        if kind is ev.Judged:
            _judged(self, event)  # type: ignore[arg-type]
            return
        self.events += 1
        fold = _FOLDS.get(kind)
        if fold is not None:
            fold(self, event)
        else:
            self.at_round(event.round).fold(event)  # type: ignore[union-attr]
        if event.at > self.last_at:
            self.last_at = event.at
        if kind not in _COUNTED:
            self.recent_events.append(event)

    def fold(self, events: Iterable[ev.AnyEvent]) -> State:
        """Fold many events in; returns itself."""
        for event in events:
            if type(event) is ev.Judged:  # nine of ten: what `apply` does, without the way there
                _judged(self, event)
            else:
                self.apply(event)
        return self

    def paid(self) -> Counter[str]:
        """What the run asked of endpoints so far, in the words of `EndpointUsage`."""
        return sum((spent for r in self.rounds.values() for spent in r.paid.values()), Counter())

    def elapsed_s(self, now: float) -> float:
        """Seconds the run has taken up to `now`, without the time between stop and resume."""
        return max(0.0, now - self.started_at - self.away_s) if self.started_at else 0.0

    @property
    def promoted(self) -> dict[int, bool]:
        """Of each round that the gate has decided, whether its weights were promoted and no agent refused them."""
        return {k: r.gate.decision == "promote" for k, r in self.rounds.items() if r.gate is not None}

    def at_round(self, k: int) -> RoundState:
        """The state of round `k`, made when first spoken of."""
        found = self.rounds.get(k)
        if found is None:
            found = self.rounds[k] = RoundState()
        return found

    def in_flight(self, k: int, node: str) -> int | None:
        """How many samples of round `k` wait at `node` or are in its hands; None when the log tells no edges."""
        if not any(target == node for _, _, target in self.edges):
            return None
        nodes = self.at_round(k).nodes
        arrived = sum(nodes[a].outcomes[outcome] for a, outcome, b in self.edges if b == node and a in nodes)
        left = nodes[node].answered if node in nodes else 0
        return max(0, arrived - left)

    def summary(self) -> dict[str, Any]:
        """The run as plain JSON data: what `status --json` prints."""
        return {
            "run": self.run,
            "status": self.status,
            "reason": self.reason,
            "round": self.round,
            "rounds_planned": self.rounds_planned,
            "phase": self.phase,
            "open_phases": [{"id": i, "round": p.round, "phase": p.phase} for i, p in self.open_phases.items()],
            "weights": self.weights,
            "started_at": self.started_at,
            "last_event_at": self.last_at,
            "elapsed_s": self.elapsed_s(self.last_at),
            "events": self.events,
            "refused": dict(self.refused),
            "left": self.left,
            "machines": [msgspec.to_builtins(machine) for machine in self.machines],
            "notes": [{"level": n.level, "text": n.text, "round": n.round} for n in self.notes],
            "rounds": {k: round_summary(r) for k, r in sorted(self.rounds.items())},
            "pool": self.pool.summary(self.promoted),
        }


Fold = Callable[[State, Any], None]
_FOLDS: dict[type, Fold] = {}
"""How the events that concern more than their round are folded in; `RoundState.fold` has the others."""


def _folds(kind: type[ev.Event]) -> Callable[[Fold], Fold]:
    def enter(fold: Fold) -> Fold:
        _FOLDS[kind] = fold
        return fold

    return enter


@_folds(ev.RunStarted)
def run_started(state: State, event: ev.RunStarted) -> None:
    if state.last_at:
        left = max(state.last_at, event.last_heartbeat_at)
        _close_phases(state, left)
        state.away_s += max(0.0, event.at - left)
    state.run, state.rounds_planned, state.nodes = event.run, event.rounds, event.nodes
    state.status, state.reason, state.paused = "running", "", False
    state.weights = state.weights or event.base_weights
    state.edges = event.edges or state.edges
    if not state.tasks_read:  # a start that broke off among the refusals: all are logged again
        state.refused.clear()
    state.started_at = state.started_at or event.at


def _close_phases(state: State, at: float) -> None:
    """Close what a process left open: an interrupted phase took its time all the same."""
    for k, phase, began, _ in state.open_phases.values():
        _add_seconds(state.at_round(k), phase, max(0.0, at - began))
    state.open_phases.clear()


def _add_seconds(r: RoundState, phase: str, seconds: float) -> None:
    r.seconds[phase] = r.seconds.get(phase, 0.0) + seconds


@_folds(ev.PhaseStarted)
def phase_started(state: State, event: ev.PhaseStarted) -> None:
    state.open_phases[_span(event)] = OpenPhase(event.round, event.phase, event.at, event.todo)
    state.round, state.phase, state.phase_at = event.round, event.phase, event.at
    if event.phase == "sample":
        state.at_round(event.round).todo = event.todo


@_folds(ev.PhaseEnded)
def phase_ended(state: State, event: ev.PhaseEnded) -> None:
    state.open_phases.pop(_span(event), None)
    state.phase_at = event.at
    if state.open_phases:
        state.round, state.phase, state.phase_at, _ = next(reversed(state.open_phases.values()))
    r = state.at_round(event.round)
    r.whole.add(event.phase)
    _add_seconds(r, event.phase, event.seconds)


def _span(event: ev.PhaseStarted | ev.PhaseEnded) -> str:
    return event.id or f"{event.round}/{event.phase}"


@_folds(ev.TaskRefused)
def task_refused(state: State, event: ev.TaskRefused) -> None:
    state.refused[event.reason] += 1


@_folds(ev.TasksRead)
def tasks_read(state: State, event: ev.TasksRead) -> None:
    state.tasks_read, state.left = True, event.left


def _judged(state: State, event: ev.Judged) -> None:
    # Nine of ten events come here, so lookups are spelled out: a million of them must fold in two seconds.
    state.events += 1
    if event.at > state.last_at:
        state.last_at = event.at
    r = state.rounds.get(event.round) or state.at_round(event.round)
    name, outcome = event.node, event.outcome
    if outcome != "error":  # a judge that failed is asked again after a kill, and answers for the first time then
        here = (event.attempt, name)
        judged = r.unfinished.get(event.sample)
        if judged is None:
            r.unfinished[event.sample] = [here]
        elif here in judged:
            return
        else:
            judged.append(here)
    node = r.nodes.get(name)
    if node is None:
        node = r.nodes[name] = NodeCount()
    node.outcomes[outcome] += 1
    took = event.us
    node.busy_us += took
    node.recent_us.append(took)
    if event.reason and outcome != "pass":
        node.reasons[event.reason] += 1
    r.recent.append(event)


@lru_cache(maxsize=4096)
def _fate(fate: str, why: str) -> EndState:
    """One object for all samples that ended alike."""
    return EndState(fate, why)


@_folds(ev.SampleEnded)
def ended(state: State, event: ev.SampleEnded) -> None:
    key = (event.round, event.sample)
    if key in state.ended:
        return
    failed = event.fate in FAILED
    fate = state.ended[key] = _fate(event.fate, event.reason if failed else event.origin)
    state.requeued.discard(key)
    r = state.at_round(event.round)
    r.recent.append(event)
    r.unfinished.pop(event.sample, None)
    r.fates[fate.fate] += 1
    (r.dead_reasons if failed else r.origins)[fate.why] += 1


@_folds(ev.PoolDrawn)
@_folds(ev.TaskSorted)
@_folds(ev.LabelRepaired)
def pooled(state: State, event: ev.PoolDrawn | ev.TaskSorted | ev.LabelRepaired) -> None:
    state.pool.fold(event)


@_folds(ev.UpdateCrashed)
def crashed(state: State, event: ev.UpdateCrashed) -> None:
    state.notes.append(ev.LogMessage(at=event.at, level="error", text=event.reason, round=event.round))


@_folds(ev.RoundEnded)
def round_ended(state: State, event: ev.RoundEnded) -> None:
    r = state.at_round(event.round)
    r.weights, r.ended = event.weights, True
    r.unfinished.clear()
    state.weights = event.weights


@_folds(ev.LogMessage)
def noted(state: State, event: ev.LogMessage) -> None:
    state.notes.append(event)


@_folds(ev.MachineDescribed)
def machine_described(state: State, event: ev.MachineDescribed) -> None:
    state.machines.append(event)


@_folds(ev.SampleRequeued)
def requeued(state: State, event: ev.SampleRequeued) -> None:
    key = (event.round, event.sample)
    fate = state.ended.pop(key, None)
    if fate is None:
        return
    state.requeued.add(key)
    state.requeues[key] += 1
    r = state.at_round(event.round)
    _take_one(r.fates, fate.fate)
    _take_one(r.dead_reasons if fate.failed else r.origins, fate.why)
    r.update = None  # made without this sample, so it is pending again


def _take_one(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


@_folds(ev.Paused)
def paused(state: State, event: ev.Paused) -> None:
    state.paused = event.on


@_folds(ev.RunEnded)
def run_ended(state: State, event: ev.RunEnded) -> None:
    _close_phases(state, event.at)
    state.status, state.reason, state.phase, state.paused = event.status, event.reason, "", False


_COUNTED = frozenset(
    (ev.SampleEnded, ev.TaskSorted, ev.OptimizerStep, ev.PolicyUpdated, ev.JudgeUsage, ev.SelfAgreementChecked)
)

__all__ = ["FAILED", "AskCount", "EndState", "NodeCount", "OpenPhase", "RoundState", "State"]
