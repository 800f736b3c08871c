"""The common case, read by patterns: calls whose values are plain strings, numbers, constants or lists of them.

Only speed: whatever matches here means the same to Python's parser, at a third of the cost; all else is left to it.
So the patterns are narrow on purpose: no escapes, no exponents, no leading zeros, no names that are keywords
or beyond ASCII.
"""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from collections.abc import Callable
from typing import Any

from funreason.bfcl.arithmetic import evaluate
from funreason.bfcl.categories import Undecodable

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


def is_prose(text: str) -> bool:
    """Whether bracketed `text` starts with two words side by side, which no expression can: not even worth parsing."""
    words = _TWO_WORDS.match(text)
    return words is not None and words[1] not in _KEYWORDS and words[2] not in _KEYWORDS


def read_plain(text: str) -> list[dict[str, dict[Any, Any]]] | None:
    """The calls in bracketed `text`, or None when it is not plain enough to be read here."""
    if _CALLS.fullmatch(text) is None:
        return None
    calls: list[dict[str, dict[Any, Any]]] = []
    given: dict[Any, Any] = {}
    for name, value in _PARTS.findall(text):
        if name in _KEYWORDS or ("." in name and not _KEYWORDS.isdisjoint(name.split("."))):
            return None
        if value:
            given[name] = _list(value) if value[0] == "[" else _item(value)
        else:
            given = {}
            calls.append({name: given})
    return calls


def _list(value: str) -> list[Any]:
    return [_item(item) for item in _ITEMS.findall(value)]


def _item(value: str) -> Any:
    if value[0] in "'\"":
        return value[1:-1]
    if value in _CONSTANTS:
        return _CONSTANTS[value]
    return float(value) if "." in value else int(value)


# Python text to calls, with the official decoder's habits.
#
# What cannot be guessed: positional arguments vanish, the last of two equal keywords wins, a bare name is a string,
# ANY unary operator negates (`+5` is -5, `not True` is -1), a call without keywords is its own source text.
# Nothing is ever evaluated; arithmetic goes to `arithmetic`. The grammar is the running Python's, as it is officially.

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
