"""The loss panel: a curve for each loss with the round before dimmed, then what else the objective measured."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from funreason.display.figures import curves, formatted, hint, number, others, smoothed
from funreason.display.spans import Line, Page, line, said
from funreason.record.events import OptimizerStep
from funreason.record.state import RoundState, State
from funreason.tui.view_state import ViewState

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille cell, by column and line."""
_BLOCKS = "▁▂▃▄▅▆▇█"
SCALE = 7
"""Cells left of a curve for its highest and lowest value."""


def loss_page(state: State, view: ViewState, width: int, height: int) -> Page:
    """A curve per loss, each between its own bounds; then alpha, other metrics, and the numbers of the last step."""
    k, r, before = view.shown_round(state), view.of(state), view.before(state)
    title = f"loss · {'start' if k == 0 else f'round {k}'}"
    if not r.steps:
        last = ""
        if before and before.steps:
            ended = before.steps[-1].metrics
            parts = [f"{hint(name).label} {formatted(name, ended[name])}" for name in curves(ended)]
            last = f" The round before ended at {', '.join(parts)}." if parts else ""
        return said(title, f"No optimiser step in this round yet.{last}", width)
    metrics = r.metric_names()
    drawn, earlier = curves(metrics), curves(before.metric_names() if before else ())
    if not set(drawn).isdisjoint(earlier):  # what another objective learned is no curve of this one
        drawn = list(dict.fromkeys((*drawn, *earlier)))
    lines = []
    for name in (name for name in ("alpha", *others(metrics)) if name in metrics):
        values, (label, _, role, _) = _values(r.steps, name), hint(name)
        shown = f"{label} {formatted(name, values[-1])} "
        lines.append(line((shown + sparkline(values, max(4, min(24, width - len(shown) - 3))), role)))
    if "alpha" not in metrics and "loss_think" in metrics:
        lines.insert(0, line(("alpha per sample", "accent")))
    s = r.steps[-1]
    numbers = [f"step {s.step}/{s.steps}"]
    numbers += [f"lr {formatted('lr', s.metrics['lr'])}"] if "lr" in s.metrics else []
    numbers += (
        [f"{formatted('tokens_per_s', s.metrics['tokens_per_s'])} tokens/s"] if "tokens_per_s" in s.metrics else []
    )
    numbers += [f"grad {formatted('grad_norm', s.metrics['grad_norm'])}"] if "grad_norm" in s.metrics else []
    rest = [*lines, line("  ".join(numbers))]
    tall = max(3, (height - len(rest)) // max(1, len(drawn)) - 1)
    head = [part for name in drawn for part in _loss(r, before, name, width, tall)]
    return Page(title, (*head, *rest))


def _loss(r: RoundState, before: RoundState | None, name: str, width: int, height: int) -> list[Line]:
    """The numbers of one loss and its smoothed curve, which reaches as far as the update has come, over its steps."""
    now, old = _values(r.steps, name), _values(before.steps if before else (), name)
    label, _, role, _ = hint(name)
    was = f"   round before {number(before.mean(name))}" if before and old else ""
    head = line((f"{label} {number(now[-1] if now else None)}", role), (f"  mean {number(r.mean(name))}{was}", "dim"))
    if not now:
        return [head, line(("no token of this part was trained on", "dim"))]
    steps = max(s.steps for s in r.steps)
    now, old = ([v for v in smoothed(values) if v is not None] for values in (now, old))
    low, high = min(now + old), max(now + old)
    height -= 1
    room = max(4, width - SCALE)
    done = r.steps[-1].step / max(1, r.steps[-1].steps)
    front = curve(now, max(1, round(room * done)), height, low, high)
    back = curve(old, room, height, low, high) if old else [" " * room] * height
    lines = [head]
    for i, (new, behind) in enumerate(zip(front, back, strict=True)):
        mark = f"{high:.2f}" if i == 0 else f"{low:.2f}" if i == height - 1 else ""
        # Where both have dots the new curve is drawn.
        cells = [(a, role) if a != " " else (b, "old") for a, b in zip(new.ljust(room), behind, strict=True)]
        lines.append(line((f"{mark:>{SCALE - 1}} ", "dim"), *cells))
    middle, end = f"{(1 + steps) // 2}", f"{steps} steps"
    axis = f"1{middle:^{max(0, room - 1 - len(end))}}{end}"
    return [*lines, line((" " * SCALE + axis[:room], "dim"))]


def _values(steps: Sequence[OptimizerStep], name: str) -> list[float]:
    return [step.metrics[name] for step in steps if name in step.metrics]


def curve(values: Sequence[float], width: int, height: int, low: float, high: float) -> list[str]:
    """`values` over all of `width` braille cells, `height` lines high, between `low` (bottom) and `high` (top).

    A blank cell is a space. More values than dots are averaged, so a peak of one step may vanish; fewer are joined.
    """
    points = stretch(squeeze(values, width * 2), width * 2)
    span = (high - low) or 1.0
    tops = [min(max(round((high - v) / span * (height * 4 - 1)), 0), height * 4 - 1) for v in points]
    dots = []
    for x, y in enumerate(tops):
        before = tops[x - 1] if x else y
        dots += [(x, dot) for dot in range(min(y, before + (y > before)), max(y, before - (y < before)) + 1)]
    return braille(dots, width, height)


def braille(dots: Iterable[tuple[int, int]], width: int, height: int) -> list[str]:
    """Dots at (x, y), from the upper left, in `width` by `height` cells of two by four; a blank cell is a space."""
    cells = [[0] * width for _ in range(height)]
    for x, y in dots:
        if 0 <= x < 2 * width and 0 <= y < 4 * height:
            cells[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
    return ["".join(chr(0x2800 + c) if c else " " for c in row) for row in cells]


def stretch(values: Sequence[float], count: int) -> list[float]:
    """`count` values along straight lines between the given ones."""
    if len(values) < 2 or len(values) >= count:
        return list(values) * count if len(values) == 1 else list(values)
    made = []
    for i in range(count):
        at, between = divmod(i * (len(values) - 1), count - 1)
        after = values[min(at + 1, len(values) - 1)]
        made.append(values[at] + (after - values[at]) * between / (count - 1))
    return made


def squeeze(values: Sequence[float], count: int) -> list[float]:
    """At most `count` values: neighbours are averaged."""
    if len(values) <= count:
        return list(values)
    edges = [i * len(values) // count for i in range(count + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]


def sparkline(values: Sequence[float], width: int) -> str:
    """Values as blocks on one line, lowest to highest."""
    points = squeeze(values, width)
    if not points:
        return ""
    low, high = min(points), max(points)
    span = (high - low) or 1.0
    return "".join(_BLOCKS[round((v - low) / span * 7)] for v in points)
