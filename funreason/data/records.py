"""Raw records out of a file, what is reported about those that are not used, and the checks that all formats share.

Nothing is dropped in silence: `RecordRefused` is one record's fault and becomes a `Refusal` in the reading; `DataError`
is the whole file's fault and ends the command.

`raw_records` reads `.jsonl`, `.json` holding a list (or lines, as BFCL's do), and `.gz` of both, by the line, so that a
file larger than memory can be read and one bad byte costs one record. What breaks in the middle (a truncated or damaged
gzip, a list cut short) is reported after the records that could still be read.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from funreason.calls.lenient import calls_from_json, looks_like_calls, parse_any
from funreason.calls.parse import CallSyntaxError
from funreason.calls.strict_json import JsonRefused, read_json
from funreason.calls.tools import ToolFormatError, normalise_tools
from funreason.types import Call, Task

MAX_RECORD_BYTES = 1_000_000
_HEAD_BYTES = 1024
_BAD_ID = re.compile(r"[\x00-\x1f\x7f]")
_MARK = b"\xef\xbb\xbf"
"""A byte-order mark: at the start of a file, or of a line where files were joined."""
_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile)
"""What unpacking raises: the data ends early, cannot be unpacked, or is followed by a wrong checksum or garbage."""

Stream = io.BufferedReader | gzip.GzipFile


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
    """Normalised tools from a record's field; None means no tools. Raises RecordRefused."""
    value = json_field(found, "tools")
    if value is None or value == "":
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


class RawRecord(NamedTuple):
    """One record's text, or what kept it from being read; `line` is 1-based."""

    line: int
    text: str = ""
    refused: RecordRefused | None = None


def raw_records(path: Path) -> Iterator[RawRecord]:
    """The records of `path` in order, blank lines skipped. Raises DataError when the file cannot be opened."""
    with open_bytes(path) as stream:
        head = b""
        # `.json` alone says nothing: BFCL's files are lines under that name.
        if ".jsonl" not in path.suffixes:
            try:
                # read1 gives what could be unpacked before it raises, which `read` would throw away.
                while len(head) < _HEAD_BYTES and (piece := stream.read1(_HEAD_BYTES)):
                    head += piece
            except _BROKEN:
                pass  # reported when the records are read
            stream.seek(0)
            head = head.removeprefix(_MARK).lstrip()
        # One document is a list, or an object over several lines.
        one_document = head[:1] == b"[" or head.partition(b"\n")[0].strip() == b"{"
        try:
            yield from _listed(stream) if one_document else _by_line(stream)
        except gzip.BadGzipFile as error:
            raise DataError(f"{path}: the name says gzip, the content does not ({error})") from error


def open_bytes(path: Path) -> Stream:
    """`path` opened for reading, unpacked if its name ends in .gz; raises DataError."""
    if not path.exists():
        raise DataError(f"{path}: no such file; give the path of a .jsonl, .json or .gz file")
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the path of one file in it")
    try:
        return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}") from error


def _by_line(stream: Stream) -> Iterator[RawRecord]:
    number = 0
    while True:
        number += 1
        try:
            line = piece = stream.readline(MAX_RECORD_BYTES + 1)
            oversize = len(line) > MAX_RECORD_BYTES and not line.endswith(b"\n")
            while oversize and piece and not piece.endswith(b"\n"):
                piece = stream.readline(MAX_RECORD_BYTES)
        except _BROKEN as error:
            if number == 1 and isinstance(error, gzip.BadGzipFile):
                raise
            yield RawRecord(number, refused=_break(error))
            return
        if not line:
            return
        line = line.removeprefix(_MARK)
        if oversize:
            message = f"longer than {MAX_RECORD_BYTES} bytes"
            yield RawRecord(number, refused=RecordRefused("record.too_large", message))
        elif line.strip():
            try:
                yield RawRecord(number, line.decode().strip())
            except UnicodeDecodeError as error:
                message = f"not UTF-8 at byte {error.start} of the line; save the file as UTF-8"
                yield RawRecord(number, refused=RecordRefused("text.not_utf8", message))


def _listed(stream: Stream) -> Iterator[RawRecord]:
    """The items of a list, or the one object, up to where the data breaks."""
    pieces, broken = [], None
    try:
        while piece := stream.read1(1 << 16):
            pieces.append(piece)
    except _BROKEN as error:
        broken = _break(error)
    data = b"".join(pieces).removeprefix(_MARK)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        text = data[: error.start].decode()
        message = f"not UTF-8 at byte {error.start}, the rest is not read; save the file as UTF-8"
        broken = broken or RecordRefused("text.not_utf8", message)
    decoder, line, counted = json.JSONDecoder(), 1, 0
    listed = text.lstrip()[:1] == "["
    at = text.index("[") + 1 if listed else 0
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        line += text.count("\n", counted, at)
        counted = at
        if text[at : at + 1] == "]" or (not listed and at == len(text)):
            break
        try:
            _, end = decoder.raw_decode(text, at)
        except RecursionError:
            deep = RecordRefused("json.too_deep", "nested too deep; the rest of the list is not read")
            yield RawRecord(line, refused=broken or deep)
            return
        except ValueError as error:
            cut = RecordRefused("json.broken", f"the list breaks here, the rest is not read: {error}")
            yield RawRecord(line, refused=broken or cut)
            return
        if end - at > MAX_RECORD_BYTES:
            message = f"longer than {MAX_RECORD_BYTES} characters"
            yield RawRecord(line, refused=RecordRefused("record.too_large", message))
        else:
            yield RawRecord(line, text[at:end])
        at = end
    if broken:
        yield RawRecord(line, refused=broken)


def _break(error: Exception) -> RecordRefused:
    if isinstance(error, EOFError):
        return RecordRefused("file.truncated", f"the gzip data ends early: {error}")
    message = f"the gzip data is damaged here, the rest is not read, and records before it may be wrong: {error}"
    return RecordRefused("file.damaged", message)
