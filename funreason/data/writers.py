"""Writes records: kept samples for other trainers, and the records of a file in another form.

Samples are written as share-gpt (LLaMA-Factory) and in xLAM's form. A path ending in `.json` gets one list, any other
one record a line. Written to a temporary name and renamed, so a reader never meets half a file.

`convert` reads every record back before it is written and compares it with what was read of the original: its id, each
message with role, text, calls, thinking and name, whether it is to be learned, its tools and marks. One that would not
come back the same (a call whose name cannot be written, thinking that closes its own tag) is rejected with the parts
that would change. What the original has and its reader does not carry is counted by the reading, so nothing changes
silently. BFCL's form keeps less than the others: question, tools and right calls, under new ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from funreason.calls.lenient import looks_like_calls
from funreason.calls.names import original_answer, original_task, original_tools, to_original
from funreason.calls.parse import CallSyntaxError
from funreason.calls.thinking import join_thinking
from funreason.calls.tools import ToolsRead
from funreason.data.forms.dialogues import written_turns
from funreason.data.forms.known import FORMS
from funreason.data.forms.questions import question
from funreason.data.records import ReadTurn, RecordRead, RecordRefused, Refusal, read_calls, record_of
from funreason.record.log import unwritable, whole_characters
from funreason.types import Message, Sample, Task

Writer = Callable[[RecordRead], dict[str, Any]]
Reader = Callable[[dict[str, Any], int], RecordRead]

_encode = json.JSONEncoder(ensure_ascii=False).encode
PARTS = ("id", "tools", "names", "category", "source", "flags")
"""What a record has to keep on its way, beside its turns."""


def write_sharegpt(path: str | Path, samples: Iterable[Sample], *, system: str = "") -> int:
    """One `{"conversations", "system", "tools"}` a line, thinking in its tags; returns how many were written."""
    return write_records(Path(path), (as_sharegpt(sample, system) for sample in samples))


def as_sharegpt(sample: Sample, system: str = "") -> dict[str, Any]:
    """A sample in share-gpt's form: the turns before it, and its answer as it is. The task's system text comes first.

    Calls in earlier turns are `function_call` turns, which LLaMA-Factory writes as the model's template does. Earlier
    turns of the assistant's are marked as not to be learned: they are samples themselves.
    """
    before = _before(sample)
    if before[:1] and before[0].message.role == "system":
        system = before.pop(0).message.content
    answer = original_answer(sample.answer, sample.task.names)
    turns = [*written_turns(before), {"from": "gpt", "value": join_thinking(sample.thinking, answer)}]
    tools = _encode(original_tools(sample.task.tools, sample.task.names))
    return {"id": sample.id, "conversations": turns, "system": system, "tools": tools}


def as_xlam(sample: Sample) -> dict[str, Any]:
    """A sample in xLAM's form: `{"id", "query", "tools", "answers"}`, the last two as JSON strings.

    An answer that is ordinary text becomes `answers: []` with the text under `response`; a call that cannot be read is
    there without `answers`. Thinking goes to `cot`. What comes before the answer, where that is more than the query,
    goes to `history`.
    """
    turns = _before(sample)
    asked: dict[str, Any] = {"query": sample.task.query}
    if len(turns) > 1 and sample.task.query:
        asked = question(turns)
    record: dict[str, Any] = {"id": sample.id, **asked}
    record["tools"] = _encode(original_tools(sample.task.tools, sample.task.names))
    try:
        offered = ToolsRead(sample.task.tools, sample.task.names, ())
        calls = to_original(read_calls(sample.answer, offered), sample.task.names)
        record["answers"] = _encode([{"name": call.name, "arguments": call.arguments} for call in calls])
    except CallSyntaxError:
        record["response"] = sample.answer
        if not looks_like_calls(sample.answer):
            record["answers"] = "[]"
    if sample.thinking:
        record["cot"] = sample.thinking
    return record


def _before(sample: Sample) -> list[ReadTurn]:
    return [
        ReadTurn(message, trained=message.role != "assistant", known=True)
        for message in original_task(sample.task).messages
    ]


def write_records(path: Path, records: Iterable[dict[str, Any]]) -> int:
    """Write records as one list (`.json`) or one a line; returns how many there were."""
    with RecordsFile(path) as file:
        for record in records:
            file.put(record)
    return file.count


class RecordsFile:
    """Records written one by one, as one list (`.json`) or one a line; the file appears when the block ends well.

    Raises RecordError when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._draft = path.with_name(path.name + ".part")
        self._first, self._between, self._last = ("[\n", ",\n", "\n]\n") if path.suffix == ".json" else ("", "\n", "\n")

    def __enter__(self) -> RecordsFile:
        with self._writing():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._draft.open("wb")
        return self

    def put(self, record: dict[str, Any]) -> None:
        """Write one record."""
        text = (self._between if self.count else self._first) + _encode(record)
        try:
            data = text.encode()
        except UnicodeEncodeError:
            data = whole_characters(text).encode()
        with self._writing():
            self._stream.write(data)
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(OSError):
                self._stream.close()
            return
        with self._writing():
            self._stream.write((self._last if self.count else "[]\n" if self._first else "").encode())
            self._stream.close()
            self._draft.replace(self.path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self._draft, error) from error


