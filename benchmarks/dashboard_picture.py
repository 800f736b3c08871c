"""The picture of the dashboard in the README, and a film of it, made from a real run.

    python benchmarks/dashboard_picture.py                       play the default run (minutes): docs/dashboard.svg
    python benchmarks/dashboard_picture.py RUN OUT.svg [140x48]  a picture of a run there is
    python benchmarks/dashboard_picture.py RUN OUT.cast          its replay in 24 seconds, for `asciinema play`

The picture fetches no font: viewers use a monospaced one of their own.
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
from pathlib import Path

from rich.console import Console
from textual.strip import Strip

from funreason.record.folder import RunFolder
from funreason.tui.app import Dashboard
from funreason.tui.feed import LiveFeed, ReplayFeed

OUT, SIZE = Path("docs/dashboard.svg"), (140, 48)
FRAMES, FRAME_S = 60, 0.4
"""How many frames a film has, and how long each is shown."""


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


async def film(run: Path, size: tuple[int, int]) -> str:
    """The replay of a run as an asciicast (version 2): frames at even distances of the run's own time."""
    clock = [0.0]
    feed = ReplayFeed(RunFolder(run), lambda: clock[0])
    feed.playing = False
    app = Dashboard(feed, open_feed=lambda found: feed, clock=lambda: feed.at)
    lines = [json.dumps({"version": 2, "width": size[0], "height": size[1], "title": f"funreason replay {run.name}"})]
    before: list[str] = []
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        for i in range(FRAMES):
            feed.seek((feed.end - feed.start) * (i + 1) / FRAMES)
            app.paint()
            await pilot.pause()
            shown = [ansi(strip, size[0]) for strip in app.screen._compositor.render_strips()]
            changed = [f"\x1b[{y + 1};1H{row}" for y, row in enumerate(shown) if before[y : y + 1] != [row]]
            lines.append(json.dumps([round(i * FRAME_S, 3), "o", "".join(changed)]))
            before = shown
    return "\n".join(lines) + "\n"


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
    make = film if out.endswith(".cast") else picture
    Path(out).write_text(asyncio.run(make(Path(run), (columns, lines))))


if __name__ == "__main__":
    main()
