"""The judges of a run and the bus they sit on: what a loop and `refine` have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from funreason.agents.cot import CotJudge
from funreason.agents.format import judge_format
from funreason.agents.own import USUAL, OwnJudge, declared
from funreason.agents.parameters import judge_parameters
from funreason.agents.plugins import load_agent
from funreason.agents.query_tool import judge_query_tool
from funreason.agents.response import judge_response
from funreason.bus.graph import Graph
from funreason.bus.scheduler import Bus
from funreason.config import ConfigError, Fcdr, JudgeEntry
from funreason.loops.journal import Journal


def judges(fcdr: Fcdr) -> dict[str, Callable[..., Any]]:
    """The five rule judges, and those of the user, by node name."""
    own = {entry.name: own_judge(entry) for entry in fcdr.judges}
    return {
        "response": judge_response,
        "query_tool": judge_query_tool,
        "cot": CotJudge(require=fcdr.require_thinking),
        "parameters": judge_parameters,
        "format": judge_format,
        **own,
    }


def own_judge(entry: JudgeEntry) -> OwnJudge:
    """A judge of the user. ConfigError when it may answer what its entry has no way for."""
    agent = load_agent(entry.agent)
    loose = sorted(declared(agent) - {*USUAL, *entry.outcomes})
    if loose:
        raise ConfigError(
            f"fcdr.judges: {entry.name} may answer {', '.join(map(repr, loose))}, and nothing says where that leads. "
            f"Name a node for each, such as `outcomes: {{{loose[0]}: regenerator}}`."
        )
    return OwnJudge(entry.name, agent)


def make_bus(graph: Graph, agents: Mapping[str, Any], fcdr: Fcdr, journal: Journal) -> Bus:
    """A bus over the nodes of `graph`."""
    present = {node.name: agents[node.name] for node in graph.nodes}
    return Bus(
        graph,
        present,
        workers=fcdr.workers,
        max_attempts=fcdr.max_attempts,
        observe=journal.observe,
        error_limit=fcdr.error_limit,
    )
