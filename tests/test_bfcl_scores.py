"""The leaderboard's numbers and how sure they are."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from funreason.bfcl import BfclError, Case
from funreason.bfcl.categories import CATEGORIES
from funreason.bfcl.intervals import mcnemar_exact, p_text, paired, weighted_interval, wilson
from funreason.bfcl.scores import Count, Scores, compare, overall, percent, score

HALVES = {category: Count(1, 2) for category in CATEGORIES}


def test_wilson_meets_a_hand_worked_example():
    low, high = wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0


@given(st.integers(1, 400).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_agrees_with_scipy(counts):
    correct, total = counts
    theirs = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    assert wilson(correct, total) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_a_small_p_is_never_written_as_zero():
    assert [p_text(p) for p in (0.2204, 0.00123, 0.00045, 1e-9, 0.0)] == [
        "p 0.220", "p 0.001", "p 0.0004", "p < 0.0001", "p < 0.0001",
    ]  # fmt: skip


def test_mcnemar_meets_hand_worked_examples():
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(5, 0) == 2 / 32
    assert mcnemar_exact(6, 1) == mcnemar_exact(1, 6) == 2 * 8 / 128
    assert mcnemar_exact(3, 3) == 1.0


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_agrees_with_the_binomial_test(b, c):
    theirs = binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(theirs, abs=1e-9)


def test_a_paired_difference_meets_a_hand_worked_example():
    old = [True] * 4 + [False] * 6
    new = [True] * 3 + [False] + [True] * 3 + [False] * 3
    found = paired(old, new)
    assert (found.items, found.gained, found.lost, found.difference) == (10, 3, 1, 0.2)
    assert found.error == pytest.approx((4 - 4 / 10) ** 0.5 / 10)
    assert found.interval == pytest.approx((0.2 - 1.959964 * found.error, 0.2 + 1.959964 * found.error), abs=1e-6)
    assert found.p == mcnemar_exact(3, 1)


def test_wrong_counts_are_refused():
    for call in (
        lambda: wilson(3, 2),
        lambda: wilson(1, 2, 1.0),
        lambda: mcnemar_exact(-1, 2),
        lambda: paired([True], []),
    ):
        with pytest.raises(ValueError, match=r"expected|must"):
            call()


@pytest.mark.parametrize("correct", [0, 1, 50, 100])
def test_the_weighted_interval_of_one_part_is_its_own(correct):
    assert weighted_interval([(1.0, correct, 100)]) == pytest.approx(wilson(correct, 100))


def test_the_interval_of_a_mean_stays_open_where_every_part_is_all_right_or_all_wrong():
    low, high = weighted_interval([(0.5, 2, 2), (0.5, 2, 2)])
    assert low < 0.9
    assert high == 1
    assert weighted_interval([(0.5, 50, 100), (0.5, 50, 100)])[0] == pytest.approx(0.5 - 0.0962 / 2**0.5, abs=1e-3)


def test_non_live_weighs_languages_and_kinds_equally_and_live_weighs_by_count():
    counts = HALVES | {"simple_java": Count(100, 100), "live_simple": Count(258, 258)}
    scores = Scores(counts)
    assert scores.simple() == Fraction(2, 3)
    assert scores.non_live() == (Fraction(2, 3) + Fraction(3, 2)) / 4
    assert scores.live() == Fraction(258 + 3, 258 + 6)
    assert scores.live("v3") == Fraction(258 + 5, 258 + 10)
    assert scores.irrelevance() == Fraction(1, 2)
    assert scores.relevance() == Fraction(1, 2)
    assert scores.all_items() == (100 + 258 + 11, 100 + 258 + 22)


def test_overall_is_the_mean_of_the_published_numbers_rounded_half_up():
    assert overall(Decimal("87.00"), Decimal("80.31")) == Decimal("83.66")
    assert overall(Decimal("90.40"), Decimal("81.64")) == Decimal("86.02")
    assert overall(None, Decimal("80.31")) is None
    assert percent(Fraction(1, 16)) == Decimal("6.25")
    assert percent(Fraction(93125, 1_000_000)) == Decimal("9.31")
    assert percent(Fraction(186_25, 100_00 * 2)) == Decimal("93.13")
    assert percent(Fraction(0)) == Decimal("0.00")


def test_not_run_is_none_and_nought_is_nought():
    partial = Scores({category: count for category, count in HALVES.items() if category != "simple_java"})
    assert partial.non_live() is None
    assert partial.overall() is None
    assert partial.missing(["simple_java", "multiple"]) == ["simple_java"]
    wrong = Scores(dict.fromkeys(CATEGORIES, Count(0, 5)))
    assert wrong.overall() == Decimal("0.00")
    rows = {row.name: row for row in partial.rows()}
    assert rows["simple_java"] == ("simple_java", None, None, None, None)
    assert rows["Non-Live AST"].percent is None
    assert rows["Live (v4)"].percent == Decimal("50.00")


def test_the_table_has_every_category_and_mean_with_an_interval():
    rows = Scores(HALVES).rows("v3")
    assert [row.name for row in rows[:13]] == list(CATEGORIES)
    assert [row.name for row in rows[13:]] == [
        "Non-Live AST",
        "Live (v3)",
        "Overall (Live v3)",
        "Irrelevance",
        "Relevance",
    ]
    assert all(row.interval and row.interval.low < 50 < row.interval.high for row in rows)


def test_verdicts_are_counted_by_their_cases_category():
    cases = {
        name: Case(name, kind, [], [], None)
        for name, kind in [("a", "multiple"), ("b", "multiple"), ("c", "irrelevance")]
    }
    assert score(cases, {"a": True, "b": False}).counts == {"multiple": (1, 2)}
    with pytest.raises(KeyError):
        score(cases, {"z": True})


def test_two_models_are_compared_by_category_and_over_all_on_the_same_cases_only():
    kinds = [("a", "multiple"), ("b", "multiple"), ("c", "irrelevance")]
    cases = {name: Case(name, kind, [], [], None) for name, kind in kinds}
    found = compare(cases, {"a": True, "b": False, "c": False}, {"a": True, "b": True, "c": False})
    assert {name: (pair.gained, pair.lost, pair.items) for name, pair in found.items()} == {
        "multiple": (1, 0, 2),
        "irrelevance": (0, 0, 1),
        "all": (1, 0, 3),
    }
    with pytest.raises(BfclError, match=r"1 that only one has: \['b'\]"):
        compare(cases, {"a": True}, {"a": True, "b": True})
