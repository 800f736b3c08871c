"""Python text to calls, with the official decoder's habits.

What cannot be guessed: positional arguments vanish, the last of two equal keywords wins, a bare name is a string,
ANY unary operator negates (`+5` is -5, `not True` is -1), a call without keywords is its own source text.
Nothing is ever evaluated; arithmetic goes to `arithmetic`. The grammar is the running Python's, as it is officially.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from typing import Any

from funreason.bfcl.arithmetic import evaluate
from funreason.bfcl.errors import Undecodable
from funreason.bfcl.plain_calls import is_prose, read_plain

Decoded = dict[str, dict[Any, Any]]
"""One call: its name, and its arguments by keyword; the key None stands for what had no keyword."""

PARSE_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
_JOINED = re.compile(r"[0-9a-fA-F.jJ](?:and|else|for|if|in|is|not|or)\b")


def decode_python(text: str) -> list[Decoded]:
    """The calls in bracketed `text`. Raises Undecodable where the official decoder raises."""
    plain = read_plain(text)
    if plain is not None:
        return plain
    if is_prose(text):
        raise Undecodable("words side by side are no Python")
    body = _parsed(text)
    if isinstance(body, ast.Call):
        return [_call(body)]
    if not isinstance(body, ast.List | ast.Tuple | ast.Set):
        raise Undecodable(f"expected a list of calls, found {type(body).__name__}")
    return [_call(item) for item in body.elts]


def _parsed(text: str) -> ast.expr:
    try:
        return _parsed_quietly(text) if "\\" in text else ast.parse(text, mode="eval").body
    except SyntaxError as error:
        # A number that runs into a keyword only warns, too.
        if _JOINED.search(text) is not None:
            return _parsed_quietly(text)
        raise Undecodable(f"not Python: {error}") from error
    except PARSE_ERRORS as error:
        raise Undecodable(f"not Python: {error}") from error


def _parsed_quietly(text: str) -> ast.expr:
    # Doubtful escapes such as '\d' only warn; where warnings are errors they must not change a verdict.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text, mode="eval").body
        except PARSE_ERRORS as error:
            raise Undecodable(f"not Python: {error}") from error


def _call(node: ast.expr) -> Decoded:
    if not isinstance(node, ast.Call):
        raise Undecodable(f"expected a call, found {type(node).__name__}")
    return {_name(node.func): {keyword.arg: _value(keyword.value) for keyword in node.keywords}}


def _name(node: ast.expr) -> str:
    """The dotted name; a first part that is no plain name is left out, so `a[0].f` is `f`."""
    if isinstance(node, ast.Name):
        return node.id
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
    return ".".join(reversed(parts))


def _value(node: ast.expr) -> Any:
    read = _READERS.get(type(node))
    if read is None:
        raise Undecodable(f"{type(node).__name__} is no argument value")
    return read(node)


def _constant(node: ast.Constant) -> Any:
    return "..." if node.value is ... else node.value


def _negated(node: ast.UnaryOp) -> Any:
    """Minus the operand, whatever the operator was."""
    value = node.operand.value if isinstance(node.operand, ast.Constant) else None
    if isinstance(value, int | float | complex):
        return -value
    raise Undecodable("a sign stands only before a number")


def _dict(node: ast.Dict) -> dict[Any, Any]:
    made = {}
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            raise Undecodable("** inside a dictionary")
        name = _value(key)
        item = _value(value)
        try:
            made[name] = item
        except TypeError as error:
            raise Undecodable(f"not a dictionary key: {error}") from error
    return made


def _source(node: ast.expr) -> str:
    try:
        return ast.unparse(node)
    except PARSE_ERRORS as error:
        raise Undecodable(f"cannot be written out: {error}") from error


def _inner_call(node: ast.Call) -> Any:
    return _call(node) if node.keywords else _source(node)


_READERS: dict[type[ast.expr], Callable[[Any], Any]] = {
    ast.Constant: _constant,
    ast.UnaryOp: _negated,
    ast.List: lambda node: [_value(item) for item in node.elts],
    ast.Tuple: lambda node: tuple(_value(item) for item in node.elts),
    ast.Dict: _dict,
    ast.BinOp: evaluate,
    ast.Name: lambda node: node.id,
    ast.Call: _inner_call,
    ast.Subscript: lambda node: f"{_source(node.value)}[{_source(node.slice)}]",
}
