"""One parameter of one possible answer, made ready for checking: its type, its possible values, its reading.

Order matters, for the first failure is the verdict: read Java or JavaScript text, widen int to float, check the type,
then the value. Types are compared by identity (a bool is no int). Where the first possible value is not of the declared
type, the parameter stands for a variable: any value of that value's type is let through to plain equality.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import funreason.bfcl.java as java_values
import funreason.bfcl.javascript as javascript_values
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


# One expected call, made ready for checking: its name, what it requires, what each parameter may be.
#
# Parameters are prepared when first met, since the official code looks at a parameter's type only then: a doc with a
# type it does not know is an error only for the output that uses it.


class FunctionRule:
    """What one call must satisfy to match one possible answer."""

    def __init__(self, doc: dict[str, Any], possible: dict[str, list[Any]], language: Language) -> None:
        self.name: str = doc["name"]
        self.required: list[str] = doc["parameters"]["required"]
        self.schemas: dict[str, Any] = doc["parameters"]["properties"]
        self.possible = possible
        self.language = language
        self.owed = [name for name, values in possible.items() if "" not in values]
        self._ready: dict[str | None, Parameter] = {}

    def error(self, call: dict[str, dict[str | None, Any]]) -> str:
        """The official error type for a decoded call, or "" when it matches."""
        given = call.get(self.name)
        if given is None:
            return "simple_function_checker:wrong_func_name"
        # Plain loops: these few lines run for every call scored, and generators would double their time.
        for wanted in self.required:
            if wanted not in given:
                return "simple_function_checker:missing_required"
        for name, value in given.items():
            parameter = self._ready.get(name) or self._prepared(name)
            if parameter is None:
                return "simple_function_checker:unexpected_param"
            error = parameter.error(value)
            if error:
                return error
        for wanted in self.owed:
            if wanted not in given:
                return "simple_function_checker:missing_optional"
        return ""

    def _prepared(self, name: str | None) -> Parameter | None:
        if name is None or name not in self.schemas or name not in self.possible:
            return None
        parameter = self._ready[name] = Parameter(self.schemas[name], self.possible[name], self.language)
        return parameter


def rules_for(
    category: str, docs: list[dict[str, Any]], answer: list[dict[str, dict[str, Any]]], language: Language
) -> list[FunctionRule]:
    """One rule for each expected call. A simple case takes the first doc, whatever the answer calls its function."""
    if not is_matched_by_name(category):
        return [FunctionRule(docs[0], _possible(answer[0]), language)]
    by_name = {doc["name"]: doc for doc in reversed(docs)}
    return [FunctionRule(by_name[next(iter(call))], _possible(call), language) for call in answer]


def is_matched_by_name(category: str) -> bool:
    """Whether the docs of a category are found by the answer's function name."""
    return "parallel" in category or "multiple" in category


def _possible(call: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return next(iter(call.values()))
