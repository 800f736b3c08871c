"""What can go wrong in scoring that is not the model's fault, and the one thing that is.

`BfclError` leaves this package: data, files or an extra that is missing, always with the remedy.
`Undecodable` never does: it is how a decoder says that an output holds no calls, and becomes a verdict.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal


class BfclError(ValueError):
    """Data, files or an installation that scoring cannot work with; the message says where and what to do."""


class Undecodable(Exception):
    """The output cannot be read as calls: the official word for it is `ast_decoder:decoder_failed`."""


# Lines of JSON objects with an id, the form of every BFCL file (their names say .json all the same).


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
    offloaded = path.with_name(f".{path.name}.part")
    offloaded.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), encoding="ascii")
    offloaded.replace(path)


# The thirteen single-turn categories, their groups and their languages.
#
# The order here is the leaderboard's. A category's name decides how it is checked (the official code looks for
# words inside it), so a file of one's own takes its rules from the end of its name: `HELD_multiple.json` is
# `multiple`, `BFCL_v4_live_multiple.json` is `live_multiple`.

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
"""How files were called before v4, and how a suite of one's own may still call them."""

_OTHER_TESTS = re.compile(r"BFCL_v\d+_(?:multi_turn|memory|web_search|format_sensitivity)")


def category_of(name: str) -> str | None:
    """The category a file's name (without its ending) stands for: the longest that the name ends with, or None."""
    known = {category: category for category in CATEGORIES} | FORMER_NAMES
    fitting = [word for word in known if name == word or name.endswith(f"_{word}")]
    return known[max(fitting, key=len)] if fitting else None


def is_other_test(name: str) -> bool:
    """Whether a file's name is that of an official test which is not single turn: passed over, not scored here."""
    return _OTHER_TESTS.match(name) is not None


def group_of(category: str) -> Literal["live", "non_live"]:
    """The folder the official tools keep this category in."""
    return "live" if category.startswith("live_") else "non_live"


def language_of(category: str) -> Language:
    """The language whose rules decode and check a category's calls."""
    if category.endswith("javascript"):
        return "javascript"
    return "java" if category.endswith("java") else "python"


def has_answers(category: str) -> bool:
    """Whether the category comes with possible answers; (ir)relevance only asks for a call or none."""
    return not category.endswith("relevance")
