"""The graph of a run: read from configuration, with the user's own judges set in.

`refine` uses the same file without what only a loop has: no generator, no evaluator, samples enter at the first judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from funreason.agents.own import USUAL
from funreason.bus.agent import SPENT
from funreason.bus.checks import check_graph
from funreason.bus.errors import GraphError, Problem
from funreason.bus.graph import Edge, Graph, Node
from funreason.bus.shape import reachable
from funreason.config import CONFIGS, ConfigError, Fcdr, JudgeEntry, read_yaml_file
from funreason.loops.seats import END, LOOP_ONLY, STAGES, check_agents, check_seats
from funreason.record.types import Outcome


def read_graph_file(name: str) -> Graph:
    """The graph in a file, or in configs/ by name; unchecked."""
    for path in (Path(name), CONFIGS / f"{name}.yaml"):
        if path.is_file():
            break
    else:
        raise GraphError([Problem("no_file", f"no graph file {name}: neither a path nor a name in {CONFIGS}")])
    try:
        data = read_yaml_file(path)
    except ConfigError as error:
        raise GraphError([Problem("not_yaml", str(error))]) from error
    if not isinstance(data, dict):
        raise GraphError([Problem("not_a_graph", f"{path} must hold `start`, `nodes` and `edges`")])
    return Graph.from_mapping(data)


def loop_graph(fcdr: Fcdr) -> Graph:
    """The graph of a loop; GraphError says everything that would keep a loop from running it."""
    return _checked(_whole(fcdr), fcdr, loop=True)


def refine_graph(fcdr: Fcdr) -> Graph:
    """The graph of FCDR alone: from the first judge to trainer (which only keeps) or dead letter; GraphError as above.

    A graph without generator, evaluator and signals serves as well.
    """
    whole = _whole(fcdr)
    entry = next((e.target for e in whole.edges if e.source == "generator" and e.outcome == "sampled"), whole.start)
    nodes = tuple(replace(n, outcomes=()) if n.name == "trainer" else n for n in whole.nodes if n.name not in LOOP_ONLY)
    edges = tuple(e for e in whole.edges if not e.signal and e.source not in LOOP_ONLY and e.target not in LOOP_ONLY)
    return _checked(Graph(nodes, edges, entry), fcdr, loop=False)


def _checked(graph: Graph, fcdr: Fcdr, *, loop: bool) -> Graph:
    own = [entry.name for entry in fcdr.judges]
    if problems := [*check_graph(graph), *check_seats(graph, own, fcdr.graph, loop=loop)]:
        raise GraphError(problems)
    return graph


def _whole(fcdr: Fcdr) -> Graph:
    graph = read_graph_file(fcdr.graph)
    if problems := check_agents(graph, fcdr.graph):
        raise GraphError(problems)
    graph = _with_judges(graph, fcdr)
    for name, after in fcdr.move.items():
        onward = next((e.target for e in graph.edges_from(after) if e.outcome == Outcome.PASS), "")
        graph = graph.moved(name, (after, onward))
    for name in fcdr.skip:
        graph = graph.without(name)
    return _reachable(graph) if fcdr.skip else graph


def _reachable(graph: Graph) -> Graph:
    """Without what only a stage that was left out had led to, such as the regenerator."""
    found = reachable(graph.names, graph.edges, graph.start)
    nodes = tuple(node for node in graph.nodes if node.name in found)
    return Graph(nodes, tuple(edge for edge in graph.edges if edge.source in found), graph.start)


def _with_judges(graph: Graph, fcdr: Fcdr) -> Graph:
    for entry in fcdr.judges:
        graph = _with_judge(graph, entry)
    return graph


def _with_judge(graph: Graph, entry: JudgeEntry) -> Graph:
    onward = next((e for e in graph.edges_from(entry.after) if e.outcome == entry.edge), None)
    if onward is None:
        text = f"judge {entry.name} is to stand after {entry.after!r}, which has no `{entry.edge}` edge"
        raise GraphError([Problem("no_edge", text)])
    edges = [_edge(graph, entry, outcome, target) for outcome, target in entry.outcomes.items()]
    spent = (SPENT,) if any(edge.counted for edge in edges) else ()
    outcomes = dict.fromkeys((*USUAL, *entry.outcomes, *spent))
    node = Node(entry.name, agent=entry.agent, outcomes=tuple(outcomes))
    return graph.with_node(node, (entry.after, onward.target), entry.edge, edges=edges)


def _edge(graph: Graph, entry: JudgeEntry, outcome: str, target: str) -> Edge:
    """An edge of a judge's own. One that leads back is counted, or a sample could go round for ever."""
    free = [edge for edge in graph.carrying if not edge.counted]
    back = entry.after in reachable(graph.names, free, target)
    return Edge(entry.name, outcome, target, counted=back)


def judging_order(graph: Graph, judges: Sequence[str]) -> list[str]:
    """The judges' names in the order a sample meets them."""
    return [name for name in graph.order if name in judges]


__all__ = ["END", "STAGES", "judging_order", "loop_graph", "read_graph_file", "refine_graph"]
