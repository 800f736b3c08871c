"""The loss panel: thinking and result as curves of their own, the round before behind them, alpha, rate and speed."""

from __future__ import annotations

from collections.abc import Sequence

from funreason.display.figures import loss
from funreason.display.spans import Line, Page, line, said
from funreason.record.events import OptimizerStep
from funreason.record.state import RoundState, State
from funreason.tui.curves import curve, sparkline
from funreason.tui.look import Look

SCALE = 7
"""Cells left of a curve for its highest and lowest value."""


def loss_page(state: State, look: Look, width: int, height: int) -> Page:
    """L_think above L_result, each between its own bounds; then alpha, the learning rate and tokens per second."""
    k, r = look.shown_round(state), look.of(state)
    title = f"loss · {'start' if k == 0 else f'round {k}'}"
    if not r.steps:
        before = look.before(state)
        last = f" The round before ended at {_last(before)}." if before and before.steps else ""
        return said(title, f"No optimiser step in this round yet.{last}", width)
    tall = max(2, (height - 5) // 2)
    head = [*_part(r, look.before(state), "think", width, tall), *_part(r, look.before(state), "result", width, tall)]
    return Page(title, (*head, *_rates(r.steps, width)))


def _last(r: RoundState) -> str:
    s = r.steps[-1]
    return f"L_think {loss(s.think)}, L_result {loss(s.result)}"


def _part(r: RoundState, before: RoundState | None, part: str, width: int, height: int) -> list[Line]:
    now, old = _values(r.steps, part), _values(before.steps if before else (), part)
    was = f"   round before {loss(before.loss(part))}" if before and old else ""
    head = line((f"L_{part} {loss(now[-1] if now else None)}", part), (f"  mean {loss(r.loss(part))}{was}", "dim"))
    if not now:
        return [head, line(("no token of this part was trained on", "dim"))]
    low, high = min(now + old), max(now + old)
    return [head, *_plot(now, old, part, width, height, (low, high), r.steps[-1].step / max(1, r.steps[-1].steps))]


def _plot(
    now: list[float], old: list[float], role: str, width: int, height: int, bounds: tuple[float, float], done: float
) -> list[Line]:
    """The curves; the new one reaches as far as the update has come, `done` from 0 to 1."""
    room = max(4, width - SCALE)
    front = curve(now, max(1, round(room * done)), height, *bounds)
    back = curve(old, room, height, *bounds) if old else [" " * room] * height
    front = [part.ljust(room) for part in front]
    lines = []
    for i, (a, b) in enumerate(zip(front, back, strict=True)):
        scale = bounds[1] if i == 0 else bounds[0] if i == height - 1 else None
        mark = "" if scale is None else f"{scale:.2f}"
        lines.append(line((f"{mark:>{SCALE - 1}} ", "dim"), *_overlay(a, b, role)))
    return lines


def _overlay(front: str, back: str, role: str) -> list[tuple[str, str]]:
    """The new curve over the old; where both have dots the new one is drawn."""
    return [(a, role) if a != " " else (b, "old") for a, b in zip(front, back, strict=True)]


def _rates(steps: Sequence[OptimizerStep], width: int) -> list[Line]:
    s = steps[-1]
    alphas = [step.alpha for step in steps if step.alpha is not None]
    shown = f"alpha {alphas[-1]:.2f} {sparkline(alphas, max(4, min(24, width - 14)))}" if alphas else "alpha per sample"
    numbers = f"step {s.step}/{s.steps}  lr {s.lr:.1e}  {s.tokens_per_s:,.0f} tokens/s"
    return [line((shown, "accent")), line(numbers)]


def _values(steps: Sequence[OptimizerStep], part: str) -> list[float]:
    return [value for value in (getattr(step, part) for step in steps) if value is not None]
