"""One record as a file holds it: the seam between the readers of files and the readers of forms."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from funreason.calls.strict_json import JsonRefused, read_json
from funreason.data.records import RecordRefused

MAX_RECORD_BYTES = 1_000_000
"""The largest record that is read: bytes of a line, characters of anything else."""
MARK = "\ufeff"
"""A byte-order mark: at the start of a file, or of a line where files were joined."""


class RawRecord(NamedTuple):
    """One record: its text, its value where the file is a table, or why it cannot be read.

    `line` is 1-based: the line at which the record begins, in a table without lines its row. `filled` says that the
    record comes from a table, in which a key that a row lacks is filled with null because another row has it.
    """

    line: int
    text: str = ""
    refused: RecordRefused | None = None
    record: dict[str, Any] | None = None
    filled: bool = False

    def value(self) -> Any:
        """What the record holds; raises RecordRefused."""
        if self.refused is not None:
            raise self.refused
        if self.record is not None:
            return self.record
        try:
            return read_json(self.text)
        except JsonRefused as error:
            hint = ""
            closing = error.reason == "json.broken" and self.text[error.position : error.position + 1] in ("}", "]")
            if closing and self.text[: error.position].rstrip().endswith(","):
                hint = ", where there is a comma too many"
            raise RecordRefused(error.reason, error.message + hint) from error


def too_large(unit: str) -> RecordRefused:
    """The refusal of a record over the limit, counted in `unit`."""
    return RecordRefused("record.too_large", f"longer than {MAX_RECORD_BYTES} {unit}")


def not_utf8(position: int, where: str) -> RecordRefused:
    """The refusal of text whose byte `position` of `where` is not UTF-8."""
    return RecordRefused("text.not_utf8", f"not UTF-8 at byte {position} of {where}; save the file as UTF-8")


def table_row(line: int, row: Mapping[str, Any], *, filled: bool = False) -> RawRecord:
    """A row of a table as a record of plain JSON values: dates as ISO text, a missing number of pandas (NaN) as null.

    What JSON cannot hold is a refusal, and so is a row that is too large.
    """
    try:
        plain = {str(key): None if isinstance(cell, float) and cell != cell else cell for key, cell in row.items()}
        text = json.dumps(plain, ensure_ascii=False, default=_as_json)
        if len(text) > MAX_RECORD_BYTES:
            raise too_large("characters")
        return RawRecord(line, text, record=read_json(text), filled=filled)
    except JsonRefused as error:
        return RawRecord(line, refused=RecordRefused(error.reason, error.message))
    except RecordRefused as error:
        return RawRecord(line, refused=error)
    except RecursionError:
        return RawRecord(line, refused=RecordRefused("json.too_deep", "nested too deep"))
    except (TypeError, ValueError) as error:
        return RawRecord(line, refused=RecordRefused("record.not_json", f"a value that JSON cannot hold: {error}"))


def _as_json(value: Any) -> Any:
    """A value of a table that JSON has no type for; TypeError for one that has no plain meaning."""
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas: a missing cell
        return None
    for name in ("tolist", "item"):  # numpy's arrays and numbers
        if callable(method := getattr(value, name, None)):
            return method()
    raise TypeError(f"{type(value).__name__}")
