"""OpenAI's harmony, which gpt-oss writes: a message to `functions.<name>` whose text is the arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.framed import some
from funreason.calls.dialects.json_shapes import json_text
from funreason.calls.dialects.named_json import read_named
from funreason.types import Call

_HEAD = re.compile(r"to=([^\s<>{}]{1,200}+)[^{}\n]{0,200}?<\|message\|>")
_OPENING = re.compile(r"<\|channel\|>\s*+\w{1,40}\s++to=|to=[^\s<>{}]{1,200}+\s*+<\|channel\|>")


def _name(recipient: str) -> str:
    return recipient.strip().removeprefix("functions.")


def _write(calls: Sequence[Call], tools: Tools) -> str:
    return "<|start|>assistant".join(
        f"<|channel|>commentary to=functions.{call.name} <|constrain|>json<|message|>"
        f"{json_text(call.arguments)}<|call|>"
        for call in some(calls)
    )


HARMONY = Dialect(
    name="harmony",
    serves="gpt-oss",
    example='<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>',
    marks=("<|channel|>", "to=functions."),
    opening=_OPENING,
    read=lambda text, tools: read_named(text, _HEAD, ("to=functions.",), _name),
    write=_write,
)