def convert(records: Iterable[RecordRead | Task], form: str, path: Path) -> tuple[int, list[Refusal]]:
    """Write `records` to `path` in `form`, one at a time; returns how many were written and which were rejected.

    KeyError for a form that is not known or only read. What `records` raises is raised, and no file is left then.
    """
    write, read = FORMS[form].write, FORMS[form].read
    if write is None:
        raise KeyError(form)
    rejected: list[Refusal] = []
    try:
        with RecordsFile(path) as file:
            for place, found in enumerate(records, 1):
                original = record_of(found) if isinstance(found, Task) else found
                try:
                    file.put(read_back(original, write, read))
                except (RecordRefused, CallSyntaxError) as error:
                    rejected.append(Refusal(place, original.id, error.reason, error.message))
    except BaseException:
        path.with_name(path.name + ".part").unlink(missing_ok=True)
        raise
    return file.count, rejected


def read_back(record: RecordRead, write: Writer, read: Reader) -> dict[str, Any]:
    """`record` as `write` writes it, where `read` reads the same again; raises RecordRefused or CallSyntaxError."""
    original = _resolved(record)
    made = write(original)
    if changed := _changed(original, _resolved(read(json.loads(json.dumps(made)), 1))):
        raise RecordRefused("convert.changed", f"{', '.join(changed)} would not come back the same")
    return made


def _resolved(record: RecordRead) -> RecordRead:
    """The record with the calls in its texts read; raises CallSyntaxError or RecordRefused."""
    return replace(record, turns=tuple(turn.resolved(record.offered) for turn in record.turns))


def _changed(original: RecordRead, again: RecordRead) -> list[str]:
    """The parts of a record that differ; a turn by its number, from 1."""
    parts = [part for part in PARTS if getattr(original, part) != getattr(again, part)]
    if len(original.turns) != len(again.turns):
        return [*parts, f"the number of turns ({len(original.turns)}, then {len(again.turns)})"]
    for number, (one, other) in enumerate(zip(original.turns, again.turns, strict=True), 1):
        if one.trained != other.trained or one.closed != other.closed or _known(one) != _known(other):
            parts.append(f"how turn {number} is marked")
        for field in Message.__struct_fields__:
            if (getattr(one.message, field) or None) != (getattr(other.message, field) or None):
                parts.append(f"{field} of turn {number}")
    return parts


def _known(turn: ReadTurn) -> bool:
    """Whether an assistant's turn says what to call, if only that nothing is."""
    return turn.known and turn.message.role == "assistant"
