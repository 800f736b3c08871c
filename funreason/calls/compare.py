"""Whether calls say the same as a reference, under BFCL's rules for values.

Source: the value rules of BFCL's AST checker (https://github.com/ShishirPatil/gorilla, berkeley-function-call-
leaderboard), with each reference value as its one alternative. Strings are compared without case and without
`space , . / - _ * ^`; an int stands for a float at the top level; several calls may come in any order.
One addition: a parameter that the reference leaves out may be passed with the schema's default, and the reverse.
This decides what is worth training on; the gate's score comes from the `bfcl` package, not from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from funreason.calls.schema import (
    SchemaProblem,
    first_problems,
    parameter_schema,
    tool_named,
    tools_by_name,
    wants_number,
)
from funreason.types import Call, Task

_DROPPED = str.maketrans("'", '"', " ,./-_*^")
_NO_DEFAULT = object()
MOST_COMPARED = 100_000
"""300 calls may come in any order."""


def call_problem(calls: Sequence[Call], task: Task) -> SchemaProblem | None:
    """The first problem of `calls` against the task's tools and, where known, its reference; None without calls."""
    offered = tools_by_name(task.tools)
    known = list(takewhile(lambda call: call.name in offered, calls))
    problems = first_problems(known, offered)
    if problems:
        return problems[0]
    if len(known) < len(calls):
        return SchemaProblem("schema.unknown_function", f"{calls[len(known)].name} is not offered")
    if calls and task.reference is not None:
        return same_calls(calls, task.reference, task.tools)
    return None


def without_defaults(call: Call, tool: dict[str, Any] | None) -> Call:
    """The call without the optional arguments that its tool's schema would fill in with the same value anyway.

    A text does not equal a default that is not a text: `"10"` stays where the default is 10.
    """
    arguments, required = {}, tool["parameters"]["required"] if tool else ()
    for name, value in call.arguments.items():
        schema = parameter_schema(tool, name)
        is_text = isinstance(value, str) and not isinstance(schema.get("default"), str)
        if is_text or name in required or not _is_default(value, schema):
            arguments[name] = value
    return call if len(arguments) == len(call.arguments) else Call(call.name, arguments)


def same_calls(calls: Sequence[Call], reference: Sequence[Call], tools: list[dict[str, Any]]) -> SchemaProblem | None:
    """None when `calls` mean what `reference` means, else the first difference.

    Codes: `reference.count`, `reference.name`, `reference.missing`, `reference.unexpected`, `reference.value`,
    `reference.no_match` when one of several reference calls is matched by none, and `reference.too_many` after
    `MOST_COMPARED` comparisons.
    """
    if len(calls) != len(reference):
        return SchemaProblem("reference.count", f"{len(calls)} calls, the reference has {len(reference)}")
    if len(calls) == 1:
        return same_call(calls[0], reference[0], tool_named(tools, reference[0].name))
    left, offered, compared = list(calls), tools_by_name(tools), 0
    for wanted in reference:
        tool = offered.get(wanted.name)
        match = next((index for index, call in enumerate(left) if same_call(call, wanted, tool) is None), None)
        compared += len(left) if match is None else match
        if compared > MOST_COMPARED:
            return SchemaProblem("reference.too_many", f"{len(calls)} calls in another order than the reference's")
        if match is not None:
            del left[match]
            continue
        named = [call for call in left if call.name == wanted.name]
        if len(named) == 1:
            return same_call(named[0], wanted, tool)
        return SchemaProblem("reference.no_match", f"no call does what the reference's {wanted.name} does")
    return None


def same_call(call: Call, wanted: Call, tool: dict[str, Any] | None) -> SchemaProblem | None:
    """None when one call means what the wanted call means, else the first difference."""
    if call.name != wanted.name:
        return SchemaProblem("reference.name", f"{call.name}, the reference has {wanted.name}")
    for name, value in call.arguments.items():
        schema = parameter_schema(tool, name)
        if name not in wanted.arguments:
            if not _is_default(value, schema):
                return SchemaProblem(
                    "reference.unexpected", f"{wanted.name} is given {name}={value!r:.80}, the reference is not"
                )
        elif not same_value(value, wanted.arguments[name], wants_number(schema)):
            return SchemaProblem(
                "reference.value",
                f"{wanted.name}.{name}={value!r:.80}, the reference has {wanted.arguments[name]!r:.80}",
            )
    for name, value in wanted.arguments.items():
        if name not in call.arguments and not _is_default(value, parameter_schema(tool, name)):
            return SchemaProblem("reference.missing", f"{call.name} lacks {name}={value!r:.80}")
    return None


def same_value(value: Any, wanted: Any, number: bool = False) -> bool:
    """Equality of two values under BFCL's rules; `number` says that the schema wants a float."""
    if isinstance(value, str) and isinstance(wanted, str):
        return _plain(value) == _plain(wanted)
    if isinstance(value, list | tuple) and isinstance(wanted, list | tuple):
        return len(value) == len(wanted) and all(map(_same_item, value, wanted))
    if isinstance(value, dict) and isinstance(wanted, dict):
        return _same_dict(value, wanted)
    both = (value, wanted)
    numbers = number and all(isinstance(each, int | float) and not isinstance(each, bool) for each in both)
    return bool(value == wanted) if numbers or type(value) is type(wanted) else False


def _same_item(value: Any, wanted: Any) -> bool:
    if isinstance(value, str) and isinstance(wanted, str):
        return _plain(value) == _plain(wanted)
    if isinstance(value, dict) and isinstance(wanted, dict):
        return _same_dict(value, wanted)
    return bool(value == wanted)


def _same_dict(value: dict[Any, Any], wanted: dict[Any, Any]) -> bool:
    if value.keys() != wanted.keys():
        return False
    return all(_same_item(item, wanted[key]) for key, item in value.items())


def _is_default(value: Any, schema: dict[str, Any]) -> bool:
    default = schema.get("default", _NO_DEFAULT)
    if default is _NO_DEFAULT:
        return False
    # xLAM writes the default of an int as a string: "10".
    return str(default) == str(value) or same_value(value, default, wants_number(schema))


def _plain(text: str) -> str:
    return text.translate(_DROPPED).lower()
