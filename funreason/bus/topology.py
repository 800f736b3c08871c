"""Nodes, where agents answer; edges, which take an answer to the next node; and what their shape implies.

Three kinds of edges. Plain ones. `retry` ones cost the message one attempt, so that a cycle through them ends. `round`
ones carry the round's own message (`Bus.send`): one at a time, when no sample is in flight, from the start back to the
start. networkx is imported only to name the cycles of a graph that is refused: importing it takes a fifth of a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

DEAD_LETTER = "dead_letter"


@dataclass(frozen=True)
class Node:
    """A place where an agent answers messages. A node whose outcomes carry no message is a sink.

    `max_batch` above 1 hands the agent lists; `concurrency` bounds its calls under way (None: no bound of its
    own); `retries` is how often a call that raised is tried again.
    """

    name: str
    agent: str = ""
    outcomes: tuple[str, ...] = ()
    max_batch: int = 1
    concurrency: int | None = None
    retries: int = 1


@dataclass(frozen=True)
class Edge:
    """From `source`, the answer `outcome` leads to `target`."""

    source: str
    outcome: str
    target: str
    retry: bool = False
    per_round: bool = False

    def __str__(self) -> str:
        flags = " retry" * self.retry + " round" * self.per_round
        return f"{self.source} {self.outcome} {self.target}{flags}"


def depths(names: Sequence[str], edges: Iterable[Edge], start: str) -> dict[str, int]:
    """Every node's depth: the edges of the longest way from the start once the edges that lead back are left out.

    A node that cannot be reached comes after all others.
    """
    targets = _targets(names, edges)
    before: dict[str, list[str]] = {start: []}
    for source, target in _forward(targets, start):
        before.setdefault(target, []).append(source)
    depth: dict[str, int] = {}
    for name in TopologicalSorter(before).static_order():
        depth[name] = 1 + max((depth[each] for each in before[name]), default=-1)
    return {name: depth.get(name, len(targets)) for name in targets}


def reachable(names: Iterable[str], edges: Iterable[Edge], start: str) -> set[str]:
    """The nodes that a walk from the start along `edges` can come to, the start among them."""
    targets = _targets(names, edges)
    return {start, *(target for _, target in _forward(targets, start))} if start in targets else set()


def cycles(names: Iterable[str], edges: Iterable[Edge]) -> list[list[Edge]]:
    """One cycle of every knot of nodes that `edges` tie together; empty when they tie none.

    One per knot and not all of them: their number can be exponential, and fixing one at a time suffices.
    """
    kept = list(edges)
    known = list(names)
    try:
        TopologicalSorter(_targets(known, kept)).prepare()
        return []
    except CycleError:
        import networkx as nx  # type: ignore[import-untyped]  # only to name them: start-up does without it

    shape = nx.MultiDiGraph()
    shape.add_nodes_from(known)
    named = {(e.source, e.target, e.outcome): e for e in kept if {e.source, e.target} <= set(shape)}
    shape.add_edges_from(named)
    found = []
    for knot in nx.strongly_connected_components(shape):
        inside = shape.subgraph(knot)
        if inside.number_of_edges():
            found.append([named[step] for step in nx.find_cycle(inside)])
    return found


def _targets(names: Iterable[str], edges: Iterable[Edge]) -> dict[str, dict[str, None]]:
    """Where the edges of each node lead, in their order; edges that have no node at an end are left out."""
    targets: dict[str, dict[str, None]] = {name: {} for name in names}
    for edge in edges:
        if edge.source in targets and edge.target in targets:
            targets[edge.source][edge.target] = None
    return targets


def _forward(targets: dict[str, dict[str, None]], start: str) -> Iterator[tuple[str, str]]:
    """The edges met on a walk in depth from `start`, but for those that lead back to where the walk came through."""
    seen, way = {start}, {start}
    walk = [(start, iter(targets.get(start, ())))]
    while walk:
        source, left = walk[-1]
        target = next(left, None)
        if target is None:
            walk.pop()
            way.discard(source)
        elif target not in way:
            yield source, target
            if target not in seen:
                seen.add(target)
                way.add(target)
                walk.append((target, iter(targets[target])))


# Nodes, edges and a start: a graph as it was declared, whether or not it can run.


@dataclass(frozen=True)
class Topology:
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
        """The edges that carry samples."""
        return tuple(edge for edge in self.edges if not edge.per_round)

    @property
    def sinks(self) -> frozenset[str]:
        """The nodes that no sample leaves: those without outcomes, or whose every edge is a round edge."""
        silent = {node.name for node in self.nodes if not node.outcomes}
        once = {edge.source for edge in self.edges if edge.per_round}
        return frozenset(silent | (once - {edge.source for edge in self.carrying}))

    @property
    def round_nodes(self) -> frozenset[str]:
        """The nodes that the round's own message may visit, without the start."""
        return frozenset(edge.target for edge in self.edges if edge.per_round) - {self.start}

    def node(self, name: str) -> Node:
        """The node of that name.

        Raises:
            KeyError: there is none.
        """
        return {node.name: node for node in self.nodes}[name]

    def edges_from(self, name: str) -> tuple[Edge, ...]:
        """The edges that leave a node, in declared order."""
        return tuple(edge for edge in self.edges if edge.source == name)
