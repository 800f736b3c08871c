"""CSV and TSV with a header: a record a row, JSON in columns. No other type is guessed: every other cell is text.

A row whose quote is not closed would swallow the rows after it, so a row of several lines with a wrong number of cells
costs its first line, and reading resumes at the next one.
"""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

from funreason.data.files.packing import BROKEN, damage
from funreason.data.files.raw import MARK, MAX_RECORD_BYTES, RawRecord, not_utf8, table_row, too_large
from funreason.data.records import DataError, RecordRefused

DELIMITERS = ",\t;|"
_TEXT = frozenset("query response cot system id category source prompt instruction".split())
"""Columns whose cells are text even where they look like JSON."""


def delimiter_of(header: str) -> str:
    """The delimiter that a header uses most; "" when it holds none."""
    best = max(DELIMITERS, key=header.count)
    return best if best in header else ""


def read_csv(stream: BinaryIO, path: str = "the file") -> Iterator[RawRecord]:
    """The rows after the header. DataError, naming `path`, when the header cannot be used."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_BYTES))
    lines = _Lines(stream)
    first = lines.header(path).removeprefix(MARK)
    delimiter = delimiter_of(first) or ","
    names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise DataError(f"{path}: the header names the column {twice[0]!r} twice")
    while (found := lines.row(delimiter, len(names))) is not None:
        line, cells, refused = found
        if refused is not None:
            yield RawRecord(line, refused=refused)
        elif any(cells):
            try:
                row = {name: _cell(name, cell) for name, cell in zip(names, cells, strict=True) if name}
                yield table_row(line, {name: cell for name, cell in row.items() if cell != "" or name == "query"})
            except RecordRefused as error:
                yield RawRecord(line, refused=error)
    if lines.broken is not None:
        yield RawRecord(lines.number + 1, refused=lines.broken)


class _Lines:
    """The lines of a table, which can be put back; `number` is that of the last one given."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held: deque[bytes] = deque()
        self.number = 0
        self.broken: RecordRefused | None = None

    def header(self, path: str) -> str:
        """The first line that is not blank; raises DataError when it is not UTF-8."""
        while (line := self._next()) and not line.strip():
            pass
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: the header is not UTF-8 at byte {error.start}; save the file as UTF-8") from error

    def row(self, delimiter: str, width: int) -> tuple[int, list[str], RecordRefused | None] | None:
        """The next row: its first line, its cells, why it cannot be used; None at the end."""
        taken: list[bytes] = []

        def given() -> Iterator[str]:
            while line := self._next():
                taken.append(line)
                yield line.decode("utf-8", "surrogateescape")

        refused = None
        try:
            cells = next(csv.reader(given(), delimiter=delimiter, strict=True), None)
        except csv.Error as error:
            cells = []
            refused = RecordRefused("csv.broken", f"not a row of CSV: {error}")
        if cells is None:
            return None
        line = self.number - len(taken) + 1
        data = b"".join(taken)
        try:
            data.decode()
        except UnicodeDecodeError as error:
            refused = refused or not_utf8(error.start, "the row")
        if refused is None and cells and len(cells) != width:
            refused = RecordRefused("csv.columns", f"{len(cells)} cells where the header names {width} columns")
        if refused is not None and len(taken) > 1:
            self._held.extendleft(reversed(taken[1:]))
            self.number = line
        elif refused is None and len(data) > MAX_RECORD_BYTES:
            refused = too_large("bytes")
        return line, cells, refused

    def _next(self) -> bytes:
        if self._held:
            self.number += 1
            return self._held.popleft()
        try:
            line = piece = self._stream.readline(MAX_RECORD_BYTES + 1)
            while piece and not piece.endswith(b"\n") and len(piece) > MAX_RECORD_BYTES:
                piece = self._stream.readline(MAX_RECORD_BYTES + 1)
        except BROKEN as error:
            self.broken = damage(error)
            return b""
        self.number += bool(line)
        return line


def _cell(name: str, cell: str) -> object:
    """A cell's value: what it holds as JSON, or its text. RecordRefused where it holds Python's repr of a list."""
    begin = cell.lstrip()[:1]
    if name in _TEXT or begin not in ("[", "{"):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as error:
        if "{'" in cell[:40] or cell.startswith("['"):
            message = f"the column {name} holds Python's repr instead of JSON; write its cells with json.dumps"
            raise RecordRefused("csv.python_repr", message) from error
        return cell
