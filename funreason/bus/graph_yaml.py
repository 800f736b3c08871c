"""Reads a graph from plain data, as a YAML file gives it.

    start: generator
    nodes:
      generator: {outcomes: [sampled, error], max_batch: 64}
      dead_letter: {}
    edges:
      - generator sampled response
      - parameters regenerate regenerator retry

Only the form is judged here; whether the graph can run is for `checks`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from funreason.bus.agent import GraphError, Problem
from funreason.bus.topology import Edge, Node, Topology

GRAPH_KEYS = ("start", "nodes", "edges")
NODE_KEYS = ("agent", "outcomes", "max_batch", "concurrency", "retries")
EDGE_FLAGS = ("retry", "round")
RENAMED_FLAGS = {"counted": "retry", "signal": "round"}
EDGE_FORM = '"source outcome target", then `retry` or `round` where wanted'


def nearest(name: str, known: Collection[str]) -> str:
    """A clause naming the known name that looks most like `name`, or all of them when none does."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(map(repr, known)) or 'none'}."


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
    return Topology(
        tuple(_node(str(name), given) for name, given in nodes.items()),
        tuple(_edge(f"graph.edges[{i}]", given) for i, given in enumerate(edges)),
        _text("graph.start", data.get("start", "")),
    )


def _node(name: str, given: object) -> Node:
    where = f"graph.nodes.{name}"
    fields = _mapping(where, {} if given is None else given)
    _only(NODE_KEYS, fields, where)
    limit, outcomes = fields.get("concurrency"), fields.get("outcomes", [])
    if not isinstance(outcomes, list | tuple) or not all(isinstance(item, str) for item in outcomes):
        raise _wrong(f"{where}.outcomes", "a list of outcome names, such as [pass, drop, error]", outcomes)
    return Node(
        name,
        _text(f"{where}.agent", fields.get("agent", name)),
        tuple(outcomes),
        _count(f"{where}.max_batch", fields.get("max_batch", 1), 1),
        None if limit is None else _count(f"{where}.concurrency", limit, 1),
        _count(f"{where}.retries", fields.get("retries", 1), 0),
    )


def _edge(where: str, given: object) -> Edge:
    words = given.split() if isinstance(given, str) else []
    if len(words) < 3:
        raise _wrong(where, EDGE_FORM, given)
    for flag in words[3:]:
        if flag not in EDGE_FLAGS:
            hint = f"it is called {RENAMED_FLAGS[flag]!r} now." if flag in RENAMED_FLAGS else nearest(flag, EDGE_FLAGS)
            raise _problem(f"{where} is {given!r}: unknown word {flag!r}; {hint}")
    return Edge(words[0], words[1], words[2], retry="retry" in words[3:], per_round="round" in words[3:])


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
