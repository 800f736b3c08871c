"""Curves of dots: a series of numbers drawn in braille, four dots high and two wide per cell."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLOCKS = "▁▂▃▄▅▆▇█"


def curve(values: Sequence[float], width: int, height: int, low: float, high: float) -> list[str]:
    """`values` over all of `width` braille cells, `height` lines high, between `low` (bottom) and `high` (top).

    A blank cell is a space. More values than dots are averaged, so a peak of one step may vanish; fewer are joined.
    """
    cells = [[0] * width for _ in range(height)]
    points = stretch(squeeze(values, width * 2), width * 2)
    span = (high - low) or 1.0
    tops = [min(max(round((high - v) / span * (height * 4 - 1)), 0), height * 4 - 1) for v in points]
    for x, y in enumerate(tops):
        before = tops[x - 1] if x else y
        for dot in range(min(y, before + (y > before)), max(y, before - (y < before)) + 1):
            cells[dot // 4][x // 2] |= _DOTS[x % 2][dot % 4]
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


def bar(share: float, width: int) -> str:
    """A share from 0 to 1 as a bar in eighths of a cell, padded to `width`."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")).ljust(width, "·")


def sparkline(values: Sequence[float], width: int) -> str:
    """Values as blocks on one line, lowest to highest."""
    points = squeeze(values, width)
    if not points:
        return ""
    low, high = min(points), max(points)
    span = (high - low) or 1.0
    return "".join(_BLOCKS[round((v - low) / span * 7)] for v in points)
