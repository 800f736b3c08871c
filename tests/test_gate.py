"""The gate: promote, hold, rollback."""

import asyncio

import pytest

from funreason.gate.rule import Rule, SuiteComparison, SuiteResult, by_category, compare, decide

RULE = Rule(min_gain=0.0, significant=False, p=0.05, max_category_loss=5.0, max_guard_loss=5.0)


def marks(right: int, total: int = 100, category: str = "simple", first: int = 0) -> SuiteResult:
    strict = [first <= i < first + right for i in range(total)]
    return SuiteResult([category] * total, strict, strict)


def pair(old: SuiteResult, new: SuiteResult, role: str = "decide", start: float | None = None) -> SuiteComparison:
    return SuiteComparison(role, role, old, new, old.accuracy if start is None else start)


def test_better_weights_are_promoted():
    assert decide(RULE, [pair(marks(40), marks(50))])[0] == "promote"


def test_a_tie_keeps_the_old_weights():
    assert decide(RULE, [pair(marks(40), marks(40))])[0] == "hold"


def test_a_small_loss_holds_and_a_clear_one_rolls_back():
    assert decide(RULE, [pair(marks(40), marks(38))])[0] == "hold"
    assert decide(RULE, [pair(marks(40), marks(20))])[0] == "rollback"


def test_a_gain_that_could_be_chance_is_held_when_significance_is_asked():
    rule = RULE._replace(significant=True)
    assert decide(rule, [pair(marks(40), marks(42))])[0] == "hold"
    assert decide(rule, [pair(marks(40), marks(60))])[0] == "promote"


def test_a_gain_does_not_buy_off_a_fallen_category():
    def both(simple: SuiteResult, parallel: SuiteResult) -> SuiteResult:
        return SuiteResult(*(a + b for a, b in zip(simple, parallel, strict=True)))

    old = both(marks(20), marks(40, category="parallel"))
    new = both(marks(90), marks(10, category="parallel"))
    decision, reason = decide(RULE, [pair(old, new)])
    assert decision == "rollback"
    assert "parallel fell 30.0 points" in reason


def test_a_guard_forbids_but_never_promotes():
    good = pair(marks(40), marks(60))
    assert decide(RULE, [good, pair(marks(70), marks(66), "guard")])[0] == "promote"
    decision, reason = decide(RULE, [good, pair(marks(66), marks(62), "guard", start=0.70)])
    assert decision == "rollback"
    assert "8.0 points under its start" in reason
    assert decide(RULE, [pair(marks(40), marks(90), "guard")])[0] == "hold"


def test_a_watched_suite_changes_nothing():
    assert decide(RULE, [pair(marks(40), marks(50)), pair(marks(90), marks(0), "watch")])[0] == "promote"


def test_a_comparison_counts_items_won_and_lost():
    score = compare(marks(40), marks(40, first=10))
    assert (score.old, score.new, score.gained, score.lost) == (40, 40, 10, 10)
    assert score.p == pytest.approx(1.0)
    assert score.low < 0.4 < score.high


def test_categories_are_compared_apart():
    old = SuiteResult(["a", "b"], [True, False], [True, True])
    new = SuiteResult(["a", "b"], [False, True], [True, True])
    found = by_category(old, new)
    assert (found["a"].lost, found["b"].gained) == (1, 1)
    assert found["a"].new_any == 1


def test_a_warm_up_is_measured_on_guards_but_not_refused_by_them(tmp_path):
    from funreason.agents.evaluator import Evaluator
    from funreason.gate.items import GateSuite
    from funreason.record.folder import write_json
    from funreason.types import Candidate, Weights

    suites = [GateSuite("new", [], []), GateSuite("old", [], [], role="guard")]
    marked = {"w0": (10, 90), "w1": (50, 70), "w2": (60, 60), "w3": (60, 68)}
    for name, (new, old) in marked.items():
        write_json(tmp_path / f"{name}.json", {"new": list(marks(new)), "old": list(marks(old))})
    said = []
    evaluator = Evaluator(None, suites, RULE, tmp_path, said.append)

    async def play():
        await evaluator.set_baseline(Weights("w0", tmp_path))
        await evaluator.on_signal("updated", Candidate(0, "w1", tmp_path))
        await evaluator.set_baseline(evaluator.accepted)
        await evaluator.on_signal("updated", Candidate(1, "w2", tmp_path))
        await evaluator.on_signal("updated", Candidate(2, "w3", tmp_path))

    asyncio.run(play())
    assert [gated.decision for gated in said] == ["promote", "rollback", "promote"]
    assert evaluator.accepted.id == "w3"
