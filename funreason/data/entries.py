"""Walks over a file's records: each becomes a task or a refusal, and nothing a record holds makes it raise.

The format is found record by record unless it is named, so files of mixed origin can simply be joined.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from funreason.calls.strict_json import JsonRefused, read_json
from funreason.data import bfcl_files, openai, sharegpt, xlam
from funreason.data.form import RecordRead
from funreason.data.lines import raw_records
from funreason.data.refusal import DataError, RecordRefused, Refusal

FORMATS = ("auto", "xlam", "sharegpt", "openai", "bfcl")
_MODULES = {"sharegpt": sharegpt, "openai": openai, "bfcl": bfcl_files, "xlam": xlam}


class Entry(NamedTuple):
    """One record of a file: read, or refused."""

    line: int
    read: RecordRead | None
    refusal: Refusal | None


def read_entries(path: Path, format: str = "auto") -> Iterator[Entry]:
    """Every record of `path` in order, one at a time; a second record of one id is refused."""
    if format not in FORMATS:
        raise DataError(f"format {format!r} is not known; choose one of {', '.join(FORMATS)}")
    answers = bfcl_files.possible_answers(path) if format in ("auto", "bfcl") else {}
    first_line: dict[str, int] = {}
    for raw in raw_records(path):
        if raw.refused is not None:
            yield Entry(raw.line, None, Refusal(raw.line, "", raw.refused.reason, raw.refused.message))
            continue
        yield _entry(raw.line, raw.text, format, answers, first_line)


def _entry(line: int, text: str, format: str, answers: dict[str, Any], seen: dict[str, int]) -> Entry:
    name = ""
    try:
        record = _json_object(text)
        name = str(record.get("id", ""))[:300]
        read = _read_record(record, line, format, answers)
        earlier = seen.setdefault(read.task.id, line)
        if earlier != line:
            raise RecordRefused("id.duplicate", f"the id {read.task.id!r} stands on line {earlier} already")
    except RecordRefused as error:
        return Entry(line, None, Refusal(line, name, error.reason, error.message))
    return Entry(line, read, None)


def _json_object(text: str) -> dict[str, Any]:
    try:
        record = read_json(text)
    except JsonRefused as error:
        raise RecordRefused(error.reason, error.message) from error
    if not isinstance(record, dict):
        raise RecordRefused("record.not_object", f"a record must be a JSON object, found {type(record).__name__}")
    return record


def _read_record(record: dict[str, Any], line: int, format: str, answers: dict[str, Any]) -> RecordRead:
    names = list(_MODULES) if format == "auto" else [format]
    name = next((name for name in names if _MODULES[name].matches(record)), None)
    if name is None:
        keys = ", ".join(sorted(record)[:8]) or "none"
        wanted = "any known format" if format == "auto" else format
        raise RecordRefused("record.unknown_format", f"the keys ({keys}) are not those of {wanted}")
    if name == "bfcl":
        return bfcl_files.read(record, line, answers)
    module: Any = _MODULES[name]
    read: RecordRead = module.read(record, line)
    return read
