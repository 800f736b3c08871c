"""The reducer: folds events into what a person or a resumed run wants to know.

`State.apply(event)` is the only way a state changes. The live view, `status --json`, resume and the tests all
fold the same log, so they cannot disagree. No text, no clock and no file is touched here.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from sys import intern
from typing import Any, NamedTuple

import msgspec

from funreason.record import events as ev
from funreason.record.health import JudgeHealth

RECENT_JUDGEMENTS = 5000
"""How many of a round's last judgements and ends are held one by one: what bounds a reader's memory."""
RECENT_TIMES = 129
RECENT_TIDINGS = 2000
PAID = ("requests", "tokens", "retries", "failed", "estimated")
FAILED = ("dropped", "dead")


class Fate(NamedTuple):
    """How a sample ended: `kept`, `text`, `dropped` or `dead`; `why` is the origin, or why it failed."""

    fate: str
    why: str

    @property
    def failed(self) -> bool:
        """Whether it is a dead letter."""
        return self.fate in FAILED


@dataclass(slots=True)
class NodeCount:
    """What one node did in one round."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    busy_us: float = 0.0
    recent_us: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_TIMES))

    @property
    def median_us(self) -> float | None:
        """The median time of the last answers, in microseconds; None before the first."""
        return sorted(self.recent_us)[len(self.recent_us) // 2] if self.recent_us else None

    @property
    def answered(self) -> int:
        """How many messages the node answered."""
        return self.outcomes.total()

    @property
    def pass_rate(self) -> float | None:
        """The share of passes among judgements that were not errors; None before the first."""
        judged = self.answered - self.outcomes["error"]
        return (self.outcomes["pass"] + self.outcomes["keep_text"]) / judged if judged else None


@dataclass(slots=True)
class AskCount:
    """What the LLM judges of one node cost in one round."""

    requests: int = 0
    tokens: int = 0
    hits: int = 0
    unreadable: int = 0


@dataclass(slots=True)
class RoundState:
    """One round, or round 0: measuring the start and the warm-up.

    `in_hand` holds, for each sample that has not ended, the attempts and nodes it was judged at: after a kill those
    judgements are made again, and must not count twice.
    """

    nodes: dict[str, NodeCount] = field(default_factory=dict)
    fates: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    dead_reasons: Counter[str] = field(default_factory=Counter)
    asked: dict[str, AskCount] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    todo: int = 0
    chosen: ev.Chosen | None = None
    screened: ev.Screened | None = None
    steps: list[ev.Stepped] = field(default_factory=list)
    update: ev.Updated | None = None
    gate: ev.Gated | None = None
    paid: dict[str, Counter[str]] = field(default_factory=dict)
    """What each node asked of endpoints, in the words of `Paid`."""
    weights: str = ""
    ended: bool = False
    recent: deque[ev.Judged | ev.Ended] = field(default_factory=lambda: deque(maxlen=RECENT_JUDGEMENTS))
    in_hand: dict[str, set[tuple[int, str]]] = field(default_factory=dict)
    health: dict[str, JudgeHealth] = field(default_factory=dict)
    """How well each judge judges, by node."""

    def health_of(self, node: str) -> JudgeHealth:
        """The health of a judge, made when first spoken of."""
        return self.health.setdefault(node, JudgeHealth())

    def loss(self, part: str) -> float | None:
        """The round's mean loss of `think` or `result` over its tokens, in nats; None when nothing was trained."""
        pairs = [(getattr(s, part), getattr(s, f"{part}_tokens")) for s in self.steps]
        known = [(loss, tokens) for loss, tokens in pairs if loss is not None and tokens]
        total = sum(tokens for _, tokens in known)
        return sum(loss * tokens for loss, tokens in known) / total if total else None


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
    notes: list[ev.Noted] = field(default_factory=list)
    rounds: dict[int, RoundState] = field(default_factory=dict)
    tasks_read: bool = False
    """Whether every record that was refused is known."""
    ended: dict[tuple[int, str], Fate] = field(default_factory=dict)
    """How each sample, by round and id, ended."""
    requeued: set[tuple[int, str]] = field(default_factory=set)
    """Samples put back that have not ended again."""
    requeues: Counter[tuple[int, str]] = field(default_factory=Counter)
    """How often each sample was put back."""
    events: int = 0
    edges: list[tuple[str, str, str]] = field(default_factory=list)
    paused: bool = False
    phase_at: float = 0.0
    """When the phase under way began."""
    phase_open: bool = False
    """Whether the phase has begun and not ended."""
    away_s: float = 0.0
    """How long the run lay between one process's end and the next one's beginning."""
    tidings: deque[ev.AnyEvent] = field(default_factory=lambda: deque(maxlen=RECENT_TIDINGS))
    """The last events a person would want told one by one: all but judgements, ends and steps."""

    def apply(self, event: ev.AnyEvent) -> None:
        """Fold one event in."""
        self.events += 1
        kind = type(event)
        _FOLDS[kind](self, event)
        if event.at > self.last_at:
            self.last_at = event.at
        if kind not in _COUNTED:
            self.tidings.append(event)

    def fold(self, events: Iterable[ev.AnyEvent]) -> State:
        """Fold many events in; returns itself."""
        for event in events:
            self.apply(event)
        return self

    def paid(self) -> Counter[str]:
        """What the run asked of endpoints so far, in the words of `Paid`."""
        return sum((spent for r in self.rounds.values() for spent in r.paid.values()), Counter())

    def elapsed_s(self, now: float) -> float:
        """How long the run has been played up to `now`, without the time it lay broken off."""
        return max(0.0, now - self.started_at - self.away_s) if self.started_at else 0.0

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
            "weights": self.weights,
            "started_at": self.started_at,
            "last_event_at": self.last_at,
            "elapsed_s": self.elapsed_s(self.last_at),
            "events": self.events,
            "refused": dict(self.refused),
            "notes": [{"level": n.level, "text": n.text, "round": n.round} for n in self.notes],
            "rounds": {k: _round_summary(r) for k, r in sorted(self.rounds.items())},
        }


