"""One parameter of one possible answer, made ready for checking: its type, its possible values, its reading.

Order matters, for the first failure is the verdict: read Java or JavaScript text, widen int to float, check the type,
then the value. Types are compared by identity (a bool is no int). Where the first possible value is not of the declared
type, the parameter stands for a variable: any value of that value's type is let through to plain equality.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from funreason.bfcl import java_values, javascript_values
from funreason.bfcl.categories import Language
from funreason.bfcl.values import Matcher, among, dicts, lists, lists_of_dicts, strings

PYTHON_TYPES: dict[str, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "any": str,
}
TYPES: dict[Language, dict[str, type]] = {
    "python": PYTHON_TYPES,
    "java": java_values.TYPES,
    "javascript": javascript_values.TYPES,
}
WITH_ITEMS = {"python": {"array", "tuple"}, "java": {"Array", "ArrayList"}, "javascript": {"array"}}
_TEXT_ERRORS = {"java": "type_error:java", "javascript": "type_error:js"}


class Parameter:
    """What may stand for one parameter. Raises KeyError for a type the official tables do not know."""

    def __init__(self, schema: dict[str, Any], possible: list[Any], language: Language) -> None:
        self.language = language
        self.is_text = language != "python"
        self.kind: str = schema["type"]
        self.type = TYPES[language][self.kind]
        self.inner_kind: str | None = schema["items"]["type"] if self.kind in WITH_ITEMS[language] else None
        self.inner = None if self.inner_kind is None else TYPES[language][self.inner_kind]
        self.possible = possible
        self.first = _first_type(possible)
        self.is_variable = self.first is not None and self.first is not self.type
        self.equals = among(possible)

    @cached_property
    def match(self) -> Matcher:
        """The comparison of values; made when first needed, so that odd possible values harm only who meets them."""
        return self.equals if self.is_variable else _matcher(self.type, self.inner, self.possible)

    def error(self, value: Any) -> str:
        """The official error type for `value`, or "" when it is right."""
        if self.is_text:
            if type(value) is not str:
                return _TEXT_ERRORS[self.language]
            value = self._read(value)
        if type(value) is not self.type:
            value = self._widened(value)
        if type(value) is not self.type:
            return self.equals(value) if self.first is type(value) else "type_error:simple"
        if self.inner is not None and not self._items_fit(value):
            return "type_error:nested" if self.first is type(value) else "type_error:simple"
        return self.match(value)

    def _widened(self, value: Any) -> Any:
        if self.kind == "float" and type(value) is int and not self.is_text:
            return float(value)
        return list(value) if self.kind == "tuple" and type(value) is tuple else value

    def _read(self, text: str) -> Any:
        if self.language == "java":
            return java_values.java_value(text, self.kind, self.inner_kind)
        return javascript_values.javascript_value(text, self.kind, self.inner_kind)

    def _items_fit(self, value: Any) -> bool:
        """Whether all items have the inner type, or that of the first item of one and the same possible list."""
        return any(type(items) is not list or _all_of(value, self.inner, _first_type(items)) for items in self.possible)


def _all_of(value: Any, inner: type | None, other: type | None) -> bool:
    return all(type(item) is inner or type(item) is other for item in value)


def _first_type(possible: Sequence[Any]) -> type | None:
    return next((type(item) for item in possible if item != ""), None)


def _matcher(kind: type, inner: type | None, possible: list[Any]) -> Matcher:
    if kind is dict:
        return dicts(possible)
    if kind is list:
        return lists_of_dicts(possible) if inner is dict else lists(possible)
    return strings(possible) if kind is str else among(possible)
