"""Who sits at which node: a graph that could run on a bus, and still be none that a run has the agents for.

`bus.checks` knows no agents, so it takes any name. Here each name must be one that a run gives an agent to, and what
a loop signals once a round must be there, or the run would end in its middle.
"""

from __future__ import annotations

from collections.abc import Collection

from funreason.bus.errors import Problem
from funreason.bus.nodes import Edge
from funreason.bus.plan import Plan
from funreason.bus.reading import nearest

STAGES = ("response", "query_tool", "cot", "parameters", "format")
"""The paper's five stages, in its order."""
START, END = "generator", "dead_letter"
LOOP_ONLY = frozenset({START, "evaluator"})
"""Nodes of a loop that `refine` does without."""
ENDS = ("trainer", END)
"""Where samples end: kept or dropped."""
SIGNALS = (
    Edge("trainer", "updated", "evaluator", signal=True),
    Edge("evaluator", "gated", START, signal=True),
)
"""What follows upon a round's samples."""


def check_agents(graph: Plan, name: str) -> list[Problem]:
    """Nodes of the graph file `name` that ask for another agent than their own: a file chooses none."""
    return [
        Problem(
            "agent",
            f"node {node.name!r} of the graph {name} asks for the agent {node.agent!r}, but a node of a graph file "
            f"always has the agent of its own name: take `agent` out, and name a judge of your own in fcdr.judges, "
            f"such as `{{name: mine, agent: {node.agent!r}, after: cot}}`.",
        )
        for node in graph.nodes
        if node.agent not in ("", node.name)
    ]


def check_seats(graph: Plan, own: Collection[str], name: str, *, loop: bool) -> list[Problem]:
    """What keeps a loop (or `refine`) from running the graph `name`, where `own` are the user's judges."""
    needed = (START, *ENDS, "evaluator") if loop else ENDS
    seats = [*STAGES, "regenerator", *ENDS, *(sorted(LOOP_ONLY) if loop else ()), *own]
    problems = [_nobody(node, seats, name) for node in graph.names if node not in seats]
    problems += [_missing(node, name, "a loop" if loop else "`refine`") for node in needed if node not in graph.names]
    if loop:
        problems += [_unsignalled(edge, name) for edge in SIGNALS if edge not in graph.edges]
        if START in graph.names and graph.start in graph.names and graph.start != START:
            problems.append(_enters_late(graph.start, name))
    return problems


def _nobody(node: str, seats: Collection[str], name: str) -> Problem:
    return Problem(
        "no_agent",
        f"no agent answers at node {node!r} of the graph {name}; {nearest(node, seats)} A judge of your own is set in "
        "by fcdr.judges, not by the graph file.",
    )


def _missing(node: str, name: str, who: str) -> Problem:
    text = f"the graph {name} has no node {node!r}, which {who} needs: add it as in configs/fcdr.yaml."
    return Problem("no_node", text)


def _unsignalled(edge: Edge, name: str) -> Problem:
    return Problem("no_signal", f"the graph {name} does not close the loop once a round: add the edge `{edge}`.")


def _enters_late(start: str, name: str) -> Problem:
    text = f"the graph {name} starts at {start!r}, but samples are drawn at {START!r}: set `start: {START}`."
    return Problem("wrong_start", text)
