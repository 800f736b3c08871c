"""Suites of one's own in BFCL's form, written from tasks with references.

The form says less than a reference does, so some is decided here: a parameter the reference leaves out may be passed
only as its default, one passed as its default may be left out, and whole numbers for a float are written as floats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from funreason.bfcl.cases import ANSWERS, Case, load_cases
from funreason.bfcl.categories import BfclError, Language, Undecodable, category_of, is_other_test, write_lines
from funreason.bfcl.checker import check_calls, decode
from funreason.bfcl.expected import TYPES, WITH_ITEMS, is_matched_by_name
from funreason.types import Call, Task

_WORDS = {"object": "dict", "number": "float"}
_KNOWN = {"string", "integer", "float", "boolean", "array", "tuple", "dict", "any"}


def write_suite(tasks: Iterable[Task], directory: str | Path, prefix: str = "USER") -> list[Path]:
    """Write tasks with references as `<prefix>_<category>.json` and `possible_answer/`; return the files.

    A task without a reference, or with text for one, is irrelevance only when its reference is `[]`; without any it is
    refused. Raises BfclError naming the task, also when nothing was given or the files are there already.
    """
    by_category: dict[str, list[Task]] = {}
    for task in tasks:
        by_category.setdefault(category_of_task(task), []).append(task)
    if not by_category:
        raise BfclError("a suite needs at least one task with a reference, found none")
    return [
        path for category, group in by_category.items() for path in _write(Path(directory), prefix, category, group)
    ]


def unwritable(task: Task) -> str | None:
    """Why a task cannot stand in a suite; None when it can."""
    try:
        if not category_of_task(task).endswith("relevance"):
            _answer(task)
    except BfclError as error:
        return str(error)
    return None


def category_of_task(task: Task) -> str:
    """The category a task is scored in: the one it names if that can hold it, else what its answer makes it."""
    if task.reference is None:
        raise BfclError(f"task {task.id!r} has no reference answer; only tasks with one can be scored")
    calls, several = len(task.reference), len(task.tools) > 1
    if task.category in _holding(calls, several):
        return task.category
    if not task.reference:
        return "irrelevance"
    if calls == 1:
        return "multiple" if several else "simple_python"
    return "parallel_multiple" if several else "parallel"


def _holding(calls: int, several_tools: bool) -> set[str]:
    """The Python categories that a reference of so many calls can be checked in."""
    if calls == 0:
        return {"irrelevance", "live_irrelevance"}
    kinds = {"parallel", "parallel_multiple"} | ({"multiple"} if calls == 1 else set())
    named = kinds | {f"live_{kind}" for kind in kinds} | {"live_relevance"}
    return named | ({"simple_python", "live_simple"} if calls == 1 and not several_tools else set())


def _write(directory: Path, prefix: str, category: str, tasks: list[Task]) -> list[Path]:
    path = directory / f"{prefix}_{category}.json"
    if category_of(path.stem) != category or is_other_test(path.stem):
        raise BfclError(f"{path}: with this prefix the name means another category; choose another prefix")
    if path.exists():
        raise BfclError(f"{path}: there is a suite already; choose another folder or prefix")
    ids = [f"{category}_{number}" for number in range(len(tasks))]
    write_lines(path, [_question(case_id, task) for case_id, task in zip(ids, tasks, strict=True)])
    if category.endswith("relevance"):
        return [path]
    answers = [{"id": case_id, "ground_truth": _answer(task)} for case_id, task in zip(ids, tasks, strict=True)]
    write_lines(directory / ANSWERS / path.name, answers)
    return [path, directory / ANSWERS / path.name]


def _question(case_id: str, task: Task) -> dict[str, Any]:
    docs = [_doc(tool) for tool in task.tools]
    return {
        "id": case_id,
        "task_id": task.id,
        "question": [[{"role": "user", "content": task.query}]],
        "function": docs,
    }


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
    """A property in BFCL's words; what its tables cannot say becomes "any"."""
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
    docs = {tool["name"]: _doc(tool)["parameters"] for tool in task.tools}
    answer = []
    for call in task.reference or []:
        if call.name not in docs:
            raise BfclError(f"task {task.id!r}: its reference calls {call.name!r}, which is none of its tools")
        answer.append({call.name: dict(_possible(call, docs[call.name]))})
    return answer


def _possible(call: Call, parameters: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    properties = parameters["properties"]
    for name, value in call.arguments.items():
        schema = properties.get(name, {"type": "any"})
        may_omit = name not in parameters["required"] and "default" in schema and schema["default"] == value
        yield name, [_possible_value(value, schema), *([""] if may_omit else [])]
    for name, schema in properties.items():
        if name not in call.arguments and name not in parameters["required"] and schema.get("default") is not None:
            yield name, [_possible_value(schema["default"], schema), ""]


def _possible_value(value: Any, schema: dict[str, Any]) -> Any:
    if isinstance(value, dict) and schema["type"] == "dict":
        return {key: [item] for key, item in value.items()}
    if isinstance(value, list) and schema["type"] in {"array", "tuple"}:
        return [_possible_value(item, schema["items"]) for item in value]
    return float(value) if schema["type"] == "float" and type(value) is int else value


# What is wrong with a suite, before it is trusted to measure anything.
#
# A case that its own answer does not solve lowers every score alike and nobody sees it; a type that the official tables
# do not know stops the official command. Both are found here, in sentences.


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
