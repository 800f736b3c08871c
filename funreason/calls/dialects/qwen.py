"""Qwen's spellings besides Hermes': the tags of Qwen3-Coder, and the flowers of Qwen 1.5 and 2."""

from __future__ import annotations

import re
from collections.abc import Sequence

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.framed import some
from funreason.calls.dialects.json_shapes import json_text
from funreason.calls.dialects.named_json import read_named
from funreason.calls.dialects.tags import Tags, read_tags, write_tags
from funreason.types import Call

_TAGS = Tags(
    begin="<function=",
    call=re.compile(r"<function=\s*+([^<>{}\n]{1,200})>"),
    call_end="</function>",
    parameter=re.compile(r"<parameter=\s*+([^<>\n]{1,200})>"),
    parameter_end="</parameter>",
)
_PARAMETER = "<parameter={name}>\n{value}\n</parameter>\n"
_FLOWER = re.compile(r"✿FUNCTION✿\s*+[:：]\s*+([^\n✿]{1,200})\n\s*+✿ARGS✿\s*+[:：]")


def _write_coder(calls: Sequence[Call], tools: Tools) -> str:
    return write_tags(calls, tools, "<tool_call>\n<function={name}>\n", _PARAMETER, "</function>\n</tool_call>")


def _write_seed(calls: Sequence[Call], tools: Tools) -> str:
    head, parameter = "<function={name}>\n", "<parameter={name}>{value}</parameter>\n"
    return f"<seed:tool_call>\n{write_tags(calls, tools, head, parameter, '</function>')}\n</seed:tool_call>"


def _write_flowers(calls: Sequence[Call], tools: Tools) -> str:
    return "\n".join(f"✿FUNCTION✿: {call.name}\n✿ARGS✿: {json_text(call.arguments)}" for call in some(calls))


QWEN_CODER = Dialect(
    name="qwen_coder",
    serves="Qwen3-Coder, Qwen3-Next and later, Nemotron 3 Nano",
    example="<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>",
    marks=("<function=",),
    opening=re.compile(r"<function=[^<>\n]{1,200}>\s*+(?:<parameter=|</function>|$)"),
    read=lambda text, tools: read_tags(text, _TAGS, tools, ("</tool_call>",)),
    write=_write_coder,
    typed=False,
)
SEED = Dialect(
    name="seed",
    serves="Seed-OSS",
    example=(
        "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Oslo</parameter>\n</function>\n</seed:tool_call>"
    ),
    marks=("<seed:tool_call>",),
    read=lambda text, tools: read_tags(text, _TAGS, tools, ("</seed:tool_call>",)),
    write=_write_seed,
    typed=False,
)
QWEN_AGENT = Dialect(
    name="qwen_agent",
    serves="Qwen 1.5 and 2 through Qwen-Agent",
    example='✿FUNCTION✿: get_weather\n✿ARGS✿: {"city": "Oslo"}',
    marks=("✿FUNCTION✿",),
    read=lambda text, tools: read_named(text, _FLOWER, ("✿FUNCTION✿",)),
    write=_write_flowers,
)
