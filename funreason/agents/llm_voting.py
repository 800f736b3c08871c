"""How several judges agree: unanimously, by majority, or by the mean of their scores.

A judge that could not be heard has no vote. The others decide where its vote could not have changed the outcome;
where it could, there is no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

RULES = ("unanimous", "majority", "mean")


class Accept(NamedTuple):
    """When a statement counts as true: all judges say so, more than half do, or their mean score is `threshold`."""

    rule: str = "unanimous"
    threshold: float = 0.5

    def holds(self, scores: Sequence[float]) -> bool:
        """Whether these scores, one per judge, make the statement true. Above 0.5 is a yes."""
        yes = sum(score > 0.5 for score in scores)
        if self.rule == "unanimous":
            return yes == len(scores)
        if self.rule == "majority":
            return 2 * yes > len(scores)
        return sum(scores) >= self.threshold * len(scores)

    def decided(self, scores: Sequence[float], unheard: int) -> bool | None:
        """The same with `unheard` judges besides; None when it depends on them."""
        least, most = self.holds([*scores, *[0.0] * unheard]), self.holds([*scores, *[1.0] * unheard])
        return least if least == most else None
