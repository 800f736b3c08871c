"""What every command shares with the terminal: its console, how an error is printed, where output can be sent.

The console takes text, never markup: paths, reasons and model output may hold square brackets, which read as markup
restyle the line or raise. Colours come from `rich.text.Text` alone. Text from outside goes through
`funreason.record.plain` first.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from funreason.errors import missing_extra
from funreason.record.plain import plain

FAILED, USAGE, NOTHING_LEARNED, INTERRUPTED = 1, 2, 4, 130
KNOWN = {
    "ConfigError": USAGE,
    "GraphError": USAGE,
    "PluginError": USAGE,
    "TrustError": USAGE,
    "DataError": FAILED,
    "RewardError": FAILED,
    "ModelError": FAILED,
    "HubError": FAILED,
    "RecordError": FAILED,
    "BfclError": FAILED,
    "TrackerError": FAILED,
    "TrainingError": FAILED,
    "StaleError": FAILED,
    "BrokenAgent": FAILED,
    "JudgeFailedCanaries": FAILED,
    "NothingToLearn": NOTHING_LEARNED,
    "Interrupted": INTERRUPTED,
}
"""Errors that are printed as one sentence, by name: naming the classes would import what raises them."""


def console(*, soft_wrap: bool = False, stderr: bool = False) -> Console:
    """A console that reads no markup and no emoji names and highlights nothing; `soft_wrap` leaves lines whole."""
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=soft_wrap, stderr=stderr)


def notices(*, quiet: bool = False) -> Console:
    """Where progress and notices go: standard error, so that `funreason … > file` keeps the result alone.

    With `quiet` it prints nothing.
    """
    return Console(markup=False, emoji=False, highlight=False, stderr=True, quiet=quiet)


def print_json(data: Any) -> None:
    """Print the result of a command with `--json`."""
    print(json.dumps(data, indent=1, ensure_ascii=False))


@contextmanager
def starting(out: Console, what: str) -> Iterator[None]:
    """Show that something moves while the block loads libraries, where `out` is a terminal."""
    if not out.is_terminal:
        yield
        return
    with out.status(what):
        yield


class LibraryLogs(logging.Filter):
    """Keeps a library's own log handlers off standard output, where the result is.

    DeepSpeed, which accelerate imports wherever it is installed, warns on standard output that a CPU is a CPU. Its
    errors are printed to standard error, and with `verbose` so is the rest.
    """

    verbose = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Print what is wanted; no handler of the library gets the record."""
        if self.verbose or record.levelno >= logging.ERROR:
            print(plain(f"{record.name}: {record.getMessage()}", lines=True), file=sys.stderr)
        return False


LIBRARY_LOGS = LibraryLogs()
PRINTING_LOGGERS = ("DeepSpeed",)
"""Loggers of libraries that print to standard output."""


def library_logs(*, verbose: bool = False) -> None:
    """Send the log messages of libraries to standard error: errors, and all of them with `verbose`."""
    LIBRARY_LOGS.verbose = verbose
    for name in PRINTING_LOGGERS:
        logging.getLogger(name).addFilter(LIBRARY_LOGS)  # a second time is without effect


def explain(error: Exception) -> int:
    """Print `error` to standard error and return the exit code."""
    for kind in type(error).__mro__:
        if kind.__name__ in KNOWN:
            code = KNOWN[kind.__name__]
            if code != INTERRUPTED:
                print(plain(f"funreason: {error}", lines=True), file=sys.stderr)
            return code
    sentence = missing_extra(error) if isinstance(error, ModuleNotFoundError) else None
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        sentence = f"{error.filename}: {error.strerror.lower()}. Check that it exists and may be read and written, or "
        sentence += "give another path."
    if sentence is not None or isinstance(error, OSError):
        print(plain(f"funreason: {sentence or error}", lines=True), file=sys.stderr)
        return FAILED
    print(plain("".join(traceback.format_exception(error)), lines=True), end="", file=sys.stderr)
    return FAILED


def redirect_output(path: Path) -> None:
    """Send standard output and error of this process to the end of the file `path` from now on.

    Without such a folder they are discarded: a run that has not begun has none, and must not be given one.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except FileNotFoundError:
        file = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError):  # a terminal that was closed takes nothing
        sys.stdout.flush()
        sys.stderr.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
