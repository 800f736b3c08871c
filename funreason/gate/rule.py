"""The gate's rule: compares old and new weights on the same items and decides about the new ones.

`promote`: better by the rule. `hold`: not better; the old weights stay. `rollback`: worse overall, in a category or on
a guard; the old weights stay and the round is marked as harmful. Pure functions without a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from funreason.bfcl.intervals import mcnemar_exact, wilson
from funreason.config import Gate
from funreason.record.events import Score


class SuiteResult(NamedTuple):
    """One suite's results under one set of weights, by item in the suite's order."""

    categories: list[str]
    strict: list[bool]
    any_format: list[bool]

    @property
    def accuracy(self) -> float:
        """The share of items that are correct in the strict form."""
        return sum(self.strict) / len(self.strict)


class SuiteComparison(NamedTuple):
    """A suite under old and new weights, and its accuracy at the start of the run."""

    name: str
    role: str
    old: SuiteResult
    new: SuiteResult
    start: float


def compare(old: SuiteResult, new: SuiteResult, category: str | None = None) -> Score:
    """Paired counts over one category, or over all items."""
    items = [i for i, name in enumerate(old.categories) if category in (None, name)]
    gained = sum(new.strict[i] and not old.strict[i] for i in items)
    lost = sum(old.strict[i] and not new.strict[i] for i in items)
    right = sum(new.strict[i] for i in items)
    low, high = wilson(right, len(items))
    return Score(
        total=len(items),
        old=sum(old.strict[i] for i in items),
        new=right,
        gained=gained,
        lost=lost,
        p=mcnemar_exact(gained, lost),
        low=low,
        high=high,
        old_any=sum(old.any_format[i] for i in items),
        new_any=sum(new.any_format[i] for i in items),
    )


def by_category(old: SuiteResult, new: SuiteResult) -> dict[str, Score]:
    """`compare` for each category, in the order of the suite."""
    return {name: compare(old, new, name) for name in dict.fromkeys(old.categories)}


def decide(rule: Gate, pairs: Sequence[SuiteComparison]) -> tuple[str, str]:
    """The word and its reason. Guards and categories are asked first: a gain does not buy them off."""
    for pair in pairs:
        if pair.role == "guard":
            loss = round(100 * (pair.start - pair.new.accuracy), 6)  # 0.65 - 0.60 is not 0.05 in binary
            if loss > rule.max_guard_loss:
                why = f"guard {pair.name} is {loss:.1f} points below its start; {rule.max_guard_loss:g} are allowed"
                return "rollback", why
        elif pair.role == "decision":
            for name, score in by_category(pair.old, pair.new).items():
                if -points(score) > rule.max_category_loss and score.p <= rule.p_value:
                    return "rollback", f"category {name} fell {-points(score):.1f} points, p {score.p:.3f}"
    deciding = [pair for pair in pairs if pair.role == "decision"]
    if not deciding:
        return "hold", "no suite has the role `decision`: give it to one"
    old, new = pooled(deciding)
    score = compare(old, new)
    gain = points(score)
    if gain < 0 and score.p <= rule.p_value:
        return "rollback", f"{gain:+.1f} points, p {score.p:.3f}"
    if gain <= rule.min_gain:
        return "hold", f"{gain:+.1f} points; more than {rule.min_gain:g} are required"
    if rule.significant and score.p > rule.p_value:
        return "hold", f"{gain:+.1f} points, but p {score.p:.3f} is above {rule.p_value:g}"
    return "promote", f"{gain:+.1f} points, p {score.p:.3f}"


def points(score: Score) -> float:
    """The gain in percentage points."""
    return 100 * (score.new - score.old) / score.total if score.total else 0.0


def pooled(pairs: Sequence[SuiteComparison]) -> tuple[SuiteResult, SuiteResult]:
    """The old and the new results of several suites, joined."""

    def join(marks: list[SuiteResult]) -> SuiteResult:
        return SuiteResult(
            [c for m in marks for c in m.categories],
            [s for m in marks for s in m.strict],
            [a for m in marks for a in m.any_format],
        )

    return join([p.old for p in pairs]), join([p.new for p in pairs])
