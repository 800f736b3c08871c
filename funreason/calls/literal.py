"""How much text a reader of model output accepts, and the one error all of them raise.

The bounds are checked before any parser sees the text: CPython's own answer to hostile input (RecursionError,
MemoryError) comes late and costs memory, and a sample must be refused with a reason, never with a traceback.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

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


# Reads one syntax-tree node as a plain literal: the only way a value of a model's call becomes a Python object.
#
# Nothing is evaluated. Numbers, strings, True, False, None, and lists, tuples and dicts of them are read; anything that
# would need running (names, operators, calls, f-strings) is refused. Infinity and lone surrogates are refused too,
# because neither JSON nor UTF-8 could carry them further, and so is an integer that Python reads in hexadecimal and
# will not write in decimals.

NO_WORDS: Mapping[str, Any] = {}
_SURE_BITS = 14_000
"""Any integer of so many bits has fewer than 4,300 digits, CPython's limit for writing one."""


def read_literal(node: ast.expr, words: Mapping[str, Any] = NO_WORDS) -> Any:
    """The value of a literal node; `words` are bare names with a value (`true` in a lenient reader).

    Raises CallSyntaxError with code `value.not_literal`, `value.not_finite`, `value.surrogate`, `value.too_long` or
    `value.repeated_key`.
    """
    if isinstance(node, ast.Constant):
        return _constant(node)
    if isinstance(node, ast.UnaryOp):
        return _negative(node)
    if isinstance(node, ast.List):
        return [read_literal(item, words) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(read_literal(item, words) for item in node.elts)
    if isinstance(node, ast.Dict):
        return _dict(node, words)
    if isinstance(node, ast.Name) and node.id in words:
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


def _negative(node: ast.UnaryOp) -> Any:
    # `+5` is refused: BFCL's decoder reads any unary operator as minus, so it would be scored as -5.
    operand = node.operand
    if isinstance(node.op, ast.USub) and isinstance(operand, ast.Constant):
        value = _constant(operand)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return -value
    raise _not_literal(node)


def _dict(node: ast.Dict, words: Mapping[str, Any]) -> dict[Any, Any]:
    out: dict[Any, Any] = {}
    for key_node, value_node in zip(node.keys, node.values, strict=True):
        if key_node is None or isinstance(key_node, ast.List | ast.Dict | ast.Tuple):
            raise _not_literal(value_node if key_node is None else key_node)
        out[read_literal(key_node, words)] = read_literal(value_node, words)
    if len(out) != len(node.keys):
        raise CallSyntaxError("value.repeated_key", "a key stands twice in one dict", node.col_offset)
    return out


def _not_literal(node: ast.expr) -> CallSyntaxError:
    kind = type(node.value).__name__ if isinstance(node, ast.Constant) else type(node).__name__
    return CallSyntaxError("value.not_literal", f"{kind} is not a plain literal", node.col_offset)
