"""Agents that can be named by one word: the five rule judges and those of installed packages.

A package offers an agent through an entry point of the group `funreason.agents`. Listing the offers imports nothing, so
a broken package does no harm unless its agent is used.
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
    """An installed agent: its name, its `module:name` spec, and the distribution that provides it."""

    name: str
    spec: str
    distribution: str
    version: str


def offers() -> list[Offer]:
    """All installed agents: the rule judges in stage order, then others by name."""
    own = [Offer(name, spec, "funreason", funreason.__version__) for name, spec in JUDGES.items()]
    found = {
        Offer(entry.name, entry.value, entry.dist.name, entry.dist.version)
        for entry in entry_points(group=GROUP)
        if entry.dist is not None
    }
    return own + sorted(found)
