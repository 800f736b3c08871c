"""The picture of the dashboard in the README, and a film of it, made from a real run.

    python benchmarks/dashboard_picture.py                       play the default run (minutes): docs/dashboard.svg
    python benchmarks/dashboard_picture.py RUN OUT.svg [140x48]  a picture of a run there is
    python benchmarks/dashboard_picture.py RUN OUT.film.svg      its replay in 24 seconds, as a picture that moves
    python benchmarks/dashboard_picture.py RUN OUT.cast          the same for `asciinema play`

The pictures fetch no font: viewers use a monospaced one of their own. The film shows what `funreason replay RUN` shows,
at even distances of the run's own time. Each look of a line is kept once, with the times at which it is seen, so the
file stays below a megabyte. Where nothing moves (a viewer without SMIL) the last frame is seen.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from html import escape
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from funreason.record.folder import RunFolder
from funreason.tui.app import Dashboard
from funreason.tui.feed import LiveFeed, ReplayFeed

OUT, SIZE = Path("docs/dashboard.svg"), (140, 48)
FRAMES, FRAME_S = 60, 0.4
"""How many frames a film has, and how long each is shown."""
CELL_W, CELL_H = 8.4, 17
"""A character's size in a film, in pixels: 14 px of a monospaced font."""
INK, PAPER = "#e0e0e0", "#121212"
"""Colours of what has none of its own."""


async def picture(run: Path, size: tuple[int, int]) -> str:
    """The whole screen, `size` columns and lines, as SVG."""
    feed = LiveFeed(RunFolder(run), time.time)
    app = Dashboard(feed, open_feed=lambda found: feed)
    async with app.run_test(size=size) as pilot:
        while feed.opening is not None or not app.query("FooterKey"):
            await pilot.pause(0.1)
        await pilot.pause(0.5)
        svg = app.export_screenshot(title=f"funreason watch {run.name}")
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)
    return svg.replace("Fira Code", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono'")


async def frames(run: Path, size: tuple[int, int]) -> AsyncIterator[list[Strip]]:
    """The screens of a replay, at even distances of the run's own time."""
    feed = ReplayFeed(RunFolder(run), lambda: 0.0)
    feed.speed = max(1.0, round((feed.end - feed.start) / (FRAMES * FRAME_S)))  # which its header shows
    app = Dashboard(feed, open_feed=lambda found: feed, clock=lambda: feed.at)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        for i in range(FRAMES):
            feed.seek((feed.end - feed.start) * (i + 1) / FRAMES)
            app.paint()
            await pilot.pause()
            yield app.screen._compositor.render_strips()


async def film(run: Path, size: tuple[int, int]) -> str:
    """The replay of a run as an asciicast (version 2)."""
    lines = [json.dumps({"version": 2, "width": size[0], "height": size[1], "title": f"funreason replay {run.name}"})]
    before: list[str] = []
    async for strips in frames(run, size):
        shown = [ansi(strip, size[0]) for strip in strips]
        changed = [f"\x1b[{y + 1};1H{row}" for y, row in enumerate(shown) if before[y : y + 1] != [row]]
        lines.append(json.dumps([round((len(lines) - 1) * FRAME_S, 3), "o", "".join(changed)]))
        before = shown
    return "\n".join(lines) + "\n"


async def moving_picture(run: Path, size: tuple[int, int]) -> str:
    """The replay of a run as one SVG that plays by itself, again and again."""
    seen: dict[tuple[int, str], list[int]] = defaultdict(list)
    """The frames in which a line looks so, by line and its SVG."""
    styles: dict[str, str] = {}
    count = 0
    async for strips in frames(run, size):
        for y, strip in enumerate(strips):
            seen[y, svg_row(strip, y, styles)].append(count)
        count += 1
    parts = []
    for (_, row), shown in seen.items():
        if row and len(shown) == count:
            parts.append(row)
        elif row:
            last = " visibility='hidden'" if shown[-1] < count - 1 else ""
            parts.append(f"<g{last}>{row}{visible(shown, count)}</g>")
    width, height = size[0] * CELL_W, size[1] * CELL_H
    rules = "".join(f".{name}{{{style}}}" for style, name in styles.items())
    font = "ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace"
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:g} {height:g}' width='{width:g}'>"
        f"<title>funreason replay {escape(run.name)}</title>"
        f"<style>text{{font:14px {font};white-space:pre;fill:{INK}}}{rules}</style>"
        f"<rect width='100%' height='100%' rx='6' fill='{PAPER}'/>{''.join(parts)}</svg>\n"
    )