def _round_summary(r: RoundState) -> dict[str, Any]:
    return {
        "stages": {
            name: {
                "answered": n.answered,
                "pass_rate": n.pass_rate,
                "outcomes": dict(n.outcomes),
                "reasons": dict(n.reasons),
            }
            for name, n in r.nodes.items()
        },
        "judges": {name: health.summary() for name, health in r.health.items()},
        "fates": dict(r.fates),
        "origins": dict(r.origins),
        "dead_reasons": dict(r.dead_reasons),
        "asked": {name: asdict(count) for name, count in r.asked.items()},
        "seconds": dict(r.seconds),
        "loss_think": r.loss("think"),
        "loss_result": r.loss("result"),
        "chosen": _plain(r.chosen),
        "screened": _plain(r.screened),
        "gate": _plain(r.gate),
        "paid": {name: dict(spent) for name, spent in r.paid.items()},
        "weights": r.weights,
        "ended": r.ended,
    }


def _plain(event: ev.Chosen | ev.Screened | ev.Gated | None) -> Any:
    return None if event is None else msgspec.to_builtins(event)


def _run_started(state: State, event: ev.RunStarted) -> None:
    if state.last_at:
        left = max(state.last_at, event.heard_at)
        _close_phase(state, left)
        state.away_s += max(0.0, event.at - left)
    state.run, state.rounds_planned, state.nodes = event.run, event.rounds, event.nodes
    state.status, state.reason, state.paused = "running", "", False
    state.weights = state.weights or event.base_weights
    state.edges = event.edges or state.edges
    if not state.tasks_read:  # a start that broke off among the refusals: they are all told again
        state.refused.clear()
    state.started_at = state.started_at or event.at


def _close_phase(state: State, at: float) -> None:
    """A phase that was broken off took its time all the same."""
    if state.phase_open:
        _add_seconds(state.at_round(state.round), state.phase, max(0.0, at - state.phase_at))
    state.phase_open = False


def _add_seconds(r: RoundState, phase: str, seconds: float) -> None:
    r.seconds[phase] = r.seconds.get(phase, 0.0) + seconds


def _phase_started(state: State, event: ev.PhaseStarted) -> None:
    state.round, state.phase, state.phase_at, state.phase_open = event.round, event.phase, event.at, True
    if event.phase == "sample":
        state.at_round(event.round).todo = event.todo


def _phase_ended(state: State, event: ev.PhaseEnded) -> None:
    state.phase_at, state.phase_open = event.at, False
    _add_seconds(state.at_round(event.round), event.phase, event.seconds)


def _task_refused(state: State, event: ev.TaskRefused) -> None:
    state.refused[event.reason] += 1


def _tasks_read(state: State, event: ev.TasksRead) -> None:
    state.tasks_read = True


def _screened(state: State, event: ev.Screened) -> None:
    state.at_round(event.round).screened = event


