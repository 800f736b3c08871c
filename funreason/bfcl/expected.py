"""What one expected call allows: its name, what it requires, which values each parameter may have.

The rules are the leaderboard's, oddities included, and the first failure is the verdict, so the order matters: read
Java or JavaScript text, widen int to float, check the type, then the value.

- Types are compared by identity (a bool is no int). Where the first possible value is not of the declared type, the
  parameter stands for a variable: any value of that value's type is let through to plain equality.
- Strings are compared without case, blanks and some punctuation, but only on the level of the value itself; inside
  dictionaries and lists Python's own equality decides, so 1 == 1.0 == True.
- "" among the possible values means "may be left out", and reads as an empty list where a list is asked for.
- Parameters are prepared when first met, since the official code looks at a parameter's type only then: a doc with a
  type it does not know is an error only for the output that uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import funreason.bfcl.java as java_values
import funreason.bfcl.javascript as javascript_values
from funreason.bfcl.categories import Language

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
_IGNORED = dict.fromkeys(map(ord, " ,./-_*^"))

Matcher = Callable[[Any], str]
"""Takes a value and returns "" when it is right, else the official error type."""


class FunctionRule:
    """What one call must satisfy to match one possible answer."""

    def __init__(self, doc: dict[str, Any], possible: dict[str, list[Any]], language: Language) -> None:
        self.name: str = doc["name"]
        self.required: list[str] = doc["parameters"]["required"]
        self.schemas: dict[str, Any] = doc["parameters"]["properties"]
        self.possible = possible
        self.language = language
        self.always_given = [name for name, values in possible.items() if "" not in values]
        self._ready: dict[str | None, ParameterRule] = {}

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
            parameter = self._ready.get(name)
            if parameter is None:
                if name is None or name not in self.schemas or name not in self.possible:
                    return "simple_function_checker:unexpected_param"
                parameter = ParameterRule(self.schemas[name], self.possible[name], self.language)
                self._ready[name] = parameter
            error = parameter.error(value)
            if error:
                return error
        for wanted in self.always_given:
            if wanted not in given:
                return "simple_function_checker:missing_optional"
        return ""


def rules_for(
    category: str, docs: list[dict[str, Any]], answer: list[dict[str, dict[str, Any]]], language: Language
) -> list[FunctionRule]:
    """One rule for each expected call. A simple case takes the first doc, whatever the answer calls its function."""
    if not is_matched_by_name(category):
        return [FunctionRule(docs[0], next(iter(answer[0].values())), language)]
    by_name = {doc["name"]: doc for doc in reversed(docs)}
    return [
        FunctionRule(by_name[name], possible, language) for call in answer for name, possible in [*call.items()][:1]
    ]


def is_matched_by_name(category: str) -> bool:
    """Whether the docs of a category are found by the answer's function name."""
    return "parallel" in category or "multiple" in category


class ParameterRule:
    """What one parameter may be. Raises KeyError for a type the official tables do not know."""

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
        """The comparison of values;

        Made when first needed, so that odd possible values fail only the output they meet.
        """
        if self.is_variable:
            return self.equals
        if self.type is dict:
            return dicts(self.possible)
        if self.type is list:
            return lists_of_dicts(self.possible) if self.inner is dict else lists(self.possible)
        return strings(self.possible) if self.type is str else among(self.possible)

    def error(self, value: Any) -> str:
        """The official error type for `value`, or "" when it is right."""
        if self.is_text:
            if type(value) is not str:
                return _TEXT_ERRORS[self.language]
            read = java_values.java_value if self.language == "java" else javascript_values.javascript_value
            value = read(value, self.kind, self.inner_kind)
        elif self.kind == "float" and type(value) is int:
            value = float(value)
        if self.kind == "tuple" and type(value) is tuple:
            value = list(value)
        if type(value) is not self.type:
            return self.equals(value) if self.first is type(value) else "type_error:simple"
        if self.inner is not None:
            # All items have the inner type, or that of the first item of one and the same possible list.
            given: Any = value
            for items in self.possible:
                if type(items) is not list:
                    break
                other = _first_type(items)
                if all(type(item) is self.inner or type(item) is other for item in given):
                    break
            else:
                return "type_error:nested" if self.first is type(value) else "type_error:simple"
        return self.match(value)


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
    """Fits one of the possible dictionaries; the error is that of the last one tried."""
    entries = [entry for entry in possible if entry != ""]

    def match(value: Any) -> str:
        error = "dict_checker:unclear"
        for entry in entries:
            lacks_key = any(key not in value and "" not in choices for key, choices in entry.items())
            error = ""
            for key, item in value.items():
                if key not in entry:
                    error = "value_error:dict_key"
                elif _plain_item(item) not in _plain_items(entry[key]):
                    error = "value_error:dict_value"
                if error:
                    break
            # Reported even where a wrong value was found first; the values above are compared all the same, because
            # comparing may raise, as it does officially.
            error = "value_error:dict_key" if lacks_key else error
            if not error:
                break
        return error

    return match


def lists_of_dicts(possible: Sequence[Any]) -> Matcher:
    """Fits one of the possible lists, item by item in order."""

    def match(value: Any) -> str:
        error = "list_dict_checker:unclear"
        for items in possible:
            error = "value_error:list_dict_count"
            if len(value) == len(items):
                errors = (dicts([entry])(item) for entry, item in zip(items, value, strict=True))
                error = next(filter(None, errors), "")
            if not error:
                break
        return error

    return match


def _plain_item(item: Any) -> Any:
    return plain(item) if type(item) is str else item


def _plain_items(items: Sequence[Any]) -> list[Any]:
    # By position, so that what cannot be indexed is refused as it is officially.
    return [_plain_item(items[place]) for place in range(len(items))]


def _first_type(possible: Sequence[Any]) -> type | None:
    return next((type(item) for item in possible if item != ""), None)
