"""Depths, what can be reached and cycles, on any graph, against networkx."""

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from funreason.bus.graph import Edge
from funreason.bus.topology import cycles, depths, reachable

NAMES = ["a", "b", "c", "d", "e", "f"]
PAIRS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([*NAMES, "nowhere"])), max_size=14)


def made_of(pairs):
    """The edges, and the graph that networkx makes of them."""
    edges = [Edge(source, f"way{i}", target) for i, (source, target) in enumerate(pairs)]
    graph = nx.DiGraph()
    graph.add_nodes_from(NAMES)
    graph.add_edges_from((source, target) for source, target in pairs if target in NAMES)
    return edges, graph


@given(PAIRS)
def test_what_can_be_reached_is_the_start_and_what_descends_from_it(pairs):
    edges, graph = made_of(pairs)
    assert reachable(NAMES, edges, "a") == {"a"} | nx.descendants(graph, "a")
    assert reachable(NAMES, edges, "nowhere") == set()


@given(PAIRS)
def test_a_cycle_is_named_in_every_knot_and_nowhere_else(pairs):
    edges, graph = made_of(pairs)
    found = cycles(NAMES, edges)
    knots = [knot for knot in nx.strongly_connected_components(graph) if graph.subgraph(knot).number_of_edges()]
    assert len(found) == len(knots)
    for cycle in found:
        assert [edge.target for edge in cycle] == [edge.source for edge in [*cycle[1:], cycle[0]]]


@given(PAIRS)
def test_without_cycles_a_depth_is_the_longest_way_from_the_start(pairs):
    ahead = [(source, target) for source, target in pairs if source < target or target == "nowhere"]
    edges, graph = made_of(ahead)
    found = depths(NAMES, edges, "a")
    assert list(found) == NAMES
    for name in NAMES:
        ways = [["a"]] if name == "a" else list(nx.all_simple_paths(graph, "a", name))
        assert found[name] == (max(map(len, ways)) - 1 if ways else len(NAMES))


@given(PAIRS)
def test_a_depth_leaves_out_only_edges_that_lead_back_and_every_node_has_one(pairs):
    edges, graph = made_of(pairs)
    found = depths(NAMES, edges, "a")
    assert set(found) == set(NAMES)
    for edge in edges:
        if edge.target in NAMES and found[edge.source] < len(NAMES) and found[edge.target] <= found[edge.source]:
            assert nx.has_path(graph, edge.target, edge.source)
