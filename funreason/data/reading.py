"""Reads a file of tasks, or of tasks with answers to judge, and accounts for every record.

Each record is kept or refused with its line and a reason, and nothing a record holds makes the reader raise. What a
kept record has and is not carried is counted as left. The form is found record by record unless it is named, so files
of mixed origin can simply be joined. A file without one usable record is an error, and with `strict` so is the first
refusal.

A dialogue is one task for each turn that calls, and for its last answer, each with the turns before it as messages
(`turns="each"`), or for the last answer alone (`"last"`). The end of a record has the record's id, an earlier turn
`ID.tK`, where K counts the assistant's turns from 1.

`read_samples` is what `refine` works on: the record's own answer becomes the sample's, and the task drops its
reference, because a record is judged on its own merit and not against itself. Calls that cannot be written down
(`7SN.pj()`) are refused there, since no model could be taught to write them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from funreason.calls.strict_json import JsonRefused, read_json
from funreason.data.files import raw_records
from funreason.data.forms import bfcl
from funreason.data.forms.known import FORMS, form_of
from funreason.data.records import DataError, RecordRead, RecordRefused, Refusal
from funreason.types import Sample, Task

FORMATS = ("auto", *sorted(FORMS, reverse=True))
Turns = Literal["each", "last"]
"""Which answers of a dialogue become tasks: each turn that calls and the last answer, or the last alone."""
_SHOWN = 8
"""Kinds of what was left that a summary names."""


class TaskReading(msgspec.Struct, frozen=True):
    """What a file held: its tasks, what was refused, and how often what was left (see `RecordRead.left`)."""

    path: str
    tasks: list[Task]
    refusals: list[Refusal]
    left: dict[str, int] = {}

    def summary(self) -> str:
        """One line for people: how many were kept, how many not, the first reasons with their lines, what was left."""
        return _summary(self.path, len(self.tasks), self.refusals, self.left)


class SampleReading(msgspec.Struct, frozen=True):
    """What a file held: its samples, what was refused, and how often what was left (see `RecordRead.left`)."""

    path: str
    samples: list[Sample]
    refusals: list[Refusal]
    left: dict[str, int] = {}

    def summary(self) -> str:
        """One line for people: how many were kept, how many not, the first reasons with their lines, what was left."""
        return _summary(self.path, len(self.samples), self.refusals, self.left)


class WholeReading(msgspec.Struct, frozen=True):
    """What a file held: its records whole, what was refused, and how often what was left."""

    path: str
    records: list[RecordRead]
    refusals: list[Refusal]
    left: dict[str, int] = {}

    def summary(self) -> str:
        """One line for people: how many were kept, how many not, the first reasons with their lines, what was left."""
        return _summary(self.path, len(self.records), self.refusals, self.left)


def read_whole(path: str | Path, *, format: str = "auto", strict: bool = False) -> WholeReading:
    """The records of `path` as they are, dialogues whole; raises DataError as `read_tasks` does."""
    records, refusals, left = [], [], Counter[str]()
    for entry in read_entries(Path(path), format):
        if entry.read is not None:
            records.append(entry.read)
            left.update(entry.read.left)
        if entry.refusal is not None:
            refusals.append(entry.refusal)
            _refuse_if(strict, path, entry.refusal)
    _require_some(path, records, refusals)
    return WholeReading(str(path), records, refusals, dict(left.most_common()))


def read_tasks(path: str | Path, *, format: str = "auto", strict: bool = False, turns: Turns = "each") -> TaskReading:
    """The tasks of `path`. Raises DataError when nothing can be used, or, with `strict`, at the first refusal."""
    tasks: list[Task] = []
    refusals, left = [], Counter[str]()
    for entry in read_entries(Path(path), format):
        for place, refusal in _places(entry, turns, left, open_end=True):
            if refusal is None and entry.read is not None:
                try:
                    task = entry.read.task(place)
                except RecordRefused as error:
                    refusal = Refusal(entry.line, entry.read.id_at(place), error.reason, error.message)
                else:
                    tasks.append(task)
                    left.update(_left_of(entry.read, place, task.reference is None))
            if refusal is not None:
                refusals.append(refusal)
                _refuse_if(strict, path, refusal)
    _require_some(path, tasks, refusals)
    return TaskReading(str(path), tasks, refusals, dict(left.most_common()))


def read_samples(
    path: str | Path, *, format: str = "auto", strict: bool = False, turns: Turns = "each"
) -> SampleReading:
    """One sample of origin `reference` per answer; raises DataError as `read_tasks` does."""
    samples: list[Sample] = []
    refusals, left = [], Counter[str]()
    for entry in read_entries(Path(path), format):
        for place, refusal in _places(entry, turns, left, open_end=False):
            if refusal is None and entry.read is not None and place is not None:
                try:
                    samples.append(entry.read.sample(place))
                except RecordRefused as error:
                    refusal = Refusal(entry.line, entry.read.id_at(place), error.reason, error.message)
                else:
                    left.update(_left_of(entry.read, place, False))
            if refusal is not None:
                refusals.append(refusal)
                _refuse_if(strict, path, refusal)
    _require_some(path, samples, refusals)
    return SampleReading(str(path), samples, refusals, dict(left.most_common()))


class Entry(NamedTuple):
    """One record of a file: read, or refused."""

    line: int
    read: RecordRead | None
    refusal: Refusal | None


def read_entries(path: Path, format: str = "auto") -> Iterator[Entry]:
    """Every record of `path` in order, one at a time.

    A second record with the same id is refused where it is a copy; else it is kept as `ID.r2` and counted.
    """
    if format not in FORMATS:
        raise DataError(f"format {format!r} is not known; choose one of {', '.join(FORMATS)}")
    answers = bfcl.possible_answers(path) if format in ("auto", "bfcl") else None
    questions = 0
    taken: set[str] = set()
    copies: dict[tuple[str, int], int] = {}
    for raw in raw_records(path):
        line, name = raw.line, ""
        try:
            if raw.refused is not None:
                raise raw.refused
            try:
                record = read_json(raw.text)
            except JsonRefused as error:
                raise RecordRefused(error.reason, error.message) from error
            if not isinstance(record, dict):
                found = type(record).__name__
                raise RecordRefused("record.not_object", f"a record must be a JSON object, found {found}")
            name = str(record.get("id", ""))[:300]
            form = form_of(record, format)
            if form.name == "bfcl":
                questions += 1
                read = bfcl.read(record, line, answers, questions - 1)
            else:
                read = form.read(record, line)
            earlier = copies.setdefault((read.id, hash(raw.text)), line)
            if earlier != line:
                raise RecordRefused("id.duplicate", f"the id {read.id!r} is on line {earlier} already, a copy of it")
            read = _renamed(read, taken)
        except RecordRefused as error:
            yield Entry(line, None, Refusal(line, name, error.reason, error.message))
        else:
            yield Entry(line, read, None)


def _renamed(read: RecordRead, taken: set[str]) -> RecordRead:
    """The record with ids that no record before it has taken."""
    number, new = 1, read
    while not taken.isdisjoint(ids := new.ids()):
        number += 1
        new = msgspec.structs.replace(read, id=f"{read.id}.r{number}", left=(*read.left, "id.repeated"))
    taken.update(ids)
    return new


def _places(
    entry: Entry, turns: Turns, left: Counter[str], *, open_end: bool
) -> list[tuple[int | None, Refusal | None]]:
    """The places of a record that become tasks (None: its open end), or why there is none; counts what was left."""
    read = entry.read
    if read is None:
        return [(None, entry.refusal)]
    left.update(read.left)
    answers = read.answers()
    places: list[int | None] = [place for place in answers if read.turns[place].trained]
    skipped = {"turns.not_learned": len(answers) - len(places)}
    if read.is_open and open_end:
        places.append(None)
    if not places:
        reason, message = "answer.missing", "the record has no answer to judge"
        if answers:
            reason, message = "answer.not_learned", "each answer is marked as not to be learned, as by weight: 0"
        return [(None, Refusal(entry.line, read.id, reason, message))]
    if turns == "last":
        skipped["turns.before_the_last"] = len(places) - 1
        places = places[-1:]
    if read.is_open and not open_end:
        skipped["turns.open_end"] = 1
    elif places[-1] is not None:
        skipped["turns.after_the_answer"] = sum(turn.message.role != "assistant" for turn in read.turns[places[-1] :])
    left.update({what: count for what, count in skipped.items() if count})
    return [(place, None) for place in places]


def _left_of(read: RecordRead, place: int | None, unknown: bool) -> list[str]:
    """What an answer has that neither its reference nor its sample carries."""
    if place is None:
        return []
    turn = read.turns[place]
    beside = turn.known and turn.message.calls and turn.message.content and turn.message.thinking
    if beside:
        return ["answer.text_beside_calls"]
    if unknown:
        return ["answer.thinking_not_closed" if not turn.closed else "answer.empty"]
    return []


def _summary(path: str, kept: int, refusals: list[Refusal], left: dict[str, int]) -> str:
    """`PATH: 3 kept, 2 refused (json.broken 1 at line 2, …); not carried: metadata 3, …`."""
    lost = ", ".join(f"{what} {count}" for what, count in list(left.items())[:_SHOWN])
    lost = f"; not carried: {lost}{f' and {len(left) - _SHOWN} more' if len(left) > _SHOWN else ''}" if left else ""
    if not refusals:
        return f"{path}: {kept} kept, none refused{lost}"
    counts = Counter(refusal.reason for refusal in refusals)
    where = {refusal.reason: refusal.line for refusal in reversed(refusals)}
    parts = [f"{reason} {count}, first at line {where[reason]}" for reason, count in counts.most_common(6)]
    return f"{path}: {kept} kept, {len(refusals)} refused ({'; '.join(parts)}){lost}"


def _refuse_if(strict: bool, path: str | Path, refusal: Refusal) -> None:
    """Raise DataError for the refusal when `strict`."""
    if strict:
        name = f" (id {refusal.id})" if refusal.id else ""
        message = f"{path}, line {refusal.line}{name}: {refusal.reason}: {refusal.message}"
        raise DataError(f"{message}. Fix the record, or read without strict to skip it.")


def _require_some(path: str | Path, kept: list[Any], refusals: list[Refusal]) -> None:
    """Raise DataError when nothing was kept, saying why."""
    if kept:
        return
    if not refusals:
        raise DataError(f"{path} is empty: no record was found in it")
    raise DataError(f"nothing in it can be used. {_summary(str(path), 0, refusals, {})}; {refusals[0].message}")
