"""Accuracy by round: for each suite of the gate, a point for the weights at the start and one for each candidate.

Where a suite has items that want a call and items that want none, accuracy is the mean of both, as the gate has it, and
its interval is made from the intervals of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot
from typing import NamedTuple

from funreason.bfcl.intervals import wilson
from funreason.display.figures import DECISIONS
from funreason.record.events import Balance, Score
from funreason.record.state import State


class AccuracyPoint(NamedTuple):
    """Weights on a suite: the share of right answers with its 95 % interval, from 0 to 1.

    `round` is None for the weights at the run's start. `kept` says whether the run continued with these weights.
    """

    round: int | None
    share: float
    low: float
    high: float
    decision: str = ""
    kept: bool = True

    @property
    def name(self) -> str:
        """`base`, `start` or `round 2`, with the sign of the decision."""
        sign = DECISIONS.get(self.decision, ("", ""))[0] if self.decision != "start" else ""
        word = "base" if self.round is None else "start" if self.round == 0 else f"round {self.round}"
        return f"{word} {sign}".strip()


class SuiteAccuracy(NamedTuple):
    """One suite by round. `role` is that of the configuration; `items` how many there are."""

    suite: str
    role: str
    items: int
    points: tuple[AccuracyPoint, ...]

    @property
    def label(self) -> str:
        """The suite's name, with its role where it does not decide."""
        return self.suite if self.role == "decision" else f"{self.suite} ({self.role})"


def accuracy_by_round(state: State, roles: Mapping[str, str] | None = None) -> list[SuiteAccuracy]:
    """Each suite by round, those that decide first. `roles` has the suites' roles, where the configuration is known."""
    gates = [(k, r.gate) for k, r in sorted(state.rounds.items()) if r.gate is not None]
    found = []
    for suite in dict.fromkeys(name for _, gate in gates for name in gate.by_slice):
        points: list[AccuracyPoint] = []
        items = 0
        for k, gate in gates:
            if (score := gate.by_slice.get(suite)) is None or not score.total:
                continue
            both, items = gate.balance_by_slice.get(suite), score.total
            if not points:
                points.append(AccuracyPoint(None, *share_with_interval(score, both, new=False)))
            if gate.new_weights != gate.old_weights:
                kept = gate.decision == "promote"
                points.append(AccuracyPoint(k, *share_with_interval(score, both, new=True), gate.decision, kept))
        if points:
            found.append(SuiteAccuracy(suite, (roles or {}).get(suite, "decision"), items, tuple(points)))
    order = ("decision", "guard", "report")
    return sorted(found, key=lambda one: order.index(one.role) if one.role in order else len(order))


def share_with_interval(score: Score, both: Balance | None, *, new: bool) -> tuple[float, float, float]:
    """Accuracy under the new or the old weights, and the two ends of its interval; (0, 0, 1) without items."""
    if both is None or not both.has_both:
        right, total = min(score.new if new else score.old, score.total), score.total
        return (right / total if total else 0.0, *wilson(right, total))
    ends: Sequence[tuple[float, float]] = [
        wilson(each.new if new else each.old, each.total) for each in both.kinds.values()
    ]
    shares = [(each.new if new else each.old) / each.total for each in both.kinds.values()]
    mean = both.new if new else both.old
    down = hypot(*(share - low for share, (low, _) in zip(shares, ends, strict=True))) / len(shares)
    up = hypot(*(high - share for share, (_, high) in zip(shares, ends, strict=True))) / len(shares)
    return mean, max(0.0, mean - down), min(1.0, mean + up)
