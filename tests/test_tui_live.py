"""A real loop watched while it plays: the viewer sees every phase and ends with the very state the log tells."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from funreason.record.folder import RunFolder
from funreason.tui.app import Dashboard
from funreason.tui.feed import LiveFeed

SMALL = [
    "rounds=1",
    "tasks.per_round=12",
    "sample.samples_per_task=2",
    "start.references.count=16",
    "start.update.epochs=1",
]
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


@pytest.mark.slow
def test_a_viewer_that_is_killed_leaves_its_run_alone(tmp_path):
    primary, terminal = pty.openpty()
    settings = [part for setting in ("name=live", *SMALL) for part in ("--set", setting)]
    command = [sys.executable, "-m", "funreason", "loop", "--config", "smoke", "--run-dir", str(tmp_path), "--tui"]
    run = subprocess.Popen([*command, *settings], stdin=terminal, stdout=terminal, stderr=terminal, close_fds=True)
    os.close(terminal)
    threading.Thread(target=drain, args=(primary,), daemon=True).start()
    until = time.monotonic() + 90
    while not (viewers := children(run.pid, "watch")) and run.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    assert viewers, "no viewer was started"
    time.sleep(2)
    os.kill(viewers[0], signal.SIGKILL)
    assert run.wait(timeout=150) in (0, 3)
    assert RunFolder(tmp_path / "live").state().status in ("finished", "refused")


def drain(terminal: int) -> None:
    """Read what a terminal shows until nobody writes to it any more."""
    try:
        while os.read(terminal, 65536):
            continue
    except OSError:
        return


def children(pid: int, word: str) -> list[int]:
    """The processes below `pid` whose command line has `word`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            said = (stat.parent / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if parent == pid and word.encode() in said:
            found.append(int(stat.parent.name))
    return found
