"""Starts the dashboard: the one door to it, so that nothing else loads Textual."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from funreason.record.folder import RunFolder
from funreason.tui.app import Dashboard
from funreason.tui.feed import Clock, Feed


def show(
    folder: RunFolder,
    runs: Path,
    open_feed: Callable[[RunFolder, Clock], Feed],
    requeue: Callable[[RunFolder, str], str] | None,
    keymap: Mapping[str, str],
    against: RunFolder | None,
) -> None:
    """Show a run until the person quits. `runs` is where other runs to switch to lie."""
    app = Dashboard(
        open_feed(folder, time.time),
        open_feed=lambda found: open_feed(found, time.time),
        runs=lambda: runs_in(runs),
        requeue=requeue,
        keymap=keymap,
    )
    if against is not None:
        app.look.against, app.look.against_name = against.state(), against.name
        app.active, app.zoomed = "compare", True
    app.run()


def runs_in(runs: Path) -> list[RunFolder]:
    """The runs of a folder, the newest first."""
    files = sorted(runs.glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [RunFolder(path.parent) for path in files]
