"""`funreason loop --tui`: the dashboard as a child of the run, a reader like any other, with the terminal to itself.

While it is open, what the run would print goes to `console.log` in its folder, because two programs cannot write to one
screen. Quitting or killing the viewer leaves the run as it is: the plain live view takes over.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from funreason.display.progress import LiveProgress
from funreason.record.folder import RecordError, RunFolder

LOOK_S = 0.05
CONSOLE = "console.log"


def require_terminal() -> None:
    """RecordError where no dashboard can be shown; asked before a run's folder is made."""
    if not sys.stdout.isatty():
        raise RecordError("--tui needs a terminal. Without it the run prints one line per phase.")
    if find_spec("textual") is None:
        raise RecordError("--tui needs the extra `tui`: pip install 'funreason[tui]'")


@contextmanager
def viewed(folder: RunFolder, console: Console) -> Iterator[None]:
    """Show the run in the dashboard while the block plays it; waits, at the end, until the viewer is quit."""
    terminal = os.dup(1), os.dup(2)
    speak_into(folder.path / CONSOLE)
    done = threading.Event()
    after = threading.Thread(target=_show, args=(terminal, folder, console, done), name="viewer")
    after.start()
    try:
        yield
    finally:
        done.set()
        after.join()


def _show(terminal: tuple[int, int], folder: RunFolder, console: Console, done: threading.Event) -> None:
    while not (folder.path / "run.json").exists() and not done.wait(LOOK_S):
        pass  # the run claims its folder itself; the viewer has nothing to read before
    if not done.is_set():
        command = [sys.executable, "-m", "funreason", "watch", str(folder.path)]
        subprocess.run(command, stdout=terminal[0], stderr=terminal[1], check=False)
    for mine, kept in zip((1, 2), terminal, strict=True):
        os.dup2(kept, mine)
        os.close(kept)
    if done.is_set():
        return
    console.print(f"the viewer was closed; the run goes on. Again: funreason watch {folder.path}")
    with LiveProgress(folder, console):
        done.wait()


def speak_into(path: Path) -> None:
    """Send standard output and error of this process to the end of the file `path` from now on.

    Nobody hears them where there is no such folder: a run that has not begun has none, and must not be given one.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except FileNotFoundError:
        file = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError):  # a terminal that was closed takes nothing any more
        sys.stdout.flush()
        sys.stderr.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
