"""Parquet, and Arrow's own files and streams (Feather too), batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from funreason.data.files.raw import RawRecord, not_utf8, table_row
from funreason.data.records import DataError, RecordRefused

BATCH = 1_000
"""Rows held at a time."""


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
