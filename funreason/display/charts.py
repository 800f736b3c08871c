"""Charts as SVG text, for one file without network: accuracy by round, lines, intervals, stacked bars, flows.

Every word that is drawn is escaped, so nothing from a model or a file becomes markup. Colours are class names of
`report.css`, for light and dark screens; each series also has its own dashes and its own label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from funreason.display.accuracy import SuiteAccuracy
from funreason.display.spans import clean

Flow = tuple[str, str, str, int]
"""Source, outcome, target, how many samples."""
GAP, BASE = 104, 210
"""Pixels between two nodes, and from the top to the line of nodes."""
Series = tuple[str, Sequence[float | None]]
LABEL_HEIGHT = 14.0
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4", "12 4")


class Frame(NamedTuple):
    """A plot's size in pixels with room for words at its sides."""

    width: int = 860
    height: int = 240
    left: int = 56
    right: int = 170
    top: int = 14
    bottom: int = 30

    @property
    def floor(self) -> int:
        """Where the plot ends and the names of its places begin."""
        return self.height - self.bottom


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words at a place, escaped."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(clean(words))}</text>'


def svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    """A whole picture, with a label for screen readers."""
    box = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    name = f'role="img" aria-label="{escape(clean(label))}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box} {name}>{"".join(parts)}</svg>'


def apart(places: Sequence[float], floor: float) -> list[float]:
    """Heights of labels, moved apart where they would overlap, and none under `floor`."""
    moved = list(places)
    order = sorted(range(len(places)), key=places.__getitem__)
    for before, here in pairwise(order):
        moved[here] = max(moved[here], moved[before] + LABEL_HEIGHT)
    lowest = floor
    for i in reversed(order):
        moved[i] = min(moved[i], lowest)
        lowest = moved[i] - LABEL_HEIGHT
    return moved


def lines_svg(
    series: Sequence[Series],
    names: Sequence[str],
    label: str,
    *,
    low: float,
    high: float,
    faint: Sequence[Series] = (),
) -> str:
    """Series over places; a None breaks no line, it is left out. `faint` are drawn thin and without a label.

    A place with an empty name has no tick. Where names repeat, as those of rounds over steps, the first is written.
    """
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
        parts.append(text(f.left - 6, y(tick) + 4, f"{tick:.3g}", "small", "end"))
    begins = [i for i, name in enumerate(names) if name and (i == 0 or names[i - 1] != name)]
    every = max(1, len(begins) // 8)
    for i in begins[::every]:
        if len(begins) < len(names):  # rounds over steps: a line where each begins
            parts.append(f'<line x1="{x(i):.1f}" x2="{x(i):.1f}" y1="{f.top}" y2="{f.floor}" class="grid"/>')
        anchor = "start" if len(begins) < len(names) else "middle"
        parts.append(text(x(i), f.height - 8, names[i], "small", anchor))
    for n, (_, values) in enumerate(faint):
        points = [(x(i), y(v)) for i, v in enumerate(values) if v is not None]
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="1.5" class="faint dot c{n % 6}"/>' for a, b in points]
    last = [y(known[-1]) if (known := [v for v in values if v is not None]) else 0.0 for _, values in series]
    labels = apart(last, f.floor - 4)
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


def accuracy_svg(suites: Sequence[SuiteAccuracy], label: str) -> str:
    """Accuracy in percent by round: a band for the interval, a dot for kept weights, a ring for refused ones.

    A line joins what the run kept; a dotted one leads to a candidate that it refused.
    """
    f = Frame(height=320, bottom=34, right=190)
    rounds = sorted({p.round for one in suites for p in one.points if p.round is not None})
    names = {p.round: p.name for one in suites for p in one.points}
    names = {None: "base", **{k: names[k] for k in rounds}}
    places = {k: i for i, k in enumerate([None, *rounds])}
    inner, tall = f.width - f.left - f.right, f.height - f.top - f.bottom

    def at(k: int | None, share: float) -> tuple[float, float]:
        return f.left + 20 + (inner - 40) * places[k] / max(1, len(places) - 1), f.top + tall * (1 - share)

    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = at(None, tick)[1]
        parts.append(f'<line x1="{f.left}" x2="{f.width - f.right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(text(f.left - 6, y + 4, f"{100 * tick:.0f}", "small", "end"))
    parts += [text(at(k, 0)[0], f.height - 10, name, "small", "middle") for k, name in names.items()]
    labels = apart([at(None, next(p for p in reversed(one.points) if p.kept).share)[1] for one in suites], f.floor - 4)
    for n, one in enumerate(suites):
        kept = [p for p in one.points if p.kept]
        if n == 0:  # one band: more would cover one another
            edge = [*(at(p.round, p.high) for p in kept), *(at(p.round, p.low) for p in reversed(kept))]
            parts.append(f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in edge)}" class="band c{n % 6}"/>')
        path = " ".join("{:.1f},{:.1f}".format(*at(p.round, p.share)) for p in kept)
        parts.append(f'<polyline points="{path}" class="line c{n % 6}"/>')
        from_here = kept[0]
        for p in one.points:
            x, y = at(p.round, p.share)
            if p.kept:
                from_here = p
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="dot c{n % 6}"/>')
            else:
                a, b = at(from_here.round, from_here.share)
                ends = f'x1="{a:.1f}" y1="{b:.1f}" x2="{x:.1f}" y2="{y:.1f}"'
                parts.append(f'<line {ends} class="line c{n % 6}" stroke-dasharray="2 4"/>')
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" class="hollow c{n % 6}"/>')
            parts.append(text(x, y - 11, f"{100 * p.share:.1f}", f"small w{n % 6}", "middle"))
        words = f"{one.label} {100 * kept[-1].share:.1f}"
        parts.append(text(f.width - f.right + 12, labels[n] + 4, words, f"small w{n % 6}"))
    return svg(f.width, f.height, parts, label)


def intervals_svg(rows: Sequence[tuple[str, float, float, float, float]], label: str) -> str:
    """Rows of (name, old, new, low, high), shares from 0 to 1: a ring for old, a dot with its interval for new."""
    left, width, step = 190, 860, 24
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
    """Stacked bars: each row is (name, parts), each part (name, count); counts are in the bar where they fit."""
    left, width, step = 90, 860, 30
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

    What flows to the next node lies on the line, what skips nodes above it, what goes back below it.
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
    kind = {"pass": "c0", "sampled": "c0", "drop": "c3", "error": "c3", "exhausted": "c3"}.get(outcome, "c1")
    title = f"<title>{escape(clean(f'{source} {outcome} {target}: {count}'))}</title>"
    path = f"M {a} {BASE} Q {(a + b) / 2:.0f} {BASE - 2 * lift:.0f} {b} {BASE}"
    drawn = f'<path d="{path}" class="flow {kind}" stroke-width="{wide:.1f}">{title}</path>'
    above = BASE - lift - wide / 2 - 4 if lift >= 0 else BASE - lift + wide / 2 + 13
    return drawn + (text((a + b) / 2, above, str(count), "small", "middle") if count >= most / 20 else "")