def svg_row(strip: Strip, y: int, styles: dict[str, str]) -> str:
    """A line of the screen as SVG; `styles` gets a class for each look that is new. Empty for an empty line."""
    backs, texts, x = [], [], 0
    for text, style, _ in Segment.simplify(strip):
        found, width = style or Style(), cell_len(text)
        ink, paper = (
            one.get_truecolor().hex if one and not one.is_default else None for one in (found.color, found.bgcolor)
        )
        if found.reverse:
            ink, paper = paper or PAPER, ink or INK
        if paper and paper.lower() != PAPER:
            look = styles.setdefault(f"fill:{paper}", f"s{len(styles)}")
            box = f"x='{x * CELL_W:.4g}' y='{y * CELL_H}' width='{width * CELL_W:.4g}' height='{CELL_H}'"
            backs.append(f"<rect {box} class='{look}'/>")
        if text.strip():
            rule = (
                (f"fill:{ink};" if ink else "")
                + "font-weight:bold;" * bool(found.bold)
                + "opacity:.6;" * bool(found.dim)
            )
            look = f" class='{styles.setdefault(rule, f's{len(styles)}')}'" if rule else ""
            start, words = x + len(text) - len(text.lstrip()), text.strip()
            length = cell_len(words) * CELL_W
            texts.append(
                f"<tspan x='{start * CELL_W:.4g}' textLength='{length:.4g}'{look}>{escape(words, quote=False)}</tspan>"
            )
        x += width
    written = f"<text y='{y * CELL_H + 13}'>{''.join(texts)}</text>" if texts else ""
    return "".join(backs) + written


def visible(shown: Sequence[int], count: int) -> str:
    """The animation of what is seen in the frames `shown` of `count`."""
    values, times = ["hidden"], ["0"]
    for i in shown:
        if i - 1 not in shown:
            values, times = ([], []) if i == 0 else (values, times)
            values.append("visible")
            times.append(f"{i / count:.4g}")
        if i + 1 not in shown and i + 1 < count:
            values.append("hidden")
            times.append(f"{(i + 1) / count:.4g}")
    return (
        f"<animate attributeName='visibility' calcMode='discrete' repeatCount='indefinite' dur='{count * FRAME_S:g}s' "
        f"values='{';'.join(values)}' keyTimes='{';'.join(times)}'/>"
    )


def ansi(strip: Strip, width: int) -> str:
    """A line of the screen with its colours as escape sequences."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="truecolor", width=width, markup=False)
    for segment in strip:
        console.print(segment.text, style=segment.style or "", end="", highlight=False, soft_wrap=True)
    return out.getvalue()


def main() -> None:
    """Write the picture or the film; without a run, play the default one first."""
    if len(sys.argv) == 1:
        with tempfile.TemporaryDirectory() as runs:
            subprocess.run([sys.executable, "-m", "funreason", "loop", "--run-dir", runs], check=True)
            (played,) = Path(runs).iterdir()
            OUT.write_text(asyncio.run(picture(played, SIZE)))
        return
    run, out, *size = sys.argv[1:]
    columns, lines = map(int, size[0].split("x")) if size else SIZE
    make = film if out.endswith(".cast") else moving_picture if out.endswith(".film.svg") else picture
    Path(out).write_text(asyncio.run(make(Path(run), (columns, lines))))


if __name__ == "__main__":
    main()
