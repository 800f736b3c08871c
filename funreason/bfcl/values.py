"""Whether a value is among the possible ones: the comparison for each declared type.

The rules are the leaderboard's, oddities included: strings are compared without case, blanks and some punctuation,
only on the level where they stand; inside dictionaries and lists Python's own equality decides, so 1 == 1.0 == True;
"" among the possible values means "may be left out" and reads as an empty list where a list is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Matcher = Callable[[Any], str]
"""Takes a value and answers "" when it is right, else the official error type."""

_IGNORED = dict.fromkeys(map(ord, " ,./-_*^"))


def plain(text: str) -> str:
    """`text` as strings are compared: some punctuation and blanks dropped, lower case, one kind of quote."""
    return text.translate(_IGNORED).lower().replace("'", '"')


def among(possible: Sequence[Any]) -> Matcher:
    """Python's equality with any of `possible`."""
    return lambda value: "" if value in possible else "value_error:others"


def strings(possible: Sequence[Any]) -> Matcher:
    """Equality of plain strings."""
    exact = {item for item in possible if type(item) is str}
    plains = {plain(item) for item in exact}
    return lambda value: "" if value in exact or plain(value) in plains else "value_error:string"


def lists(possible: Sequence[Any]) -> Matcher:
    """Equality of whole lists in order, their strings made plain on the first level."""
    plains = [_plain_items(items) for items in possible]
    return lambda value: "" if _plain_items(value) in plains else "value_error:list/tuple"


def dicts(possible: Sequence[Any]) -> Matcher:
    """Fits one of the possible dictionaries; the error told is that of the last one tried."""
    entries = [entry for entry in possible if entry != ""]

    def match(value: Any) -> str:
        error = "dict_checker:unclear"
        for entry in entries:
            error = _dict_error(value, entry)
            if not error:
                break
        return error

    return match


def lists_of_dicts(possible: Sequence[Any]) -> Matcher:
    """Fits one of the possible lists, item by item in order."""

    def match(value: Any) -> str:
        error = "list_dict_checker:unclear"
        for items in possible:
            error = _items_error(value, items)
            if not error:
                break
        return error

    return match


def _items_error(value: list[Any], items: Sequence[Any]) -> str:
    if len(value) != len(items):
        return "value_error:list_dict_count"
    errors = (dicts([entry])(item) for entry, item in zip(items, value, strict=True))
    return next(filter(None, errors), "")


def _dict_error(value: dict[Any, Any], entry: dict[Any, Any]) -> str:
    # A key that is missing is told even where a wrong value was found before it.
    if any(key not in value and "" not in possible for key, possible in entry.items()):
        _key_error(value, entry)  # may still raise, as it officially does
        return "value_error:dict_key"
    return _key_error(value, entry)


def _key_error(value: dict[Any, Any], entry: dict[Any, Any]) -> str:
    for key, item in value.items():
        if key not in entry:
            return "value_error:dict_key"
        if _plain_item(item) not in _plain_items(entry[key]):
            return "value_error:dict_value"
    return ""


def _plain_item(item: Any) -> Any:
    return plain(item) if type(item) is str else item


def _plain_items(items: Sequence[Any]) -> list[Any]:
    # By position, so that what cannot be counted through is refused as it officially is.
    return [_plain_item(items[place]) for place in range(len(items))]
