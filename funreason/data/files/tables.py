"""Tables inside one JSON object: by column, by index, or as pandas splits them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
