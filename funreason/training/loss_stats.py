"""Adds up what the objective reports per sample, over steps and by origin, round and attempt of the samples.

Sums are kept, never means: a mean of means would let a sample of three tokens count as much as one of three hundred.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from funreason.objectives.protocol import Example, Objective
from funreason.training.types import Groups

if TYPE_CHECKING:
    from torch import Tensor

SPLITS = ("origin", "round", "attempt")


class LossStats:
    """Per-sample sums of an objective (`Objective.sums`), for one step or a whole training.

    `means` holds, for a whole training, the values of loss and `Objective.terms` of each step that was taken.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.total = [0.0] * len(objective.sums)
        self.splits: dict[str, dict[str, list[float]]] = {
            split: defaultdict(lambda: [0.0] * len(objective.sums)) for split in SPLITS
        }
        self.means: dict[str, list[float]] = defaultdict(list)

    def add(self, examples: Sequence[Example], rows: Iterable[Sequence[float]]) -> None:
        """Count each example's row of sums."""
        for example, row in zip(examples, rows, strict=True):
            keys = (example.origin, str(example.round), str(example.attempt))
            for sums in (self.total, *(self.splits[split][key] for split, key in zip(SPLITS, keys, strict=True))):
                for at, value in enumerate(row):
                    sums[at] += value

    def merge(self, other: LossStats) -> None:
        """Count everything that `other` counted."""
        pairs = [(self.total, other.total)]
        for split, groups in other.splits.items():
            pairs += [(self.splits[split][key], sums) for key, sums in groups.items()]
        for mine, theirs in pairs:
            for at, value in enumerate(theirs):
                mine[at] += value

    def metrics(self, terms: Mapping[str, float]) -> dict[str, float]:
        """The objective's metrics of all samples, with loss and `terms` as the loss averages them; finite ones only."""
        found = self._of(self.total)
        known = {name: value for name, value in terms.items() if name == "loss" or name in found}
        return {name: value for name, value in (known | {k: v for k, v in found.items() if k not in known}).items()
                if math.isfinite(value)}  # fmt: skip

    def groups(self) -> Groups:
        """The objective's metrics of each group, as means per token."""
        return {
            split: {key: self._of(sums) for key, sums in sorted(groups.items())}
            for split, groups in self.splits.items()
        }

    def _of(self, sums: Sequence[float]) -> dict[str, float]:
        return self.objective.metrics(dict(zip(self.objective.sums, sums, strict=True)))


def quantiles(names: Sequence[str], values: Tensor) -> dict[str, float]:
    """<name>_p50, _p99 and _max of each column of `values` [N, len(names)], without NaN; nothing for an empty one."""
    found: dict[str, float] = {}
    for name, column in zip(names, values.unbind(1), strict=True):
        known = column[~column.isnan()].sort().values
        if len(known):
            found |= {f"{name}_p{share}": float(known[(len(known) - 1) * share // 100]) for share in (50, 99)}
            found[f"{name}_max"] = float(known[-1])
    return found


class Quantiles:
    """Quantiles of the steps of a training: their mean over the steps, the maximum of the maxima."""

    def __init__(self) -> None:
        self.steps: dict[str, list[float]] = defaultdict(list)

    def add(self, step: Mapping[str, float]) -> None:
        """Count one step's quantiles."""
        for name, value in step.items():
            self.steps[name].append(value)

    def metrics(self) -> dict[str, float]:
        """By name."""
        return {n: max(v) if n.endswith("_max") else sum(v) / len(v) for n, v in self.steps.items()}
