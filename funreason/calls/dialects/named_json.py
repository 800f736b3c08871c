"""Dialects that write the name outside of the JSON: `name<separator>{arguments}`."""

from __future__ import annotations

import re
from collections.abc import Callable

from funreason.calls.dialects.json_shapes import after_blanks, json_at, nothing_skipped, read_arguments
from funreason.calls.parse import CallSyntaxError
from funreason.types import Call

_FENCE = re.compile(r"```[\w-]*[ \t]*\n?")


def read_named(
    text: str, head: re.Pattern[str], begins: tuple[str, ...], name_of: Callable[[str], str] = str.strip
) -> list[Call]:
    """The calls whose beginnings `head` finds; its first group is the name, and the arguments follow it as JSON.

    A code fence around the JSON is skipped, and so is what is between one call's arguments and the next call, unless
    one of `begins` is there.
    """
    calls, place = [], 0
    while (found := head.search(text, place)) is not None:
        nothing_skipped(text, place, found.start(), begins)
        name = name_of(found[1])
        if not name:
            raise CallSyntaxError("form.name", "the name is missing", found.start())
        start = after_blanks(text, found.end())
        fence = _FENCE.match(text, start)
        start = after_blanks(text, fence.end()) if fence else start
        if text[start : start + 1] != "{":
            raise CallSyntaxError("form.syntax", f"{name}: its arguments as JSON were expected", start)
        value, place = json_at(text, start)
        calls.append(Call(name, read_arguments(value, name)))
    nothing_skipped(text, place, len(text), begins)
    if not calls:
        raise CallSyntaxError("form.syntax", "no call with a name and arguments")
    return calls
