"""Kimi K2: each call has an id, `functions.<name>:<number>`, which is the one place of its name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.framed import some
from funreason.calls.dialects.json_shapes import json_text
from funreason.calls.dialects.named_json import read_named
from funreason.types import Call

_HEAD = re.compile(r"<\|tool_call_begin\|>\s*+([^\s<>{}][^<>{}\n]{0,200})\s*+<\|tool_call_argument_begin\|>")
_NUMBER = re.compile(r":\d+$")


def _name(id: str) -> str:
    return _NUMBER.sub("", id.strip()).removeprefix("functions.")


def _write(calls: Sequence[Call], tools: Tools) -> str:
    written = "".join(
        f"<|tool_call_begin|>functions.{call.name}:{index}<|tool_call_argument_begin|>{json_text(call.arguments)}"
        "<|tool_call_end|>"
        for index, call in enumerate(some(calls))
    )
    return f"<|tool_calls_section_begin|>{written}<|tool_calls_section_end|>"


KIMI = Dialect(
    name="kimi",
    serves="Kimi K2",
    example=(
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
        '{"city": "Oslo"}<|tool_call_end|><|tool_calls_section_end|>'
    ),
    marks=("<|tool_calls_section_begin|>", "<|tool_call_begin|>", "<|tool_call_section_begin|>"),
    read=lambda text, tools: read_named(text, _HEAD, ("<|tool_call_begin|>",), _name),
    write=_write,
)
