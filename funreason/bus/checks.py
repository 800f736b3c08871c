"""Checks whether a graph can run: every way it can fail has its own sentence, which says how to fix it.

All problems are found in one go, so that a file has to be fixed only once. The rule that matters most: whatever the
agents answer, every message ends. Each outcome has an edge, and each cycle has a retry edge, so a walk can
only stop at a sink.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from funreason.bus.agent import ENDED, ERROR, EXHAUSTED, Problem, nearest
from funreason.bus.topology import DEAD_LETTER, Topology, cycles, reachable


def check_graph(graph: Topology) -> list[Problem]:
    """Everything that is wrong with `graph`; empty when it can run."""
    return [problem for rule in (_names, _outcomes, _walks) for problem in rule(graph)]


def _names(graph: Topology) -> Iterator[Problem]:
    """The start is a node; names are used once; numbers and outcomes are in range.

    Every edge leaves a node by an outcome it declares, and leads to a node.
    """
    if not graph.start:
        yield Problem("no_start", "the graph has no start: set `start` to the node that messages enter by.")
    elif graph.start not in graph.names:
        hint = nearest(graph.start, graph.names)
        yield Problem("unknown_start", f"the graph starts at {graph.start!r}, which is no node; {hint}")
    for name, times in Counter(graph.names).items():
        if times > 1:
            yield Problem("same_name", f"{times} nodes are named {name!r}; rename all but one.")
    for node in graph.nodes:
        limits = (("max_batch", node.max_batch, 1), ("concurrency", node.concurrency, 1), ("retries", node.retries, 0))
        for key, value, least in limits:
            if value is not None and value < least:
                yield Problem("number", f"node {node.name!r} has {key} {value}; it must be at least {least}.")
        if ENDED in node.outcomes:
            yield Problem(
                "reserved", f"node {node.name!r} declares the outcome {ENDED!r}, which is reserved; rename it."
            )
    declared = {node.name: node.outcomes for node in graph.nodes}
    for edge in graph.edges:
        if edge.source not in declared:
            hint = nearest(edge.source, list(declared))
            yield Problem("unknown_source", f"edge `{edge}` leaves {edge.source!r}, which is no node; {hint}")
        elif edge.outcome not in declared[edge.source]:
            hint = nearest(edge.outcome, declared[edge.source])
            yield Problem(
                "undeclared",
                f"edge `{edge}` waits for {edge.outcome!r}, which {edge.source!r} does not declare; {hint} "
                f"Add it to the outcomes of {edge.source!r} or take the edge out.",
            )
    for edge in graph.edges:
        if edge.target not in graph.names:
            hint = nearest(edge.target, graph.names)
            yield Problem("unknown_target", f"edge `{edge}` leads to {edge.target!r}, which is no node; {hint}")
        if edge.retry and edge.per_round:
            yield Problem(
                "both", f"edge `{edge}` is both retry and round; a round's message has no attempts: drop `retry`."
            )


def _outcomes(graph: Topology) -> Iterator[Problem]:
    """Every outcome has exactly one edge, and every node where an agent may raise has one for errors.

    A retry edge costs an attempt, so its node needs an edge for a message with none left.
    """
    led = {(edge.source, edge.outcome) for edge in graph.edges}
    for node in graph.nodes:
        for outcome in node.outcomes:
            if (node.name, outcome) not in led:
                target = f"{graph.start} round" if node.name in graph.round_nodes else DEAD_LETTER
                yield Problem(
                    "no_edge",
                    f"node {node.name!r} may answer {outcome!r}, but no edge takes it; "
                    f"add an edge such as `{node.name} {outcome} {target}`.",
                )
    for (source, outcome), times in Counter((e.source, e.outcome) for e in graph.edges).items():
        if times > 1:
            reason = "; ".join(f"`{e}`" for e in graph.edges if (e.source, e.outcome) == (source, outcome))
            yield Problem("two_edges", f"{times} edges take {outcome!r} from {source!r} ({reason}); keep one.")
    without_errors = graph.sinks | graph.round_nodes
    for node in graph.nodes:
        if node.name not in without_errors and ERROR not in node.outcomes:
            yield Problem(
                "no_error",
                f"node {node.name!r} has no outcome {ERROR!r}, so a message whose agent raises would have nowhere to "
                f"go; declare it and add an edge such as `{node.name} {ERROR} {DEAD_LETTER}`.",
            )
    declared = {node.name: node.outcomes for node in graph.nodes}
    for edge in graph.edges:
        if not edge.retry:
            continue
        if edge.outcome in (ERROR, EXHAUSTED):
            yield Problem(
                "retry", f"edge `{edge}` is a retry, but {edge.outcome!r} must not cost an attempt: drop `retry`."
            )
        elif EXHAUSTED not in declared.get(edge.source, (EXHAUSTED,)):
            yield Problem(
                "no_exhausted",
                f"edge `{edge}` is a retry, but {edge.source!r} has no outcome {EXHAUSTED!r} for a message with no "
                f"attempt left; declare it and add an edge such as `{edge.source} {EXHAUSTED} {DEAD_LETTER}`.",
            )


def _walks(graph: Topology) -> Iterator[Problem]:
    """Every node can be reached, and so can a sink; every cycle has a retry edge.

    The round's message must come back to the start, whatever each agent on its way answers.
    """
    found = reachable(graph.names, graph.edges, graph.start)
    for name in dict.fromkeys(graph.names):
        if found and name not in found:
            yield Problem(
                "unreachable", f"no way leads from {graph.start!r} to node {name!r}; add an edge to it or take it out."
            )
    reached = reachable(graph.names, graph.carrying, graph.start)
    if reached and not reached & graph.sinks:
        yield Problem(
            "no_end",
            f"no message that starts at {graph.start!r} can end: no node without outcomes can be reached; "
            f"add a sink such as `{DEAD_LETTER}: {{}}` and an edge to it.",
        )
    depth = {name: i for i, name in enumerate(graph.order)}
    for cycle in cycles(graph.names, (edge for edge in graph.carrying if not edge.retry)):
        back = max(cycle, key=lambda edge: depth[edge.source] - depth[edge.target])
        way = " → ".join([cycle[0].source, *(edge.target for edge in cycle)])
        yield Problem(
            "unbounded",
            f"the cycle {way} can go round for ever; mark one of its edges `retry`, for instance "
            f"`{back} retry`, and give {back.source!r} an edge for {EXHAUSTED!r}.",
        )
    edges = [edge for edge in graph.edges if edge.per_round]
    begun = [edge for edge in edges if edge.source == graph.start]
    if edges and not begun:
        yield Problem(
            "no_round_start",
            f"no round edge leaves the start {graph.start!r}, so the edges marked `round` are never taken; add one "
            f"such as `{graph.start} drained {edges[0].source} round`.",
        )
    for name in reachable(graph.names, edges, graph.start) - {graph.start} if begun else ():
        if not any(edge.source == name for edge in edges):
            yield Problem(
                "round_ends",
                f"the round's message would end at {name!r}; it must come back to {graph.start!r}: add an edge such as "
                f"`{name} accepted {graph.start} round`.",
            )
    for cycle in cycles(graph.names, (edge for edge in edges if edge.source != graph.start)):
        way = " → ".join([cycle[0].source, *(edge.target for edge in cycle)])
        yield Problem(
            "round_cycle",
            f"the round edges {way} form a cycle, so a round might never end; lead one of them to {graph.start!r}.",
        )
