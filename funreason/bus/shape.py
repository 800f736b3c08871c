"""What networkx knows about a graph: depths, what can be reached, cycles.

The one place that touches networkx; it is asked before a run and never during one (a hop through networkx
costs ten times one through the compiled table).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import networkx as nx  # type: ignore[import-untyped]

from funreason.bus.nodes import Edge


def digraph(names: Iterable[str], edges: Iterable[Edge]) -> nx.MultiDiGraph[str]:
    """All nodes and those of `edges` whose two ends exist; each edge keyed by its outcome."""
    shape: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    shape.add_nodes_from(names)
    known = set(shape)
    shape.add_edges_from((e.source, e.target, e.outcome) for e in edges if {e.source, e.target} <= known)
    return shape


def depths(names: Sequence[str], edges: Iterable[Edge], start: str) -> dict[str, int]:
    """Every node's depth: the edges of the longest way from the start once the edges that lead back are left out.

    A node that cannot be reached stands behind all others.
    """
    shape = digraph(names, edges)
    forward = _without_back_edges(shape, start) if start in shape else nx.MultiDiGraph()
    depth: dict[str, int] = {}
    for name in nx.topological_sort(forward):
        depth[name] = 1 + max((depth[before] for before in forward.predecessors(name)), default=-1)
    return {name: depth.get(name, len(shape)) for name in shape}


def _without_back_edges(shape: nx.MultiDiGraph[str], start: str) -> nx.DiGraph[str]:
    forward: nx.DiGraph[str] = nx.DiGraph()
    forward.add_node(start)
    open_nodes: set[str] = set()
    for source, target, label in nx.dfs_labeled_edges(shape, start):
        if label == "reverse":
            open_nodes.discard(target)
            continue
        if label == "forward":
            open_nodes.add(target)
        if source != target and (label == "forward" or target not in open_nodes):
            forward.add_edge(source, target)
    return forward


def reachable(names: Iterable[str], edges: Iterable[Edge], start: str) -> set[str]:
    """The nodes that a walk from the start along `edges` can come to, the start among them."""
    shape = digraph(names, edges)
    if start not in shape:
        return set()
    return {start, *nx.descendants(shape, start)}


def cycles(names: Iterable[str], edges: Iterable[Edge]) -> list[list[Edge]]:
    """One cycle of every knot of nodes that `edges` tie together; empty when they tie none.

    One per knot and not all of them: their number can be exponential, and mending one at a time suffices.
    """
    kept = list(edges)
    named = {(e.source, e.target, e.outcome): e for e in kept}
    shape = digraph(names, kept)
    found = []
    for knot in nx.strongly_connected_components(shape):
        inside = shape.subgraph(knot)
        if inside.number_of_edges():
            found.append([named[step] for step in nx.find_cycle(inside)])
    return found
