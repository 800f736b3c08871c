"""The shapes in which a call is written as JSON, by whichever server, model or data set."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from funreason.calls.dialects.dialect import Tools
from funreason.calls.parse import CallSyntaxError, parse_expression, read_literal
from funreason.calls.strict_json import JsonRefused, read_json, read_json_at
from funreason.types import Call

WORDS = {"true": True, "false": False, "null": None}
_LISTS = ("tool_calls", "toolCalls", "function_calls", "parts", "content")
"""Keys of a message whose list holds calls: OpenAI's, Gemini's parts, Anthropic's content blocks."""
_WRAPPERS = ("function", "function_call", "functionCall", "tool_call", "toolCall", "toolUse", "tool_use")
_NAMES = ("name", "function", "tool_name", "toolName", "function_name", "tool", "action", "api_name", "func")
_ARGUMENTS = ("arguments", "parameters", "args", "input", "tool_input", "action_input", "params", "kwargs")
_BESIDE = frozenset({"id", "type", "index", "call_id", "tool_call_id", "toolUseId", "status", "role"})
"""What may be beside a name where no arguments are: anything else would be lost."""
_NO_CALLS = frozenset({"text", "thinking", "redacted_thinking", "reasoning"})
"""Types of content blocks beside which calls are written."""
_FENCE = re.compile(r"```[\w-]*[ \t]*\n?")
_ENCODED = 3
"""How often arguments may have been encoded as a string: twice is a common mistake."""


def calls_from_json(value: Any, tools: Tools = ()) -> list[Call]:
    """Calls from parsed JSON in any of the known shapes; raises CallSyntaxError (`json.not_a_call`).

    An object or a list of: `{"name", "arguments"}` (or `parameters`, `args`, `input`), `{"tool_name", "parameters"}`,
    `{"function", "args"}`, `{"fn": {…}}`, OpenAI's `tool_calls` and older `function_call`, Anthropic's `tool_use`
    blocks, Gemini's `functionCall`, Bedrock's `toolUse`. Arguments may be an object, a JSON string, a string encoded
    twice, or missing: null and "" are no arguments. Where `tools` are given, `fn` in `{"fn": {…}}` must be one of them.
    """
    if isinstance(value, dict):
        for key in _LISTS:
            if isinstance(value.get(key), list) and not any(isinstance(value.get(name), str) for name in _NAMES):
                return calls_from_json(value[key], tools)
    if isinstance(value, list):
        if any(_is_block(item) for item in value) and not all(_is_block(item) for item in value):
            value = [item for item in value if not _is_block(item)]
        return [_call(item, tools) for item in value]
    return [_call(value, tools)]


def call_object(call: Call, name: str = "name", arguments: str = "arguments") -> str:
    """A call as JSON text, `{"name": …, "arguments": {…}}`, or with other keys."""
    return f'{{"{name}": {json_text(call.name)}, "{arguments}": {json_text(call.arguments)}}}'


def json_text(value: Any) -> str:
    """`value` as chat templates write JSON; ValueError for what JSON cannot hold."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def read_arguments(found: Any, where: str) -> dict[str, Any]:
    """Arguments in any of their forms as a dict; raises CallSyntaxError."""
    for _ in range(_ENCODED):
        if not isinstance(found, str):
            break
        found = value_of(found, where) if found.strip() else None
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        kind = type(found).__name__
        raise CallSyntaxError("json.not_a_call", f"{where}: arguments must be an object with names, found {kind}")
    return found


def value_of(text: str, where: str = "") -> Any:
    """`text` as JSON or as a Python literal; raises CallSyntaxError with JSON's reason where it is neither."""
    try:
        return read_json(text)
    except JsonRefused as error:
        try:
            return literal(text)
        except CallSyntaxError:
            message = f"{where}: {error.message}" if where else error.message
            raise CallSyntaxError(error.reason, message, error.position) from error


