"""One round, folded from its events: what each node answered, how samples ended, how well judges judge.

Rates are shares of what was asked and answered; None, not 0, where nothing was.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import msgspec

from funreason.record import events as ev
from funreason.record.events import CanaryResult, SelfAgreementChecked


@dataclass(slots=True)
class JudgeHealth:
    """One judge in one round: its canaries, and samples it was asked twice."""

    bad: int = 0
    passed: int = 0
    good: int = 0
    dropped: int = 0
    errors: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    twice: int = 0
    agreed: int = 0
    seen: set[tuple[str, int]] = field(default_factory=set)
    """Samples and attempts asked twice: a run that is resumed after a kill asks some of them again."""

    @property
    def tried(self) -> bool:
        """Whether it was shown canaries."""
        return bool(self.bad or self.good or self.errors)

    @property
    def false_pass(self) -> float | None:
        """The share of known bad samples that passed."""
        return self.passed / self.bad if self.bad else None

    @property
    def false_drop(self) -> float | None:
        """The share of known good samples that did not pass."""
        return self.dropped / self.good if self.good else None

    @property
    def agreement(self) -> float | None:
        """The share of samples asked twice that got the same outcome twice."""
        return self.agreed / self.twice if self.twice else None

    def examined(self, event: CanaryResult) -> None:
        """Take an examination; a later one replaces an earlier one of the same round."""
        self.bad, self.passed, self.good, self.dropped = event.bad, event.passed, event.good, event.dropped
        self.errors, self.missed = event.errors, Counter(event.missed)

    def with_self_agreement(self, event: SelfAgreementChecked) -> None:
        """Count a sample once, however often the log has it."""
        here = (event.sample, event.attempt)
        if here not in self.seen:
            self.seen.add(here)
            self.twice += 1
            self.agreed += event.first == event.second

    def summary(self) -> dict[str, Any]:
        """As plain JSON data."""
        counts = ("bad", "passed", "good", "dropped", "errors", "twice", "agreed")
        rates = ("false_pass", "false_drop", "agreement")
        return {name: getattr(self, name) for name in (*counts, *rates)} | {"missed": dict(self.missed)}


# One round as a log tells it: what its nodes answered, how its samples ended, what was learnt and what the gate said.
#
# Only the reducer (`funreason/record/state.py`) changes these; everybody else reads them.

RECENT_JUDGEMENTS = 2000
"""How many of a round's last judgements and ends are held one by one: what bounds a reader's memory, and its
speed: the longer the window, the colder the memory it frees."""
RECENT_TIMES = 129
PAID = ("requests", "tokens", "retries", "failed", "estimated")
FAILED = ("dropped", "dead")


class EndState(NamedTuple):
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
    """One round, or round 0: measuring the start and the supervised start.

    `unfinished` holds, for each sample that has not ended, the attempts and nodes it was judged at: a resumed run asks
    no judge twice, and what was written twice must not count twice.
    """

    nodes: dict[str, NodeCount] = field(default_factory=dict)
    fates: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    dead_reasons: Counter[str] = field(default_factory=Counter)
    asked: dict[str, AskCount] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    """The phases that came to their end; `seconds` has broken-off ones, too."""
    gpu: dict[str, ev.GpuUsed] = field(default_factory=dict)
    """How busy the GPUs were, by phase; all phases of one name together."""
    todo: int = 0
    chosen: ev.TrainingSetSelected | None = None
    screened: ev.ContaminationChecked | None = None
    steps: list[ev.OptimizerStep] = field(default_factory=list)
    policy: ev.PolicyUpdated | None = None
    """The last step of reinforcement learning."""
    update: ev.WeightsTrained | None = None
    syncs: list[ev.WeightsSynced] = field(default_factory=list)
    gate: ev.GateDecided | None = None
    messages: list[ev.RoundMessage] = field(default_factory=list)
    """The way of the round's own message, edge by edge."""
    paid: dict[str, Counter[str]] = field(default_factory=dict)
    """What each node asked of endpoints, in the words of `EndpointUsage`."""
    weights: str = ""
    ended: bool = False
    recent: deque[ev.Judged | ev.SampleEnded] = field(default_factory=lambda: deque(maxlen=RECENT_JUDGEMENTS))
    unfinished: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    health: dict[str, JudgeHealth] = field(default_factory=dict)
    """How well each judge judges, by node."""

    def health_of(self, node: str) -> JudgeHealth:
        """The health of a judge, made when first spoken of."""
        return self.health.setdefault(node, JudgeHealth())

    def fold(self, event: ev.AnyEvent) -> None:
        """Fold in an event that concerns its round alone; `State` folds the others."""
        match event:
            case ev.OptimizerStep():
                steps = self.steps
                while steps and steps[-1].step >= event.step:  # a resumed update repeats those after its checkpoint
                    steps.pop()
                steps.append(event)
            case ev.JudgeUsage():
                count = self.asked.setdefault(event.node, AskCount())
                count.requests += event.requests
                count.tokens += event.tokens
                count.hits += event.hits
                count.unreadable += event.unreadable
            case ev.EndpointUsage():
                spent = self.paid.setdefault(event.node, Counter())
                for what in PAID:
                    spent[what] += getattr(event, what)
            case ev.GpuUsed():
                before = self.gpu.get(event.phase)
                if before is not None:
                    readings = max(1, before.readings + event.readings)
                    event = msgspec.structs.replace(
                        event,
                        busy=(before.busy * before.readings + event.busy * event.readings) / readings,
                        memory_gb=max(before.memory_gb, event.memory_gb),
                        readings=readings,
                    )
                self.gpu[event.phase] = event
            case ev.SelfAgreementChecked():
                self.health_of(event.node).with_self_agreement(event)
            case ev.CanaryResult():
                self.health_of(event.node).examined(event)
            case ev.ContaminationChecked():
                self.screened = event
            case ev.TrainingSetSelected():
                self.chosen = event
            case ev.PolicyUpdated():
                self.policy = event
            case ev.WeightsTrained():
                self.update = event
            case ev.WeightsSynced():
                self.syncs.append(event)
            case ev.GateDecided():
                self.gate = event
            case ev.WeightsRefused() if self.gate is not None:
                why = f"{event.node}: {event.reason}"
                self.gate = msgspec.structs.replace(self.gate, decision="rollback", reason=why)
            case ev.RoundMessage():
                self.messages.append(event)

    def metric_names(self) -> list[str]:
        """The metrics of the round's optimiser steps, in the order of their first appearance."""
        return list(dict.fromkeys(name for step in self.steps for name in step.metrics))

    def mean(self, metric: str) -> float | None:
        """The mean of a metric over the round's optimiser steps; None where no step has it.

        A loss `loss_<x>` is weighted by the metric `<x>_tokens` of each step, where the step has that; all else
        counts one per step.
        """
        count = f"{metric.removeprefix('loss_')}_tokens" if metric.startswith("loss_") else ""
        pairs = [(s.metrics[metric], s.metrics.get(count, 1.0)) for s in self.steps if metric in s.metrics]
        total = sum(weight for _, weight in pairs)
        return sum(value * weight for value, weight in pairs) / total if total else None


def round_summary(r: RoundState) -> dict[str, Any]:
    """A round as plain JSON data."""
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
        "gpu": {phase: {"busy": used.busy, "memory_gb": used.memory_gb} for phase, used in r.gpu.items()},
        "metrics": {name: r.mean(name) for name in r.metric_names()},
        "chosen": _plain(r.chosen),
        "screened": _plain(r.screened),
        "syncs": [_plain(sync) for sync in r.syncs],
        "gate": _plain(r.gate),
        "paid": {name: dict(spent) for name, spent in r.paid.items()},
        "weights": r.weights,
        "ended": r.ended,
    }


def _plain(event: ev.TrainingSetSelected | ev.ContaminationChecked | ev.WeightsSynced | ev.GateDecided | None) -> Any:
    return None if event is None else msgspec.to_builtins(event)
