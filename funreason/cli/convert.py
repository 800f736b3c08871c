"""`funreason convert`: a data file in another form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from funreason.cli import terminal
from funreason.cli.app import DataFile, Download, InputMap, Strict

if TYPE_CHECKING:
    from funreason.data.records import RecordRead, Refusal


def convert(
    file: DataFile,
    /,
    *,
    format: Literal["xlam", "sharegpt", "openai", "trl", "bfcl"],
    out: Path,
    strict: Strict = False,
    input_map: InputMap = None,
    download: Download = False,
) -> int:
    """Convert a data file to another form; records that do not round-trip are rejected and counted.

    Parameters
    ----------
    format
        The form to write. bfcl holds single answers, so a dialogue becomes one case for each.
    out
        A new file; for bfcl a folder, which gets possible_answer/ as well.
    """
    from funreason.bfcl.suites import unwritable, write_suite
    from funreason.cli.fetching import fetched_file
    from funreason.config import ConfigError
    from funreason.data.normalising import parse_input_map
    from funreason.data.reading import each_whole, read_tasks, summary
    from funreason.data.records import Refusal
    from funreason.data.writers import convert as write_records

    if format != "bfcl" and out.exists():
        raise ConfigError(f"--out {out} is there already; give a fresh path")
    file = fetched_file(file, terminal.notices(), download=download)
    keys = parse_input_map(input_map) if input_map else None
    console = terminal.console(soft_wrap=True)
    if format == "bfcl":
        reading = read_tasks(file, strict=strict, input_map=keys)
        faults = [(place, task, unwritable(task)) for place, task in enumerate(reading.tasks, 1)]
        good = [task for _, task, fault in faults if fault is None]
        write_suite(good, out)
        written, said = len(good), reading.summary()
        rejected = [Refusal(i, task.id, "convert.not_writable", fault) for i, task, fault in faults if fault]
    else:
        refusals: list[Refusal] = []
        left = Counter[str]()
        found = each_whole(file, left, strict=strict, input_map=keys)
        written, rejected = write_records(_records(found, refusals), format, out)
        said = summary(str(file), written + len(rejected), refusals, dict(left.most_common()))
    console.print(said, markup=False, highlight=False)
    console.print(f"{written} records written to {out}, {len(rejected)} rejected", markup=False, highlight=False)
    for reason, count in Counter(refusal.reason for refusal in rejected).most_common():
        first = next(refusal for refusal in rejected if refusal.reason == reason)
        console.print(f"  {reason} {count}: first {first.id}: {first.message}", markup=False, highlight=False)
    return 0


def _records(found: Iterable[RecordRead | Refusal], refusals: list[Refusal]) -> Iterator[RecordRead]:
    """The records that could be read; the refusals are added to `refusals`."""
    from funreason.data.records import Refusal

    for each in found:
        if isinstance(each, Refusal):
            refusals.append(each)
        else:
            yield each
