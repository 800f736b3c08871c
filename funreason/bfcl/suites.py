"""Custom suites in BFCL's form: written from tasks with references, and checked before they are trusted.

The form says less than a reference does, so `write_suite` decides some things: a parameter the reference leaves out may
be passed only as its default, one passed as its default may be left out, and whole numbers for a float are written as
floats.

`validate_suite` finds what would spoil a measurement unseen: a case that its own answer does not solve lowers every
score alike, and a type that the official tables do not know stops the official command.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from funreason.bfcl.cases import ANSWERS, Case, load_cases
from funreason.bfcl.categories import BfclError, Language, Undecodable, category_of, is_other_test, write_lines
from funreason.bfcl.checker import check_calls, decode
from funreason.bfcl.expected import TYPES, WITH_ITEMS, is_matched_by_name
from funreason.types import Task

_WORDS = {"object": "dict", "number": "float"}
_KNOWN = {"string", "integer", "float", "boolean", "array", "tuple", "dict", "any"}


def write_suite(tasks: Iterable[Task], directory: str | Path, prefix: str = "USER") -> list[Path]:
    """Write tasks with references as `<prefix>_<category>.json` and `possible_answer/`; return the files.

    A task whose reference is `[]` becomes an irrelevance case. Raises BfclError naming the task when one has no
    reference or one that cannot be checked, when one comes after calls, which a question cannot hold, when there is
    no task, or when the files exist already.
    """
    by_category: dict[str, list[Task]] = {}
    for task in tasks:
        if task.after_calls:
            raise BfclError(f"task {task.id!r} comes after calls of the same dialogue; leave it out of the suite")
        by_category.setdefault(category_of_task(task), []).append(task)
    if not by_category:
        raise BfclError("a suite needs at least one task with a reference, found none")
    written = []
    for category, group in by_category.items():
        path = Path(directory) / f"{prefix}_{category}.json"
        if category_of(path.stem) != category or is_other_test(path.stem):
            raise BfclError(f"{path}: with this prefix the name means another category; choose another prefix")
        if path.exists():
            raise BfclError(f"{path}: there is a suite already; choose another folder or prefix")
        questions, answers = [], []
        for number, task in enumerate(group):
            case_id = f"{category}_{number}"
            question = [[{"role": message.role, "content": message.content} for message in task.messages]]
            docs = [_doc(tool) for tool in task.tools]
            questions.append({"id": case_id, "task_id": task.id, "question": question, "function": docs})
            if not category.endswith("relevance"):
                answers.append({"id": case_id, "ground_truth": _answer(task)})
        write_lines(path, questions)
        written.append(path)
        if answers:
            write_lines(path.parent / ANSWERS / path.name, answers)
            written.append(path.parent / ANSWERS / path.name)
    return written


def unwritable(task: Task) -> str | None:
    """Why a task cannot be part of a suite; None when it can."""
    if task.after_calls:
        return f"task {task.id!r} comes after calls of the same dialogue, which a single question cannot hold"
    try:
        if not category_of_task(task).endswith("relevance"):
            _answer(task)
    except BfclError as error:
        return str(error)
    return None


def category_of_task(task: Task) -> str:
    """The category a task is scored in:

    Its own if its reference can be checked there, else what the reference makes it.
    """
    if task.reference is None:
        raise BfclError(f"task {task.id!r} has no reference answer; only tasks with one can be scored")
    calls, several = len(task.reference), len(task.tools) > 1
    if calls == 0:
        return task.category if task.category in {"irrelevance", "live_irrelevance"} else "irrelevance"
    kinds = {"parallel", "parallel_multiple"} | ({"multiple"} if calls == 1 else set())
    fitting = kinds | {f"live_{kind}" for kind in kinds} | {"live_relevance"}
    if calls == 1 and not several:
        fitting |= {"simple_python", "live_simple"}
    if task.category in fitting:
        return task.category
    if calls == 1:
        return "multiple" if several else "simple_python"
    return "parallel_multiple" if several else "parallel"


def _doc(tool: dict[str, Any]) -> dict[str, Any]:
    parameters = tool.get("parameters") or {}
    properties = {name: _schema(schema) for name, schema in (parameters.get("properties") or {}).items()}
    required = [name for name in parameters.get("required") or [] if name in properties]
    return {
        "name": tool["name"],
        "description": tool.get("description", ""),
        "parameters": {"type": "dict", "properties": properties, "required": required},
    }


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A property with BFCL's type names; a type that its tables do not have becomes "any"."""
    word = schema.get("type")
    if isinstance(word, list):
        word = next((one for one in word if one != "null"), None)
    kind = _WORDS.get(str(word), str(word))
    made = {**schema, "type": kind if kind in _KNOWN else "any"}
    if made["type"] in {"array", "tuple"}:
        items = schema.get("items")
        made["items"] = _schema(items if isinstance(items, dict) else {})
    if isinstance(schema.get("properties"), dict):
        made["properties"] = {name: _schema(inner) for name, inner in schema["properties"].items()}
    return made


