"""What is wrong with a suite, before it is trusted to measure anything.

A case that its own answer does not solve lowers every score alike and nobody sees it; a type that the official tables
do not know stops the official command. Both are found here, in sentences.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from funreason.bfcl.cases import Case, load_cases
from funreason.bfcl.categories import Language
from funreason.bfcl.checker import check_calls
from funreason.bfcl.decode import decode
from funreason.bfcl.errors import BfclError, Undecodable
from funreason.bfcl.functions import is_matched_by_name
from funreason.bfcl.parameters import TYPES, WITH_ITEMS


def validate_suite(directory: str | Path) -> list[str]:
    """What is wrong with a suite, in sentences; an empty list means that every case can be scored and solved.

    Beyond the form: types the official tables do not know, answers for functions or parameters that no doc has, and
    Python cases that their own first possible answer does not solve.
    """
    try:
        cases = load_cases(directory)
    except BfclError as error:
        return [str(error)]
    return [f"{case.id}: {problem}" for case in cases.values() for problem in _problems(case)]


def solution(case: Case) -> str:
    """The calls of a Python case by its first possible values; one is left out only where it must be."""
    docs = {doc["name"]: doc["parameters"] for doc in case.functions}
    calls = []
    for name, possible in (pair for call in case.answer or [] for pair in call.items()):
        given = _given(possible, docs[name] if is_matched_by_name(case.category) else case.functions[0]["parameters"])
        calls.append(f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})")
    return f"[{', '.join(calls)}]"


def _given(possible: dict[str, list[Any]], parameters: dict[str, Any]) -> dict[str, Any]:
    given = {}
    for key, values in possible.items():
        if key in parameters["properties"] and (key in parameters["required"] or values != [""]):
            given[key] = _passed(values)
    return given


def _passed(values: list[Any]) -> Any:
    """The first possible value as it would be passed: the notation's inner lists of choices resolved."""
    value = next((value for value in values if value != ""), "")
    if isinstance(value, dict):
        return _chosen(value)
    if isinstance(value, list):
        return [_chosen(item) if isinstance(item, dict) else item for item in value]
    return value


def _chosen(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: choices[0] for key, choices in entry.items() if choices and choices[0] != ""}


def _problems(case: Case) -> list[str]:
    found = [problem for doc in case.functions for problem in _doc_problems(doc, case.language)]
    if case.answer is None or found:
        return found
    found = [problem for call in case.answer for problem in _answer_problems(call, case)]
    return found or _unsolved(case)


def _doc_problems(doc: dict[str, Any], language: Language) -> Iterator[str]:
    parameters = doc.get("parameters") or {}
    properties, required = parameters.get("properties"), parameters.get("required")
    if not isinstance(doc.get("name"), str) or not isinstance(properties, dict) or not isinstance(required, list):
        yield "a function needs name, parameters.properties and parameters.required"
        return
    yield from (f"{doc['name']}: {name!r} is required but not described" for name in required if name not in properties)
    for name, schema in properties.items():
        yield from (f"{doc['name']}.{name}: {problem}" for problem in _schema_problems(schema, language))


def _schema_problems(schema: Any, language: Language) -> Iterator[str]:
    known, kind = TYPES[language], schema.get("type") if isinstance(schema, dict) else None
    if kind not in known:
        yield f"the type {kind!r} is not one of {', '.join(known)}"
    elif kind in WITH_ITEMS[language] and (schema.get("items") or {}).get("type") not in known:
        yield f"{kind} needs items with a type from {', '.join(known)}"


def _answer_problems(call: dict[str, dict[str, Any]], case: Case) -> Iterator[str]:
    name, possible = next(iter(call.items()))
    docs = {doc["name"]: doc for doc in case.functions}
    if name not in docs:
        if is_matched_by_name(case.category):
            yield f"the answer calls {name!r}, which no function doc describes"
        return
    for key, values in possible.items():
        if not isinstance(values, list) or not values:
            yield f"{name}.{key}: expected a list with at least one possible value"
        elif key not in docs[name]["parameters"]["properties"] and "" not in values:
            yield f"{name}.{key}: the answer asks for a parameter that the doc does not have"


def _unsolved(case: Case) -> list[str]:
    if case.language != "python":
        return []
    text = solution(case)
    try:
        result = check_calls(case, decode(text) or [])
    except Undecodable as error:
        return [f"its own answer {text} cannot be written as a call: {error}"]
    return [] if result.valid else [f"its own answer {text} does not pass: {result.error_type}"]
