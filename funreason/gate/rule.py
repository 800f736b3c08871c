"""The gate's rule: compares old and new weights on the same items and decides about the new ones.

`promote`: better by the rule. `hold`: not better; the old weights stay. `rollback`: worse overall, in a category, in
calls or refusals, or on a guard; the old weights stay and the round is marked as harmful. Pure functions without a
model.

Better is said of the balanced accuracy, the mean over items that want a call and items that want none. Plain accuracy
pays a model for always refusing (it gets every irrelevance item), or for always calling where such items are few. Two
models need no skill and are the measure of it: one that always refuses, and one that always calls, whose calls are
right only where any call is (BFCL's relevance categories).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from funreason.bfcl.categories import has_answers, wants_refusal
from funreason.bfcl.intervals import balanced_exact, mcnemar_exact, p_text, wilson
from funreason.config import Gate
from funreason.evaluation.text import TextLoss
from funreason.record.events import Balance, Score

KINDS = ("calls", "refusals")


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
    """A suite under old and new weights, and under those of the run's start. `kind` is `config.Suite.kind`."""

    name: str
    role: str
    old: SuiteResult
    new: SuiteResult
    start: SuiteResult
    kind: str = "bfcl"


class TextComparison(NamedTuple):
    """A suite of text under old and new weights, and under those of the run's start."""

    name: str
    role: str
    old: TextLoss
    new: TextLoss
    start: TextLoss

    @property
    def percent_worse(self) -> float:
        """How many percent the new weights' bits per byte are above those of the start."""
        return 100 * (self.new.bits_per_byte / self.start.bits_per_byte - 1)


def compare(old: SuiteResult, new: SuiteResult, category: str | None = None, kind: str | None = None) -> Score:
    """Paired counts over one category, one kind ("calls" or "refusals"), or all items."""
    items = [
        i
        for i, name in enumerate(old.categories)
        if category in (None, name) and (kind is None or wants_refusal(name) == (kind == "refusals"))
    ]
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


def by_kind(old: SuiteResult, new: SuiteResult) -> dict[str, Score]:
    """`compare` for calls and for refusals, those the items have."""
    return {kind: score for kind in KINDS if (score := compare(old, new, kind=kind)).total}


def balance(old: SuiteResult, new: SuiteResult) -> Balance:
    """Calls and refusals apart, their mean, and what the two models without skill reach."""
    kinds = by_kind(old, new)
    any_call = sum(not has_answers(name) and not wants_refusal(name) for name in old.categories)
    refused, called = {"refusals": 1.0}, {"calls": any_call / kinds["calls"].total if "calls" in kinds else 0.0}
    return Balance(
        kinds,
        old=_mean([score.old / score.total for score in kinds.values()]),
        new=_mean([score.new / score.total for score in kinds.values()]),
        p=balanced_exact([(score.gained, score.lost, score.total) for score in kinds.values()]),
        trivial={
            "always_refuse": _mean([refused.get(kind, 0.0) for kind in kinds]),
            "always_call": _mean([called.get(kind, 0.0) for kind in kinds]),
        },
    )


def decide(
    rule: Gate, pairs: Sequence[SuiteComparison], texts: Sequence[TextComparison] = (), *, start: bool = False
) -> tuple[str, str]:
    """The word and its reason. Harm is asked for first: a gain elsewhere does not buy it off.

    `start` is for the supervised start, which was asked for: guards only report it. Where the weights before it have no
    more skill than a model that always refuses or always calls, any right call it learns is progress, and what it
    loses of the empty skill counts for nothing.
    """
    deciding = [pair for pair in pairs if pair.role == "decision"]
    if not deciding:
        return "hold", "no suite has the role `decision`: give it to one"
    old, new = pooled(deciding)
    scored = balance(old, new)
    if start and scored.old <= max(scored.trivial.values()):
        return _first_skill(rule, scored)
    harm = _harm(rule, deciding) if start else _harm(rule, pairs) or _text_harm(rule, texts)
    if harm:
        return "rollback", harm
    gain = round(100 * (scored.new - scored.old), 6)
    measured = f"{gain:+.1f} points{' of balanced accuracy' if scored.has_both else ''}"
    if gain < 0 and scored.p <= rule.p_value:
        return "rollback", f"{measured}, {p_text(scored.p)}"
    if gain <= rule.min_gain:
        return "hold", f"{measured}; more than {rule.min_gain:g} are required"
    if scored.p > rule.promote_p:
        return "hold", f"{measured}, but {p_text(scored.p)} is above {rule.promote_p:g}: it may be chance"
    return "promote", f"{measured}, {p_text(scored.p)}"


