"""Records out of tables: Parquet and Arrow files, objects of Python, and tables inside one JSON object.

Parquet and Arrow (Feather too) are read batch by batch. Objects are dicts, and tables of datasets, pandas, polars and
pyarrow. One JSON object can hold a table by column, by index, or as pandas splits it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from funreason.data.files.raw import RawRecord, not_utf8, table_row
from funreason.data.normalising import without_filled_nulls
from funreason.data.records import DataError, RecordRefused

WRAPPERS = frozenset(
    "data rows examples records items samples instances entries dataset tasks results "
    "train training test validation valid val dev eval".split()
)
"""Keys under which a file may hold its list of records."""
RECORD_KEYS = frozenset(
    "query question messages conversations conversation prompt instruction input chosen answers tools functions".split()
)
"""Keys of records, none of which a message, a call or a tool has: what tells a record from a part of one."""
_PARTS = frozenset(
    "messages conversations conversation tools functions function answers prompt chosen rejected".split()
)
"""Keys whose value in a record may be a list of objects."""
BATCH = 1_000
"""Rows held at a time."""


def rows_of(value: dict[str, Any]) -> Iterator[dict[str, Any]] | None:
    """The rows of an object that is a table; None for any other object.

    By column: `{"query": ["…", "…"], "answers": ["…", "…"]}`, or with pandas' index `{"query": {"0": "…", "1": "…"}}`.
    By index: `{"0": {"query": "…"}, "1": {…}}`; keys that are no numbers become the ids of rows without one.
    Split: `{"columns": ["query", …], "data": [["…", …], …]}`.
    """
    if set(value) in ({"columns", "data"}, {"columns", "index", "data"}):
        names, data = value["columns"], value["data"]
        if _are(names, str) and _are(data, list) and all(len(row) == len(names) for row in data):
            return (dict(zip(names, row, strict=True)) for row in data)
    columns = list(value.values())
    if len(columns) > 1 and all(isinstance(column, list) and len(column) == len(columns[0]) > 0 for column in columns):
        record = any(name in _PARTS and isinstance(column[0], dict) for name, column in value.items())
        if not record and any(_are(column, str) for column in columns):
            return (dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True))
        return None
    if not _are(columns, dict) or not columns[0]:
        return None
    index = list(columns[0])
    if all(key.isdecimal() for key in index) and all(list(column) == index for column in columns):
        return ({name: column[key] for name, column in value.items()} for key in index)
    if all(RECORD_KEYS & row.keys() for row in columns):
        return (row if key.isdecimal() else {"id": key} | row for key, row in value.items())
    return None


def _are(values: Any, kind: type) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(value, kind) for value in values)


def read_parquet(path: Path) -> Iterator[RawRecord]:
    """The rows of a Parquet file; raises DataError when it cannot be opened."""
    _require(path, "Parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path} is damaged or cut short: it begins as Parquet and cannot be opened: {error}"
        ) from error
    with file:
        yield from table_rows(file.iter_batches(batch_size=BATCH))


def read_arrow(path: Path) -> Iterator[RawRecord]:
    """The rows of an Arrow file or stream; raises DataError when it cannot be opened."""
    _require(path, "Arrow")
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            if source.read(6) == b"ARROW1":
                reader = pa.ipc.open_file(source)
                batches: Iterable[Any] = (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                source.seek(0)
                batches = pa.ipc.open_stream(source)
            yield from table_rows(batches)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged or cut short: it cannot be opened as Arrow: {error}") from error


def _require(path: Path, what: str) -> None:
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        raise DataError(f"{path}: reading {what} needs the extra `files`: pip install 'funreason[files]'") from error


def table_rows(batches: Iterable[Any]) -> Iterator[RawRecord]:
    """The rows of record batches, numbered from 1."""
    import pyarrow as pa

    number, rest = 1, iter(batches)
    while True:
        try:
            batch = next(rest, None)
        except (OSError, pa.ArrowException) as error:
            message = f"the rows from {number} on are damaged and not read: {error}"
            yield RawRecord(number, refused=RecordRefused("file.damaged", message))
            return
        if batch is None:
            return
        for at in range(0, batch.num_rows, BATCH):
            part = batch.slice(at, BATCH)
            try:
                rows = _plain(part)
            except (
                UnicodeDecodeError,
                pa.ArrowException,
                ValueError,
                OverflowError,
            ):  # of one row: the others are read
                rows = [None] * part.num_rows
            for place, row in enumerate(rows):
                yield table_row(number, row, filled=True) if row is not None else _single(number, part.slice(place, 1))
                number += 1


def _single(number: int, batch: Any) -> RawRecord:
    try:
        return table_row(number, _plain(batch)[0], filled=True)
    except UnicodeDecodeError as error:
        return RawRecord(number, refused=not_utf8(error.start, "a cell"))
    except Exception as error:  # a value that Python has no type for, such as a date of the year 12,000
        return RawRecord(number, refused=RecordRefused("record.not_json", f"a value that JSON cannot hold: {error}"))


def _plain(batch: Any) -> list[Any]:
    try:
        rows: list[Any] = batch.to_pylist(maps_as_pydicts="strict")
    except TypeError:  # a pyarrow that has no such argument
        rows = batch.to_pylist()
    return rows


def read_objects(records: Any) -> Iterator[RawRecord]:
    """The records of an iterable of dicts or of a table.

    DataError for a `datasets.DatasetDict` (or any dict of tables) with more than one split, and for what is no table.
    """
    if isinstance(records, Mapping):
        if (rows := rows_of(dict(records))) is not None:
            return _numbered(rows, filled=False)
        if len(records) != 1:
            names = [str(name) for name in records]
            message = f"the records are a dict of splits ({', '.join(names) or 'none'}); give one of them"
            raise DataError(f"{message}, as in records[{names[0]!r}]" if names else message)
        records = next(iter(records.values()))
    if callable(batches := getattr(records, "to_batches", None)):  # pyarrow
        return table_rows(batches())
    table = type(records).__module__.partition(".")[0] in ("datasets", "pandas", "polars")
    if callable(named := getattr(records, "iter_rows", None)):  # polars
        return _numbered(named(named=True), filled=True)
    if table and hasattr(records, "iloc"):  # pandas
        return _numbered(records.to_dict("records"), filled=False)
    if not isinstance(records, Iterable):
        raise DataError(f"records must be a path, dicts or a table, found {type(records).__name__}")
    return _numbered(records, filled=table)


def write_objects(records: Any, path: Path) -> None:
    """Write the records of `read_objects` to `path` as JSON lines, without the nulls that a table filled in.

    What cannot be a record is written as it is, so that whoever reads the file refuses it with its line.
    """
    with path.open("w", encoding="utf-8") as file:
        for raw in read_objects(records):
            try:
                value = without_filled_nulls(raw.value(), filled=raw.filled)
            except RecordRefused as error:
                value = f"{error.reason}: {error.message}"
            file.write(json.dumps(value, ensure_ascii=False) + "\n")


def _numbered(records: Iterable[Any], *, filled: bool) -> Iterator[RawRecord]:
    for number, record in enumerate(records, 1):
        if isinstance(record, Mapping):
            yield table_row(number, record, filled=filled)
        else:
            found = type(record).__name__
            yield RawRecord(
                number, refused=RecordRefused("record.not_object", f"a record must be a dict, found {found}")
            )
