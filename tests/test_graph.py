"""The graph: what is refused, and with which words; what setting judges in and taking them out leaves."""

import pytest

from funreason.bus.agent import GraphError
from funreason.bus.checks import check_graph
from funreason.bus.graph import Edge, Graph, Node

PLAIN = {
    "start": "generator",
    "nodes": {
        "generator": {"outcomes": ["sampled", "error", "drained"], "max_batch": 8},
        "cot": {"outcomes": ["pass", "drop", "error"]},
        "parameters": {"outcomes": ["pass", "regenerate", "exhausted", "error"]},
        "regenerator": {"outcomes": ["again", "error"]},
        "trainer": {"outcomes": ["candidate"]},
        "evaluator": {"outcomes": ["accepted"]},
        "dead_letter": None,
    },
    "edges": [
        "generator sampled cot",
        "generator error dead_letter",
        "cot pass parameters",
        "cot drop dead_letter",
        "cot error dead_letter",
        "parameters pass trainer",
        "parameters regenerate regenerator retry",
        "parameters exhausted dead_letter",
        "parameters error dead_letter",
        "regenerator again cot",
        "regenerator error dead_letter",
        "generator drained trainer round",
        "trainer candidate evaluator round",
        "evaluator accepted generator round",
    ],
}


def plain(**changes):
    return Graph.from_mapping({**PLAIN, **changes})


def edges(*gone, also=()):
    return [edge for edge in PLAIN["edges"] if edge not in gone] + list(also)


def nodes(**changes):
    return {**PLAIN["nodes"], **changes}


def problems(graph):
    return {problem.code: problem.message for problem in check_graph(graph)}


def test_a_whole_graph_passes_and_round_edges_do_not_count_as_a_cycle():
    assert plain().checked().start == "generator"


def test_the_order_is_by_depth_and_the_start_comes_first():
    order = plain().order
    assert order[0] == "generator"
    assert order.index("cot") < order.index("parameters") < order.index("regenerator")
    assert order.index("evaluator") > order.index("trainer")


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"start": ""}, "no_start", "set `start`"),
        ({"start": "generater"}, "unknown_start", "did you mean 'generator'?"),
        ({"edges": edges("cot drop dead_letter")}, "no_edge", "`cot drop dead_letter`"),
        ({"edges": edges(also=["cot keep trainer"])}, "undeclared", "'keep'"),
        (
            {"edges": edges("cot pass parameters", also=["cot pass parametres"])},
            "unknown_target",
            "did you mean 'parameters'?",
        ),
        ({"edges": edges(also=["cott pass trainer"])}, "unknown_source", "did you mean 'cot'?"),
        ({"edges": edges(also=["cot pass trainer"])}, "two_edges", "2 edges take 'pass' from 'cot'"),
        ({"nodes": nodes(lonely={})}, "unreachable", "'lonely'"),
        (
            {"nodes": nodes(cot={"outcomes": ["pass", "drop"]}), "edges": edges("cot error dead_letter")},
            "no_error",
            "`cot error dead_letter`",
        ),
        (
            {
                "nodes": nodes(parameters={"outcomes": ["pass", "regenerate", "error"]}),
                "edges": edges("parameters exhausted dead_letter"),
            },
            "no_exhausted",
            "`parameters exhausted dead_letter`",
        ),
        (
            {"edges": edges("parameters regenerate regenerator retry", also=["parameters regenerate regenerator"])},
            "unbounded",
            "`regenerator again cot retry`",
        ),
        ({"nodes": nodes(cot={"outcomes": ["pass", "drop", "error", "ended"]})}, "reserved", "reserved"),
        (
            {"edges": edges("cot error dead_letter", also=["cot error dead_letter retry"])},
            "retry",
            "must not cost an attempt",
        ),
        (
            {"edges": edges("trainer candidate evaluator round", also=["trainer candidate evaluator round retry"])},
            "both",
            "drop `retry`",
        ),
    ],
)
def test_each_fault_has_its_own_sentence_that_says_how_to_mend_it(changes, code, told):
    assert told in problems(plain(**changes))[code]


def test_the_sentence_on_an_unbounded_cycle_names_the_cycle():
    marked = "parameters regenerate regenerator retry"
    graph = plain(edges=edges(marked, also=[marked.removesuffix(" retry")]))
    message = problems(graph)["unbounded"]
    assert all(name in message for name in ("cot", "parameters", "regenerator"))


def test_a_graph_without_a_sink_cannot_end():
    graph = Graph((Node("a", outcomes=("error",)),), (Edge("a", "error", "a"),), "a")
    assert {"no_end", "unbounded"} <= problems(graph).keys()


def test_all_problems_are_listed_at_once():
    graph = plain(start="generator", nodes=nodes(lonely={}), edges=edges("cot drop dead_letter"))
    with pytest.raises(GraphError) as caught:
        graph.checked()
    assert {problem.code for problem in caught.value.problems} == {"unreachable", "no_edge"}
    assert "'lonely'" in str(caught.value)
    assert "'drop'" in str(caught.value)


