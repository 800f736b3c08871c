"""`funreason convert`: a data file in another form."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from funreason.bfcl.suites import unwritable, write_suite
from funreason.cli import terminal
from funreason.cli.app import DataFile, Strict
from funreason.config import ConfigError
from funreason.data.converting import convert as write_records
from funreason.data.reading import read_tasks, read_whole
from funreason.data.records import Refusal


def convert(
    file: DataFile, /, *, to: Literal["xlam", "sharegpt", "openai", "trl", "bfcl"], out: Path, strict: Strict = False
) -> int:
    """Convert a data file to another form; records that do not round-trip are rejected and counted.

    Parameters
    ----------
    to
        The form to write. bfcl holds single answers, so a dialogue becomes one case for each.
    out
        A new file; for bfcl a folder, which gets possible_answer/ as well.
    """
    if to != "bfcl" and out.exists():
        raise ConfigError(f"--out {out} is there already; give a fresh path")
    console = terminal.console(soft_wrap=True)
    if to == "bfcl":
        reading = read_tasks(file, strict=strict)
        faults = [(place, task, unwritable(task)) for place, task in enumerate(reading.tasks, 1)]
        good = [task for _, task, fault in faults if fault is None]
        write_suite(good, out)
        written = len(good)
        rejected = [Refusal(i, task.id, "convert.not_writable", fault) for i, task, fault in faults if fault]
        summary = reading.summary()
    else:
        whole = read_whole(file, strict=strict)
        summary = whole.summary()
        written, rejected = write_records(whole.records, to, out)
    console.print(summary, markup=False, highlight=False)
    console.print(f"{written} records written to {out}, {len(rejected)} rejected", markup=False, highlight=False)
    for reason, count in Counter(refusal.reason for refusal in rejected).most_common():
        first = next(refusal for refusal in rejected if refusal.reason == reason)
        console.print(f"  {reason} {count}: first {first.id}: {first.message}", markup=False, highlight=False)
    return 0
