"""Checks one call against its tool: unknown and missing parameters, types, enums.

Written by hand rather than compiled: all problems of a call are wanted with their own codes, a whole call costs
about 2 µs, and nothing has to be hashed to find a cached validator. The rules of type are those of BFCL:
an int is fine where a number is wanted, a bool never is, and digits in a string are a string.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from funreason.types import Call

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (type(None),),
}


class SchemaProblem(NamedTuple):
    """One thing wrong with a call: a dotted code and what was seen."""

    code: str
    evidence: str


def tool_named(tools: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """The tool called `name`, or None."""
    for tool in tools:
        if tool["name"] == name:
            return tool
    return None


def check_call(call: Call, tool: dict[str, Any]) -> list[SchemaProblem]:
    """Every problem of `call` against its normalised tool, in the order unknown, missing, then values.

    Codes: `schema.unknown_parameter`, `schema.missing_required`, `schema.type`, `schema.enum`.
    """
    parameters = tool["parameters"]
    properties, arguments = parameters["properties"], call.arguments
    problems = [
        SchemaProblem("schema.unknown_parameter", f"{call.name} has no parameter {name}")
        for name in arguments
        if name not in properties
    ]
    problems += [
        SchemaProblem("schema.missing_required", f"{call.name} needs {name}")
        for name in parameters["required"]
        if name not in arguments
    ]
    for name, value in arguments.items():
        if name in properties:
            problem = check_value(value, properties[name], f"{call.name}.{name}", name in parameters["required"])
            if problem:
                problems.append(problem)
    return problems


def check_value(value: Any, schema: dict[str, Any], where: str, required: bool = True) -> SchemaProblem | None:
    """The first problem of one value, or None. None as a value passes for a parameter that may be left out."""
    if value is None and not required:
        return None
    wanted = schema.get("type")
    if wanted is not None and not _is_of_type(value, wanted):
        words = wanted if isinstance(wanted, str) else " or ".join(wanted)
        return SchemaProblem("schema.type", f"{where} wants {words}, got {_short(value)}")
    if "anyOf" in schema and not any(check_value(value, option, where) is None for option in schema["anyOf"]):
        return SchemaProblem("schema.type", f"{where} fits none of its types, got {_short(value)}")
    is_list, enum = isinstance(value, list | tuple), schema.get("enum")
    if enum:
        # An enum on a list is about its items: no data set enumerates whole lists.
        for item in value if is_list and not any(isinstance(allowed, list) for allowed in enum) else [value]:
            if not any(item == allowed and isinstance(item, bool) == isinstance(allowed, bool) for allowed in enum):
                return SchemaProblem("schema.enum", f"{where} is {_short(item)}, not one of {_short(enum)}")
    if is_list and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            problem = check_value(item, schema["items"], f"{where}[{index}]")
            if problem:
                return problem
    if isinstance(value, dict) and isinstance(schema.get("properties"), dict):
        needed = schema.get("required") or []
        missing = next((name for name in needed if name not in value), None)
        if missing is not None:
            return SchemaProblem("schema.missing_required", f"{where} needs {missing}")
        for name, item in value.items():
            inner = schema["properties"].get(name)
            problem = check_value(item, inner, f"{where}.{name}", name in needed) if inner else None
            if problem:
                return problem
    return None


def _is_of_type(value: Any, wanted: str | list[str]) -> bool:
    if isinstance(wanted, list):
        return any(_is_of_type(value, word) for word in wanted)
    kinds = _PYTHON_TYPES.get(wanted)
    if kinds is None:
        return True
    return isinstance(value, kinds) and (not isinstance(value, bool) or wanted == "boolean")


def _short(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
