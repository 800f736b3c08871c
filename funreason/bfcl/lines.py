"""Lines of JSON objects with an id, the form of every BFCL file (their names say .json all the same)."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from funreason.bfcl.errors import BfclError


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number from 1 and object of each line that is not blank.

    Raises BfclError with file and line for what is not UTF-8, not JSON, not an object, or has no text `id`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BfclError(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        if line.strip():
            yield number, _object(path, number, line)


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BfclError(f"{path}:{number}: expected one JSON object on this line: {error}") from error
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise BfclError(f'{path}:{number}: expected a JSON object with a text "id"')
    return entry


def write_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    """One object a line, ASCII only so that lone surrogates survive; written aside and renamed into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    aside.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), encoding="ascii")
    aside.replace(path)
