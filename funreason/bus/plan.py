"""Nodes, edges and a start: a graph as it was declared, whether or not it can run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from funreason.bus.nodes import Edge, Node
from funreason.bus.shape import depths


@dataclass(frozen=True)
class Plan:
    """Nodes and edges, in the order they were declared."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    start: str

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The nodes' names by depth, the start first: the longest way there that goes round no cycle."""
        depth = depths(self.names, self.edges, self.start)
        return tuple(sorted(self.names, key=lambda name: depth[name]))

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes' names, in declared order."""
        return tuple(node.name for node in self.nodes)

    @property
    def carrying(self) -> tuple[Edge, ...]:
        """The edges that carry messages."""
        return tuple(edge for edge in self.edges if not edge.signal)

    @property
    def sinks(self) -> frozenset[str]:
        """The nodes that no message leaves: those without outcomes, or whose every edge is a signal."""
        silent = {node.name for node in self.nodes if not node.outcomes}
        signalling = {edge.source for edge in self.edges if edge.signal}
        return frozenset(silent | (signalling - {edge.source for edge in self.carrying}))

    def node(self, name: str) -> Node:
        """The node of that name.

        Raises:
            KeyError: there is none.
        """
        return {node.name: node for node in self.nodes}[name]

    def edges_from(self, name: str) -> tuple[Edge, ...]:
        """The edges that leave a node, in declared order."""
        return tuple(edge for edge in self.edges if edge.source == name)
