"""`funreason convert`: a data file in another form."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from funreason.bfcl.suites import unwritable, write_suite
from funreason.commands import terminal
from funreason.config import ConfigError
from funreason.data.converting import convert
from funreason.data.reading import read_tasks
from funreason.data.records import Refusal
from funreason.types import Task

OK = 0


def run_convert(file: Path, to: str, out: Path, *, strict: bool) -> int:
    """Write `file` in the form `to`; the exit code. What was refused or rejected is counted, the first ones named."""
    if to != "bfcl" and out.exists():
        raise ConfigError(f"--out {out} is there already; give a fresh path")
    reading = read_tasks(file, strict=strict)
    console = terminal.console(soft_wrap=True)
    console.print(reading.summary(), markup=False, highlight=False)
    written, rejected = _suite(reading.tasks, out) if to == "bfcl" else convert(reading.tasks, to, out)
    console.print(f"{written} records written to {out}, {len(rejected)} rejected", markup=False, highlight=False)
    for reason, count in Counter(refusal.reason for refusal in rejected).most_common():
        first = next(refusal for refusal in rejected if refusal.reason == reason)
        console.print(f"  {reason} {count}: first {first.id}: {first.message}", markup=False, highlight=False)
    return OK


def _suite(tasks: list[Task], out: Path) -> tuple[int, list[Refusal]]:
    faults = [(place, task, unwritable(task)) for place, task in enumerate(tasks, 1)]
    good = [task for _, task, fault in faults if fault is None]
    write_suite(good, out)
    return len(good), [Refusal(i, task.id, "convert.not_writable", fault) for i, task, fault in faults if fault]