def _first_skill(rule: Gate, scored: Balance) -> tuple[str, str]:
    """The word about a supervised start from weights that were no better than one of the trivial models."""
    refuse, call = (100 * scored.trivial[name] for name in ("always_refuse", "always_call"))
    trivial = (
        f"a model that always refuses has {refuse:.1f} points of balanced accuracy, one that always calls {call:.1f}"
    )
    kinds = [f"{kind} {100 * s.old / s.total:.1f} → {100 * s.new / s.total:.1f} %" for kind, s in scored.kinds.items()]
    learnt = scored.kinds["calls"].new - scored.kinds["calls"].old if "calls" in scored.kinds else 0
    if 100 * scored.new < min(refuse, call) or (learnt <= 0 <= rule.min_gain and scored.new < scored.old):
        return "rollback", f"{', '.join(kinds)}: worse than both trivial models ({trivial})"
    if learnt <= 0 and rule.min_gain >= 0:
        return "hold", f"{', '.join(kinds)}: no more right calls than before"
    return "promote", f"{', '.join(kinds)}; before, no better than a trivial model ({trivial})"


def _harm(rule: Gate, pairs: Sequence[SuiteComparison]) -> str:
    """What speaks against the new weights; "" for nothing."""
    allowed = {"calls": rule.max_calls_loss, "refusals": rule.max_refusals_loss}
    for pair in pairs:
        if pair.role == "guard":
            loss = round(-points(compare(pair.start, pair.new)), 6)  # 0.65 - 0.60 is not 0.05 in binary
            if loss > rule.max_guard_loss:
                return f"guard {pair.name} is {loss:.1f} points below its start; {rule.max_guard_loss:g} are allowed"
        if pair.role in ("guard", "decision") and pair.kind == "bfcl":
            before, since = (pair.start, " since the start") if pair.role == "guard" else (pair.old, "")
            parts = [(kind, score, allowed[kind]) for kind, score in by_kind(before, pair.new).items()]
            if pair.role == "decision":  # before its kind, which is less precise
                named = by_category(before, pair.new).items()
                parts = [*((f"category {c}", score, rule.max_category_loss) for c, score in named), *parts]
            for name, score, limit in parts:
                if -points(score) > limit and score.p <= rule.p_value:
                    return f"{name} fell {-points(score):.1f} points{since} on {pair.name}, {p_text(score.p)}"
    return ""


def _text_harm(rule: Gate, texts: Sequence[TextComparison]) -> str:
    for text in texts:
        if text.role == "guard" and text.percent_worse > rule.max_text_loss:
            return (
                f"guard {text.name} has {text.new.bits_per_byte:.4f} bits per byte, {text.percent_worse:.1f} % above "
                f"its start; {rule.max_text_loss:g} % are allowed"
            )
    return ""


def _mean(shares: list[float]) -> float:
    return sum(shares) / len(shares) if shares else 0.0


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


def without_skill(pairs: Sequence[SuiteComparison]) -> str:
    """A warning about a model that never calls or always calls; "" for any other."""
    base, _ = pooled([pair for pair in pairs if pair.role == "decision"] or pairs)
    kinds = by_kind(base, base)
    calls, refusals = kinds.get("calls"), kinds.get("refusals")
    if calls and calls.total and not calls.new_any and (refusals is None or refusals.new == refusals.total):
        missed = f"The model gets none of the gate's {calls.total} calls right in any form"
        refused = f", and every refusal right ({refusals.total}): it seems never to call" if refusals else ""
        return (
            f"{missed}{refused}. Its own samples can teach it nothing yet: let it learn to call first, from references "
            "(`start:` in the configuration)."
        )
    if refusals and not refusals.new:
        return (
            f"The model calls a function on all of the gate's {refusals.total} items where none is right: it seems "
            "always to call. Give it tasks where calling nothing is right."
        )
    return ""
