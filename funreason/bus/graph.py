"""The graph: which nodes there are, and which edge each outcome takes.

Declared in plain data, checked before anything runs (`checks`), drawn (`drawing`), and compiled to a table
(`table`) that the scheduler walks. A judge of one's own is set in with `with_node`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from funreason.bus.agent import GraphError, Problem
from funreason.bus.checks import check_graph
from funreason.bus.graph_yaml import read_plan
from funreason.bus.topology import DEAD_LETTER, Edge, Node, Topology

__all__ = ["DEAD_LETTER", "Edge", "Graph", "Node"]


@dataclass(frozen=True)
class Graph(Topology):
    """A plan that can be read, checked and changed; each change gives a new graph."""

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Graph:
        """Read `{start, nodes: {name: {agent, outcomes, …}}, edges: ["source outcome target [retry|round]"]}`.

        Raises:
            GraphError: a key, a type or an edge's words are not as expected; names the nearest known key.
        """
        plan = read_plan(data)
        return cls(plan.nodes, plan.edges, plan.start)

    def checked(self) -> Graph:
        """This graph, once nothing is wrong with it.

        Raises:
            GraphError: lists everything that is wrong, each with how to fix it.
        """
        if problems := check_graph(self):
            raise GraphError(problems)
        return self

    def with_node(
        self,
        node: Node,
        between: tuple[str, str],
        on: str = "pass",
        *,
        passing: str = "pass",
        dead: str = DEAD_LETTER,
        edges: Iterable[Edge] = (),
    ) -> Graph:
        """A new graph with `node` set into the edge `between[0] on between[1]`.

        Its `passing` outcome goes where that edge went, the outcomes that `edges` name go where those say, and
        every other one goes to `dead`.

        Raises:
            GraphError: there is no such edge, or there is a node of that name already.
        """
        wanted = between[0], on, between[1]
        cut = next((edge for edge in self.edges if (edge.source, edge.outcome, edge.target) == wanted), None)
        if cut is None:
            there = "; ".join(map(str, self.edges_from(between[0]))) or "none"
            reason = f"no edge `{between[0]} {on} {between[1]}`; edges from {between[0]!r}: {there}."
            raise GraphError([Problem("no_edge", reason)])
        if node.name in self.names:
            raise GraphError(
                [Problem("same_name", f"a node {node.name!r} is in the graph already; choose another name.")]
            )
        own = {edge.outcome: edge for edge in edges}
        own.setdefault(passing, Edge(node.name, passing, cut.target, per_round=cut.per_round))
        for outcome in node.outcomes:
            own.setdefault(outcome, Edge(node.name, outcome, dead))
        kept = tuple(replace(edge, target=node.name) if edge == cut else edge for edge in self.edges)
        return replace(self, nodes=(*self.nodes, node), edges=kept + tuple(own.values()))

    def without(self, name: str, passing: str = "pass") -> Graph:
        """A new graph without that node: what led to it leads to where its `passing` edge went.

        Raises:
            GraphError: there is no such node, or it has no such edge.
        """
        onward = next((edge.target for edge in self.edges_from(name) if edge.outcome == passing), None)
        if onward is None:
            reason = f"cannot take out {name!r}: it has no edge for {passing!r}, so nothing says what follows."
            raise GraphError([Problem("no_edge", reason)])
        kept = (edge for edge in self.edges if edge.source != name)
        edges = tuple(replace(edge, target=onward) if edge.target == name else edge for edge in kept)
        nodes = tuple(node for node in self.nodes if node.name != name)
        return Graph(nodes, edges, onward if self.start == name else self.start)

    def moved(self, name: str, between: tuple[str, str], on: str = "pass", *, passing: str = "pass") -> Graph:
        """A new graph with that node taken out and set in elsewhere; its edges other than `passing` stay its own.

        Raises:
            GraphError: as `without` and `with_node`.
        """
        own = tuple(edge for edge in self.edges_from(name) if edge.outcome != passing)
        return self.without(name, passing).with_node(self.node(name), between, on, passing=passing, edges=own)
