"""Mistral's `[TOOL_CALLS]`: a JSON list, and from version 11 of its tokenizer on a name and its arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.framed import framed, listed, some
from funreason.calls.dialects.json_shapes import json_text
from funreason.calls.dialects.named_json import read_named
from funreason.types import Call

_HEAD = re.compile(r"\[TOOL_CALLS\]\s*+([^\s\[\]{}][^\[\]{}\n]{0,200})(?:\[CALL_ID\][^\[\]{}\n]{0,100})?(?:\[ARGS\])?")


def _write(calls: Sequence[Call], tools: Tools) -> str:
    return "".join(f"[TOOL_CALLS]{call.name}[ARGS]{json_text(call.arguments)}" for call in some(calls))


MISTRAL = framed(
    "mistral",
    "[TOOL_CALLS]",
    serves="Mistral 7B v0.3, Nemo, Small and Large up to tokenizer v7",
    example='[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
    write=listed("[TOOL_CALLS]"),
)
MISTRAL_ARGS = Dialect(
    name="mistral_args",
    serves="Mistral Small 3.2, Magistral, Devstral: tokenizer v11 and later",
    example='[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}',
    marks=("[TOOL_CALLS]",),
    read=lambda text, tools: read_named(text, _HEAD, ("[TOOL_CALLS]",)),
    write=_write,
)
