"""Whether a thinking leads to its calls: stage 3's question, also asked by the regenerator before it keeps a thinking.

Three things can be told by rule: each called function is named, each value is there as whole tokens (`7` is not in
`17`), and the thinking does not end in another call than the answer's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from funreason.agents.naming import Naming, unnamed
from funreason.calls.anyformat import parse_any
from funreason.calls.bounds import CallSyntaxError
from funreason.calls.compare import same_call
from funreason.calls.schema import Problem, tool_named
from funreason.record.types import Call

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_LAST_CALL = re.compile(r"\[?[A-Za-z_][\w.]*\([^\n]*\)\]?$")
_LAST_BLOCK = re.compile(r"^[ \t]*(?:<tool_call>|[\[{])", re.MULTILINE)
_TAIL_CHARS = 2000
_BLOCKS = 8
"""How many lines that open a bracket are tried, from the last on, as the start of an ending over several lines."""


def thinking_problem(thinking: str, calls: Sequence[Call], tools: list[dict[str, Any]]) -> Problem | None:
    """None when the thinking leads to the calls. Codes: `cot.function_not_named`, `cot.value_not_named`,
    `cot.ends_in_another_call`.
    """
    for call in calls:
        if not names_function(thinking, call.name):
            return Problem("cot.function_not_named", f"the thinking does not name {call.name}")
    naming = Naming(thinking)
    for call in calls:
        missing = _missing_value(call, tool_named(tools, call.name), naming)
        if missing:
            return Problem("cot.value_not_named", missing)
    return _other_end(thinking, calls, tools)


def names_function(thinking: str, name: str) -> bool:
    """Whether the name stands in the thinking as a whole, in its own case, or taken apart into its words."""
    at = thinking.find(name)
    while at >= 0:
        before, after = thinking[at - 1 : at], thinking[at + len(name) : at + len(name) + 1]
        if not _continues(before) and not _continues(after):
            return True
        at = thinking.find(name, at + 1)
    words = [word.lower() for word in _WORD.findall(name)]
    if len(words) < 2:
        return False
    return re.search(r"\b" + r"[\W_]+".join(words) + r"\b", thinking.lower()) is not None


def _continues(char: str) -> bool:
    return bool(char) and (char.isalnum() or char == "_")


def _missing_value(call: Call, tool: dict[str, Any] | None, naming: Naming) -> str:
    properties = tool["parameters"]["properties"] if tool else {}
    for name, value in call.arguments.items():
        if "default" in properties.get(name, {}) and str(properties[name]["default"]) == str(value):
            continue
        found = unnamed(naming, value)
        if found is not None:
            return f"the thinking does not give {call.name}.{name}={found!r:.80}"
    return ""


def _other_end(thinking: str, calls: Sequence[Call], tools: list[dict[str, Any]]) -> Problem | None:
    text, ending = _last_calls(thinking[-_TAIL_CHARS:].rstrip(" \n\t.`*"))
    for call in ending:
        tool = tool_named(tools, call.name)
        if tool is not None and all(same_call(other, call, tool) is not None for other in calls):
            return Problem("cot.ends_in_another_call", f"the thinking ends in {text[:120]}")
    return None


def _last_calls(tail: str) -> tuple[str, list[Call]]:
    """The calls that a text ends in, with their own text: a list or JSON over lines, a tagged call, or a line's end."""
    if tail.endswith(("]", "}", "</tool_call>")):
        starts = [match.start() for match in _LAST_BLOCK.finditer(tail)]
        for start in reversed(starts[-_BLOCKS:]):
            calls = _read(tail[start:].strip())
            if calls:
                return tail[start:].strip(), calls
    found = _LAST_CALL.search(tail.rsplit("\n", 1)[-1])
    if not found:
        return "", []
    text = found[0] if found[0].startswith("[") == found[0].endswith("]") else found[0].strip("[]")
    return text, _read(text)


def _read(text: str) -> list[Call]:
    try:
        return parse_any(text)
    except CallSyntaxError:
        return []
