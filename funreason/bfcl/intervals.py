"""How sure a score is: intervals of one accuracy, and the comparison of two on the same items.

All exact or in closed form, so that a number in a report can be checked by hand. Two models that answered the same
items are compared pair by pair (only items where they differ count), which finds differences that two intervals cannot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import comb, prod, sqrt
from statistics import NormalDist
from typing import NamedTuple


class Interval(NamedTuple):
    """The lower and upper end."""

    low: float
    high: float


def p_text(p: float) -> str:
    """A p for a sentence: `p 0.012`, `p 0.0004` or `p < 0.0001`, and never `p 0.000`."""
    return f"p {p:.3f}" if p >= 0.001 else f"p {p:.4f}" if p >= 0.0001 else "p < 0.0001"


class Paired(NamedTuple):
    """New against old on the same items: `difference` is new minus old, in accuracy from -1 to 1."""

    items: int
    gained: int
    lost: int
    difference: float
    error: float
    interval: Interval
    p: float


def wilson(correct: int, total: int, level: float = 0.95) -> Interval:
    """Wilson's score interval for an accuracy (E. B. Wilson, JASA 22, 1927); (0, 1) without items.

    Raises ValueError unless 0 <= correct <= total and 0 < level < 1.
    """
    if not 0 <= correct <= total:
        raise ValueError(f"expected 0 <= correct <= total, found correct={correct}, total={total}")
    z = _quantile(level)
    if total == 0:
        return Interval(0.0, 1.0)
    share, square = correct / total, z * z / total
    middle = (share + square / 2) / (1 + square)
    half = z * sqrt(share * (1 - share) / total + square / (4 * total)) / (1 + square)
    # At the ends the bound is exactly 0 or 1; rounding must not say otherwise.
    low = 0.0 if correct == 0 else max(0.0, middle - half)
    return Interval(low, 1.0 if correct == total else min(1.0, middle + half))


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided p of McNemar's exact test: `b` items only one model got right, `c` items only the other did.

    Under no difference the b + c items fall either way like fair coins. Raises ValueError for negative counts.
    """
    if b < 0 or c < 0:
        raise ValueError(f"expected counts of items, found b={b}, c={c}")
    tail = sum(comb(b + c, k) for k in range(min(b, c) + 1))
    return min(1.0, 2 * tail / (1 << (b + c)))


def balanced_exact(groups: Sequence[tuple[int, int, int]]) -> float:
    """Two-sided p of the exact sign-flip test of a mean of accuracies; each group is (gained, lost, items above 0).

    The statistic is the sum over groups of (gained - lost) / items, so that a small group weighs as much as a large
    one. Under no difference each item where the models differ falls either way like a fair coin. One group gives
    McNemar's exact test; time grows with the product of the groups' differing items.
    """
    scale = prod(items for _, _, items in groups)
    steps = [scale // items for _, _, items in groups]
    reached = abs(sum(step * (gained - lost) for step, (gained, lost, _) in zip(steps, groups, strict=True)))
    ways = {0: 1}
    for step, (gained, lost, _) in zip(steps, groups, strict=True):
        differing, fresh = gained + lost, Counter[int]()
        for k in range(differing + 1):
            moved, count = step * (2 * k - differing), comb(differing, k)
            for value, before in ways.items():
                fresh[value + moved] += before * count
        ways = fresh
    extreme = sum(count for value, count in ways.items() if abs(value) >= reached)
    return extreme / sum(ways.values())


def balanced_interval(groups: Sequence[tuple[int, int, int]], level: float = 0.95) -> Interval:
    """The normal interval of a mean of differences of dependent proportions, from -1 to 1.

    Each group is (gained, lost, items above 0) and weighs the same, as in `balanced_exact`.
    """
    gain = sum((gained - lost) / items for gained, lost, items in groups) / len(groups)
    spread = sum((gained + lost - (gained - lost) ** 2 / items) / items**2 for gained, lost, items in groups)
    half = _quantile(level) * sqrt(spread) / len(groups)
    return Interval(max(-1.0, gain - half), min(1.0, gain + half))


def paired(old: Sequence[bool], new: Sequence[bool], level: float = 0.95) -> Paired:
    """New minus old accuracy on the same items in the same order, with its standard error and p.

    The error is that of a difference of dependent proportions, sqrt(b + c - (b - c)²/n)/n; the interval is normal.
    Raises ValueError when the sequences differ in length or are empty.
    """
    if len(old) != len(new) or not old:
        raise ValueError(f"expected the same items twice, found {len(old)} and {len(new)} verdicts")
    items = len(old)
    gained = sum(now and not before for before, now in zip(old, new, strict=True))
    lost = sum(before and not now for before, now in zip(old, new, strict=True))
    difference = (gained - lost) / items
    error = sqrt(gained + lost - (gained - lost) ** 2 / items) / items
    interval = balanced_interval([(gained, lost, items)], level)
    return Paired(items, gained, lost, difference, error, interval, mcnemar_exact(gained, lost))


def weighted_interval(parts: Sequence[tuple[float, int, int]], level: float = 0.95) -> Interval:
    """The interval of a weighted mean of accuracies; each part is (weight, correct, total), total above 0.

    Wilson's intervals of the parts, their distances squared and added (R. G. Newcombe, Stat. Med. 17, 1998): unlike a
    normal interval it does not shrink to a point where every part is 0 or 1, and of one part it is Wilson's own.
    """
    bounds = [(weight, correct / total, wilson(correct, total, level)) for weight, correct, total in parts]
    mean = sum(weight * share for weight, share, _ in bounds)
    below = sqrt(sum((weight * (share - bound.low)) ** 2 for weight, share, bound in bounds))
    above = sqrt(sum((weight * (bound.high - share)) ** 2 for weight, share, bound in bounds))
    return Interval(max(0.0, mean - below), min(1.0, mean + above))


def _quantile(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, found {level}")
    return NormalDist().inv_cdf((1 + level) / 2)
