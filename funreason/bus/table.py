"""The graph compiled for the hot path: one lane per node, one route per outcome, no look-up by name beyond a dict.

A table belongs to one drain: its lanes hold the messages that wait and the counts of what happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from sys import maxsize
from typing import Any

from funreason.bus.agent import ENDED, ERROR, SPENT, Agent
from funreason.bus.nodes import Edge, Node
from funreason.bus.plan import Plan


class Route:
    """Where an outcome leads; `ends` for the route by which messages end, whose target is their own lane."""

    __slots__ = ("counted", "ends", "outcome", "taken", "target")

    def __init__(self, outcome: str, target: Lane, counted: bool = False, ends: bool = False) -> None:
        self.outcome = outcome
        self.target = target
        self.counted = counted
        self.ends = ends
        self.taken = 0


class Lane:
    """A node at work: its agent, its routes, who waits and how much is under way.

    `plain` are the routes that cost nothing but the move: neither counted nor for errors.
    `failed` is the message that left by `error` last.
    `bit` stands for the lane in the masks of `Ready`; a deeper lane has a higher bit.
    """

    __slots__ = (
        "agent",
        "bit",
        "end",
        "errors",
        "failed",
        "forked",
        "last_fault",
        "limit",
        "max_batch",
        "name",
        "plain",
        "retried",
        "retries",
        "routes",
        "running",
        "seconds",
        "sink",
        "spent",
        "waiting",
    )

    def __init__(self, node: Node, bit: int, agent: Agent, sink: bool) -> None:
        self.name, self.agent, self.bit, self.sink = node.name, agent, bit, sink
        self.max_batch, self.retries = node.max_batch, node.retries
        self.limit = maxsize if node.concurrency is None else node.concurrency
        self.routes: dict[str, Route] = {}
        self.plain: dict[str, Route] = {}
        self.end = Route(ENDED, self, ends=True)
        self.spent: Route | None = None
        self.waiting: deque[Any] = deque()
        self.running = self.errors = self.retried = self.forked = 0
        self.seconds = 0.0
        self.last_fault: Exception | None = None
        self.failed: Any = None

    @property
    def entered(self) -> int:
        """How many messages have been answered here; a message that forked into many counts once."""
        return self.end.taken + sum(route.taken for route in self.routes.values()) - self.forked


def compile_table(graph: Plan, agents: Mapping[str, Agent]) -> dict[str, Lane]:
    """The lanes of a checked graph, in depth order."""
    ends = graph.sinks
    served = [name for name in graph.order if name in agents]
    lanes = {name: Lane(graph.node(name), 1 << depth, agents[name], name in ends) for depth, name in enumerate(served)}
    for edge in graph.edges:
        if not edge.signal:
            _lay(lanes, edge)
    return lanes


def _lay(lanes: dict[str, Lane], edge: Edge) -> None:
    lane = lanes[edge.source]
    route = lane.routes[edge.outcome] = Route(edge.outcome, lanes[edge.target], edge.counted)
    if not edge.counted and edge.outcome != ERROR:
        lane.plain[edge.outcome] = route
    if edge.outcome == SPENT:
        lane.spent = route
