"""Records out of JSON text: one object a line, or lists, objects over several lines, wrapped lists, tables by column.

JSON lines are read by the line, so that a file larger than memory can be read and one bad byte costs one record. A
comma after an object, a byte-order mark before it and old line ends (a lone CR) are no fault.

Any other JSON is read through a window of a few records, so memory does not grow with the file. Where a record is
broken, reading resumes at the next one: at the bracket that closes the broken one, or earlier at an object that looks
like the record before. What lies between is one refusal, which names the lines. Only a table by column has to be held
whole.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, BinaryIO

from funreason.data.files.packing import BROKEN, damage
from funreason.data.files.raw import MARK, MAX_RECORD_BYTES, RawRecord, not_utf8, table_row, too_large
from funreason.data.files.tables import RECORD_KEYS, WRAPPERS, rows_of
from funreason.data.records import DataError, RecordRefused

MAX_TABLE_CHARS = 1 << 29
"""The largest table by column that is read: it has to be held whole."""
_BLOCK = MAX_RECORD_BYTES
_MOST_STARTS = 2_000
"""Places looked at in search of the record after a broken one."""
_GAP = re.compile(r"[ \t\r\n,\ufeff]*")
_TRAILING = re.compile(r"[ \t\r\n,]+\Z")
_FIRST_KEY = re.compile(r'\{[ \t\r\n]*"([^"\\]{1,200})"')
_AFTER_ITEM = re.compile(r"[ \t\r\n]*(?:[,\]\n]|\Z)")
_STRAY = re.compile(r"[{\n]")
_START = re.compile(r"[\n,\[][ \t\r\n]*(?=\{)")
_MEMBER = re.compile(r'[ \t\r\n,]*"((?:[^"\\]|\\.){0,200})"[ \t\r\n]*:[ \t\r\n]*')
_LIST = re.compile(r"\[[ \t\r\n]*(?=[{\]])")
_BROKEN_LIST = re.compile(r"\[[ \t\r\n]*[^ \t\r\n\[{\]]")
_TABLE = re.compile(
    r'\{[ \t\r\n]*"[^"\\]{1,200}"[ \t\r\n]*:[ \t\r\n]*(?:\[[ \t\r\n]*"|\{[ \t\r\n]*"[^"\\]{1,200}"[ \t\r\n]*:)'
)
_OUTSIDE = re.compile(r'["\[\]{}]')
_QUOTED = re.compile(r'["\n]|\\.')
_SURROGATE = re.compile("[\udc80-\udcff]")
_DECODER = json.JSONDecoder()
_MARK = MARK.encode()
_OPENS = {b"{": (b'"', b"}"), b"[": (b"{",)}
"""A line that opens an object or a list of several lines → what the next line begins with then."""


def read_documents(
    pieces: Iterable[bytes], line: int = 1, *, split: str = "", path: str = "the file"
) -> Iterator[RawRecord]:
    """The records of `pieces`, whose first line is number `line`.

    `split` names the list to read where the file, called `path` in messages, has several.

    DataError when the file has several lists and `split` names none of them.
    """
    reader = _DocumentReader(_Window(pieces, line), split, path)
    return reader.records()


class _Window:
    """A stretch of text that always holds a whole record, unless that is too large; `at` is the place of reading."""

    def __init__(self, pieces: Iterable[bytes], line: int) -> None:
        self._pieces = iter(pieces)
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text, self.at, self.over = "", 0, False
        self.indent: str | None = None
        """The blanks between the start of the line and `at`; None when something else is before it."""
        self.broken: RecordRefused | None = None
        """What kept the rest from being read."""
        self._line, self._counted = line, 0

    def fill(self, least: int = MAX_RECORD_BYTES + 1) -> None:
        """Read on until `least` characters lie ahead or the file ends."""
        while not self.over and len(self.text) - self.at < least:
            found, size = [], 0
            try:
                while size < _BLOCK and (piece := next(self._pieces, b"")):
                    found.append(piece)
                    size += len(piece)
                self.over = size < _BLOCK
            except BROKEN as error:
                self.broken, self.over = damage(error), True
            self.line()  # counts up to here before it is cut off
            more = self._decoder.decode(b"".join(found), final=self.over)
            self.text, self.at, self._counted = self.text[self.at :] + more, 0, 0

    def line(self) -> int:
        """The number of the line at `at`."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def skip_gap(self) -> bool:
        """Move to the next character that is no blank and no comma; False at the end of the file."""
        while True:
            self.fill()
            gap = _GAP.match(self.text, self.at)
            assert gap is not None  # it matches nothing as well
            _, line, indent = gap.group().rpartition("\n")
            self.indent, self.at = indent if line else None, gap.end()
            if self.at < len(self.text) or self.over:
                return self.at < len(self.text)


