"""The strict reader: `[f(a=1), g(b='x')]` and nothing else.

This is stage 5's form (docs/method.md): a bracketed list of calls, keyword arguments, literals only, either quote.
A blank in or around a name is a failure (`[ f(a=1)]` calls a function named ` f`), and so is anything before, between
or after the calls but one comma. `[]` is the empty list: no call.

Nothing is evaluated. Numbers, strings, True, False, None, and lists, tuples and dicts of them are read; anything that
would need running (names, operators, calls, f-strings) is refused. Infinity and lone surrogates are refused too,
because neither JSON nor UTF-8 could carry them further, and so is an integer that Python reads in hexadecimal and will
not write in decimals.

Bounds are checked before any parser sees the text: CPython's own answer to hostile input (RecursionError, MemoryError)
comes late and costs memory, and a sample must be refused with a reason, never with a traceback.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Mapping
from typing import Any

from funreason.calls.marks import marks_at
from funreason.types import Call

MAX_CHARS = 100_000
MAX_DEPTH = 64
NO_WORDS: Mapping[str, Any] = {}

_STRING = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"", re.DOTALL)
_MOST_MARKS = 300
"""CPython normalises names, in the square of their marks: with so many in a row, 0.02 s for the longest text."""
_SURE_BITS = 14_000
"""Any integer of so many bits has fewer than 4,300 digits, CPython's limit for writing one."""
_WARNS = re.compile(r"\\|\d[.jJ]?(?:and|else|for|if|in|is|not|or)|0[xXbBoO]\w")
"""What CPython's parser may warn about; switching warnings off costs too much to do for every text."""


class CallSyntaxError(ValueError):
    """Text that is not a list of calls: `reason` is a dotted code, `position` the 0-based character where it shows."""

    def __init__(self, reason: str, message: str, position: int = 0) -> None:
        super().__init__(f"{message} (at character {position})")
        self.reason = reason
        self.message = message
        self.position = position


