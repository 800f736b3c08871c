"""ReAct: `Action:` and `Action Input:` on lines of their own, among thoughts and observations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.framed import some
from funreason.calls.dialects.json_shapes import after_blanks, json_at, json_text, nothing_skipped, read_arguments
from funreason.calls.parse import CallSyntaxError
from funreason.types import Call

_HEAD = re.compile(r"^[ \t]*+Action(?: \d+)?:[ \t]*+([^\n]{1,200}+)\n\s*+Action[ _]Input(?: \d+)?:[ \t]*", re.MULTILINE)
_FENCE = re.compile(r"```[\w-]*[ \t]*\n?")
_NEXT = re.compile(r"\n[ \t]*(?:Observation|Thought|Action|Final Answer)\b|```", re.IGNORECASE)


def _read(text: str, tools: Tools) -> list[Call]:
    calls, place = [], 0
    while (found := _HEAD.search(text, place)) is not None:
        nothing_skipped(text, place, found.start(), ("\nAction:",))
        name = found[1].strip().strip("`\"'").strip()
        start = after_blanks(text, found.end())
        fence = _FENCE.match(text, start)
        start = after_blanks(text, fence.end()) if fence else start
        value: Any
        if text[start : start + 1] == "{":
            try:
                value, place = json_at(text, start)
                calls.append(Call(name, read_arguments(value, name)))
                continue
            except CallSyntaxError:
                pass  # perhaps a Python dict
        end = _NEXT.search(text, start)
        place = end.start() if end else len(text)
        calls.append(Call(name, read_arguments(text[start:place].strip(), name)))
    nothing_skipped(text, place, len(text), ("\nAction:",))
    if not calls:
        raise CallSyntaxError("form.syntax", "`Action:` and `Action Input:` were expected")
    return calls


def _write(calls: Sequence[Call], tools: Tools) -> str:
    return "\n".join(f"Action: {call.name}\nAction Input: {json_text(call.arguments)}" for call in some(calls))


REACT = Dialect(
    name="react",
    serves="ReAct prompts, LangChain, Qwen's ReAct",
    example='Action: get_weather\nAction Input: {"city": "Oslo"}',
    marks=("Action",),
    opening=_HEAD,
    read=_read,
    write=_write,
)
