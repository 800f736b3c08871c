"""The lenient reader: what a patient person would still take for calls, however they are written.

Beyond the strict form: code fences, `<tool_call>{json}</tool_call>`, JSON objects and lists of them (OpenAI's
`tool_calls` included, arguments as an object or as a JSON string), missing outer brackets, one call a line,
`true`/`false`/`null`. Used for any-format accuracy and for re-rendering; never for the strict score. It repairs form,
not meaning: positional arguments, unknown values and cut-off text are still refused.

`looks_like_calls` tells a text that tries to call a function from ordinary prose. A cut-off or misspelt call is still
an attempt: it must be judged and repaired as one, and never be kept as prose. Prose that merely mentions `f()` in a
sentence is no attempt.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

from funreason.calls.parse import CallSyntaxError, check_bounds, parse_calls, parse_expression, read_call
from funreason.calls.strict_json import JsonRefused, read_json
from funreason.types import Call

_WORDS = {"true": True, "false": False, "null": None}
_TAGS = ("tool_call", "function_call")
_FENCED = re.compile(r"```[\w-]*[ \t]*\n?(.*?)```", re.DOTALL)
_OPENINGS = re.compile(
    r"\s*(?:`{1,3}[\w-]*\s*)?(?:\[\s*[\w.]+\s*\(|\[\s*\{|\{\s*[\"'](?:name|function|tool_calls)[\"'])"
)
_TAG = re.compile(r"<(?:tool_call|function_call)>")
_WHOLE_CALL = re.compile(r"^[ \t]*[A-Za-z_][\w.]*\((?:\s*\)|\s*\w+\s*=)", re.MULTILINE)
_FENCED_CALL = re.compile(r"```[\w-]*\s*\[?\s*(?:[A-Za-z_][\w.]*\(|\{\s*\")")
_SENTENCE_LIST = re.compile(r"\[\s*[A-Za-z_][\w.]*\(\s*\w+\s*=")


def parse_any(text: str) -> list[Call]:
    """The calls in `text`, whatever the format. Raises CallSyntaxError of the last reading tried."""
    check_bounds(text)
    text = text.strip()
    if not text:
        raise CallSyntaxError("form.empty", "no text at all")
    readings: list[Callable[[str], list[Call]]] = [parse_calls]
    if any(f"</{tag}>" in text for tag in _TAGS):
        readings.append(_tagged)
    if "```" in text:
        readings.append(_fenced)
    if text[0] in "[{":
        readings.append(_json)
    readings += [_loose, _lines]
    for reading in readings:
        try:
            return reading(text)
        except CallSyntaxError as error:
            last = error
    raise last


def calls_from_json(value: Any) -> list[Call]:
    """Calls from parsed JSON in any of the forms above; raises CallSyntaxError (`json.not_a_call`)."""
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        value = value["tool_calls"]
    if isinstance(value, list):
        return [_json_call(item) for item in value]
    return [_json_call(value)]


def looks_like_calls(text: str) -> bool:
    """Whether `text` attempts a call, well formed or not; `[]` and empty text are no attempt."""
    head = text[:20_000]
    if not head.strip("[] \n\t`"):
        return False
    patterns = (_OPENINGS.match, _TAG.search, _WHOLE_CALL.search, _FENCED_CALL.search, _SENTENCE_LIST.search)
    return any(pattern(head) for pattern in patterns)


def _tagged(text: str) -> list[Call]:
    # By cutting and not by a pattern: a thousand tags that open and never close would cost a pattern seconds.
    pieces = [
        before.rpartition(f"<{tag}>")[2]
        for tag in _TAGS
        for before in text.split(f"</{tag}>")[:-1]
        if f"<{tag}>" in before
    ]
    if not pieces:
        raise CallSyntaxError("form.syntax", "a tag is closed that was never opened")
    return [call for piece in pieces for call in _unwrapped(piece)]


def _fenced(text: str) -> list[Call]:
    insides = _FENCED.findall(text)
    if not insides:
        raise CallSyntaxError("form.syntax", "a code fence is opened and never closed")
    return [call for inside in insides for call in _unwrapped(inside)]


def _unwrapped(text: str) -> list[Call]:
    text = text.strip()
    if text[:1] in ("{", "["):
        try:
            return _json(text)
        except CallSyntaxError:
            return _loose(text)
    try:
        return _loose(text)
    except CallSyntaxError:
        return _lines(text)


def _json(text: str) -> list[Call]:
    try:
        value = read_json(text)
    except JsonRefused as error:
        raise CallSyntaxError(error.reason, error.message, error.position) from error
    return calls_from_json(value)


def _json_call(value: Any) -> Call:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict):
        raise CallSyntaxError("json.not_a_call", f"an object with a name was expected, found {type(value).__name__}")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise CallSyntaxError("json.not_a_call", f"the object has no name (its keys: {sorted(value)[:5]})")
    found = value.get("arguments", value.get("parameters"))
    if isinstance(found, str):
        try:
            found = read_json(found or "{}")
        except JsonRefused as error:
            raise CallSyntaxError(error.reason, f"arguments: {error.message}") from error
    if found is None:
        found = {}
    if not isinstance(found, dict):
        raise CallSyntaxError("json.not_a_call", f"{name}: arguments must be an object, found {type(found).__name__}")
    return Call(name, found)


def _loose(text: str) -> list[Call]:
    text = text.strip().strip("`").strip().rstrip(";")
    body = parse_expression(text)
    nodes = body.elts if isinstance(body, ast.List | ast.Tuple) else [body]
    return [read_call(node, _WORDS) for node in nodes]


def _lines(text: str) -> list[Call]:
    lines = [line.strip().rstrip(",;") for line in text.splitlines() if line.strip()]
    return [call for line in lines for call in _loose(line)]
