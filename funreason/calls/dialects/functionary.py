"""Functionary 3.2: `>>>` and the name on one line, the arguments on the next."""

from __future__ import annotations

import re

from funreason.calls.dialects.dialect import Dialect
from funreason.calls.dialects.framed import some
from funreason.calls.dialects.json_shapes import json_text
from funreason.calls.dialects.named_json import read_named

_HEAD = re.compile(r">>>([^\s<>{}()]{1,200})\n(?=\s*(?:\{|$))")

FUNCTIONARY = Dialect(
    name="functionary",
    serves="Functionary 3.2",
    example='>>>get_weather\n{"city": "Oslo"}',
    marks=(">>>",),
    opening=_HEAD,
    read=lambda text, tools: read_named(text, _HEAD, (">>>",)),
    write=lambda calls, tools: "\n".join(f">>>{call.name}\n{json_text(call.arguments)}" for call in some(calls)),
)
