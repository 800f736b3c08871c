"""Suites of one's own in BFCL's form, written from tasks with references.

The form says less than a reference does, so some is decided here: a parameter the reference leaves out may be passed
only as its default, one passed as its default may be left out, and whole numbers for a float are written as floats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from funreason.bfcl.cases import ANSWERS
from funreason.bfcl.categories import category_of, is_other_test
from funreason.bfcl.errors import BfclError
from funreason.bfcl.lines import write_lines
from funreason.record.types import Call, Task

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
