"""Pulls raw records out of a file: `.jsonl`, `.json` holding a list (or lines, as BFCL's do), `.gz` of both.

Reads by the line, so that a file larger than memory can be read and one bad byte costs one record. What breaks in
the middle (a truncated or damaged gzip, a list cut short) is reported behind the records that could still be read.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from funreason.data.form import DataError, RecordRefused

MAX_RECORD_BYTES = 1_000_000
_MARK = b"\xef\xbb\xbf"
"""A byte-order mark: at the start of a file, or of a line where files were joined."""

Stream = io.BufferedReader | gzip.GzipFile
_HEAD_BYTES = 1024
_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile)
"""What unpacking raises: the data ends early, cannot be unpacked, or has a wrong checksum or garbage behind it."""


class RawRecord(NamedTuple):
    """One record's text, or what kept it from being read; `line` is 1-based."""

    line: int
    text: str = ""
    refused: RecordRefused | None = None


def raw_records(path: Path) -> Iterator[RawRecord]:
    """The records of `path` in order, blank lines skipped. Raises DataError when the file cannot be opened."""
    with open_bytes(path) as stream:
        try:
            if _is_one_document(path, stream):
                yield from _listed(stream)
            else:
                yield from _by_line(stream)
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


def _is_one_document(path: Path, stream: Stream) -> bool:
    # A list, or an object over several lines. `.json` alone tells nothing: BFCL's files are lines under that name.
    if ".jsonl" in path.suffixes:
        return False
    head = b""
    try:
        # read1 gives what could be unpacked before it raises, which `read` would throw away.
        while len(head) < _HEAD_BYTES and (piece := stream.read1(_HEAD_BYTES)):
            head += piece
    except _BROKEN:
        pass  # told when it is read in earnest
    stream.seek(0)
    head = head.removeprefix(_MARK).lstrip()
    return head[:1] == b"[" or head.partition(b"\n")[0].strip() == b"{"


def _by_line(stream: Stream) -> Iterator[RawRecord]:
    number = 0
    while True:
        number += 1
        try:
            line = stream.readline(MAX_RECORD_BYTES + 1)
            oversize = len(line) > MAX_RECORD_BYTES and not line.endswith(b"\n")
            if oversize:
                _skip_line(stream)
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
            yield _decoded(number, line)


def _skip_line(stream: Stream) -> None:
    while True:
        piece = stream.readline(MAX_RECORD_BYTES)
        if not piece or piece.endswith(b"\n"):
            return


def _decoded(number: int, line: bytes) -> RawRecord:
    try:
        return RawRecord(number, line.decode().strip())
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start} of the line; save the file as UTF-8"
        return RawRecord(number, refused=RecordRefused("text.not_utf8", message))


def _listed(stream: Stream) -> Iterator[RawRecord]:
    data, broken = _read_all(stream)
    text, bad = _text_of(data)
    decoder, line, counted = json.JSONDecoder(), 1, 0
    listed = text.lstrip()[:1] == "["
    at = text.index("[") + 1 if listed else 0
    while True:
        at = _next_item(text, at)
        line += text.count("\n", counted, at)
        counted = at
        if text[at : at + 1] == "]" or (not listed and at == len(text)):
            break
        try:
            _, end = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError, ValueError) as error:
            yield RawRecord(line, refused=_list_break(error, broken or bad))
            return
        yield _sized(line, text[at:end])
        at = end
    if broken or bad:
        yield RawRecord(line, refused=broken or bad)


def _next_item(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n,":
        at += 1
    return at


def _list_break(error: Exception, earlier: RecordRefused | None) -> RecordRefused:
    if earlier:
        return earlier
    if isinstance(error, RecursionError):
        return RecordRefused("json.too_deep", "nested too deep; the rest of the list is not read")
    return RecordRefused("json.broken", f"the list breaks here, the rest is not read: {error}")


def _sized(line: int, text: str) -> RawRecord:
    if len(text) > MAX_RECORD_BYTES:
        message = f"longer than {MAX_RECORD_BYTES} characters"
        return RawRecord(line, refused=RecordRefused("record.too_large", message))
    return RawRecord(line, text)


def _read_all(stream: Stream) -> tuple[bytes, RecordRefused | None]:
    pieces = []
    try:
        while piece := stream.read1(1 << 16):
            pieces.append(piece)
    except _BROKEN as error:
        return b"".join(pieces), _break(error)
    return b"".join(pieces), None


def _break(error: Exception) -> RecordRefused:
    if isinstance(error, EOFError):
        return RecordRefused("file.truncated", f"the gzip data ends early: {error}")
    message = f"the gzip data is damaged here, the rest is not read, and records before it may be wrong: {error}"
    return RecordRefused("file.damaged", message)


def _text_of(data: bytes) -> tuple[str, RecordRefused | None]:
    data = data.removeprefix(_MARK)
    try:
        return data.decode(), None
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start}, the rest is not read; save the file as UTF-8"
        return data[: error.start].decode(), RecordRefused("text.not_utf8", message)
