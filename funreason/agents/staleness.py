"""Stale samples: made by other weights than those a round may learn from.

A sample says which weights made it. What the trainer is told to learn from is a set of ids, so samples of an endpoint,
of an older round or of nobody known are told apart from the model's own by the same rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from funreason.types import Sample

REASON = "stale.weights"


class WeightsHistory:
    """The ids of the weights accepted so far, in order. A gate that holds adds none, and what it refuses is none."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = list(dict.fromkeys(ids))

    def add(self, weights_id: str) -> None:
        """These are accepted now."""
        if self.ids[-1:] != [weights_id]:
            self.ids.append(weights_id)

    def youngest(self, most: int | None) -> frozenset[str] | None:
        """The weights that are at most `most` updates old; None (any weights) for None."""
        return None if most is None else frozenset(self.ids[-1 - most :])


class StaleError(Exception):
    """Every sample of a round was made by weights it must not learn from; the message says by which."""


def fresh_only(samples: Sequence[Sample], weights: Collection[str] | None) -> tuple[list[Sample], list[Sample]]:
    """The samples that `weights` made, and the stale ones. References were made by no model; None allows all."""
    if weights is None:
        return list(samples), []
    fresh = [s for s in samples if s.origin == "reference" or s.weights_id in weights]
    stale = [s for s in samples if s.origin != "reference" and s.weights_id not in weights]
    return fresh, stale


def staleness(stale: Sequence[Sample], weights: Collection[str]) -> str:
    """A sentence: how many samples are refused, who made them, and what would be allowed."""
    makers = ", ".join(f"{n} by {maker or 'no named weights'}" for maker, n in _makers(stale).most_common())
    return (
        f"{len(stale)} samples not trained on, {REASON}: made {makers}; sample.max_staleness allows "
        f"{' and '.join(sorted(weights))}. Raise it, or set it to null to learn from samples of any weights."
    )


def _makers(stale: Sequence[Sample]) -> Counter[str]:
    return Counter(sample.weights_id for sample in stale)
