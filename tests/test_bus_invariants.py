"""Whatever the agents answer, on whatever graph: every message ends exactly once, within its attempts."""

import asyncio
from collections import Counter
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from funreason.bus.agent import ENDED, Emit
from funreason.bus.checks import check_graph
from funreason.bus.graph import Edge, Graph, Node
from funreason.bus.scheduler import Bus
from funreason.types import Sample, Task, Verdict

TASK = Task.of("t", "how warm is it", [])
WAYS = ("pass", "regenerate", "jump", "exhausted", "error")


@st.composite
def graphs(draw):
    """Judges in a row: `pass` leads on, `jump` further down, counted `regenerate` to anywhere."""
    size = draw(st.integers(1, 5))
    names = [f"j{i}" for i in range(size)]
    onward = [*names[1:], "end"]
    edges = []
    for i, name in enumerate(names):
        back = draw(st.sampled_from(names))
        ahead = draw(st.sampled_from(onward[i:]))
        targets = (onward[i], back, ahead, "dead", "dead")
        edges += [Edge(name, way, target, retry=way == "regenerate") for way, target in zip(WAYS, targets, strict=True)]
    nodes = [Node(name, name, WAYS, draw(st.integers(1, 4)), draw(st.sampled_from([None, 1, 2]))) for name in names]
    return Graph((*nodes, Node("end"), Node("dead")), tuple(edges), "j0")


class Judge:
    """Answers by a table; some entries raise, wait or fork."""

    def __init__(self, node, table):
        self.name, self.batched, self.table = node.name, node.max_batch > 1, table

    async def __call__(self, load):
        if self.batched:
            return [await self.one(message) for message in load]
        return await self.one(load)

    async def one(self, message):
        word = self.table[crc32(f"{self.name} {message.id} {message.attempt}".encode()) % len(self.table)]
        if word == "wait":
            await asyncio.sleep(0)
            return Verdict(self.name, "pass")
        if word == "raise":
            raise RuntimeError("no")
        if word == "fork":
            return [Emit("pass", message), Emit("regenerate", message)]
        if word == "end":
            return []
        return Verdict(self.name, word)


words = st.sampled_from(["pass", "regenerate", "jump", "wait", "raise", "fork", "end", "error"])


@settings(max_examples=120, deadline=None)
@given(
    graph=graphs(),
    table=st.lists(words, min_size=1, max_size=12),
    n=st.integers(0, 30),
    workers=st.integers(1, 6),
    most=st.integers(1, 4),
)
def test_every_message_ends_exactly_once_and_within_its_attempts(graph, table, n, workers, most):
    told = []
    agents = {node.name: Judge(node, table) for node in graph.nodes if node.outcomes}

    async def end(message):
        assert message.attempt < most

    bus = Bus(
        graph,
        {**agents, "end": end, "dead": end},
        workers=workers,
        max_attempts=most,
        observe=lambda *seen: told.append(seen),
        error_limit=1.0,
    )
    flow = asyncio.run(bus.drain(Sample.of(str(i), TASK, "") for i in range(n)))
    assert flow.pulled == n
    assert flow.pulled + flow.forked == flow.ended == Counter(outcome for _, _, outcome, _, _ in told)[ENDED]
    assert all(before.attempt < most for _, before, _, _, _ in told)
    assert (
        flow.nodes["end"].ended + flow.nodes["dead"].ended + sum(flow.nodes[name].ended for name in agents)
        == flow.ended
    )
    assert {message.id for _, message, outcome, _, _ in told if outcome == ENDED} == {str(i) for i in range(n)}


@settings(max_examples=60, deadline=None)
@given(graph=graphs(), uncount=st.data())
def test_a_graph_passes_the_check_exactly_when_no_cycle_is_unbounded(graph, uncount):
    chosen = uncount.draw(st.sampled_from([edge for edge in graph.edges if edge.retry]))
    bare = Edge(chosen.source, chosen.outcome, chosen.target)
    mended = Graph(graph.nodes, tuple(bare if edge == chosen else edge for edge in graph.edges), graph.start)
    leads_back = int(chosen.target[1:]) <= int(chosen.source[1:])
    reached = not any(problem.code == "unreachable" for problem in check_graph(graph))
    assert reached
    assert [problem.code for problem in check_graph(mended)] == ["unbounded"] * leads_back
