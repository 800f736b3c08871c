"""`funreason track`, and the child that `loop --track` starts: the record shown in an experiment tracker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from funreason.commands import terminal
from funreason.record.folder import RunFolder, open_run, read_settings
from funreason.trackers.adapters import KNOWN, TrackerError, open_tracker
from funreason.trackers.following import send

OK = 0
WAIT_S = 60.0
"""How long a finished run waits for its trackers to send what is left."""


class Child(NamedTuple):
    """A tracker that follows a run in a process of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


def run_track(run: str | None, runs: Path, to: str, *, follow: bool, pid: int | None = None) -> int:
    """Send a run's record to a tracker; the exit code. TrackerError says what failed."""
    folder = open_run(run, runs) if pid is None else RunFolder(Path(str(run)))
    tracker = open_tracker(to, folder.path / "trackers", folder.name, read_settings(folder))
    try:
        sent = send(folder, tracker, follow=follow, pid=pid)
    except KeyboardInterrupt:
        tracker.close()
        return OK
    terminal.console(soft_wrap=True).print(f"{sent} points of {folder.path} sent to {to}", markup=False)
    return OK


def require_known(names: Sequence[str]) -> None:
    """Raise TrackerError for a tracker that does not exist: before a run begins, not behind it."""
    for name in names:
        if name not in KNOWN:
            raise TrackerError(f"--track {name}: known are {', '.join(KNOWN)}")


@contextmanager
def tracked(folder: RunFolder, names: Sequence[str], console: Console) -> Iterator[None]:
    """Trackers that follow the run inside the block; one that fails is spoken of once, behind it."""
    children: list[Child] = []
    try:
        children += [_start(folder, name) for name in names]
        yield
    finally:
        for child in children:
            _wait(child, console)


def _start(folder: RunFolder, name: str) -> Child:
    log = folder.path / f"track-{name}.log"
    command = [sys.executable, "-m", "funreason", "track", str(folder.path), "--to", name]
    command += ["--follow", "--pid", str(os.getpid())]
    with log.open("wb") as stream:
        # A session of its own: Ctrl-C is for the run, and the tracker has to hear of its end.
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, start_new_session=True
        )
    return Child(name, process, log)


def _wait(child: Child, console: Console) -> None:
    try:
        code = child.process.wait(WAIT_S)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()
        console.print(f"warning: {child.name} had not sent all after {WAIT_S:.0f} s; see {child.log}", markup=False)
        return
    if code:
        lines = child.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        console.print(f"warning: {child.name}: {lines[-1]} (see {child.log})", markup=False)
