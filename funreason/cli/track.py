"""`funreason track`: send a run's record to an experiment tracker; and the child process that `loop --track` starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter
from rich.console import Console

from funreason.cli import terminal
from funreason.cli.app import RUNS, RunDir, RunName

if TYPE_CHECKING:
    from funreason.record.folder import RunFolder

SEE = "see them: "
"""What a tracker's process prints before how to look at what was sent."""
WAIT_S = 60.0
"""How long a finished run waits for its trackers to send what is left."""


class TrackerProcess(NamedTuple):
    """A tracker that follows a run in its own process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


def track(
    run: RunName = None,
    /,
    *,
    tracker: str,
    follow: bool = False,
    pid: Annotated[int | None, Parameter(show=False)] = None,
    run_dir: RunDir = RUNS,
) -> int:
    """Send a run to an experiment tracker, from its record: losses by step, rates and gate by round.

    Parameters
    ----------
    tracker
        `tensorboard`, `wandb`, `trackio` or `mlflow`; each is an extra of the same name.
    follow
        Continue until the run ends.
    """
    from funreason.record.folder import RunFolder, open_run, read_settings
    from funreason.trackers import open_tracker, send

    folder = open_run(run, run_dir) if pid is None else RunFolder(Path(str(run)))
    opened = open_tracker(tracker, folder.path / "trackers", folder.name, read_settings(folder))
    try:
        sent = send(folder, opened, follow=follow, pid=pid)
    except KeyboardInterrupt:
        opened.close()
        return 0
    console = terminal.console(soft_wrap=True)
    console.print(f"{sent} points of {folder.path} sent to {tracker}", markup=False)
    console.print(f"{SEE}{opened.see}", markup=False, highlight=False)
    return 0


def require_known(names: Sequence[str]) -> None:
    """Raise TrackerError for a tracker that does not exist: before a run begins, not after it."""
    from funreason.trackers import KNOWN, TrackerError

    for name in names:
        if name not in KNOWN:
            raise TrackerError(f"--track {name}: known are {', '.join(KNOWN)}")


@contextmanager
def tracked(folder: RunFolder, names: Sequence[str], console: Console) -> Iterator[None]:
    """Trackers that follow the run inside the block; a failed one gives one warning, at the end."""
    children: list[TrackerProcess] = []
    ended = False
    try:
        for name in names:
            log = folder.path / f"track-{name}.log"
            command = [sys.executable, "-m", "funreason", "track", str(folder.path), "--tracker", name]
            command += ["--follow", "--pid", str(os.getpid())]
            with log.open("wb") as stream:
                # In its own session: Ctrl-C is for the run, and the tracker must still see the run end.
                process = subprocess.Popen(
                    command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, start_new_session=True
                )
            children.append(TrackerProcess(name, process, log))
        yield
        ended = True
    finally:
        for child in children:
            try:
                code = child.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
                late = f"{child.name} had not sent all after {WAIT_S:.0f} s; see {child.log}"
                console.print(f"warning: {late}", markup=False)
                continue
            lines = child.log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
            if not code and ended:
                shown = next((line for line in reversed(lines) if line.startswith(SEE)), lines[-1])
                console.print(f"{child.name}: {shown}", markup=False, highlight=False, soft_wrap=True)
            elif code:
                console.print(f"warning: {child.name}: {lines[-1]} (see {child.log})", markup=False)
