"""Cohere's Command: a list after `Action:` in a code fence, later between marks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.framed import framed, listed, read_frames, some
from funreason.calls.dialects.json_shapes import call_object
from funreason.types import Call

_OPENING = re.compile(r"^[ \t]*Action:\s*(?:```[\w-]*\s*)?[\[{]", re.MULTILINE)


def _read(text: str, tools: Tools) -> list[Call]:
    found = _OPENING.search(text)
    return read_frames(text[found.start() :], "Action:", ("Observation:", "Grounded"), tools) if found else []


def _tool_object(call: Call) -> str:
    return call_object(call, "tool_name", "parameters")


def _write(calls: Sequence[Call], tools: Tools) -> str:
    return f"Action: ```json\n[{', '.join(map(_tool_object, some(calls)))}]\n```"


COMMAND_R = Dialect(
    name="command_r",
    serves="Command R and R+; smolagents and LangChain, which write JSON after `Action:`",
    example='Action: ```json\n[{"tool_name": "get_weather", "parameters": {"city": "Oslo"}}]\n```',
    marks=("Action:",),
    opening=_OPENING,
    read=lambda text, tools: _read(text, tools) or None,
    write=_write,
)
COMMAND_A = framed(
    "command_a",
    "<|START_ACTION|>",
    "<|END_ACTION|>",
    serves="Command R7B and Command A",
    example='<|START_ACTION|>[{"tool_name": "get_weather", "parameters": {"city": "Oslo"}}]<|END_ACTION|>',
    write=listed("<|START_ACTION|>", "<|END_ACTION|>", _tool_object),
)
