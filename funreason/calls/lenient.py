"""The lenient reader: what a patient person would still take for calls, in whichever dialect they are written.

The dialects are those of `calls.dialects`. Used for any-format accuracy and for re-rendering; never for the strict
score. It reads form, not meaning: positional arguments, unknown values and cut-off text are still refused. Where marks
enclose the calls, as tags and code fences do, the text around them is ignored. Calls without marks must be the whole
text. Where several dialects could be meant, the one that begins first in the text is tried first, so that what a string
quotes is never read for what is said.

`looks_like_calls` tells a text that tries to call a function from ordinary prose. A cut-off or misspelt call is still
an attempt: it must be judged and repaired as one, and never be kept as prose. Prose that merely mentions `f()` in a
sentence is no attempt.
"""

from __future__ import annotations

from funreason.calls.dialects.catalogue import candidates
from funreason.calls.dialects.dialect import Tools
from funreason.calls.dialects.json_shapes import calls_from_json
from funreason.calls.dialects.json_text import BEGINNING, attempts_json
from funreason.calls.dialects.pythonic import PYTHONIC, attempts_pythonic, free_calls, loose_calls
from funreason.calls.parse import CallSyntaxError, check_bounds, parse_calls
from funreason.types import Call

__all__ = ["calls_from_json", "looks_like_calls", "needs_tools", "parse_any"]

_LOOKED_AT = 20_000
"""How much of a text is looked at for an attempt."""


def parse_any(text: str, tools: Tools = ()) -> list[Call]:
    """The calls in `text`, in whichever dialect.

    The offered `tools` matter in dialects that write values without their types. Raises CallSyntaxError, with the
    reason of the dialect that the text attempts first.
    """
    try:
        return parse_calls(text)
    except CallSyntaxError as error:
        problem = error
    check_bounds(text)
    text = text.strip()
    if not text:
        raise problem
    asked = (dialect for dialect in candidates(text) if dialect is not PYTHONIC)
    attempts = [(place, dialect) for dialect in asked if (place := dialect.attempted_at(text)) >= 0]
    attempts.sort(key=lambda attempt: attempt[0])
    first: CallSyntaxError | None = None
    for place, dialect in attempts:
        if place and BEGINNING.match(text):
            break  # the text begins as calls that cannot be read; marks within it are part of their strings
        try:
            return dialect.parse(text, tools)
        except CallSyntaxError as error:
            first = first or error
    for read in (loose_calls, free_calls):
        try:
            return read(text)
        except CallSyntaxError as error:
            first = first or error
    assert first is not None  # the loop has raised at least once
    raise first


def looks_like_calls(text: str) -> bool:
    """Whether `text` attempts a call, well formed or not; `[]` and empty text are no attempt."""
    head = text[:_LOOKED_AT]
    if not head.strip("[] \n\t`"):
        return False
    if attempts_pythonic(head) or attempts_json(head):
        return True
    return any(not dialect.whole and dialect.attempted_at(head) >= 0 for dialect in candidates(head))


def needs_tools(text: str) -> bool:
    """Whether `text` may be in a dialect that writes values without their types, so that the tools matter."""
    return any(not dialect.typed and dialect.attempted_at(text) >= 0 for dialect in candidates(text))
