"""A real loop watched while it plays: the viewer sees every phase and ends with the very state the log tells."""

import asyncio
import subprocess
import sys
import time

import pytest

from funreason.record.folder import RunFolder
from funreason.tui.app import Dashboard
from funreason.tui.feed import LiveFeed

SMALL = ["rounds=1", "tasks.per_round=12", "sample.k=2", "warmup.references.count=16", "warmup.update.epochs=1"]
SMALL += ["gate.suites.new.count=8", "gate.suites.old.count=8", "sample.max_new_tokens=48"]


def test_a_real_run_is_watched_from_its_start_to_its_end(tmp_path):
    settings = [part for setting in ("name=live", *SMALL) for part in ("--set", setting)]
    command = [sys.executable, "-m", "funreason", "loop", "--config", "smoke", "--run-dir", str(tmp_path), *settings]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    folder = RunFolder(tmp_path / "live")
    waited = time.monotonic() + 60
    while not (folder.path / "run.json").exists() and run.poll() is None and time.monotonic() < waited:
        time.sleep(0.05)
    if run.poll() is not None:
        pytest.fail(run.communicate()[0])
    app = Dashboard(LiveFeed(folder, time.time), open_feed=lambda found: LiveFeed(found, time.time))
    phases, lives = [], []

    async def watch() -> None:
        async with app.run_test(size=(120, 40)) as pilot:
            until = time.monotonic() + 120
            while (app.feed.life is None or app.feed.life.status == "running") and time.monotonic() < until:
                await pilot.pause(0.05)
                phases.append((app.feed.state.round, app.feed.state.phase))
                lives.append(app.feed.life and app.feed.life.status)
            app.tick()

    asyncio.run(watch())
    said, _ = run.communicate(timeout=60)
    assert run.returncode in (0, 3), said
    assert {(1, "sample"), (1, "train"), (1, "gate")} & set(phases)
    assert "running" in lives
    assert app.feed.state.summary() == folder.state().summary()
    assert app.feed.state.status in ("finished", "refused")
