"""JSON lines: one object a line, by the line, so that a file larger than memory can be read and one bad byte costs one
record. A comma after an object, a byte-order mark before it and old line ends (a lone CR) are no fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from funreason.data.files.documents import read_documents
from funreason.data.files.packing import BROKEN, damage
from funreason.data.files.raw import MARK, MAX_RECORD_BYTES, RawRecord, not_utf8, too_large

_MARK = MARK.encode()
_OPENS = {b"{": (b'"', b"}"), b"[": (b"{",)}
"""A line that opens an object or a list of several lines → what the next line begins with then."""


def read_lines(stream: BinaryIO) -> Iterator[RawRecord]:
    """The records of `stream` in order, blank lines skipped; also those written over several lines."""
    number = 0
    held: bytes | None = None
    while True:
        number += 1
        try:
            line = piece = held if held is not None else stream.readline(MAX_RECORD_BYTES + 1)
            held = None
            oversize = len(line) > MAX_RECORD_BYTES and not line.endswith(b"\n")
            while oversize and piece and not piece.endswith(b"\n"):
                piece = stream.readline(MAX_RECORD_BYTES)
            if line.strip() in _OPENS:
                held = stream.readline(MAX_RECORD_BYTES + 1)
        except BROKEN as error:
            yield RawRecord(number, refused=damage(error))
            return
        if not line:
            return
        if held is not None and held.lstrip()[:1] in _OPENS[line.strip()]:
            yield from read_documents(chain([line, held], iter(lambda: stream.read1(1 << 16), b"")), number)  # type: ignore[attr-defined]
            return
        line = line.removeprefix(_MARK)
        if oversize:
            yield RawRecord(number, refused=too_large("bytes"))
        elif line.strip():
            try:
                text = line.decode().strip()
            except UnicodeDecodeError as error:
                yield RawRecord(number, refused=not_utf8(error.start, "the line"))
            else:
                yield RawRecord(number, text[:-1].rstrip() if text.endswith("},") else text)


def with_new_lines(stream: BinaryIO) -> Iterator[bytes]:
    """The pieces of a file whose lines end in a lone CR, with LF in place of it."""
    while piece := stream.read(1 << 16):
        yield piece.replace(b"\r", b"\n")
