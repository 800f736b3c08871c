"""Writes kept samples for other trainers: share-gpt (LLaMA-Factory) and xLAM's form.

A path ending in `.json` gets one list, any other one record a line. Written to a temporary name and renamed, so a
reader never meets half a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from funreason.calls.lenient import looks_like_calls
from funreason.calls.names import original_answer, original_task, original_tools, to_original
from funreason.calls.parse import CallSyntaxError
from funreason.calls.thinking import join_thinking
from funreason.calls.tools import ToolsRead
from funreason.data.forms.dialogues import written_turns
from funreason.data.forms.questions import question
from funreason.data.records import ReadTurn, read_calls
from funreason.record.log import unwritable, whole_characters
from funreason.types import Sample

_encode = json.JSONEncoder(ensure_ascii=False).encode


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
