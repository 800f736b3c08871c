"""The strict reader: `[f(a=1), g(b='x')]` and nothing else.

This is stage 5's form (docs/method.md): a bracketed list of calls, keyword arguments, literals only, either quote.
A blank in or around a name is a failure (`[ f(a=1)]` calls a function named ` f`), and so is anything before, between
or behind the calls but one comma. `[]` is the empty list: no call.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping
from typing import Any

from funreason.calls.literal import NO_WORDS, CallSyntaxError, check_bounds, read_literal
from funreason.types import Call

__all__ = ["CallSyntaxError", "dotted_name", "parse_calls", "parse_expression", "read_call"]

_WARNS = re.compile(r"\\|\d[.jJ]?(?:and|else|for|if|in|is|not|or)|0[xXbBoO]\w")
"""What CPython's parser may warn about; setting warnings aside costs too much to be done for every text."""


def parse_calls(text: str) -> list[Call]:
    """The calls in `text`, blanks around the whole of it ignored.

    Raises CallSyntaxError; its `reason` is one of `form.empty`, `form.not_a_list`, `form.too_long`, `form.too_deep`,
    `form.null_byte`, `form.syntax`, `form.not_a_call`, `form.name`, `form.blank_in_name`, `form.between_calls`,
    `form.positional`, `form.star_argument`, `form.repeated_keyword`, `value.*`.
    """
    text = text.strip()
    if not text:
        raise CallSyntaxError("form.empty", "no text at all")
    if text[0] != "[" or text[-1] != "]":
        raise CallSyntaxError("form.not_a_list", "the text must begin with '[' and end with ']'")
    body = parse_expression(text)
    if not isinstance(body, ast.List):
        raise CallSyntaxError("form.not_a_list", f"a list of calls was expected, found {type(body).__name__}")
    calls = [read_call(node) for node in body.elts]
    _check_spelling(text, body.elts)
    return calls


def parse_expression(text: str) -> ast.expr:
    """`text` as one Python expression, bounds checked first; raises CallSyntaxError."""
    check_bounds(text)
    try:
        if _WARNS.search(text):
            return _parse_quietly(text)
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        position = max((error.offset or 1) - 1, 0)
        raise CallSyntaxError("form.syntax", f"not Python syntax: {error.msg}", position) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise CallSyntaxError("form.syntax", f"cannot be parsed: {type(error).__name__}") from error


def read_call(node: ast.expr, words: Mapping[str, Any] = NO_WORDS) -> Call:
    """One call node as a Call; raises CallSyntaxError for anything but literal keyword arguments."""
    if not isinstance(node, ast.Call):
        raise CallSyntaxError("form.not_a_call", f"{type(node).__name__} is not a call", node.col_offset)
    name = dotted_name(node.func)
    if node.args:
        found = node.args[0]
        code = "form.star_argument" if isinstance(found, ast.Starred) else "form.positional"
        raise CallSyntaxError(code, f"{name}: arguments must be named, as in f(a=1)", found.col_offset)
    arguments: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise CallSyntaxError("form.star_argument", f"{name}: `**` is not allowed", keyword.value.col_offset)
        if keyword.arg in arguments:
            message = f"{name}: {keyword.arg} is given twice"
            raise CallSyntaxError("form.repeated_keyword", message, keyword.col_offset)
        arguments[keyword.arg] = read_literal(keyword.value, words)
    return Call(name, arguments)


def dotted_name(node: ast.expr) -> str:
    """`a.b.c` as text; raises CallSyntaxError when the called thing is anything but names joined by dots."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise CallSyntaxError("form.name", "the function is not a dotted name", node.col_offset)
    parts.append(node.id)
    return ".".join(reversed(parts))


def _parse_quietly(text: str) -> ast.expr:
    # Legal and not our code: an unknown escape such as '\d', or a number that runs into a word, as in `1if x`.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text, mode="eval").body


def _check_spelling(text: str, nodes: list[ast.expr]) -> None:
    # The tree forgets blanks, brackets and comments around names; the offsets (in UTF-8 bytes) still know.
    starts, data = _line_starts(text)
    end = 1
    for index, node in enumerate(nodes):
        assert isinstance(node, ast.Call)
        start = starts[node.lineno - 1] + node.col_offset
        gap = data[end:start]
        if index == 0 and gap:
            raise CallSyntaxError("form.blank_in_name", f"{gap.decode()!r} stands before the first name", 1)
        if index and gap.strip() != b",":
            raise CallSyntaxError("form.between_calls", f"{gap.decode()!r} stands between two calls", end)
        _check_name(node, starts, data)
        end = starts[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)
    if data[end:].strip() != b"]":
        raise CallSyntaxError("form.between_calls", f"{data[end:].decode()!r} stands behind the last call", end)


def _check_name(node: ast.Call, starts: list[int], data: bytes) -> None:
    func = node.func
    start = starts[func.lineno - 1] + func.col_offset
    end = starts[(func.end_lineno or 1) - 1] + (func.end_col_offset or 0)
    name = dotted_name(func)
    if data[start : end + 1] != name.encode() + b"(":
        raise CallSyntaxError("form.blank_in_name", f"{data[start : end + 1].decode()!r} is not {name}(", start)


def _line_starts(text: str) -> tuple[list[int], bytes]:
    data = text.encode()
    if "\n" not in text and "\r" not in text:
        return [0], data
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return starts, data
