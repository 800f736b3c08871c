"""Whether calls say the same as a reference, under BFCL's rules for values.

Source: the value rules of BFCL's AST checker (https://github.com/ShishirPatil/gorilla, berkeley-function-call-
leaderboard), with each reference value as its one alternative. Strings are compared without case and without
`space , . / - _ * ^`; an int stands for a float at the top level; several calls may come in any order.
One addition: a parameter that the reference leaves out may be passed with the schema's default, and the reverse.
This decides what is worth training on; the gate's score comes from the `bfcl` package, not from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funreason.calls.schema import SchemaProblem, tool_named
from funreason.types import Call

_DROPPED = str.maketrans("'", '"', " ,./-_*^")
_NO_DEFAULT = object()


def same_calls(calls: Sequence[Call], reference: Sequence[Call], tools: list[dict[str, Any]]) -> SchemaProblem | None:
    """None when `calls` mean what `reference` means, else the first difference.

    Codes: `reference.count`, `reference.name`, `reference.missing`, `reference.unexpected`, `reference.value`,
    and `reference.no_match` when one of several reference calls is matched by none.
    """
    if len(calls) != len(reference):
        return SchemaProblem("reference.count", f"{len(calls)} calls, the reference has {len(reference)}")
    if len(calls) == 1:
        return same_call(calls[0], reference[0], tool_named(tools, reference[0].name))
    left = list(calls)
    for wanted in reference:
        tool = tool_named(tools, wanted.name)
        match = next((index for index, call in enumerate(left) if same_call(call, wanted, tool) is None), None)
        if match is None:
            return _closest_difference(left, wanted, tool)
        del left[match]
    return None


def same_call(call: Call, wanted: Call, tool: dict[str, Any] | None) -> SchemaProblem | None:
    """None when one call means what the wanted call means, else the first difference."""
    if call.name != wanted.name:
        return SchemaProblem("reference.name", f"{call.name}, the reference has {wanted.name}")
    properties = tool["parameters"]["properties"] if tool else {}
    for name, value in call.arguments.items():
        problem = _compare(name, value, wanted, properties.get(name, {}))
        if problem:
            return problem
    for name, value in wanted.arguments.items():
        if name not in call.arguments and not _is_default(value, properties.get(name, {})):
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
    if type(value) is type(wanted) or (number and _are_numbers(value, wanted)):
        return bool(value == wanted)
    return False


def _compare(name: str, value: Any, wanted: Call, schema: dict[str, Any]) -> SchemaProblem | None:
    if name not in wanted.arguments:
        if _is_default(value, schema):
            return None
        return SchemaProblem(
            "reference.unexpected", f"{wanted.name} is given {name}={value!r:.80}, the reference is not"
        )
    if same_value(value, wanted.arguments[name], schema.get("type") == "number"):
        return None
    expected = wanted.arguments[name]
    return SchemaProblem("reference.value", f"{wanted.name}.{name}={value!r:.80}, the reference has {expected!r:.80}")


def _closest_difference(left: list[Call], wanted: Call, tool: dict[str, Any] | None) -> SchemaProblem:
    candidates = [call for call in left if call.name == wanted.name]
    if len(candidates) == 1:
        problem = same_call(candidates[0], wanted, tool)
        if problem:
            return problem
    return SchemaProblem("reference.no_match", f"no call does what the reference's {wanted.name} does")


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
    return str(default) == str(value) or same_value(value, default, schema.get("type") == "number")


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _plain(text: str) -> str:
    return text.translate(_DROPPED).lower()
