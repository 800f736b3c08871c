"""`--input-map query=question,tools=functions`: a person's own keys, renamed before a form is looked for.

The left side is the key that a form knows, the right side the key in the file, with dots for nested keys
(`answers=output.calls`); a number picks an item of a list. A key that itself holds a dot is found first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funreason.data.records import DataError

_MISSING: Any = object()


def parse_input_map(text: str) -> dict[str, str]:
    """The map in `text`. Raises DataError when it cannot be read."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, sign, path = (word.strip() for word in part.partition("="))
        if not sign or not key or not path:
            raise DataError(f"--input-map: {part!r} must be KEY=KEY_IN_THE_FILE, as in query=question,tools=functions")
        if key in found:
            raise DataError(f"--input-map: {key} is given twice")
        found[key] = path
    if not found:
        raise DataError("--input-map is empty; give KEY=KEY_IN_THE_FILE, as in query=question,tools=functions")
    return found


class InputMap:
    """Renames the keys of records, and remembers which it found."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = dict(keys)
        self._unseen = set(self._keys.values())
        self._first: list[str] = []

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record under its new keys. A key that was renamed is no longer there under its old one."""
        self._first = self._first or list(record)
        values = {key: _at(record, path) for key, path in self._keys.items()}
        self._unseen -= {path for key, path in self._keys.items() if values[key] is not _MISSING}
        renamed = {path for path in self._keys.values() if path in record}
        rest = {key: value for key, value in record.items() if key not in renamed}
        return rest | {key: value for key, value in values.items() if value is not _MISSING}

    def require_seen(self, path: Any) -> None:
        """Raise DataError naming the keys that no record of the file `path` has."""
        missing = [f"{key}={name}" for key, name in self._keys.items() if name in self._unseen]
        if missing and self._first:
            keys = ", ".join(self._first[:12])
            raise DataError(f"{path}: --input-map {', '.join(missing)}: no record has that key; the first has {keys}")


def _at(value: Any, path: str) -> Any:
    """The value at a dotted path; `_MISSING` where there is none."""
    if isinstance(value, dict):
        if path in value:
            return value[path]
        head, dot, rest = path.partition(".")
        return _at(value[head], rest) if dot and head in value else _MISSING
    head, dot, rest = path.partition(".")
    if isinstance(value, list) and head.isdecimal() and int(head) < len(value):
        return _at(value[int(head)], rest) if dot else value[int(head)]
    return _MISSING
