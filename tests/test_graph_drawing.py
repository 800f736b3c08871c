"""The drawings: every node and edge is in them, and names come through exactly."""

from funreason.bus.graph import Edge, Graph, Node, to_mermaid, to_text

LONG = "a_judge_with_a_very_long_name_that_nobody_should_have_to_read_twice"


def small():
    outcomes = ("pass", "again", "exhausted", "drop", "error")
    nodes = (Node("first", outcomes=outcomes), Node('odd "<name>" & co', outcomes=("back", "error")), Node("end"))
    edges = (
        Edge("first", "pass", "end"),
        Edge("first", "again", nodes[1].name, retry=True),
        *(Edge("first", outcome, "end") for outcome in ("exhausted", "drop", "error")),
        Edge(nodes[1].name, "back", "first"),
        Edge(nodes[1].name, "error", "end"),
    )
    return Graph(nodes, edges, "first").checked()


def test_the_text_has_a_row_per_node_in_depth_order():
    rows = to_text(small()).splitlines()
    assert [row.split()[1] for row in rows] == ["first", "odd", "end"]


def test_agents_on_the_rounds_edges_are_drawn_where_its_message_passes():
    nodes = (
        Node("generator", outcomes=("sampled", "drop", "error", "drained")),
        Node("judge", outcomes=("pass", "drop", "error")),
        Node("dead_letter"),
        Node("trainer", outcomes=("candidate",)),
        Node("evaluator", outcomes=("accepted",)),
        Node("opinion", outcomes=("pass",)),
        Node("approval", outcomes=("pass",)),
    )
    edges = (
        Edge("generator", "sampled", "judge"),
        Edge("judge", "pass", "trainer"),
        *(Edge(name, outcome, "dead_letter") for name in ("generator", "judge") for outcome in ("drop", "error")),
        Edge("generator", "drained", "trainer", per_round=True),
        Edge("trainer", "candidate", "opinion", per_round=True),
        Edge("opinion", "pass", "evaluator", per_round=True),
        Edge("evaluator", "accepted", "approval", per_round=True),
        Edge("approval", "pass", "generator", per_round=True),
    )
    graph = Graph(nodes, edges, "generator").checked()
    way = ["generator", "judge", "trainer", "opinion", "evaluator", "approval", "dead_letter"]
    assert [row.split()[1] for row in to_text(graph).splitlines()] == way
    boxes = [line.split('"')[1] for line in to_mermaid(graph).splitlines() if "|" not in line and '"' in line]
    assert boxes == way


def test_the_text_groups_outcomes_that_lead_to_one_place_and_marks_what_leads_back():
    text = to_text(small())
    assert "pass, exhausted, drop, error → end" in text
    assert "again (retry) → odd" in text
    assert "back ↺ first" in text


def test_names_are_shown_exactly_in_text_and_quoted_for_mermaid():
    assert 'odd "<name>" & co' in to_text(small())
    assert '["odd &quot;&lt;name&gt;&quot; &amp; co"]' in to_mermaid(small())


def test_no_line_of_the_text_is_wider_than_asked():
    nodes = (Node(LONG, outcomes=(*(f"outcome_{i}" for i in range(12)), "error")), Node("end"), Node("other"))
    targets = [("end", "other")[i % 2] for i in range(13)]
    edges = tuple(Edge(LONG, outcome, target) for outcome, target in zip(nodes[0].outcomes, targets, strict=True))
    text = to_text(Graph(nodes, edges, LONG).checked())
    assert max(map(len, text.splitlines())) <= 100
    assert all(outcome in text for outcome in nodes[0].outcomes)


def test_mermaid_draws_counted_and_round_edges_apart():
    nodes = (
        Node("a", outcomes=("pass", "error", "drained")),
        Node("t", outcomes=("candidate",)),
        Node("e", outcomes=("accepted",)),
    )
    edges = (
        Edge("a", "pass", "t"),
        Edge("a", "error", "t"),
        Edge("a", "drained", "t", per_round=True),
        Edge("t", "candidate", "e", per_round=True),
        Edge("e", "accepted", "a", per_round=True),
    )
    drawn = to_mermaid(Graph(nodes, edges, "a").checked())
    assert 'n1 -.->|"candidate (once a round)"| n2' in drawn
    assert 'n0 -->|"pass"| n1' in drawn
    assert '==>|"again (retry)"|' in to_mermaid(small())
