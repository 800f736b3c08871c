"""One expected call, made ready for checking: its name, what it requires, what each parameter may be.

Parameters are prepared when first met, since the official code looks at a parameter's type only then: a doc with a type
it does not know is an error only for the output that uses it.
"""

from __future__ import annotations

from typing import Any

from funreason.bfcl.categories import Language
from funreason.bfcl.parameters import Parameter


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
