"""Rows as one Parquet file, written in slices so that memory does not grow with the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from funreason.export.rows import COLUMNS
from funreason.record.folder import RecordError

SLICE = 5_000
INTEGERS = ("round", "attempt")


def write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write `rows` of `COLUMNS` to `path`; how many there were. RecordError when pyarrow is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise RecordError("Parquet needs the extra `export`: pip install 'funreason[export]'") from error
    schema = pa.schema([(name, pa.int64() if name in INTEGERS else pa.string()) for name in COLUMNS])
    count = 0
    with pq.ParquetWriter(str(path), schema, compression="zstd") as writer:
        for part in _slices(iter(rows)):
            writer.write_table(pa.Table.from_pylist(part, schema=schema))
            count += len(part)
    return count


def _slices(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while part := list(islice(rows, SLICE)):
        yield part