class _Balance:
    """Looks for the bracket that closes a value. A quote left open ends with its line: no text of JSON spans lines."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._quoted = False

    @property
    def open(self) -> str:
        """The brackets that are open."""
        return "".join(self._open)

    def end(self, text: str, at: int) -> int | None:
        """The place after the closing bracket, or before one that closes what lies around the value.

        None when it is not in `text`, to be asked again with what follows.
        """
        while (found := (_QUOTED if self._quoted else _OUTSIDE).search(text, at)) is not None:
            at, char = found.end(), found.group()
            if self._quoted:
                self._quoted = char[0] == "\\"
            elif char == '"':
                self._quoted = True
            elif char in "[{":
                self._open.append(char)
            else:
                opening = "[" if char == "]" else "{"
                if opening not in self._open:
                    return found.start()
                while self._open.pop() != opening:  # a bracket that was not closed
                    pass
                if not self._open:
                    return at
        return None


def open_brackets(text: str) -> str:
    """The brackets that `text` leaves open, from the outermost on."""
    balance = _Balance()
    balance.end(text, 0)
    return balance.open


class _DocumentReader:
    """Reads the records of a window one by one."""

    def __init__(self, window: _Window, split: str, path: str) -> None:
        self._window, self._split, self._path = window, split, path
        self._keys: frozenset[str] = frozenset()
        """The keys of the last record that could be read."""
        self._listed = False
        self._broken = self._cut = False
        """Whether the last record was broken, and whether by the end of the file."""

    def records(self) -> Iterator[RawRecord]:
        """All of them, then what kept the rest from being read."""
        window = self._window
        if window.skip_gap() and window.text[window.at] == "{":
            yield from self._first_object()
        yield from self._values()
        if window.broken is not None:
            if not self._cut:
                yield RawRecord(window.line(), refused=window.broken)
        elif self._listed and not self._broken:
            message = "the file ends inside the list, whose ] is missing: it may have been cut short"
            yield RawRecord(window.line(), refused=RecordRefused("json.broken", message))

    def _values(self, *, served: bool = False) -> Iterator[RawRecord]:
        """The values from here on: items of a list where one is open. `served` stops at the end of that list."""
        window = self._window
        while window.skip_gap():
            char = window.text[window.at]
            if char == "[" and not self._listed:
                self._listed = True
                window.at += 1
            elif char == "]" and self._listed:
                self._listed = False
                window.at += 1
                if served:
                    return
            else:
                yield from self._value()

    def _value(self) -> Iterator[RawRecord]:
        window, line = self._window, self._window.line()
        text, at = window.text, window.at
        try:
            value, end = _DECODER.raw_decode(text, at)
        except RecursionError:
            yield from self._skip(line, RecordRefused("json.too_deep", "nested too deep"))
            return
        except ValueError as error:
            why = str(error)
            if isinstance(error, json.JSONDecodeError):
                why = f"{error.msg} at character {error.pos - at} of the record"
            yield from self._skip(line, RecordRefused("json.broken", f"not JSON: {why}"))
            return
        if not isinstance(value, dict) and not _AFTER_ITEM.match(text, end):
            yield self._skip_stray(line)
            return
        window.at, self._broken = end, False
        size = window.at - at
        bad = None if text.isascii() else _SURROGATE.search(text, at, window.at)
        if isinstance(value, dict):
            self._keys = frozenset(value)
        if bad is not None:
            position = len(text[at : bad.start()].encode("utf-8", "surrogateescape"))
            yield RawRecord(line, refused=not_utf8(position, "the record"))
        elif size > MAX_RECORD_BYTES:
            yield RawRecord(line, refused=too_large("characters"))
        elif self._listed and isinstance(value, dict) and {"row_idx", "row"} <= value.keys():
            yield _served_row(line, value)
        else:
            yield RawRecord(line, text[at : window.at])

    def _skip(self, line: int, refused: RecordRefused) -> Iterator[RawRecord]:
        """Move after a value that cannot be read; its one refusal."""
        window = self._window
        if window.text[window.at] != "{":
            yield self._skip_stray(line)
            return
        first = _FIRST_KEY.match(window.text, window.at)
        twin = None
        if first is not None and window.indent is not None:
            twin = re.compile(r"\n" + window.indent + r'(?=\{[ \t\r\n]*"' + re.escape(first.group(1)) + '")')
        size, balance, self._broken = 0, _Balance(), True
        while True:
            end = balance.end(window.text, window.at)
            start = self._next_start(end, twin)
            stop = start if start is not None else end
            if stop is not None or window.over:
                break
            size += len(window.text) - window.at
            window.at = len(window.text)
            window.fill()
        self._cut = stop is None
        before, window.at = window.at, stop if stop is not None else len(window.text)
        size += window.at - before
        if size > MAX_RECORD_BYTES:
            refused = too_large("characters")
        elif self._cut and window.broken is not None:
            refused = window.broken
        elif self._cut:
            refused = RecordRefused("json.broken", f"{refused.message}; the file ends inside this record")
        else:
            gap = _TRAILING.search(window.text, before, window.at)
            last = window.line() - (gap.group().count("\n") if gap else 0)
            through = f"lines {line} to {last}" if last > line else f"line {line}"
            refused = RecordRefused(refused.reason, f"{refused.message}; {size} characters ({through}) are skipped")
        yield RawRecord(line, refused=refused)

    def _skip_stray(self, line: int) -> RawRecord:
        """Move to the next record, or to the end of the list, after what is no record; its refusal."""
        window, at = self._window, self._window.at
        start = self._next_start(None)
        if start is None and self._listed:
            place = at
            while (start := _Balance().end(window.text, place)) is not None and window.text[start : start + 1] != "]":
                place = start + (window.text[start : start + 1] == "}")
        elif start is None:
            found = _STRAY.search(window.text, at + 1)
            start = found.start() if found else None
        start = len(window.text) if start is None else max(start, at + 1)
        text = window.text[at:start].strip(" \t\r\n,")
        window.at = start
        message = f"no JSON record: {text[:60]!r}; {len(text)} characters are skipped"
        return RawRecord(line, refused=RecordRefused("json.broken", message))

    def _next_start(self, end: int | None, twin: re.Pattern[str] | None = None) -> int | None:
        """Where, before `end`, an object begins that looks like the last record: the broken one was not closed.

        `twin` finds an object that begins as the broken one does: by itself on a line, with the same first key.
        """
        window = self._window
        limit = len(window.text) if end is None else end
        same = twin.search(window.text, window.at + 1, limit) if twin else None
        for found in islice(_START.finditer(window.text, window.at + 1, limit), _MOST_STARTS):
            if same is not None and found.end() >= same.end():
                break
            try:
                value, _ = _DECODER.raw_decode(window.text, found.end())
            except (ValueError, RecursionError):
                continue
            if not isinstance(value, dict):
                continue
            same_keys = 2 * len(self._keys & value.keys()) >= len(self._keys)
            if same_keys if self._keys else RECORD_KEYS & value.keys():
                return found.end()
        return same.end() if same is not None else None

    # -- a file that is one object ----------------------------------------------------------------------------

    def _first_object(self) -> Iterator[RawRecord]:
        """The rows of a file that is one object: a wrapped list or a table; nothing read when it is a record."""
        window = self._window
        try:
            value, end = _DECODER.raw_decode(window.text, window.at)
        except (ValueError, RecursionError):
            value, end = None, 0
        alone = value is None or (window.over and not window.text[end:].strip())
        if alone and not (value and RECORD_KEYS & value.keys()) and (name := self._wrapped(window.at)):
            yield from self._unwrapped(name)
            return
        if self._split:
            raise DataError(f"{self._path} holds no list of records named {self._split!r}")
        if value is None and not window.over and _TABLE.match(window.text, window.at):
            window.fill(MAX_TABLE_CHARS)
            try:
                value, end = _DECODER.raw_decode(window.text, window.at)
                alone = not window.text[end:].strip()
            except (ValueError, RecursionError):
                value = None
        rows = rows_of(value) if alone and isinstance(value, dict) else None
        if rows is not None:
            window.at = end
            for place, row in enumerate(rows, 1):
                yield table_row(place, row)

    def _wrapped(self, at: int) -> str:
        """The name of the first list of records in the object at `at`, into which the window moves; "" for none."""
        window = self._window
        at += 1
        while (member := _MEMBER.match(window.text, at)) is not None:
            name, listed = member.group(1), _LIST.match(window.text, member.end())
            if self._split in ("", name):
                if listed is not None and self._holds_records(name, listed.end()):
                    window.at = listed.end()
                    return name
                if name in WRAPPERS and _BROKEN_LIST.match(window.text, member.end()):
                    window.at = member.end() + 1
                    return name
            try:
                _, at = _DECODER.raw_decode(window.text, member.end())
            except (ValueError, RecursionError):
                return ""
        return ""

    def _holds_records(self, name: str, at: int) -> bool:
        if name in WRAPPERS:
            return True
        try:
            value, _ = _DECODER.raw_decode(self._window.text, at)
        except (ValueError, RecursionError):
            return False
        return name not in RECORD_KEYS and isinstance(value, dict) and bool(RECORD_KEYS & value.keys())

    def _unwrapped(self, name: str) -> Iterator[RawRecord]:
        """The list `name`, which is open, and a check of the members that follow."""
        window, self._listed = self._window, True
        yield from self._values(served=True)
        while not self._listed and window.skip_gap() and window.text[window.at] != "}":
            member = _MEMBER.match(window.text, window.at)
            if member is None:
                break
            other = member.group(1)
            listed = _LIST.match(window.text, member.end())
            if listed is not None and self._holds_records(other, listed.end()) and not self._split:
                raise DataError(
                    f"{self._path} holds several lists of records, {name} and {other} among them; name the one to "
                    f"read after a colon, as in {self._path}:{name}"
                )
            balance = _Balance()
            window.at = member.end()
            if window.text[window.at : window.at + 1] in ("[", "{"):
                while (end := balance.end(window.text, window.at)) is None and not window.over:
                    window.at = len(window.text)
                    window.fill()
                window.at = len(window.text) if end is None else end
            else:
                try:
                    _, window.at = _DECODER.raw_decode(window.text, window.at)
                except ValueError:
                    break
        if not self._listed and window.skip_gap() and window.text[window.at] == "}":
            window.at += 1


def _served_row(line: int, value: dict[str, Any]) -> RawRecord:
    """A row as the Hugging Face dataset server gives it: `{"row_idx", "row", "truncated_cells"}`."""
    if value.get("truncated_cells"):
        cells = ", ".join(map(str, value["truncated_cells"]))
        return RawRecord(line, refused=RecordRefused("record.truncated_cells", f"the server cut these cells: {cells}"))
    row = value["row"]
    return table_row(line, row, filled=True) if isinstance(row, dict) else RawRecord(line, json.dumps(row))


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
