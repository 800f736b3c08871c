"""What is reported about records that are not used, and the checks of fields that all formats share.

Nothing is dropped in silence: `RecordRefused` is one record's fault and becomes a `Refusal` in the reading; `DataError`
is the whole file's fault and ends the command.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from funreason.calls.lenient import calls_from_json, looks_like_calls, parse_any
from funreason.calls.parse import CallSyntaxError
from funreason.calls.strict_json import JsonRefused, read_json
from funreason.calls.tools import ToolFormatError, normalise_tools
from funreason.types import Call, Task

_BAD_ID = re.compile(r"[\x00-\x1f\x7f]")


class DataError(ValueError):
    """A file that cannot be used: missing, empty, unreadable, nothing usable in it, or refused by `strict`."""


class RecordRefused(ValueError):
    """One record that cannot be used. `reason` is a dotted code such as `tools.broken`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Refusal(msgspec.Struct, frozen=True):
    """One record that was not used: its line (1-based), its id where one could be read, why."""

    line: int
    id: str
    reason: str
    message: str

    @property
    def where(self) -> str:
        """The place in words: `line 3` or `line 3 (id x-1)`."""
        return f"line {self.line} (id {self.id})" if self.id else f"line {self.line}"


class RecordRead(NamedTuple):
    """One record read: its task, and the answer's own text where the record holds text rather than calls.

    `unparsed` says that the task's reference is still to be read from `answer`.
    """

    task: Task
    answer: str | None = None
    unparsed: bool = False

    def whole(self) -> Task:
        """The task with its reference."""
        if not self.unparsed or self.answer is None:
            return self.task
        reference, text = reference_of(self.answer)
        return msgspec.structs.replace(self.task, reference=reference, reference_text=text)


def reference_of(answer: str) -> tuple[list[Call] | None, str | None]:
    """An answer as a reference: its calls, or no call and its prose; (None, None) for a call that cannot be read."""
    try:
        return parse_any(answer), None
    except CallSyntaxError:
        if looks_like_calls(answer) or not answer:
            return None, None
    return [], answer


def record_id(record: dict[str, Any], line: int) -> str:
    """The record's id as text; `line-N` when it has none. Raises RecordRefused for an id that cannot be one."""
    found = record.get("id")
    if found is None:
        return f"line-{line}"
    text = str(found) if isinstance(found, int) and not isinstance(found, bool) else found
    if not isinstance(text, str) or not text.strip() or len(text) > 300 or _BAD_ID.search(text):
        raise RecordRefused("id.bad", f"an id is a line of 1 to 300 characters or an integer, found {found!r:.60}")
    return text


def query_text(found: Any) -> str:
    """The query as stripped text; raises RecordRefused when it is empty or no text."""
    if not isinstance(found, str):
        raise RecordRefused("query.bad", f"the query must be text, found {type(found).__name__}")
    if not found.strip():
        raise RecordRefused("query.empty", "the query is empty")
    return found.strip()


def json_field(found: Any, name: str) -> Any:
    """A field that holds JSON either as a string or already parsed; raises RecordRefused."""
    if not isinstance(found, str):
        return found
    try:
        return read_json(found)
    except JsonRefused as error:
        word = error.reason.partition(".")[2]
        raise RecordRefused(f"{name}.{word}", f"{name}: {error.message}") from error


def tools_field(found: Any) -> list[dict[str, Any]]:
    """Normalised tools from a record's field; None and empty text mean no tools. Raises RecordRefused."""
    if isinstance(found, str) and not found.strip():
        return []
    value = json_field(found, "tools")
    if value is None:
        return []
    try:
        return normalise_tools(value)
    except ToolFormatError as error:
        raise RecordRefused("tools.bad", str(error)) from error


def calls_field(found: Any, name: str) -> list[Call]:
    """Calls from a record's field of `{"name", "arguments"}` objects; raises RecordRefused."""
    value = json_field(found, name)
    try:
        return calls_from_json(value)
    except CallSyntaxError as error:
        raise RecordRefused(f"{name}.not_calls", f"{name}: {error.message}") from error


def optional_text(record: dict[str, Any], name: str) -> str | None:
    """A text field that may be missing or empty (None); raises RecordRefused when it is no text."""
    found = record.get(name)
    if found is None:
        return None
    if not isinstance(found, str):
        raise RecordRefused(f"{name}.bad", f"{name} must be text, found {type(found).__name__}")
    return found.strip() or None