def _answer(task: Task) -> list[dict[str, dict[str, list[Any]]]]:
    """The reference with the possible values of each parameter; "" among them means that it may be left out."""
    docs = {tool["name"]: _doc(tool)["parameters"] for tool in task.tools}
    answer = []
    for call in task.reference or []:
        if call.name not in docs:
            raise BfclError(f"task {task.id!r}: its reference calls {call.name!r}, which is none of its tools")
        properties, required = docs[call.name]["properties"], docs[call.name]["required"]
        possible: dict[str, list[Any]] = {}
        for name, value in call.arguments.items():
            schema = properties.get(name, {"type": "any"})
            may_omit = name not in required and "default" in schema and schema["default"] == value
            possible[name] = [_possible_value(value, schema), *([""] if may_omit else [])]
        for name, schema in properties.items():
            if name not in call.arguments and name not in required and schema.get("default") is not None:
                possible[name] = [_possible_value(schema["default"], schema), ""]
        answer.append({call.name: possible})
    return answer


def _possible_value(value: Any, schema: dict[str, Any]) -> Any:
    if isinstance(value, dict) and schema["type"] == "dict":
        return {key: [item] for key, item in value.items()}
    if isinstance(value, list) and schema["type"] in {"array", "tuple"}:
        return [_possible_value(item, schema["items"]) for item in value]
    return float(value) if schema["type"] == "float" and type(value) is int else value


def validate_suite(directory: str | Path) -> list[str]:
    """What is wrong with a suite, in sentences; an empty list means that every case can be scored and solved.

    Beyond the form: types the official tables do not know, answers for functions or parameters that no doc has, and
    Python cases that their own first possible answer does not solve.
    """
    try:
        cases = load_cases(directory)
    except BfclError as error:
        return [str(error)]
    found = []
    for case in cases.values():
        problems = [problem for doc in case.functions for problem in _doc_problems(doc, case.language)]
        if case.answer is not None and not problems:
            problems = [problem for call in case.answer for problem in _answer_problems(call, case)]
            if not problems and case.language == "python":
                text = solution(case)
                try:
                    result = check_calls(case, decode(text) or [])
                    if not result.valid:
                        problems = [f"its own answer {text} does not pass: {result.error_type}"]
                except Undecodable as error:
                    problems = [f"its own answer {text} cannot be written as a call: {error}"]
        found += [f"{case.id}: {problem}" for problem in problems]
    return found


def solution(case: Case) -> str:
    """The calls of a Python case with the first possible values; a parameter is left out only where it must be."""
    docs = {doc["name"]: doc["parameters"] for doc in case.functions}
    calls = []
    for name, possible in (pair for call in case.answer or [] for pair in call.items()):
        parameters = docs[name] if is_matched_by_name(case.category) else case.functions[0]["parameters"]
        given = []
        for key, values in possible.items():
            if key not in parameters["properties"] or (key not in parameters["required"] and values == [""]):
                continue
            value = next((value for value in values if value != ""), "")
            # Inside dictionaries the notation lists the choices of each key: take the first.
            if isinstance(value, dict):
                value = _first_choices(value)
            elif isinstance(value, list):
                value = [_first_choices(item) if isinstance(item, dict) else item for item in value]
            given.append(f"{key}={value!r}")
        calls.append(f"{name}({', '.join(given)})")
    return f"[{', '.join(calls)}]"


def _first_choices(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: choices[0] for key, choices in entry.items() if choices and choices[0] != ""}


def _doc_problems(doc: dict[str, Any], language: Language) -> Iterator[str]:
    parameters = doc.get("parameters") or {}
    properties, required = parameters.get("properties"), parameters.get("required")
    if not isinstance(doc.get("name"), str) or not isinstance(properties, dict) or not isinstance(required, list):
        yield "a function needs name, parameters.properties and parameters.required"
        return
    yield from (f"{doc['name']}: {name!r} is required but not described" for name in required if name not in properties)
    known = TYPES[language]
    for name, schema in properties.items():
        kind = schema.get("type") if isinstance(schema, dict) else None
        if kind not in known:
            yield f"{doc['name']}.{name}: the type {kind!r} is not one of {', '.join(known)}"
        elif kind in WITH_ITEMS[language] and (schema.get("items") or {}).get("type") not in known:
            yield f"{doc['name']}.{name}: {kind} needs items with a type from {', '.join(known)}"


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
