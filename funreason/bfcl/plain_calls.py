"""The common case, read by patterns: calls whose values are plain strings, numbers, constants or lists of them.

Only speed: whatever matches here means the same to Python's parser, at a third of the cost; all else is left to it.
So the patterns are narrow on purpose: no escapes, no exponents, no leading zeros, no names that are keywords
or beyond ASCII.
"""

from __future__ import annotations

import keyword
import re
from typing import Any

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
