"""The thirteen single-turn categories, their groups and their languages.

The order here is the leaderboard's. A category's name decides how it is checked (the official code looks for
words inside it), so a file of one's own takes its rules from the end of its name: `HELD_multiple.json` is
`multiple`, `BFCL_v4_live_multiple.json` is `live_multiple`.
"""

from __future__ import annotations

import re
from typing import Literal

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
