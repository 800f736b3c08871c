"""Calls as nested tags, `<invoke name="f"><parameter name="a">x</parameter></invoke>` and its relatives.

The text of a parameter is taken as it is: nothing is unescaped, since the models' own templates escape nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from funreason.calls.dialects.dialect import Tools
from funreason.calls.dialects.framed import some
from funreason.calls.dialects.json_shapes import after_blanks, nothing_skipped
from funreason.calls.dialects.untyped import raw_value, typed_call
from funreason.calls.parse import CallSyntaxError
from funreason.types import Call


class Tags(NamedTuple):
    """The patterns of a family's tags. `call` and `parameter` each have the name as their first group."""

    begin: str
    """How every call begins."""
    call: re.Pattern[str]
    call_end: str
    parameter: re.Pattern[str]
    parameter_end: str
    string: re.Pattern[str] | None = None
    """What in a parameter's tag says that its value is text, whatever the schema says."""


def read_tags(text: str, tags: Tags, tools: Tools, ends: tuple[str, ...] = ()) -> list[Call]:
    """The calls in `text`; `ends` are the marks that end a call where its own end is missing."""
    calls, place = [], 0
    while (found := tags.call.search(text, place)) is not None:
        nothing_skipped(text, place, found.start(), (tags.begin,))
        raw: dict[str, str] = {}
        stated: dict[str, str] = {}
        name, place = found[1].strip(), found.end()
        while True:
            place = after_blanks(text, place)
            if text.startswith(tags.call_end, place):
                place += len(tags.call_end)
                break
            parameter = tags.parameter.match(text, place)
            if parameter is None:
                if place == len(text) or text.startswith(ends, place):
                    break
                raise CallSyntaxError("form.syntax", f"{name}: {text[place : place + 20]!r} is no parameter", place)
            end = text.find(tags.parameter_end, parameter.end())
            if end < 0:
                raise CallSyntaxError("form.syntax", f"{name}: {tags.parameter_end} is missing", place)
            key = parameter[1].strip()
            if key in raw:
                raise CallSyntaxError("form.repeated_keyword", f"{name}: {key} is given twice", place)
            raw[key] = _without_outer_lines(text[parameter.end() : end])
            if tags.string is not None and tags.string.search(parameter.group()):
                stated[key] = raw[key]
            place = end + len(tags.parameter_end)
        call = typed_call(name, raw, tools)
        calls.append(Call(name, call.arguments | stated) if stated else call)
    nothing_skipped(text, place, len(text), (tags.begin,))
    if not calls:
        raise CallSyntaxError("form.syntax", "no call in tags")
    return calls


def write_tags(calls: Sequence[Call], tools: Tools, head: str, parameter: str, tail: str, between: str = "\n") -> str:
    """Calls in tags; `{name}` and `{value}` are filled into the three pieces of each."""
    return between.join(
        head.replace("{name}", call.name)
        + "".join(
            parameter.replace("{name}", key).replace("{value}", raw_value(value))
            for key, value in call.arguments.items()
        )
        + tail
        for call in some(calls)
    )


def _without_outer_lines(text: str) -> str:
    """`text` without the one line break after the opening tag and the one before the closing tag."""
    return text.removeprefix("\r").removeprefix("\n").removesuffix("\n").removesuffix("\r")
