"""The graph: which nodes there are, and which edge each outcome takes.

Declared in plain data, as a YAML file gives it, checked before anything runs (`checks`), and compiled to a table
(`routing`) that the scheduler walks. A custom judge is added with `with_node`. It is drawn as Mermaid for a page or as
plain text for a terminal; names are shown exactly as declared.

    start: generator
    nodes:
      generator: {outcomes: [sampled, error], max_batch: 64}
      dead_letter: {}
    edges:
      - generator sampled response
      - parameters regenerate regenerator retry

Reading judges only the form; whether the graph can run is for `checks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from funreason.bus.agent import GraphError, Problem, nearest
from funreason.bus.checks import check_graph
from funreason.bus.topology import DEAD_LETTER, Edge, Node, Topology

__all__ = ["DEAD_LETTER", "Edge", "Graph", "Node"]
WIDTH = 100


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


GRAPH_KEYS = ("start", "nodes", "edges")
NODE_KEYS = ("agent", "outcomes", "max_batch", "concurrency", "retries")
EDGE_FLAGS = ("retry", "round")
RENAMED_FLAGS = {"counted": "retry", "signal": "round"}
EDGE_FORM = '"source outcome target", then `retry` or `round` where wanted'


def read_plan(data: Mapping[str, Any]) -> Topology:
    """The plan that `data` declares.

    Raises:
        GraphError: the form is wrong; says which key.
    """
    _mapping("graph", data)
    _only(GRAPH_KEYS, data, "graph")
    nodes = _mapping("graph.nodes", data.get("nodes", {}))
    edges = data.get("edges", [])
    if not isinstance(edges, list | tuple):
        raise _wrong("graph.edges", "a list of edges", edges)
    read_nodes, read_edges = [], []
    for name, given in nodes.items():
        where = f"graph.nodes.{name}"
        fields = _mapping(where, {} if given is None else given)
        _only(NODE_KEYS, fields, where)
        limit, outcomes = fields.get("concurrency"), fields.get("outcomes", [])
        if not isinstance(outcomes, list | tuple) or not all(isinstance(item, str) for item in outcomes):
            raise _wrong(f"{where}.outcomes", "a list of outcome names, such as [pass, drop, error]", outcomes)
        node = Node(
            str(name),
            _text(f"{where}.agent", fields.get("agent", str(name))),
            tuple(outcomes),
            _count(f"{where}.max_batch", fields.get("max_batch", 1), 1),
            None if limit is None else _count(f"{where}.concurrency", limit, 1),
            _count(f"{where}.retries", fields.get("retries", 1), 0),
        )
        read_nodes.append(node)
    for i, given in enumerate(edges):
        words = given.split() if isinstance(given, str) else []
        if len(words) < 3:
            raise _wrong(f"graph.edges[{i}]", EDGE_FORM, given)
        for word in words[3:]:
            if word not in EDGE_FLAGS:
                now = RENAMED_FLAGS.get(word)
                hint = f"it is called {now!r} now." if now else nearest(word, EDGE_FLAGS)
                raise _problem(f"graph.edges[{i}] is {given!r}: unknown word {word!r}; {hint}")
        source, outcome, target = words[:3]
        read_edges.append(Edge(source, outcome, target, retry="retry" in words[3:], per_round="round" in words[3:]))
    return Topology(tuple(read_nodes), tuple(read_edges), _text("graph.start", data.get("start", "")))


def _mapping(where: str, value: object) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise _wrong(where, "a mapping", value)


def _only(known: tuple[str, ...], given: Mapping[str, Any], where: str) -> None:
    for key in given:
        if key not in known:
            raise _problem(f"{where} has an unknown key {key!r}; {nearest(str(key), known)}")


def _text(where: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise _wrong(where, "a name", value)


def _count(where: str, value: object, least: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise _wrong(where, f"a whole number of at least {least}", value)


def _wrong(where: str, wanted: str, found: object) -> GraphError:
    return _problem(f"{where} must be {wanted}; found {found!r}.")


def _problem(message: str) -> GraphError:
    return GraphError([Problem("form", message)])


def to_mermaid(graph: Topology) -> str:
    """A Mermaid flowchart: retry edges thick, edges taken once a round dotted, sinks round."""
    names = _drawn_order(graph)
    ids = {name: f"n{i}" for i, name in enumerate(names)}
    sinks = graph.sinks
    lines = ["flowchart TD"]
    for name in names:
        box = f"([{_quoted(name)}])" if name in sinks else f"[{_quoted(name)}]"
        lines.append(f"    {ids[name]}{box}")
    for edge in (edge for name in names for edge in graph.edges_from(name)):
        arrow = "-.->" if edge.per_round else "==>" if edge.retry else "-->"
        lines.append(f"    {ids[edge.source]} {arrow}|{_quoted(_label(edge))}| {ids[edge.target]}")
    return "\n".join(lines) + "\n"


def _drawn_order(graph: Topology) -> list[str]:
    """The nodes by depth, those where messages only end last: so the way of the round's message is in one piece."""
    last = graph.sinks - graph.round_nodes
    return sorted(graph.order, key=lambda name: name in last)


def _quoted(text: str) -> str:
    return '"' + text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;") + '"'


def _label(edge: Edge) -> str:
    return edge.outcome + " (retry)" * edge.retry + " (once a round)" * edge.per_round


def to_text(graph: Topology, width: int = WIDTH) -> str:
    """One row per node by depth, plain sinks last, with its edges by where they lead; no line passes `width` columns.

    A name longer than half the width is still shown in full, on a line of its own.
    """
    names = _drawn_order(graph)
    column = min(max((len(name) for name in names), default=0), width // 2) + 4
    depth, sinks = {name: i for i, name in enumerate(names)}, graph.sinks
    lines = []
    for name in names:
        head = f"{'▶' if name == graph.start else '■' if name in sinks else '│'} {name}"
        groups: dict[str, list[str]] = {}
        for edge in graph.edges_from(name):
            groups.setdefault(edge.target, []).append(_label(edge))
        ways = [
            f"{', '.join(labels)} {'↺' if depth.get(target, len(depth)) <= depth[name] else '→'} {target}"
            for target, labels in groups.items()
        ]
        rows = _wrapped(ways or ["ends here"], width - column)
        lines.append(head if len(head) >= column else head.ljust(column) + rows.pop(0))
        lines += [" " * column + row for row in rows]
    return "\n".join(lines) + "\n"


def _wrapped(ways: list[str], room: int) -> list[str]:
    """`ways` joined by dots in rows of at most `room`: broken between ways, and inside one only if it must be."""
    rows = [""]
    parts = [way + " ·" * (i + 1 < len(ways)) for i, way in enumerate(ways)]
    for part in parts:
        for piece in [part] if len(part) <= room else part.split(" "):
            joined = f"{rows[-1]} {piece}" if rows[-1] else piece
            if len(joined) <= room or not rows[-1]:
                rows[-1] = joined
            else:
                rows.append(piece)
    return rows
