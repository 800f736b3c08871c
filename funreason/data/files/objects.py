"""Records that are objects of Python: dicts, and tables of datasets, pandas, polars and pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from funreason.data.files.arrow import table_rows
from funreason.data.files.raw import RawRecord, table_row
from funreason.data.files.tables import rows_of
from funreason.data.nulls import without_filled_nulls
from funreason.data.records import DataError, RecordRefused


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
