"""Functions as keys, `[{"fn": {…}}]`, between Apertus's marks."""

from __future__ import annotations

from funreason.calls.dialects.framed import framed, keyed, listed

APERTUS = framed(
    "apertus",
    "<|tools_prefix|>",
    "<|tools_suffix|>",
    serves="Apertus",
    example='<|tools_prefix|>[{"get_weather": {"city": "Oslo"}}]<|tools_suffix|>',
    write=listed("<|tools_prefix|>", "<|tools_suffix|>", keyed),
)
