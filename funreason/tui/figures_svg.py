"""The report's pictures as SVG text: curves over rounds or steps, intervals, and the graph with flows as widths.

Every word that is drawn is escaped here; numbers are formatted, never passed through. Colours are given by class names
that the report's style sheet defines for light and dark screens; each series also has its own dashes and its own label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from funreason.tui.lines import clean

Flow = tuple[str, str, str, int]
"""Source, outcome, target, how many samples."""
GAP, BASE = 104, 210
"""Pixels between two nodes, and of the line they stand on from the top."""
Series = tuple[str, Sequence[float | None]]
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4", "12 4")


class Frame(NamedTuple):
    """A plot's size in pixels with room for words at its sides."""

    width: int = 640
    height: int = 220
    left: int = 46
    right: int = 150
    top: int = 14
    bottom: int = 26


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words at a place, escaped."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(clean(words))}</text>'


def svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    """A whole picture with a name for those who hear it."""
    box = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    name = f'role="img" aria-label="{escape(clean(label))}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box} {name}>{"".join(parts)}</svg>'


def lines_svg(series: Sequence[Series], names: Sequence[str], label: str, *, low: float, high: float) -> str:
    """Series over named places (rounds, or steps); a None breaks no line, it is left out."""
    f = Frame()
    span = (high - low) or 1.0
    inner, tall = f.width - f.left - f.right, f.height - f.top - f.bottom

    def x(i: int) -> float:
        return f.left + (inner * i / (len(names) - 1) if len(names) > 1 else inner / 2)

    def y(value: float) -> float:
        return f.top + tall * (high - value) / span

    parts = []
    for tick in (low, (low + high) / 2, high):
        parts.append(
            f'<line x1="{f.left}" x2="{f.width - f.right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" class="grid"/>'
        )
        parts.append(text(f.left - 6, y(tick) + 4, f"{tick:.4g}", "small", "end"))
    every = max(1, len(names) // 8)
    parts += [text(x(i), f.height - 8, name, "small", "middle") for i, name in enumerate(names) if i % every == 0]
    labels = _apart(
        [(y(known[-1]) if (known := [v for v in values if v is not None]) else 0.0) for _, values in series]
    )
    for n, (name, values) in enumerate(series):
        points = [(x(i), y(v)) for i, v in enumerate(values) if v is not None]
        if not points:
            continue
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        dash = f' stroke-dasharray="{DASHES[n % len(DASHES)]}"' if DASHES[n % len(DASHES)] else ""
        parts.append(f'<polyline points="{path}" class="line c{n % 6}"{dash}/>')
        if len(points) < 60:
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" class="dot c{n % 6}"/>' for a, b in points]
        parts.append(text(f.width - f.right + 8, labels[n] + 4, name, f"small w{n % 6}"))
    return svg(f.width, f.height, parts, label)


def intervals_svg(rows: Sequence[tuple[str, float, float, float, float]], label: str) -> str:
    """Rows of (name, old, new, low, high), shares from 0 to 1: a ring for old, a dot with its interval for new."""
    left, width, step = 190, 640, 24
    inner = width - left - 60

    def x(share: float) -> float:
        return left + inner * share

    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<line x1="{x(share):.1f}" x2="{x(share):.1f}" y1="4" y2="{step * len(rows) + 4}" class="grid"/>')
        parts.append(text(x(share), step * len(rows) + 18, f"{100 * share:.0f} %", "small", "middle"))
    for i, (name, old, new, low, high) in enumerate(rows):
        y = step * i + 16
        parts.append(text(left - 10, y + 4, name, "small", "end"))
        parts.append(f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y}" y2="{y}" class="line c0"/>')
        parts.append(f'<circle cx="{x(old):.1f}" cy="{y}" r="5" class="ring"/>')
        parts.append(f'<circle cx="{x(new):.1f}" cy="{y}" r="4" class="dot c0"/>')
        parts.append(text(width - 54, y + 4, f"{100 * new:.1f} %", "small"))
    return svg(width, step * len(rows) + 26, parts, label)


def bars_svg(rows: Sequence[tuple[str, Sequence[tuple[str, int]]]], label: str) -> str:
    """Stacked bars: each row is (name, parts), each part (name, count); counts stand in the bar where they fit."""
    left, width, step = 90, 640, 30
    most = max((sum(n for _, n in parts) for _, parts in rows), default=0) or 1
    drawn = []
    for i, (name, parts) in enumerate(rows):
        drawn.append(text(left - 10, step * i + 20, name, "small", "end"))
        at = float(left)
        for n, (word, count) in enumerate(parts):
            wide = (width - left - 10) * count / most
            if count:
                drawn.append(
                    f'<rect x="{at:.1f}" y="{step * i + 4}" width="{wide:.1f}" height="22" class="bar c{n % 6}"/>'
                )
            if wide > 9 * len(f"{word} {count}"):
                drawn.append(text(at + 6, step * i + 20, f"{word} {count}", "small onbar"))
            at += wide
    return svg(width, step * len(rows) + 8, drawn, label)


def flow_svg(nodes: Sequence[str], flows: Sequence[Flow], label: str) -> str:
    """The graph: nodes in a row in their order, each flow an arc as wide as its share of the widest.

    What goes on to the next node lies on the line, what skips nodes above it, what goes back below it.
    """
    place = {name: GAP // 2 + 10 + GAP * i for i, name in enumerate(nodes)}
    known = [flow for flow in flows if flow[3] and flow[0] in place and flow[2] in place]
    most = max((flow[3] for flow in known), default=1)
    parts = [_arc(flow, place, most) for flow in sorted(known, key=lambda flow: -flow[3])]
    for name, x in place.items():
        parts.append(f'<circle cx="{x}" cy="{BASE}" r="6" class="node"/>')
        parts.append(text(x, BASE + 24, name, "small strong", "middle"))
    return svg(GAP * len(nodes) + 16, BASE + 190, parts, label)


def _arc(flow: Flow, place: Mapping[str, int], most: int) -> str:
    source, outcome, target, count = flow
    a, b, wide = place[source], place[target], 1 + 22 * count / most
    lift = 0.0 if b - a == GAP else 24 + 0.19 * (b - a) if b > a else -(44 + 0.19 * (a - b))
    kind = {"pass": "c0", "sampled": "c0", "drop": "c3", "error": "c3", "spent": "c3"}.get(outcome, "c1")
    title = f"<title>{escape(clean(f'{source} {outcome} {target}: {count}'))}</title>"
    path = f"M {a} {BASE} Q {(a + b) / 2:.0f} {BASE - 2 * lift:.0f} {b} {BASE}"
    drawn = f'<path d="{path}" class="flow {kind}" stroke-width="{wide:.1f}">{title}</path>'
    above = BASE - lift - wide / 2 - 4 if lift >= 0 else BASE - lift + wide / 2 + 13
    return drawn + (text((a + b) / 2, above, str(count), "small", "middle") if count >= most / 20 else "")


def _apart(places: Sequence[float], least: float = 14.0) -> list[float]:
    """Heights for labels, moved apart where they would lie over each other."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for before, here in pairwise(order):
        moved[here] = max(moved[here], moved[before] + least)
    return moved
