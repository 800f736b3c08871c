"""Records out of files of every kind, one at a time: `raw_records` is all that readers of forms need.

`kinds` is the table of kinds; there is a file for each way of reading. What breaks in the middle (a truncated gzip, a
list cut short, one broken record) is reported where it is met, and everything else is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from funreason.data.files.csv_rows import read_csv
from funreason.data.files.documents import read_documents, read_lines, with_new_lines
from funreason.data.files.kinds import (
    ARROW,
    CSV,
    DOCUMENT,
    HEAD_BYTES,
    LINES,
    PARQUET,
    READ,
    files_of,
    kind_of,
    split_path,
    what_is_read,
)
from funreason.data.files.packing import PACKINGS, head_of, open_bytes, packing_of
from funreason.data.files.raw import MAX_RECORD_BYTES, RawRecord
from funreason.data.files.repository import part_files
from funreason.data.files.tables import read_arrow, read_objects, read_parquet, write_objects
from funreason.data.records import DataError
from funreason.hub import data_name

_SUFFIXES = frozenset(suffix for kind in READ for suffix in kind.suffixes)


def raw_records(source: Any) -> Iterator[RawRecord]:
    """The records of a file, of a folder of files, or of objects (dicts or a table), in order; blank lines skipped.

    `FOLDER:SPLIT` and `FILE:SPLIT` name one of several splits, `hf:ORG/NAME:SPLIT` one of a data set in the hub's cache
    (HubError where it is not there). DataError when the source cannot be used as a whole.
    """
    if not isinstance(source, str | Path):
        yield from read_objects(source)
        return
    if (name := data_name(str(source))) is not None:
        yield from _in_order(part_files(name))
        return
    path, split = split_path(Path(source))
    if not path.exists():
        raise DataError(f"{source}: no such file; give the path of a file or folder of {what_is_read()}")
    if not path.is_dir():
        yield from _file_records(path, split)
        return
    yield from _in_order(files_of(path, split, _SUFFIXES))


def _in_order(files: Iterable[Path]) -> Iterator[RawRecord]:
    """The records of several files, with lines counted through."""
    first = 0
    for file in files:
        last = 0
        for raw in _file_records(file, ""):
            last = raw.line
            yield raw._replace(line=first + raw.line)
        first += last


def _file_records(path: Path, split: str) -> Iterator[RawRecord]:
    head = head_of(path, HEAD_BYTES)
    kind = kind_of(path, head)
    if split and kind is not DOCUMENT:
        raise DataError(f"{path} is one table of {kind.name} without splits; leave out {':' + split!r}")
    if kind in (PARQUET, ARROW):
        if (packing := packing_of(path)) is not None:
            raise DataError(
                f"{path} is {kind.name} packed with {packing.name}; unpack it first, for it is not read in order"
            )
        yield from read_parquet(path) if kind is PARQUET else read_arrow(path)
        return
    with open_bytes(path) as stream:
        if kind is CSV:
            yield from read_csv(stream, str(path))
        elif kind is LINES and not (b"\n" not in head and b"}\r" in head):
            yield from read_lines(stream)
        else:
            # `read1` gives what can be unpacked before it raises.
            plain = iter(lambda: stream.read1(1 << 16), b"")  # type: ignore[attr-defined]
            pieces = with_new_lines(stream) if b"\n" not in head and b"\r" in head else plain
            yield from read_documents(pieces, split=split, path=str(path))


__all__ = ["LINES", "MAX_RECORD_BYTES", "PACKINGS", "RawRecord", "raw_records", "write_objects"]
