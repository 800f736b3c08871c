"""The picture of the dashboard in the README, made from a real run: python benchmarks/dashboard_picture.py RUN OUT.svg

A size can be given after these: `100x34` is the smallest that shows several panels. The picture fetches no font: viewers use a monospaced one of their own.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path

from funreason.record.folder import RunFolder
from funreason.tui.app import Dashboard
from funreason.tui.feed import LiveFeed


async def picture(run: Path, size: tuple[int, int]) -> str:
    """The whole screen, `size` columns and lines, as SVG."""
    feed = LiveFeed(RunFolder(run), time.time)
    app = Dashboard(feed, open_feed=lambda found: feed)
    async with app.run_test(size=size) as pilot:
        while feed.opening is not None:
            await pilot.pause(0.1)
        await pilot.pause(0.5)
        svg = app.export_screenshot(title=f"funreason watch {run.name}")
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)
    return svg.replace("Fira Code", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono'")


def main() -> None:
    """Write the picture."""
    run, out, *size = sys.argv[1:]
    columns, lines = map(int, (size[0] if size else "140x48").split("x"))
    Path(out).write_text(asyncio.run(picture(Path(run), (columns, lines))))


if __name__ == "__main__":
    main()
