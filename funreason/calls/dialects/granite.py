"""`<|tool_call|>` and `functools`: IBM's Granite 3, Microsoft's Phi-4-mini, Fireworks' FireFunction."""

from __future__ import annotations

import re

from funreason.calls.dialects.framed import framed, listed

GRANITE = framed(
    "granite",
    "<|tool_call|>",
    ("<|/tool_call|>", "<|end_of_text|>", "<|end|>"),
    serves="Granite 3.0 to 3.3; without the closing mark",
    example='<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
    write=listed("<|tool_call|>"),
)
PHI = framed(
    "phi",
    "<|tool_call|>",
    "<|/tool_call|>",
    serves="Phi-4-mini",
    example='<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]<|/tool_call|>',
    write=listed("<|tool_call|>", "<|/tool_call|>"),
)
FUNCTOOLS = framed(
    "functools",
    "functools",
    serves="FireFunction v2, Phi-4-mini",
    example='functools[{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
    attempt=re.compile(r"functools\s*\[\s*(?:\{|$)"),
    write=listed("functools"),
)
