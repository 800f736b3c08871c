"""Differences between arms, paired item by item and seed by seed, with intervals over both.

Over items: the seeds' differences are averaged item by item, and items are taken as drawn, group by group of the
column. Over seeds: Student's interval of the seeds' differences, which says whether another seed would agree. With
three seeds it is wide; both belong beside a mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import NormalDist, fmean, stdev, variance
from typing import NamedTuple

from funreason.bfcl.intervals import Interval
from funreason.experiments.experiment import ArmDifference, ArmPoint, TableColumn
from funreason.experiments.measured import ArmResult, groups, score

LEVEL = 0.95
Results = Mapping[tuple[str, int], ArmResult]
"""What has been played, by arm and seed."""


class Difference(NamedTuple):
    """In points (bits per byte for text); `each` has the seeds' own differences. An interval is None where it has no
    base: `items` for text, `seeds` for fewer than three seeds.
    """

    mean: float
    items: Interval | None
    seeds: Interval | None
    each: list[float]


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Student's interval of the mean of independent values; None for fewer than three.

    Two seeds that happen to agree would give an interval without width, and two that do not one without use.
    """
    from scipy.special import stdtrit  # here: the page is made without it

    if len(values) < 3:
        return None
    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * stdev(values) / sqrt(len(values))
    return Interval(fmean(values) - half, fmean(values) + half)


def seeds_of(results: Results, points: Sequence[ArmPoint]) -> list[int]:
    """The seeds for which all points were measured."""
    seeds = sorted({seed for _, seed in results})
    return [s for s in seeds if all((p.arm, s) in results and p.moment in results[p.arm, s].weights for p in points)]


def difference(column: TableColumn, results: Results, comparison: ArmDifference) -> Difference | None:
    """A comparison in one column, over the seeds that all its points have; None without such a seed.

    ValueError where two arms did not answer the same items.
    """
    points = [*comparison.one, *comparison.other]
    seeds = seeds_of(results, points)
    scores = {(p, s): score(column, results[p.arm, s], p.moment) for p in points for s in seeds}
    if not seeds or any(value is None for value in scores.values()):
        return None
    signs = [(p, 1 / len(comparison.one)) for p in comparison.one]
    signs += [(p, -1 / len(comparison.other)) for p in comparison.other]
    each = [sum(sign * (scores[p, s] or 0.0) for p, sign in signs) for s in seeds]
    if column.kind == "text":
        return Difference(fmean(each), None, mean_interval(each), each)
    asked = [results[p.arm, s].items[column.suite] for p in points for s in seeds]
    if any(items != asked[0] for items in asked):
        raise ValueError(
            f"{comparison.label}: the arms did not answer the same items of {column.suite}; play them again"
        )
    by_item = [0.0] * len(asked[0]["of"])
    for point, sign in signs:
        for s in seeds:
            for place, letter in enumerate(results[point.arm, s].right[point.moment][column.suite]):
                by_item[place] += sign * (letter == "1")
    squared = sum(
        (100 * weight / len(seeds)) ** 2 * variance([by_item[i] for i in places]) / len(places)
        for weight, places in groups(column, results[points[0].arm, seeds[0]].categories(column.suite))
        if len(places) > 1
    )
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * sqrt(squared)
    mean = fmean(each)
    return Difference(mean, Interval(mean - half, mean + half), mean_interval(each), each)
