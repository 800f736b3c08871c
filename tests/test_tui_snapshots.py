"""Pictures of the dashboard, kept as text: what stands where, and in which style.

Made with the pinned Textual, a frozen clock and UTC. To make them anew after a wanted change:
FUNREASON_SNAPSHOTS=write pytest tests/test_tui_snapshots.py, and look at what changed.
"""

import asyncio
import os
import time
from pathlib import Path

import pytest
from recorded import START, Recording, finished
from textual import __version__

from funreason.record import events as ev
from funreason.record.folder import WriterStatus
from funreason.tui.app import Dashboard
from funreason.tui.feed import LiveFeed

SNAPSHOTS = Path(__file__).parent / "snapshots"
MADE_WITH = "8.2.8"


def mid_run(path):
    run = Recording(path)
    run.round(1)
    run.sampling(2, 9)
    run(ev.PhaseEnded(round=2, phase="sample", seconds=6.0))
    run.training(2, 5)
    return run.life("running")


PICTURES = {
    "finished-120x40": (finished, (120, 40), ()),
    "finished-light-120x40": (finished, (120, 40), ("t",)),
    "mid-run-120x40": (mid_run, (120, 40), ()),
    "flow-80x24": (finished, (80, 24), ()),
    "loss-80x24": (mid_run, (80, 24), ("2",)),
    "story-80x24": (finished, (80, 24), ("4", "slash", *"task_0/0", "enter", "enter")),
}


@pytest.fixture(autouse=True)
def _utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(__version__ != MADE_WITH, reason=f"the pictures are made with Textual {MADE_WITH}")
@pytest.mark.parametrize("name", PICTURES)
def test_the_screen_looks_as_it_did(name, tmp_path):
    make, size, keys = PICTURES[name]
    found = picture(make(tmp_path / "run"), size, keys)
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("FUNREASON_SNAPSHOTS") == "write":
        path.write_text(found)
    assert found == path.read_text(), f"{path.name} differs; see the top of this file"


def picture(folder, size, keys) -> str:
    """The screen's text, and below it every style with where it stands first."""
    feed = LiveFeed(folder, lambda: START + 60)
    if feed.life.status in ("running", "stale"):
        feed.life = WriterStatus("running", 1, "elsewhere", 0.0)
    app = Dashboard(feed, open_feed=lambda found: feed, clock=lambda: START + 60)

    async def drive() -> str:
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            for key in keys:
                await pilot.press(key)
                await pilot.pause()
            app.clear_notifications()
            app.tick()
            app.paint()
            await pilot.pause(0.1)
            strips = app.screen._compositor.render_strips()
            return "\n".join([*(strip.text.rstrip() for strip in strips), "", *styles(strips)]) + "\n"

    return asyncio.run(drive())


def styles(strips) -> list[str]:
    """Each foreground and background that is used, with the words it was used for first."""
    seen = {}
    for strip in strips:
        for segment in strip:
            if segment.text.strip() and segment.style:
                colours = (segment.style.color, segment.style.bgcolor)
                seen.setdefault(" on ".join(c.name if c else "–" for c in colours), segment.text.strip()[:24])
    return [f"{style}: {words}" for style, words in seen.items()]