def parse_calls(text: str) -> list[Call]:
    """The calls in `text`, blanks around the whole of it ignored.

    Raises CallSyntaxError; its `reason` is one of `form.empty`, `form.not_a_list`, `form.too_long`, `form.too_deep`,
    `form.null_byte`, `form.too_many_marks`, `form.syntax`, `form.not_a_call`, `form.name`, `form.blank_in_name`,
    `form.between_calls`, `form.positional`, `form.star_argument`, `form.repeated_keyword`, `value.*`.
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
            # Legal and not our code: an unknown escape such as '\d', or a number that runs into a word, as in `1if x`.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(text, mode="eval").body
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        position = max((error.offset or 1) - 1, 0)
        raise CallSyntaxError("form.syntax", f"not Python syntax: {error.msg}", position) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise CallSyntaxError("form.syntax", f"cannot be parsed: {type(error).__name__}") from error


def check_bounds(text: str) -> None:
    """Raise CallSyntaxError for a text that is too long or too deep, or holds a null byte or rows of marks."""
    if len(text) > MAX_CHARS:
        raise CallSyntaxError("form.too_long", f"{len(text)} characters; at most {MAX_CHARS} are read", MAX_CHARS)
    if "\0" in text:
        raise CallSyntaxError("form.null_byte", "a null byte; remove it", text.index("\0"))
    if (place := marks_at(text, _MOST_MARKS)) >= 0:
        raise CallSyntaxError("form.too_many_marks", f"more than {_MOST_MARKS} combining marks in a row", place)
    # Counting is enough for nearly every text and about a hundred times cheaper than walking it.
    if text.count("(") + text.count("[") + text.count("{") > MAX_DEPTH:
        depth = 0
        for char in _STRING.sub("", text):
            if char in "([{":
                depth += 1
                if depth > MAX_DEPTH:
                    raise CallSyntaxError("form.too_deep", f"brackets nest deeper than {MAX_DEPTH}", 0)
            elif char in ")]}":
                depth -= 1


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


def read_literal(node: ast.expr, words: Mapping[str, Any] = NO_WORDS) -> Any:
    """The value of a literal node; `words` are bare names with a value (`true` in a lenient reader).

    Raises CallSyntaxError with code `value.not_literal`, `value.not_finite`, `value.surrogate`, `value.too_long` or
    `value.repeated_key`.
    """
    if isinstance(node, ast.Constant):
        return _constant(node)
    if isinstance(node, ast.UnaryOp):
        # `+5` is refused: BFCL's decoder reads any unary operator as minus, so it would be scored as -5.
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            value = _constant(node.operand)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return -value
    elif isinstance(node, ast.List):
        return [read_literal(item, words) for item in node.elts]
    elif isinstance(node, ast.Tuple):
        return tuple(read_literal(item, words) for item in node.elts)
    elif isinstance(node, ast.Dict):
        out: dict[Any, Any] = {}
        for key_node, value_node in zip(node.keys, node.values, strict=True):
            if key_node is None or isinstance(key_node, ast.List | ast.Dict | ast.Tuple):
                raise _not_literal(value_node if key_node is None else key_node)
            out[read_literal(key_node, words)] = read_literal(value_node, words)
        if len(out) != len(node.keys):
            raise CallSyntaxError("value.repeated_key", "a key is given twice in one dict", node.col_offset)
        return out
    elif isinstance(node, ast.Name) and node.id in words:
        return words[node.id]
    raise _not_literal(node)


def can_be_written(number: int) -> bool:
    """Whether `repr` gives the number's digits: it raises beyond CPython's limit (4,300 unless set otherwise)."""
    if number.bit_length() > _SURE_BITS:
        try:
            repr(number)
        except ValueError:
            return False
    return True


def _check_spelling(text: str, nodes: list[ast.expr]) -> None:
    # The tree forgets blanks, brackets and comments around names; the offsets (in UTF-8 bytes) still know.
    data, starts = text.encode(), [0]
    if "\n" in text or "\r" in text:
        for line in data.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
    end = 1
    for index, node in enumerate(nodes):
        assert isinstance(node, ast.Call)
        start = starts[node.lineno - 1] + node.col_offset
        gap = data[end:start]
        if index == 0 and gap:
            raise CallSyntaxError("form.blank_in_name", f"{gap.decode()!r} stands before the first name", 1)
        if index and gap.strip() != b",":
            raise CallSyntaxError("form.between_calls", f"{gap.decode()!r} stands between two calls", end)
        name_start = starts[node.func.lineno - 1] + node.func.col_offset
        name_end = starts[(node.func.end_lineno or 1) - 1] + (node.func.end_col_offset or 0)
        name, found = dotted_name(node.func), data[name_start : name_end + 1]
        if found != name.encode() + b"(":
            raise CallSyntaxError("form.blank_in_name", f"{found.decode()!r} is not {name}(", name_start)
        end = starts[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)
    if data[end:].strip() != b"]":
        raise CallSyntaxError("form.between_calls", f"{data[end:].decode()!r} stands after the last call", end)


def _constant(node: ast.Constant) -> Any:
    value = node.value
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise CallSyntaxError("value.surrogate", "a string holds half of a surrogate pair", node.col_offset)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise CallSyntaxError("value.not_finite", "a number too large for a float", node.col_offset)
    elif isinstance(value, int):
        if not can_be_written(value):
            raise CallSyntaxError("value.too_long", f"an integer of {value.bit_length()} bits", node.col_offset)
    elif value is not None:
        raise _not_literal(node)
    return value


def _not_literal(node: ast.expr) -> CallSyntaxError:
    kind = type(node.value).__name__ if isinstance(node, ast.Constant) else type(node).__name__
    return CallSyntaxError("value.not_literal", f"{kind} is not a plain literal", node.col_offset)
