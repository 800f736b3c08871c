"""Calls as Python writes them: the strict list, which stays the reference form, and the looser spellings of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.json_shapes import WORDS
from funreason.calls.parse import CallSyntaxError, parse_calls, parse_expression, read_call, read_literal
from funreason.calls.render import CallRenderError, render_calls
from funreason.types import Call

_OPENING = re.compile(r"\s*(?:`{1,3}[\w-]*\s*)?\[\s*[\w.]+\s*\(")
_WHOLE_CALL = re.compile(r"^[ \t]*[A-Za-z_][\w.]*(?:[-/][\w.]+)*\((?:\s*\)|\s*\w+\s*=)", re.MULTILINE)
_IN_A_SENTENCE = re.compile(r"\[\s*[A-Za-z_][^\[\](){}=,\"'`\n<>|:;]{0,200}\(\s*\w+\s*=")
_BARE = re.compile(r"[A-Za-z_][\w.]*(?:[-/][\w.]+)+\(")
"""One call without brackets around it whose name Python could not call: `get-weather(…)`."""
_FREE_NAME = re.compile(r"[^\W_][^\[\](){}=,\"'`\n<>|:;]{0,200}")
"""A name with blanks, hyphens or slashes. It has no bracket, quote or `=`, so where it ends is never in doubt."""
_FREE_KEY = re.compile(r"\s*+([^\W\d][^\[\](){}=,\"'`\n<>|:;]{0,200}?)\s*=(?!=)")
_FREE_OPENING = re.compile(
    r"\s*(?:`{1,3}[\w-]*\s*)?\[\s*[^\W_][^\[\](){}=,\"'`\n<>|:;]{0,200}\((?:\s*\)|\s*[^\W\d][^\[\](){}=,\"'`\n<>|:;]{0,200}=)"
)
_STRING_OR_BRACKET = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|[\[({\])},]", re.DOTALL)


def attempts_pythonic(text: str) -> bool:
    """Whether `text` begins a list of calls, holds a line that is a call, or a list of calls within a sentence."""
    return bool(
        _OPENING.match(text) or _WHOLE_CALL.search(text) or _IN_A_SENTENCE.search(text) or _FREE_OPENING.match(text)
    )


def loose_calls(text: str) -> list[Call]:
    """Calls in Python's syntax with the brackets around them missing, `true` for True, or one call a line."""
    try:
        return _on_one_line(text)
    except CallSyntaxError as error:
        lines = [line.strip().rstrip(",;") for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise error
        return [call for line in lines for call in _on_one_line(line)]


def _on_one_line(text: str) -> list[Call]:
    text = text.strip().strip("`").strip().rstrip(";")
    body = parse_expression(text)
    nodes = body.elts if isinstance(body, ast.List | ast.Tuple) else [body]
    return [read_call(node, WORDS) for node in nodes]


def free_calls(text: str) -> list[Call]:
    """`[Any Name(any-key=literal), …]`: names that Python could not call, such as `Road Length API` or `from`.

    Only a whole list is read, since a name with blanks has no beginning within a sentence.
    """
    text = text.strip().strip("`").strip()
    if _BARE.match(text):
        text = f"[{text}]"
    if not (text.startswith("[") and text.endswith("]")):
        raise CallSyntaxError("form.not_a_list", "the text must begin with '[' and end with ']'")
    calls, place = [], 1
    while True:
        found = _FREE_NAME.match(text, _after_blanks(text, place))
        if found is None or text[found.end() : found.end() + 1] != "(":
            raise CallSyntaxError("form.not_a_call", "a name and its arguments in parentheses were expected", place)
        place, end = found.end() + 1, _outside(text, ")]}", found.end() + 1, len(text))
        if end == len(text):
            raise CallSyntaxError("form.syntax", "a bracket is opened and never closed", found.end())
        arguments: dict[str, Any] = {}
        while _after_blanks(text, place) < end:
            key = _FREE_KEY.match(text, place)
            if key is None or key.end() > end:
                raise CallSyntaxError("form.positional", "arguments must be named, as in f(a=1)", place)
            if key[1] in arguments:
                raise CallSyntaxError("form.repeated_keyword", f"{key[1]} is given twice", place)
            stop = _outside(text, ",", key.end(), end)
            arguments[key[1]] = read_literal(parse_expression(text[key.end() : stop].strip()), WORDS)
            place = stop + 1
        calls.append(Call(found.group().strip(), arguments))
        place = _after_blanks(text, end + 1)
        if text[place:] == "]":
            return calls
        if not text.startswith(",", place):
            raise CallSyntaxError("form.between_calls", f"{text[place : place + 20]!r} is between two calls", place)
        place += 1


def render_free(calls: Sequence[Call], tools: Tools = ()) -> str:
    """Calls with any names, written as `free_calls` reads them."""
    if not calls:
        raise CallRenderError("no call has no form here")
    written = [
        f"{call.name}({', '.join(f'{name}={value!r}' for name, value in call.arguments.items())})" for call in calls
    ]
    return f"[{', '.join(written)}]"


def _after_blanks(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _outside(text: str, signs: str, start: int, end: int) -> int:
    """The first of `signs` from `start` on that is in no string and in no bracket opened there; `end` without one."""
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(text, start, end):
        sign = found.group()
        if depth == 0 and sign in signs:
            return found.start()
        if sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
    return end


def render_strict(calls: Sequence[Call], tools: Tools = ()) -> str:
    """Calls as the strict reader reads them; `[]` for none."""
    return render_calls(calls)


PYTHONIC = Dialect(
    name="pythonic",
    serves="the FunReason papers, BFCL's prompt, Llama 3.2 and 4, Gorilla",
    example="[get_weather(city='Oslo')]",
    marks=("[",),
    whole=True,
    opening=_OPENING,
    read=lambda text, tools: parse_calls(text),
    write=render_strict,
)
FREE_NAMES = Dialect(
    name="toolace",
    serves="ToolACE: names with blanks, hyphens or slashes",
    example="[Road Length API(start='Fulda')]",
    marks=("[",),
    whole=True,
    opening=_FREE_OPENING,
    read=lambda text, tools: free_calls(text),
    write=render_free,
)
