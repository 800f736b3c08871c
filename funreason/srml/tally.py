"""Adds up what each part of the loss cost, in all and split by origin, round and attempt of the samples.

Sums and token counts are kept, never means: means of means would let a sample of three tokens weigh as much as one
of three hundred.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from funreason.srml.examples import Example, PartLoss
from funreason.srml.loss import PartSums

Sums = list[float]  # think, result, think tokens, result tokens


class Tally:
    """Per-token losses of each part over the samples added so far."""

    def __init__(self) -> None:
        self.all: Sums = [0.0] * 4
        self.origins: dict[str, Sums] = defaultdict(_zeros)
        self.rounds: dict[int, Sums] = defaultdict(_zeros)
        self.attempts: dict[int, Sums] = defaultdict(_zeros)

    def add(self, examples: Sequence[Example], sums: PartSums) -> None:
        """Count one micro-batch: `sums` holds one entry [B] per example."""
        columns = (sums.think, sums.result, sums.think_tokens, sums.result_tokens)
        for example, row in zip(examples, zip(*(column.tolist() for column in columns), strict=True), strict=True):
            for group in self._groups(example):
                _add(group, row)

    def merge(self, other: Tally) -> None:
        """Count everything `other` counted."""
        _add(self.all, other.all)
        for mine, theirs in (
            (self.origins, other.origins),
            (self.rounds, other.rounds),
            (self.attempts, other.attempts),
        ):
            for key, sums in theirs.items():
                _add(mine[key], sums)  # type: ignore[index]

    def by_origin(self) -> dict[str, PartLoss]:
        """Split by how the sample came to be."""
        return {key: part_loss(sums) for key, sums in sorted(self.origins.items())}

    def by_round(self) -> dict[int, PartLoss]:
        """Split by the round that made the sample."""
        return {key: part_loss(sums) for key, sums in sorted(self.rounds.items())}

    def by_attempt(self) -> dict[int, PartLoss]:
        """Split by the attempt at which the sample passed."""
        return {key: part_loss(sums) for key, sums in sorted(self.attempts.items())}

    def _groups(self, example: Example) -> tuple[Sums, ...]:
        return self.all, self.origins[example.origin], self.rounds[example.round], self.attempts[example.attempt]


def part_loss(sums: Sequence[float]) -> PartLoss:
    """Means per token; None for a part without tokens."""
    think, result, think_tokens, result_tokens = sums
    return PartLoss(
        think / think_tokens if think_tokens else None,
        result / result_tokens if result_tokens else None,
        int(think_tokens),
        int(result_tokens),
    )


def _zeros() -> Sums:
    return [0.0] * 4


def _add(total: Sums, more: Sequence[float]) -> None:
    for at, value in enumerate(more):
        total[at] += value
