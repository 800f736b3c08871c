"""`funreason bfcl`: fetch the official data, make a suite of one's own, say what is wrong with one."""

from __future__ import annotations

from pathlib import Path

from funreason.bfcl import fetch, load_cases
from funreason.bfcl.suites import validate_suite, write_suite
from funreason.commands import terminal
from funreason.data.reading import read_tasks

OK, FAILED = 0, 1
SHOWN_PROBLEMS = 20


def run_fetch(wheel: Path | None) -> int:
    """Fetch the official data and say where it lies; BfclError says what to do when that fails."""
    folder = fetch(wheel)
    terminal.console(soft_wrap=True).print(f"{len(load_cases(folder))} cases in {folder}", highlight=False)
    return OK


def run_make(file: Path, out: Path, prefix: str, *, strict: bool) -> int:
    """Write the records of `file` that have a reference as a suite into `out`, and validate it; the exit code."""
    reading = read_tasks(file, strict=strict)
    known = [task for task in reading.tasks if task.reference is not None]
    files = write_suite(known, out, prefix)
    console = terminal.console(soft_wrap=True)
    console.print(f"{reading.summary()}; {len(reading.tasks) - len(known)} left out, they have no reference answer")
    for path in files:
        console.print(f"wrote {path}", markup=False)
    return run_validate(out)


def run_validate(suite: Path) -> int:
    """Print what is wrong with a suite; the exit code is 1 when anything is."""
    console = terminal.console(soft_wrap=True)
    problems = validate_suite(suite)
    for problem in problems[:SHOWN_PROBLEMS]:
        console.print(problem, markup=False)
    if len(problems) > SHOWN_PROBLEMS:
        console.print(f"… and {len(problems) - SHOWN_PROBLEMS} more")
    if problems:
        return FAILED
    console.print(f"{suite}: fine, {len(load_cases(suite))} cases", markup=False)
    return OK