def _judged(state: State, event: ev.Judged) -> None:
    # Nine of ten events come here, so lookups are spelled out: a million of them must fold in two seconds.
    r = state.rounds.get(event.round) or state.at_round(event.round)
    here = (event.attempt, event.node)
    judged = r.in_hand.get(event.sample)
    if judged is None:
        r.in_hand[event.sample] = {here}
    elif here in judged:
        return
    else:
        judged.add(here)
    node = r.nodes.get(event.node)
    if node is None:
        node = r.nodes[event.node] = NodeCount()
    outcome = event.outcome
    node.outcomes[outcome] += 1
    node.busy_us += event.us
    node.recent_us.append(event.us)
    if event.reason and outcome != "pass":
        node.reasons[event.reason] += 1
    r.recent.append(event)


def _ended(state: State, event: ev.Ended) -> None:
    key = (event.round, event.sample)
    if key in state.ended:
        return
    failed = event.fate in FAILED
    # Interned: one string for all samples that ended alike, instead of two for each.
    fate = state.ended[key] = Fate(intern(event.fate), intern(event.reason if failed else event.origin))
    state.requeued.discard(key)
    r = state.at_round(event.round)
    r.recent.append(event)
    r.in_hand.pop(event.sample, None)
    r.fates[fate.fate] += 1
    (r.dead_reasons if failed else r.origins)[fate.why] += 1


def _examined(state: State, event: ev.Examined) -> None:
    state.at_round(event.round).health_of(event.node).examined(event)


def _asked_twice(state: State, event: ev.AskedTwice) -> None:
    state.at_round(event.round).health_of(event.node).asked_twice(event)


def _chosen(state: State, event: ev.Chosen) -> None:
    state.at_round(event.round).chosen = event


def _asked(state: State, event: ev.Asked) -> None:
    count = state.at_round(event.round).asked.setdefault(event.node, AskCount())
    count.requests += event.requests
    count.tokens += event.tokens
    count.hits += event.hits
    count.unreadable += event.unreadable


def _stepped(state: State, event: ev.Stepped) -> None:
    steps = state.at_round(event.round).steps
    while steps and steps[-1].step >= event.step:  # a resumed update repeats the steps behind its last checkpoint
        steps.pop()
    steps.append(event)


def _updated(state: State, event: ev.Updated) -> None:
    state.at_round(event.round).update = event


def _gated(state: State, event: ev.Gated) -> None:
    state.at_round(event.round).gate = event


def _paid(state: State, event: ev.Paid) -> None:
    spent = state.at_round(event.round).paid.setdefault(event.node, Counter())
    for what in PAID:
        spent[what] += getattr(event, what)


def _round_ended(state: State, event: ev.RoundEnded) -> None:
    r = state.at_round(event.round)
    r.weights, r.ended = event.weights, True
    r.in_hand.clear()
    state.weights = event.weights


def _noted(state: State, event: ev.Noted) -> None:
    state.notes.append(event)


def _requeued(state: State, event: ev.Requeued) -> None:
    key = (event.round, event.sample)
    fate = state.ended.pop(key, None)
    if fate is None:
        return
    state.requeued.add(key)
    state.requeues[key] += 1
    r = state.at_round(event.round)
    _take_one(r.fates, fate.fate)
    _take_one(r.dead_reasons if fate.failed else r.origins, fate.why)
    r.update = None  # made without this sample, so it is owed again


def _take_one(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _paused(state: State, event: ev.Paused) -> None:
    state.paused = event.on


def _run_ended(state: State, event: ev.RunEnded) -> None:
    _close_phase(state, event.at)
    state.status, state.reason, state.phase, state.paused = event.status, event.reason, "", False


_FOLDS: dict[type, Callable[[State, Any], None]] = {
    ev.RunStarted: _run_started,
    ev.PhaseStarted: _phase_started,
    ev.PhaseEnded: _phase_ended,
    ev.TaskRefused: _task_refused,
    ev.TasksRead: _tasks_read,
    ev.Screened: _screened,
    ev.Judged: _judged,
    ev.Ended: _ended,
    ev.Examined: _examined,
    ev.AskedTwice: _asked_twice,
    ev.Chosen: _chosen,
    ev.Asked: _asked,
    ev.Stepped: _stepped,
    ev.Updated: _updated,
    ev.Gated: _gated,
    ev.Paid: _paid,
    ev.RoundEnded: _round_ended,
    ev.Noted: _noted,
    ev.Requeued: _requeued,
    ev.Paused: _paused,
    ev.RunEnded: _run_ended,
}
_COUNTED = frozenset((ev.Judged, ev.Ended, ev.Stepped, ev.Asked, ev.AskedTwice))

__all__ = ["AskCount", "Fate", "NodeCount", "RoundState", "State"]
