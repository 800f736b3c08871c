"""Python text to calls, with the official decoder's habits.

Positional arguments vanish, the last of two equal keywords wins, a bare name is a string, ANY unary operator negates
(`+5` is -5, `not True` is -1), and a call without keywords is its own source text. Nothing is ever evaluated;
arithmetic goes to `arithmetic`. The grammar is the running Python's, as it is officially.

`read_plain` reads the common case by patterns: calls whose values are plain strings, numbers, constants or lists of
them. It exists for speed alone: whatever matches means the same to Python's parser, at a third of the cost, and all
else is left to the parser. So the patterns are narrow on purpose: no escapes, no exponents, no leading zeros, no names
that are keywords or beyond ASCII.
"""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from typing import Any

from funreason.bfcl.arithmetic import evaluate
from funreason.bfcl.categories import Undecodable

Decoded = dict[str, dict[Any, Any]]
"""One call: its name, and its arguments by keyword; the key None stands for what had no keyword."""

PARSE_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
_JOINED = re.compile(r"[0-9a-fA-F.jJ](?:and|else|for|if|in|is|not|or)\b")
"""A number that runs into a keyword."""

_NAME = r"[A-Za-z_]\w*"
_TEXT = r"""'[^'\\\n\r\0\ud800-\udfff]*'|"[^"\\\n\r\0\ud800-\udfff]*\""""
_ITEM = rf"(?:{_TEXT}|-?(?:0|[1-9]\d{{0,17}})(?:\.\d{{1,17}})?|True|False|None)"
_VALUE = rf"(?:{_ITEM}|\[(?:{_ITEM}(?:, ?{_ITEM})*)?\])"
_ARGUMENTS = rf"(?:{_NAME}={_VALUE}(?:, ?{_NAME}={_VALUE})*)?"
_CALL = rf"{_NAME}(?:\.{_NAME})*\({_ARGUMENTS}\)"
_CALLS = re.compile(rf"\[{_CALL}(?:, ?{_CALL})*\]", re.ASCII)
_PARTS = re.compile(rf"({_NAME}(?:\.{_NAME})*)(?:\(|=({_VALUE}))", re.ASCII)
_ITEMS = re.compile(_ITEM, re.ASCII)

_TWO_WORDS = re.compile(rf"\[ *({_NAME}) +({_NAME})\b", re.ASCII)

_CONSTANTS = {"True": True, "False": False, "None": None}
_KEYWORDS = frozenset(keyword.kwlist) | {"__debug__"}


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


def is_prose(text: str) -> bool:
    """Whether bracketed `text` starts with two words side by side, which no expression can: not even worth parsing."""
    words = _TWO_WORDS.match(text)
    return words is not None and words[1] not in _KEYWORDS and words[2] not in _KEYWORDS


def read_plain(text: str) -> list[Decoded] | None:
    """The calls in bracketed `text`, or None when it is not plain enough to be read here."""
    if _CALLS.fullmatch(text) is None:
        return None
    calls: list[Decoded] = []
    given: dict[Any, Any] = {}
    for name, value in _PARTS.findall(text):
        if name in _KEYWORDS or ("." in name and not _KEYWORDS.isdisjoint(name.split("."))):
            return None
        if value:
            given[name] = [_item(item) for item in _ITEMS.findall(value)] if value[0] == "[" else _item(value)
        else:
            given = {}
            calls.append({name: given})
    return calls


def _item(value: str) -> Any:
    if value[0] in "'\"":
        return value[1:-1]
    if value in _CONSTANTS:
        return _CONSTANTS[value]
    return float(value) if "." in value else int(value)


def _parsed(text: str) -> ast.expr:
    try:
        if "\\" not in text:
            try:
                return ast.parse(text, mode="eval").body
            except SyntaxError:
                if _JOINED.search(text) is None:
                    raise
        # Doubtful escapes such as '\d' and numbers that run into a keyword only warn; where warnings are errors, they
        # must not change a verdict.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, mode="eval").body
    except PARSE_ERRORS as error:
        raise Undecodable(f"not Python: {error}") from error


def _call(node: ast.expr) -> Decoded:
    if not isinstance(node, ast.Call):
        raise Undecodable(f"expected a call, found {type(node).__name__}")
    # The dotted name; a first part that is no plain name is left out, so `a[0].f` is `f`.
    parts: list[str] = []
    called = node.func
    while isinstance(called, ast.Attribute):
        parts.append(called.attr)
        called = called.value
    if isinstance(called, ast.Name):
        parts.append(called.id)
    return {".".join(reversed(parts)): {keyword.arg: _value(keyword.value) for keyword in node.keywords}}


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant():
            return "..." if node.value is ... else node.value
        case ast.UnaryOp():  # minus the operand, whatever the operator was
            value = node.operand.value if isinstance(node.operand, ast.Constant) else None
            if isinstance(value, int | float | complex):
                return -value
            raise Undecodable("a sign stands only before a number")
        case ast.List():
            return [_value(item) for item in node.elts]
        case ast.Tuple():
            return tuple(_value(item) for item in node.elts)
        case ast.Dict():
            made = {}
            for key, item_node in zip(node.keys, node.values, strict=True):
                if key is None:
                    raise Undecodable("** inside a dictionary")
                name, item = _value(key), _value(item_node)
                try:
                    made[name] = item
                except TypeError as error:
                    raise Undecodable(f"not a dictionary key: {error}") from error
            return made
        case ast.BinOp():
            return evaluate(node)
        case ast.Name():
            return node.id
        case ast.Call():
            return _call(node) if node.keywords else _source(node)
        case ast.Subscript():
            return f"{_source(node.value)}[{_source(node.slice)}]"
    raise Undecodable(f"{type(node).__name__} is no argument value")


def _source(node: ast.expr) -> str:
    try:
        return ast.unparse(node)
    except PARSE_ERRORS as error:
        raise Undecodable(f"cannot be written out: {error}") from error
