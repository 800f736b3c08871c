"""Writes calls in the strict form, the one the model is trained to write: `[f(a=1, b='x')]`.

Values are written as Python writes them, so single quotes unless the string holds one, as in the paper's own example.
What `parse_calls` could not read back is refused here: `parse_calls(render_calls(calls)) == calls` always holds.
"""

from __future__ import annotations

import keyword
import math
import unicodedata
from collections.abc import Sequence
from typing import Any

from funreason.calls.marks import marks_at
from funreason.calls.parse import MAX_CHARS, MAX_DEPTH, can_be_written
from funreason.types import Call


class CallRenderError(ValueError):
    """A call that has no strict form: its name, a parameter's name or a value cannot be written."""


def render_calls(calls: Sequence[Call]) -> str:
    """`calls` as one line of text; `[]` for none. Raises CallRenderError naming the call and the part."""
    text = "[" + ", ".join(render_call(call) for call in calls) + "]"
    if len(text) > MAX_CHARS:
        raise CallRenderError(f"{len(text)} characters; at most {MAX_CHARS} can be read back")
    return text


def render_call(call: Call) -> str:
    """One call without brackets around it."""
    if not is_callable_name(call.name):
        raise CallRenderError(f"{call.name!r} cannot be called: a name is Python identifiers joined by dots")
    arguments = []
    for name, value in call.arguments.items():
        if not _is_identifier(name):
            raise CallRenderError(f"{call.name}: {name!r} cannot be a keyword argument: it is no Python identifier")
        arguments.append(f"{name}={_render_value(value, f'{call.name}.{name}', 2)}")
    return f"{call.name}({', '.join(arguments)})"


def is_callable_name(name: str) -> bool:
    """Whether `name` is one or more Python identifiers, none a keyword, joined by dots."""
    return all(map(_is_identifier, name.split(".")))


def _is_identifier(name: object) -> bool:
    # Python reads identifiers in Unicode's NFKC form, so another spelling would come back as another name.
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        return False
    return name.isascii() or (marks_at(name) < 0 and unicodedata.is_normalized("NFKC", name))


def _render_value(value: Any, where: str, depth: int) -> str:
    if depth >= MAX_DEPTH:
        raise CallRenderError(f"{where}: nested deeper than {MAX_DEPTH}")
    if value is None or (isinstance(value, int) and can_be_written(value)):
        return repr(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, str) and (value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)):
        return repr(value)
    if isinstance(value, list | tuple):
        inner = ", ".join(_render_value(item, where, depth + 1) for item in value)
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, dict):
        if any(isinstance(key, list | tuple | dict) for key in value):
            raise CallRenderError(f"{where}: the key of a dict must be a plain value")
        pairs = (
            f"{_render_value(key, where, depth + 1)}: {_render_value(item, where, depth + 1)}"
            for key, item in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, int):
        raise CallRenderError(f"{where}: an integer of {value.bit_length()} bits has more digits than can be written")
    raise CallRenderError(f"{where}: {type(value).__name__} {value!r} has no literal form")
