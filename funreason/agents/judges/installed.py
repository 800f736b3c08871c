"""Agents that can be named by one word: the five judges, and what installed packages offer.

A package offers an agent by an entry point of the group `funreason.agents`. Looking at what is offered imports none of
it, so a package that is broken disturbs nobody until it is asked for by name.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import NamedTuple

import funreason

GROUP = "funreason.agents"
JUDGES = {
    "response": "funreason.agents.judges.rules.response:judge_response",
    "query_tool": "funreason.agents.judges.rules.query_tool:judge_query_tool",
    "cot": "funreason.agents.judges.rules.cot:CotJudge",
    "parameters": "funreason.agents.judges.rules.parameters:judge_parameters",
    "format": "funreason.agents.judges.rules.format:judge_format",
}
"""The five rule judges, by the name of their stage."""


class Offer(NamedTuple):
    """An agent that somebody offers: its name, `module:name` of what it is, and the distribution it comes from."""

    name: str
    spec: str
    distribution: str
    version: str


def offers() -> list[Offer]:
    """All there are: our own in the order of their stages, then the others' by name."""
    own = [Offer(name, spec, "funreason", funreason.__version__) for name, spec in JUDGES.items()]
    found = {
        Offer(entry.name, entry.value, entry.dist.name, entry.dist.version)
        for entry in entry_points(group=GROUP)
        if entry.dist is not None
    }
    return own + sorted(found)
