"""How much text a reader of model output accepts, and the one error all of them raise.

The bounds are checked before any parser sees the text: CPython's own answer to hostile input (RecursionError,
MemoryError) comes late and costs memory, and a sample must be refused with a reason, never with a traceback.
"""

from __future__ import annotations

import re

MAX_CHARS = 100_000
MAX_DEPTH = 64

_STRING = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"", re.DOTALL)
_OPENING, _CLOSING = "([{", ")]}"


class CallSyntaxError(ValueError):
    """Text that is not a list of calls: `reason` is a dotted code, `position` the 0-based character where it shows."""

    def __init__(self, reason: str, message: str, position: int = 0) -> None:
        super().__init__(f"{message} (at character {position})")
        self.reason = reason
        self.message = message
        self.position = position


def check_bounds(text: str) -> None:
    """Raise CallSyntaxError if `text` is too long, nests brackets too deep, or holds a null byte."""
    if len(text) > MAX_CHARS:
        raise CallSyntaxError("form.too_long", f"{len(text)} characters; at most {MAX_CHARS} are read", MAX_CHARS)
    if "\0" in text:
        raise CallSyntaxError("form.null_byte", "a null byte; remove it", text.index("\0"))
    # Counting is enough for nearly every text and about a hundred times cheaper than walking it.
    if text.count("(") + text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise CallSyntaxError("form.too_deep", f"brackets nest deeper than {MAX_DEPTH}", 0)


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in _STRING.sub("", text):
        if char in _OPENING:
            depth += 1
            deepest = max(deepest, depth)
        elif char in _CLOSING:
            depth -= 1
    return deepest
