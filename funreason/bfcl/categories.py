"""The vocabulary of the leaderboard's files: the two errors, lines of JSON, the thirteen single-turn categories.

`BfclError` leaves this package: data, files or an extra is missing, and the message gives the remedy.
`Undecodable` never does: it is how a decoder says that an output holds no calls, and it becomes a verdict.

The categories are listed in the leaderboard's order. A category's name decides how it is checked (the official code
looks for words inside it), so a custom file takes its rules from the end of its name: `HELD_multiple.json` is
`multiple`, `BFCL_v4_live_multiple.json` is `live_multiple`.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

Language = Literal["python", "java", "javascript"]

NON_LIVE = (
    "simple_python",
    "simple_java",
    "simple_javascript",
    "multiple",
    "parallel",
    "parallel_multiple",
    "irrelevance",
)
LIVE = (
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
    "live_relevance",
)
CATEGORIES = NON_LIVE + LIVE
FORMER_NAMES = {"simple": "simple_python", "java": "simple_java", "javascript": "simple_javascript"}
"""The names before v4, which custom suites may still use."""

_OTHER_TESTS = re.compile(r"BFCL_v\d+_(?:multi_turn|memory|web_search|format_sensitivity)")


class BfclError(ValueError):
    """Data, files or an installation that scoring cannot work with; the message says where and what to do."""


class Undecodable(Exception):
    """The output cannot be read as calls; the official error type is `ast_decoder:decoder_failed`."""


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number (from 1) and the object of each line that is not blank; every BFCL file has one JSON object a line.

    Raises BfclError with file and line for text that is not UTF-8, not JSON, not an object, or has no text `id`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BfclError(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise BfclError(f"{path}:{number}: expected one JSON object on this line: {error}") from error
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            raise BfclError(f'{path}:{number}: expected a JSON object with a text "id"')
        yield number, entry


def write_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    """Write one object a line, in ASCII so that lone surrogates survive; the file appears whole, by rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.part")
    scratch.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), encoding="ascii")
    scratch.replace(path)


def category_of(name: str) -> str | None:
    """The category of a file by its name without the ending: the longest one that the name ends with, or None."""
    known = {category: category for category in CATEGORIES} | FORMER_NAMES
    fitting = [word for word in known if name == word or name.endswith(f"_{word}")]
    return known[max(fitting, key=len)] if fitting else None


def is_other_test(name: str) -> bool:
    """Whether a file's name names an official test that is not single turn; such files are skipped."""
    return _OTHER_TESTS.match(name) is not None


def group_of(category: str) -> Literal["live", "non_live"]:
    """The folder the official tools keep this category in."""
    return "live" if category.startswith("live_") else "non_live"


def language_of(category: str) -> Language:
    """The language whose rules decode and check a category's calls."""
    if category.endswith("javascript"):
        return "javascript"
    return "java" if category.endswith("java") else "python"


def wants_refusal(category: str) -> bool:
    """Whether the right answer to the category's items is to call nothing."""
    return category.endswith("irrelevance")


def has_answers(category: str) -> bool:
    """Whether the category comes with possible answers; (ir)relevance only asks for a call or none."""
    return not category.endswith("relevance")