def literal(text: str) -> Any:
    """`text` as one Python literal, a list or dict; JSON's words are known. Raises CallSyntaxError."""
    node = parse_expression(text.strip())
    if not isinstance(node, ast.List | ast.Dict | ast.Tuple):
        raise CallSyntaxError("form.not_a_call", f"{type(node).__name__} is neither a list nor a dict")
    return read_literal(node, WORDS)


def json_at(text: str, start: int) -> tuple[Any, int]:
    """The JSON value at `start` and where it ends; raises CallSyntaxError."""
    try:
        return read_json_at(text, start)
    except JsonRefused as error:
        raise CallSyntaxError(error.reason, error.message, error.position) from error


def after_blanks(text: str, start: int, more: str = "") -> int:
    """The first place from `start` that is neither a blank nor one of `more`."""
    while start < len(text) and (text[start].isspace() or text[start] in more):
        start += 1
    return start


def after_fence(text: str, start: int) -> int:
    """`start`, or where what is inside the code fence that opens there begins."""
    fence = _FENCE.match(text, start)
    return after_blanks(text, fence.end()) if fence else start


def nothing_skipped(text: str, start: int, end: int, begins: tuple[str, ...]) -> None:
    """Raise CallSyntaxError where a call begins between two places, and so could not be read: none may be lost."""
    for mark in begins:
        if (place := text.find(mark, start, end)) >= 0:
            raise CallSyntaxError("form.syntax", f"{mark} begins a call that cannot be read", place)


def values_at(text: str, start: int) -> tuple[list[Any], int]:
    """JSON objects and lists one after another, with `,` or `;` or nothing between them, and where they end."""
    values = []
    while True:
        value, end = json_at(text, start)
        values.append(value)
        start = after_blanks(text, end, ",;")
        if text[start : start + 1] not in ("{", "["):
            return values, end


def calls_of(values: Sequence[Any], tools: Tools) -> list[Call]:
    """The calls of several JSON values, in order."""
    return [call for value in values for call in calls_from_json(value, tools)]


def _is_block(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    return item.get("type") in _NO_CALLS or set(item) == {"text"}


def _call(value: Any, tools: Tools) -> Call:
    for _ in range(2):  # Gemini and Bedrock wrap once, a whole tool call in a list twice
        wrapper = next((key for key in _WRAPPERS if isinstance(value, dict) and isinstance(value.get(key), dict)), None)
        if wrapper is None or any(isinstance(value.get(key), str) for key in _NAMES):
            break
        value = value[wrapper]
    if not isinstance(value, dict):
        raise CallSyntaxError("json.not_a_call", f"an object with a name was expected, found {type(value).__name__}")
    key = next((key for key in _NAMES if isinstance(value.get(key), str) and value[key]), None)
    if key is None:
        if len(value) == 1:  # {"fn": {…}}
            [(name, arguments)] = value.items()
            known = not tools or any(tool["name"] == name for tool in tools)
            if known and isinstance(name, str) and name.strip() and isinstance(arguments, dict):
                return Call(name, read_arguments(arguments, name))
        raise CallSyntaxError("json.not_a_call", f"the object has no name (its keys: {sorted(map(str, value))[:5]})")
    name = value[key]
    schema = value.get("parameters", value.get("input_schema", value.get("inputSchema")))
    described = "description" in value and isinstance(schema, dict) and isinstance(schema.get("properties"), dict)
    if described and "arguments" not in value:
        raise CallSyntaxError("json.not_a_call", f"{name}: this describes a function, and calls none")
    # A table of rows fills the keys that a row does not have with null.
    given = next((key for key in _ARGUMENTS if value.get(key) is not None), None)
    if given is None and not any(key in value for key in _ARGUMENTS):
        others = sorted(other for other in value if other != key and other not in _BESIDE)
        if others:
            raise CallSyntaxError("json.not_a_call", f"{name}: the object has no arguments (its keys: {others[:5]})")
        return Call(name, {})
    return Call(name, read_arguments(value[given], name) if given is not None else {})
