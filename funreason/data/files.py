"""Raw records out of a file.

`raw_records` reads `.jsonl`, `.json` holding a list (or lines, as BFCL's do), and `.gz` of both, by the line, so that a
file larger than memory can be read and one bad byte costs one record. What breaks in the middle (a truncated or damaged
gzip, a list cut short) is reported after the records that could still be read.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from funreason.data.records import DataError, RecordRefused

MAX_RECORD_BYTES = 1_000_000
_HEAD_BYTES = 1024
_MARK = b"\xef\xbb\xbf"
"""A byte-order mark: at the start of a file, or of a line where files were joined."""
_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile)
"""What unpacking raises: the data ends early, cannot be unpacked, or is followed by a wrong checksum or garbage."""

Stream = io.BufferedReader | gzip.GzipFile


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
