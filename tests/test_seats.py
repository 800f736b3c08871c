"""A graph of one's own: what no run could play is refused before anything runs, by name."""

import pytest
import yaml

from funreason.bus.agent import GraphError
from funreason.cli import main
from funreason.config import CONFIGS, AgentEntry, Config, Fcdr
from funreason.runtime.graph import loop_graph, refine_graph

SHIPPED = yaml.safe_load((CONFIGS / "fcdr.yaml").read_text())
REFINE_ONLY = {
    "start": "response",
    "nodes": {
        "response": {"outcomes": ["pass", "keep_text", "drop", "error"]},
        "trainer": {},
        "dead_letter": {},
    },
    "edges": [
        "response pass trainer",
        "response keep_text trainer",
        "response drop dead_letter",
        "response error dead_letter",
    ],
}


def without(gone):
    """The shipped graph without a node and every edge that touches it."""
    nodes = {name: given for name, given in SHIPPED["nodes"].items() if name != gone}
    edges = [edge for edge in SHIPPED["edges"] if gone not in edge.split()]
    loose = {
        name: given | {"outcomes": []} if name in ("trainer", "evaluator") else given for name, given in nodes.items()
    }
    return {"start": SHIPPED["start"], "nodes": loose, "edges": edges}


def with_node(name, **node):
    """The shipped graph with a node more behind `cot`."""
    edges = ["cot pass " + name if edge == "cot pass parameters" else edge for edge in SHIPPED["edges"]]
    more = [f"{name} pass parameters", f"{name} drop dead_letter", f"{name} error dead_letter"]
    nodes = SHIPPED["nodes"] | {name: {"outcomes": ["pass", "drop", "error"]} | node}
    return SHIPPED | {"nodes": nodes, "edges": edges + more}


def asking(node, agent):
    """The shipped graph with an agent named for a node."""
    return SHIPPED | {"nodes": SHIPPED["nodes"] | {node: SHIPPED["nodes"][node] | {"agent": agent}}}


@pytest.fixture
def file(tmp_path):
    """Writes a graph into a file; gives its path."""

    def write(data):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return str(path)

    return write


def problems(read, name, **fcdr):
    with pytest.raises(GraphError) as caught:
        read(Config(fcdr=Fcdr(graph=name, **fcdr)))
    return [problem.message for problem in caught.value.problems]


@pytest.mark.parametrize("read", [loop_graph, refine_graph])
@pytest.mark.parametrize(
    ("node", "hint"), [("judge9", "known are 'response', 'query_tool'"), ("formatt", "did you mean 'format'?")]
)
def test_a_node_that_nobody_answers_at_is_refused_with_the_nodes_there_are(file, read, node, hint):
    name = file(with_node(node))
    (message,) = problems(read, name)
    assert all(part in message for part in (f"no agent answers at node {node!r}", name, hint, "agents"))


@pytest.mark.parametrize("read", [loop_graph, refine_graph])
@pytest.mark.parametrize(
    "data", [asking("cot", "x.py:nope"), asking("cot", "format"), with_node("mine", agent="x.py:nope")]
)
def test_an_agent_named_in_a_graph_file_is_refused_and_not_passed_over(file, read, data):
    name = file(data)
    (message,) = problems(read, name)
    assert "asks for the agent" in message
    assert "agents" in message


def test_an_agent_of_a_nodes_own_name_is_what_it_has_anyway(file):
    assert loop_graph(Config(fcdr=Fcdr(graph=file(asking("cot", "cot"))))) == loop_graph(Config())


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        (
            "evaluator",
            ["no node 'evaluator'", "`trainer candidate evaluator round`", "`evaluator accepted generator round`"],
        ),
        ("trainer", ["no node 'trainer'", "`generator drained trainer round`"]),
        ("generator", ["no node 'generator'", "`evaluator accepted generator round`"]),
        ("dead_letter", ["no node 'dead_letter'"]),
    ],
)
def test_a_loop_without_what_every_round_needs_is_refused_with_what_to_add(file, gone, told):
    messages = problems(loop_graph, file(without(gone)))
    assert all(any(part in message for message in messages) for part in told)


@pytest.mark.parametrize(
    "edge",
    ["generator drained trainer round", "trainer candidate evaluator round", "evaluator accepted generator round"],
)
def test_a_loop_whose_round_does_not_close_is_refused_with_the_edge_to_add(file, edge):
    data = SHIPPED | {"edges": [each for each in SHIPPED["edges"] if each != edge]}
    assert any(f"add the edge `{edge}`" in message for message in problems(loop_graph, file(data)))


def test_a_loop_whose_samples_would_enter_behind_the_generator_is_refused(file):
    messages = problems(loop_graph, file(SHIPPED | {"start": "response"}))
    assert any("set `start: generator`" in message for message in messages)


def test_refining_needs_no_generator_no_evaluator_and_no_round_edges(file):
    assert refine_graph(Config(fcdr=Fcdr(graph=file(REFINE_ONLY)))).names == ("response", "trainer", "dead_letter")


@pytest.mark.parametrize("gone", ["trainer", "dead_letter"])
def test_refining_needs_both_ends(file, gone):
    other = ({"trainer", "dead_letter"} - {gone}).pop()
    edges = [edge.replace(gone, other) for edge in REFINE_ONLY["edges"]]
    nodes = {name: given for name, given in REFINE_ONLY["nodes"].items() if name != gone}
    (message,) = problems(refine_graph, file(REFINE_ONLY | {"nodes": nodes, "edges": edges}))
    assert f"no node {gone!r}" in message


def test_a_judge_of_the_configuration_may_sit_at_a_node_of_its_own_name():
    judge = AgentEntry(name="judge9", agent="x.py:any", after="cot")
    assert "judge9" in loop_graph(Config(agents=[judge])).names
    assert "judge9" in refine_graph(Config(agents=[judge])).names


def test_a_node_that_stands_twice_in_a_graph_file_is_refused_with_both_lines(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("start: a\nnodes:\n  a: {}\n  a: {outcomes: [pass]}\nedges: []\n")
    (message,) = problems(loop_graph, str(path))
    assert f"{path}: a is written twice in one group, in lines 3 and 4" in message


@pytest.mark.parametrize("command", [["graph"], ["config", "check"]])
def test_what_a_run_would_refuse_is_not_called_fine_beforehand(file, capsys, command):
    name = file(with_node("judge9"))
    with pytest.raises(SystemExit) as left:
        main([*command, "--set", f"fcdr.graph={name}"])
    assert left.value.code == 2
    assert "no agent answers at node 'judge9'" in capsys.readouterr().err
