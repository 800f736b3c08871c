"""Phrasing: from a tool and its arguments to what a person would ask.

The last way of asking in a tool's list belongs to the dev and gate splits; training splits never use it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from funreason.data.toolbox.tools import Tool
from funreason.data.toolbox.values import Drawn
from funreason.record.types import Call

__all__ = ["Request", "ask", "query_text"]

OPTIONAL_SHARE = 0.5
LINKS = ("Also", "And then", "After that", "Then")


class Request(NamedTuple):
    """One wish: the tool that fulfils it, its arguments with the words that stand for them, the sentence that asks."""

    tool: Tool
    drawn: dict[str, Drawn]
    sentence: str

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the right call, in schema order."""
        return {name: one.value for name, one in self.drawn.items()}

    @property
    def call(self) -> Call:
        """The right call."""
        return Call(self.tool.name, self.arguments)


def ask(tool: Tool, rng: random.Random, *, unseen: bool) -> Request:
    """One request for `tool`; `unseen` uses held-out values and allows the held-out way of asking."""
    drawn: dict[str, Drawn] = {}
    for parameter in tool.parameters:
        if parameter.required or rng.random() < OPTIONAL_SHARE:
            drawn[parameter.name] = parameter.draw(rng, unseen=unseen)
    way = rng.choice(tool.says if unseen else tool.says[:-1])
    return Request(tool, drawn, _sentence(tool, way, drawn))


def query_text(requests: Sequence[Request], rng: random.Random) -> str:
    """The query that makes all the requests, one sentence each."""
    first, *others = [request.sentence for request in requests]
    return " ".join([first, *(_linked(sentence, rng) for sentence in others)])


def _sentence(tool: Tool, way: str, drawn: dict[str, Drawn]) -> str:
    text = way.format(**{name: one.said for name, one in drawn.items()})
    body, end = text[:-1], text[-1]
    extras = [p for p in tool.parameters if p.name in drawn and not p.required]
    for parameter in extras:
        body += " " + parameter.clause.replace("{}", drawn[parameter.name].said)
    return body + end


def _linked(sentence: str, rng: random.Random) -> str:
    if sentence.startswith("I "):
        return f"{rng.choice(LINKS)} {sentence}"
    return f"{rng.choice(LINKS)} {sentence[0].lower()}{sentence[1:]}"
