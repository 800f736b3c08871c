"""Calls in Python's syntax between marks: Llama 4, LFM2, OLMo 3, Gorilla, NexusRaven; and any code fence."""

from __future__ import annotations

import re
from collections.abc import Sequence

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.framed import as_python, framed, read_frames, some
from funreason.calls.render import render_calls
from funreason.types import Call

_FENCED_CALL = re.compile(r"```[\w-]*+\s*+(?:\[\s*+)?(?:[A-Za-z_][\w.]*\(|\{\s*[\"'])")
_NEXUS = re.compile(r"^[ \t]*Call:\s*[\w.]+\(", re.MULTILINE)


def _write_lines(calls: Sequence[Call], tools: Tools) -> str:
    return "<function_calls>\n" + "\n".join(map(as_python, some(calls))) + "\n</function_calls>"


LFM = framed(
    "lfm",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    serves="Liquid's LFM2",
    example="<|tool_call_start|>[get_weather(city='Oslo')]<|tool_call_end|>",
    write=lambda calls, tools: f"<|tool_call_start|>{render_calls(some(calls))}<|tool_call_end|>",
)
LLAMA4 = framed(
    "llama4",
    "<|python_start|>",
    "<|python_end|>",
    serves="Llama 4",
    example="<|python_start|>[get_weather(city='Oslo')]<|python_end|>",
    write=lambda calls, tools: f"<|python_start|>{render_calls(some(calls))}<|python_end|>",
)
OLMO = framed(
    "olmo",
    "<function_calls>",
    "</function_calls>",
    serves="OLMo 3",
    example="<function_calls>\nget_weather(city='Oslo')\n</function_calls>",
    write=_write_lines,
)
GORILLA = framed(
    "gorilla",
    "<<function>>",
    serves="Gorilla OpenFunctions v2",
    example="<<function>>get_weather(city='Oslo')",
    write=lambda calls, tools: "\n".join(f"<<function>>{as_python(call)}" for call in some(calls)),
)
NEXUS = framed(
    "nexus",
    "Call:",
    ("<bot_end>", ";"),
    serves="NexusRaven",
    example="Call: get_weather(city='Oslo')<bot_end>",
    attempt=_NEXUS,
)
FENCED = Dialect(
    name="fenced",
    serves="any model that puts its calls into a code fence",
    example='```json\n[{"name": "get_weather", "arguments": {"city": "Oslo"}}]\n```',
    marks=("```",),
    opening=_FENCED_CALL,
    read=lambda text, tools: read_fences(text, tools),
)


def read_fences(text: str, tools: Tools) -> list[Call]:
    """The calls of all code fences in `text`; a fence that holds anything else refuses the whole text."""
    return read_frames(re.sub(r"```[\w-]*[ \t]*(?=\n|\[|\{)", "```", text), "```", ("```",), tools)
