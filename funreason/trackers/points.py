"""A run's events as points that a tracker can draw: named numbers on one of two axes.

What an optimiser step says stands on the axis `step`, counted through the whole run; what a round amounts to stands on
the axis `round`. A step that a resumed run takes again keeps its number, so a curve is never drawn twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from funreason.record.events import AnyEvent, GateDecided, OptimizerStep, RoundEnded
from funreason.record.state import State

Axis = Literal["step", "round"]


class Point(NamedTuple):
    """Numbers by name, such as `update/loss_think`, at `number` on `axis`; `at` is seconds since the epoch."""

    axis: Axis
    number: int
    at: float
    values: dict[str, float]


class Points:
    """Folds events in order and gives the points that each completes."""

    def __init__(self) -> None:
        self.state = State()
        self._steps_before: dict[int, int] = {}
        self._steps = 0

    def of(self, event: AnyEvent) -> Iterator[Point]:
        """The points of one event: one for a step, a gate's word or a round's end, none for all others."""
        self.state.apply(event)
        if isinstance(event, OptimizerStep):
            yield Point("step", self._number(event), event.at, {f"update/{k}": v for k, v in event.metrics.items()})
        elif isinstance(event, GateDecided):
            yield Point("round", event.round, event.at, _gate(event))
        elif isinstance(event, RoundEnded):
            yield Point("round", event.round, event.at, self._round(event.round))

    def _number(self, event: OptimizerStep) -> int:
        before = self._steps_before.setdefault(event.round, self._steps)
        self._steps = max(self._steps, before + event.step)
        return before + event.step

    def _round(self, k: int) -> dict[str, float]:
        r = self.state.at_round(k)
        rates = {f"pass_rate/{name}": node.pass_rate for name, node in r.nodes.items()}
        losses = {f"round/{name}": r.mean(name) for name in r.metric_names() if name.startswith("loss")}
        values = {name: value for name, value in {**rates, **losses}.items() if value is not None}
        values |= {f"samples/{fate}": float(count) for fate, count in r.fates.items()}
        values |= {f"origin/{origin}": float(count) for origin, count in r.origins.items()}
        return values | {f"seconds/{phase}": seconds for phase, seconds in r.seconds.items()}


def _gate(event: GateDecided) -> dict[str, float]:
    values = {"gate/promoted": float(event.decision == "promote")}
    for name, score in [("all", event.overall), *event.by_slice.items(), *event.by_category.items()]:
        if score.total:
            values[f"gate/{name}/old"] = 100 * score.old / score.total
            values[f"gate/{name}/new"] = 100 * score.new / score.total
            values[f"gate/{name}/new_low"], values[f"gate/{name}/new_high"] = 100 * score.low, 100 * score.high
    return values
