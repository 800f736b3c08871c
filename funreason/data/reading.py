"""Reads a file of tasks, or of tasks with answers to judge, and accounts for every record.

Each record is kept or refused with its line and a reason, and nothing a record holds makes the reader raise. The format
is found record by record unless it is named, so files of mixed origin can simply be joined. A file without one usable
record is an error, and with `strict` so is the first refusal. `each_task` and `each_sample` hold one record at a time;
`read_tasks` and `read_samples` hold all of them.

`read_samples` is what `refine` works on: the record's own answer becomes the sample's, and the task drops its
reference, because a record is judged on its own merit and not against itself. Calls that cannot be written down
(`7SN.pj()`) are refused there, since no model could be taught to write them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from funreason.calls.render import CallRenderError, render_calls
from funreason.data import bfcl_files
from funreason.data.files import raw_records
from funreason.data.formats import FORMS
from funreason.data.input_map import InputMap
from funreason.data.nulls import without_filled_nulls
from funreason.data.records import DataError, RecordRead, RecordRefused, Refusal
from funreason.types import Sample, Task

T = TypeVar("T")
FORMATS = ("auto", "xlam", "sharegpt", "openai", "bfcl")
_MATCHES = {
    "sharegpt": FORMS["sharegpt"].matches,
    "openai": FORMS["openai"].matches,
    "bfcl": bfcl_files.matches,
    "xlam": FORMS["xlam"].matches,
}
"""In the order in which the formats are tried."""


class TaskReading(msgspec.Struct, frozen=True):
    """What a file held: its tasks and what was refused."""

    path: str
    tasks: list[Task]
    refusals: list[Refusal]

    def summary(self) -> str:
        """One line for people: how many were kept, how many not, the first reasons with their lines."""
        return summary(self.path, len(self.tasks), self.refusals)


class SampleReading(msgspec.Struct, frozen=True):
    """What a file held: its samples and what was refused."""

    path: str
    samples: list[Sample]
    refusals: list[Refusal]

    def summary(self) -> str:
        """One line for people: how many were kept, how many not, the first reasons with their lines."""
        return summary(self.path, len(self.samples), self.refusals)


def read_tasks(
    path: str | Path, *, format: str = "auto", strict: bool = False, input_map: Mapping[str, str] | None = None
) -> TaskReading:
    """The tasks of `path`. Raises DataError when nothing can be used, or, with `strict`, at the first refusal."""
    tasks: list[Task] = []
    refusals: list[Refusal] = []
    for read in each_task(path, format=format, strict=strict, input_map=input_map):
        refusals.append(read) if isinstance(read, Refusal) else tasks.append(read)
    return TaskReading(str(path), tasks, refusals)


def read_samples(
    path: str | Path, *, format: str = "auto", strict: bool = False, input_map: Mapping[str, str] | None = None
) -> SampleReading:
    """One sample of origin `reference` per record that has an answer; raises DataError as `read_tasks` does."""
    samples: list[Sample] = []
    refusals: list[Refusal] = []
    for read in each_sample(path, format=format, strict=strict, input_map=input_map):
        refusals.append(read) if isinstance(read, Refusal) else samples.append(read)
    return SampleReading(str(path), samples, refusals)


def each_task(
    path: str | Path, *, format: str = "auto", strict: bool = False, input_map: Mapping[str, str] | None = None
) -> Iterator[Task | Refusal]:
    """What `read_tasks` reads, one at a time, so that a file larger than memory can be read.

    Raises DataError as `read_tasks` does: at the first refusal with `strict`, else at the end when nothing was kept.
    """
    return _each(path, format, strict, input_map, RecordRead.whole)


def each_sample(
    path: str | Path, *, format: str = "auto", strict: bool = False, input_map: Mapping[str, str] | None = None
) -> Iterator[Sample | Refusal]:
    """What `read_samples` reads, one at a time; raises DataError as `each_task` does."""
    return _each(path, format, strict, input_map, _sample)


def _each(
    path: str | Path, format: str, strict: bool, input_map: Mapping[str, str] | None, made: Callable[[RecordRead], T]
) -> Iterator[T | Refusal]:
    """What `made` makes of each record that could be read, and the refusals; raises DataError."""
    kept, refusals = 0, []
    for entry in read_entries(Path(path), format, input_map):
        refusal = entry.refusal
        if entry.read is not None:
            try:
                thing = made(entry.read)
            except RecordRefused as error:
                refusal = Refusal(entry.line, entry.read.task.id, error.reason, error.message)
            else:
                kept += 1
                yield thing
        if refusal is not None:
            if not kept:
                refusals.append(refusal)
            if strict:
                raise DataError(
                    f"{path}, {refusal.where}: {refusal.reason}: {refusal.message}. Fix the record, or read without "
                    "strict to skip it."
                )
            yield refusal
    if kept:
        return
    if not refusals:
        raise DataError(f"{path} is empty: no record was found in it")
    raise DataError(f"nothing in it can be used. {summary(str(path), 0, refusals)}; {refusals[0].message}")


class Entry(NamedTuple):
    """One record of a file: read, or refused."""

    line: int
    read: RecordRead | None
    refusal: Refusal | None


def read_entries(path: Path, format: str = "auto", input_map: Mapping[str, str] | None = None) -> Iterator[Entry]:
    """Every record of `path` in order, one at a time; a second record with the same id is refused.

    `input_map` renames keys: a key that a form knows → the key in the file, dotted where it is nested.
    """
    if format not in FORMATS:
        raise DataError(f"format {format!r} is not known; choose one of {', '.join(FORMATS)}")
    answers = bfcl_files.possible_answers(path) if format in ("auto", "bfcl") else {}
    first_line: dict[str, int] = {}
    renamed = InputMap(input_map) if input_map else None
    for raw in raw_records(path):
        line, name = raw.line, ""
        try:
            record = raw.value()
            if not isinstance(record, dict):
                found = type(record).__name__
                raise RecordRefused("record.not_object", f"a record must be a JSON object, found {found}")
            record = without_filled_nulls(renamed(record) if renamed else record, filled=raw.filled)
            name = str(record.get("id", ""))[:300]
            read = _read_record(record, line, format, answers)
            earlier = first_line.setdefault(read.task.id, line)
            if earlier != line:
                raise RecordRefused("id.duplicate", f"the id {read.task.id!r} is on line {earlier} already")
        except RecordRefused as error:
            yield Entry(line, None, Refusal(line, name, error.reason, error.message))
        else:
            yield Entry(line, read, None)
    if renamed is not None:
        renamed.require_seen(path)


def _read_record(record: dict[str, Any], line: int, format: str, answers: dict[str, Any]) -> RecordRead:
    names = list(_MATCHES) if format == "auto" else [format]
    name = next((name for name in names if _MATCHES[name](record)), None)
    if name is None:
        keys = ", ".join(sorted(record)[:8]) or "none"
        wanted = "any known format" if format == "auto" else format
        raise RecordRefused("record.unknown_format", f"the keys ({keys}) are not those of {wanted}")
    if name == "bfcl":
        return bfcl_files.read(record, line, answers)
    return FORMS[name].read(record, line)


def _sample(read: RecordRead) -> Sample:
    answer = read.answer
    if answer is None:
        if read.task.reference is None:
            raise RecordRefused("answer.missing", "the record has no answer to judge")
        try:
            answer = render_calls(read.task.reference)
        except CallRenderError as error:
            reason = "name.not_callable" if "cannot be" in str(error) else "answer.not_writable"
            raise RecordRefused(reason, str(error)) from error
    task = msgspec.structs.replace(read.task, reference=None, reference_text=None, reference_thinking=None)
    return Sample.of(
        id=task.id,
        task=task,
        answer=answer,
        thinking=read.task.reference_thinking,
        origin="reference",
    )


def summary(path: str, kept: int, refusals: list[Refusal]) -> str:
    """`PATH: 3 kept, 2 refused (json.broken 1 at line 2, …)`."""
    if not refusals:
        return f"{path}: {kept} kept, none refused"
    counts = Counter(refusal.reason for refusal in refusals)
    where = {refusal.reason: refusal.line for refusal in reversed(refusals)}
    parts = [f"{reason} {count}, first at line {where[reason]}" for reason, count in counts.most_common(6)]
    return f"{path}: {kept} kept, {len(refusals)} refused ({'; '.join(parts)})"