@pytest.mark.parametrize(
    ("gone", "also", "code", "told"),
    [
        ("generator drained trainer round", (), "no_round_start", "`generator drained trainer round`"),
        ("evaluator accepted generator round", (), "round_ends", "`evaluator accepted generator round`"),
        (
            "evaluator accepted generator round",
            ("evaluator accepted trainer round",),
            "round_cycle",
            "lead one of them to 'generator'",
        ),
    ],
)
def test_a_rounds_message_must_come_back_to_the_start(gone, also, code, told):
    assert told in problems(plain(edges=edges(gone, also=also)))[code]


def test_numbers_out_of_range_are_refused():
    graph = Graph((Node("a", max_batch=0, concurrency=0, retries=-1),), (), "a")
    assert [problem.code for problem in check_graph(graph)] == ["number"] * 3


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({**PLAIN, "node": {}}, "unknown key 'node'; did you mean 'nodes'?"),
        ({**PLAIN, "nodes": {"a": {"outcome": ["pass"]}}}, "did you mean 'outcomes'?"),
        ({**PLAIN, "nodes": {"a": {"max_batch": "many"}}}, "graph.nodes.a.max_batch must be a whole number"),
        ({**PLAIN, "nodes": {"a": {"outcomes": "pass"}}}, "a list of outcome names"),
        ({**PLAIN, "nodes": ["a"]}, "graph.nodes must be a mapping; found ['a']"),
        ({**PLAIN, "edges": "a pass b"}, "graph.edges must be a list"),
        ({**PLAIN, "edges": ["a pass"]}, "graph.edges[0] must be"),
        ({**PLAIN, "edges": ["a pass b rety"]}, "did you mean 'retry'?"),
        ({**PLAIN, "start": 3}, "graph.start must be a name; found 3"),
        ([], "graph must be a mapping"),
    ],
)
def test_a_malformed_declaration_names_the_key_and_the_nearest_known_one(data, told):
    with pytest.raises(GraphError, match="graph") as caught:
        Graph.from_mapping(data)
    assert told in str(caught.value)


def test_an_edge_reads_back_as_it_is_written():
    assert [str(edge) for edge in plain().edges] == PLAIN["edges"]


def test_a_custom_judge_stands_between_two_nodes_and_its_refusals_go_to_the_dead_letter():
    node = Node("polite", outcomes=("pass", "drop", "error"))
    graph = plain().with_node(node, ("cot", "parameters")).checked()
    told = [str(edge) for edge in graph.edges]
    assert "cot pass polite" in told
    assert "cot pass parameters" not in told
    assert [str(edge) for edge in graph.edges_from("polite")] == [
        "polite pass parameters",
        "polite drop dead_letter",
        "polite error dead_letter",
    ]


def test_a_custom_judge_may_regenerate_by_an_edge_of_its_own():
    node = Node("polite", outcomes=("pass", "regenerate", "exhausted", "error"))
    again = Edge("polite", "regenerate", "regenerator", retry=True)
    graph = plain().with_node(node, ("cot", "parameters"), edges=[again]).checked()
    assert again in graph.edges


def test_a_judge_on_a_retry_edge_leaves_the_count_on_the_way_to_it():
    node = Node("gate", outcomes=("pass", "error"))
    graph = plain().with_node(node, ("parameters", "regenerator"), on="regenerate").checked()
    assert Edge("parameters", "regenerate", "gate", retry=True) in graph.edges


def test_a_judge_cannot_stand_on_an_edge_that_is_not_there():
    with pytest.raises(GraphError, match="no edge `cot pass trainer`; edges from 'cot': cot pass parameters"):
        plain().with_node(Node("x", outcomes=("pass",)), ("cot", "trainer"))


def test_a_judge_cannot_take_a_name_that_is_taken():
    with pytest.raises(GraphError, match="'cot' is in the graph already"):
        plain().with_node(Node("cot", outcomes=("pass",)), ("cot", "parameters"))


def test_taking_a_judge_out_joins_what_it_parted():
    graph = plain().without("cot").checked()
    assert {"generator sampled parameters", "regenerator again parameters"} <= {str(edge) for edge in graph.edges}


def test_taking_the_first_node_out_moves_the_start_on():
    assert plain().without("generator", passing="sampled").start == "cot"


def test_taking_out_a_node_that_leads_nowhere_is_refused():
    with pytest.raises(GraphError, match="cannot take out 'dead_letter'"):
        plain().without("dead_letter")


def test_setting_in_and_taking_out_gives_the_graph_back():
    there = plain().with_node(Node("polite", outcomes=("pass", "drop", "error")), ("cot", "parameters"))
    back = there.without("polite")
    assert set(back.edges) == set(plain().edges)
    assert back.nodes == plain().nodes


def test_a_moved_judge_keeps_its_other_edges():
    graph = plain().moved("cot", ("parameters", "trainer")).checked()
    assert graph.order.index("cot") > graph.order.index("parameters")
    assert Edge("cot", "drop", "dead_letter") in graph.edges
