"""What a training has seen so far: sums that become its reports.

A refused step counts as refused and in nothing else: its losses are not numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from funreason.srml.examples import PartLoss, StepReport
from funreason.srml.tally import Tally


class PartFields(TypedDict):
    """The fields that a step's report and a training's have in common."""

    loss: float
    think: float | None
    result: float | None
    think_tokens: int
    result_tokens: int
    by_origin: dict[str, PartLoss]
    by_round: dict[int, PartLoss]
    by_attempt: dict[int, PartLoss]


class Progress:
    """Counts steps taken and refused, and adds up their losses."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.refused = self.refused_in_a_row = 0
        self._losses: list[tuple[float, float | None, float | None]] = []

    def add(self, report: StepReport, tally: Tally) -> None:
        """Count one step."""
        if report.refused:
            self.refused += 1
            self.refused_in_a_row += 1
            return
        self.refused_in_a_row = 0
        self._losses.append((report.loss, report.think, report.result))
        self.tally.merge(tally)

    def means(self) -> list[float]:
        """Mean loss, think and result over the steps that had them; 0 where none had."""
        columns = zip(*self._losses, strict=True) if self._losses else ((), (), ())
        return [_mean([value for value in column if value is not None]) for column in columns]


def part_fields(losses: Sequence[float], tally: Tally) -> PartFields:
    """The common fields from (total, think, result) and the tally behind them."""
    loss, think, result = losses
    think_tokens, result_tokens = int(tally.all[2]), int(tally.all[3])
    return PartFields(
        loss=loss,
        think=think if think_tokens else None,
        result=result if result_tokens else None,
        think_tokens=think_tokens,
        result_tokens=result_tokens,
        by_origin=tally.by_origin(),
        by_round=tally.by_round(),
        by_attempt=tally.by_attempt(),
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
