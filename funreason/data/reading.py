"""Reads a file of tasks, or of tasks with answers to judge, and accounts for every record.

Each record is kept or refused with its line and a reason, and nothing a record holds makes the reader raise. What a
kept record has and is not carried is counted as left. The form is found record by record unless it is named, so files
of mixed origin can simply be joined. A file without one usable record is an error, and with `strict` so is the first
refusal. `each_whole` and `each_sample` hold one record at a time; the functions `read_…` hold all of them.

A dialogue is one task for each turn that calls, and for its last answer, each with the turns before it as messages
(`turns="each"`), or for the last answer alone (`"last"`). The end of a record has the record's id, an earlier turn
`ID.tK`, where K counts the assistant's turns from 1.

`read_samples` is what `refine` works on: the record's own answer becomes the sample's, and the task drops its
reference, because a record is judged on its own merit and not against itself. Calls that cannot be written down
(`7SN.pj()`) are refused there, since no model could be taught to write them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import msgspec

from funreason.data.files import raw_records
from funreason.data.forms.bfcl import possible_answers, read_bfcl
from funreason.data.forms.known import FORMS, form_of
from funreason.data.normalising import InputMap, without_filled_nulls
from funreason.data.records import DataError, RecordRead, RecordRefused, Refusal
from funreason.types import Sample, Task

T = TypeVar("T")
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
        return summary(self.path, len(self.tasks), self.refusals, self.left)


class SampleReading(msgspec.Struct, frozen=True):
    """What a file held: its samples, what was refused, and how often what was left (see `RecordRead.left`)."""

    path: str
    samples: list[Sample]
    refusals: list[Refusal]
    left: dict[str, int] = {}

    def summary(self) -> str:
        """One line for people: how many were kept, how many not, the first reasons with their lines, what was left."""
        return summary(self.path, len(self.samples), self.refusals, self.left)


class WholeReading(msgspec.Struct, frozen=True):
    """What a file held: its records whole, what was refused, and how often what was left."""

    path: str
    records: list[RecordRead]
    refusals: list[Refusal]
    left: dict[str, int] = {}

    def summary(self) -> str:
        """One line for people: how many were kept, how many not, the first reasons with their lines, what was left."""
        return summary(self.path, len(self.records), self.refusals, self.left)


def read_whole(
    path: str | Path, *, format: str = "auto", strict: bool = False, input_map: Mapping[str, str] | None = None
) -> WholeReading:
    """The records of `path` as they are, dialogues whole; raises DataError as `read_tasks` does."""
    left = Counter[str]()
    found = each_whole(path, left, format=format, strict=strict, input_map=input_map)
    records, refusals = _apart(found)
    return WholeReading(str(path), records, refusals, dict(left.most_common()))


def read_tasks(
    path: str | Path,
    *,
    format: str = "auto",
    strict: bool = False,
    turns: Turns = "each",
    input_map: Mapping[str, str] | None = None,
) -> TaskReading:
    """The tasks of `path`. Raises DataError when nothing can be used, or, with `strict`, at the first refusal."""
    left = Counter[str]()
    made = partial(_each_answer, turns=turns, left=left, made=RecordRead.task, open_end=True)
    tasks, refusals = _apart(_each(path, format, strict, input_map, made))
    return TaskReading(str(path), tasks, refusals, dict(left.most_common()))


def read_samples(
    path: str | Path,
    *,
    format: str = "auto",
    strict: bool = False,
    turns: Turns = "each",
    input_map: Mapping[str, str] | None = None,
) -> SampleReading:
    """One sample of origin `reference` per answer; raises DataError as `read_tasks` does."""
    left = Counter[str]()
    found = each_sample(path, left, format=format, strict=strict, turns=turns, input_map=input_map)
    samples, refusals = _apart(found)
    return SampleReading(str(path), samples, refusals, dict(left.most_common()))


def each_whole(
    path: str | Path,
    left: Counter[str],
    *,
    format: str = "auto",
    strict: bool = False,
    input_map: Mapping[str, str] | None = None,
) -> Iterator[RecordRead | Refusal]:
    """What `read_whole` reads, one record at a time, so that a file larger than memory can be read.

    What is not carried is added to `left`. Raises DataError as `read_tasks` does: at the first refusal with `strict`,
    else at the end when nothing was kept.
    """

    def made(entry: Entry) -> Iterator[RecordRead | Refusal]:
        if entry.read is not None:
            left.update(entry.read.left)
            yield entry.read
        if entry.refusal is not None:
            yield entry.refusal

    return _each(path, format, strict, input_map, made)


def each_sample(
    path: str | Path,
    left: Counter[str],
    *,
    format: str = "auto",
    strict: bool = False,
    turns: Turns = "each",
    input_map: Mapping[str, str] | None = None,
) -> Iterator[Sample | Refusal]:
    """What `read_samples` reads, one sample at a time; `left` and errors as in `each_whole`."""

    def judged(read: RecordRead, place: int | None) -> Sample:
        assert place is not None  # no open end is asked for
        return read.sample(place)

    made = partial(_each_answer, turns=turns, left=left, made=judged, open_end=False)
    return _each(path, format, strict, input_map, made)


def _each_answer(
    entry: Entry,
    turns: Turns,
    left: Counter[str],
    made: Callable[[RecordRead, int | None], T],
    *,
    open_end: bool,
) -> Iterator[T | Refusal]:
    """What `made` makes of each answer of a record, and of its open end where that is wanted."""
    for place, refusal in _places(entry, turns, left, open_end=open_end):
        if refusal is None and entry.read is not None:
            try:
                thing = made(entry.read, place)
            except RecordRefused as error:
                refusal = Refusal(entry.line, entry.read.id_at(place), error.reason, error.message)
            else:
                yield thing
                unknown = isinstance(thing, Task) and thing.reference is None
                left.update(_left_of(entry.read, place, unknown))
        if refusal is not None:
            yield refusal


def _each(
    path: str | Path,
    format: str,
    strict: bool,
    input_map: Mapping[str, str] | None,
    made: Callable[[Entry], Iterator[T | Refusal]],
) -> Iterator[T | Refusal]:
    """What `made` makes of each record, one at a time; raises DataError."""
    kept = False
    refusals: list[Refusal] = []
    for entry in read_entries(Path(path), format, input_map):
        for thing in made(entry):
            if not isinstance(thing, Refusal):
                kept = True
            elif strict:
                raise DataError(
                    f"{path}, {thing.where}: {thing.reason}: {thing.message}. Fix the record, or read without strict "
                    "to skip it."
                )
            elif not kept:
                refusals.append(thing)
            yield thing
    if kept:
        return
    if not refusals:
        raise DataError(f"{path} is empty: no record was found in it")
    raise DataError(f"nothing in it can be used. {summary(str(path), 0, refusals, {})}; {refusals[0].message}")


def _apart(found: Iterator[T | Refusal]) -> tuple[list[T], list[Refusal]]:
    """What was kept and what was refused."""
    kept: list[T] = []
    refusals: list[Refusal] = []
    for each in found:
        if isinstance(each, Refusal):
            refusals.append(each)
        else:
            kept.append(each)
    return kept, refusals


class Entry(NamedTuple):
    """One record of a file: read, or refused."""

    line: int
    read: RecordRead | None
    refusal: Refusal | None


def read_entries(path: Path, format: str = "auto", input_map: Mapping[str, str] | None = None) -> Iterator[Entry]:
    """Every record of `path` in order, one at a time.

    `input_map` renames keys: a key that a form knows → the key in the file, dotted where it is nested.
    A second record with the same id is refused where it is a copy; else it is kept as `ID.r2` and counted.
    """
    if format not in FORMATS:
        raise DataError(f"format {format!r} is not known; choose one of {', '.join(FORMATS)}")
    answers = possible_answers(path) if format in ("auto", "bfcl") else None
    renamed = InputMap(input_map) if input_map else None
    questions = 0
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    copies: dict[tuple[str, int], int] = {}
    for raw in raw_records(path):
        line, name = raw.line, ""
        try:
            record = raw.value()
            if not isinstance(record, dict):
                kind = type(record).__name__
                raise RecordRefused("record.not_object", f"a record must be a JSON object, found {kind}")
            record = without_filled_nulls(renamed(record) if renamed else record, filled=raw.filled)
            name = str(record.get("id", ""))[:300]
            form = form_of(record, format)
            if form.name == "bfcl":
                questions += 1
                read = read_bfcl(record, line, answers, questions - 1)
            else:
                read = form.read(record, line)
            earlier = copies.setdefault((read.id, hash(raw.text)), line)
            if earlier != line:
                raise RecordRefused("id.duplicate", f"the id {read.id!r} is on line {earlier} already, a copy of it")
            found, number = read, numbers.get(read.id, 1)  # counting from 1 again takes as long as all before together
            while not taken.isdisjoint(ids := read.ids()):
                number += 1
                left = (*found.left, "id.repeated")
                read = msgspec.structs.replace(found, id=f"{found.id}.r{number}", left=left)
            if number > 1:
                numbers[found.id] = number
            taken.update(ids)
        except RecordRefused as error:
            yield Entry(line, None, Refusal(line, name, error.reason, error.message))
        else:
            yield Entry(line, read, None)
    if renamed is not None:
        renamed.require_seen(path)


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
    apart = turn.message.thinking or turn.said_before
    beside = turn.known and turn.message.calls and turn.message.content and apart
    if beside:
        return ["answer.text_beside_calls"]
    if unknown:
        return ["answer.thinking_not_closed" if not turn.closed else "answer.empty"]
    return []


def summary(path: str, kept: int, refusals: list[Refusal], left: dict[str, int]) -> str:
    """`PATH: 3 kept, 2 refused (json.broken 1 at line 2, …); not carried: metadata 3, …`."""
    lost = ", ".join(f"{what} {count}" for what, count in list(left.items())[:_SHOWN])
    lost = f"; not carried: {lost}{f' and {len(left) - _SHOWN} more' if len(left) > _SHOWN else ''}" if left else ""
    if not refusals:
        return f"{path}: {kept} kept, none refused{lost}"
    counts = Counter(refusal.reason for refusal in refusals)
    where = {refusal.reason: refusal.line for refusal in reversed(refusals)}
    parts = [f"{reason} {count}, first at line {where[reason]}" for reason, count in counts.most_common(6)]
    return f"{path}: {kept} kept, {len(refusals)} refused ({'; '.join(parts)}){lost}"
