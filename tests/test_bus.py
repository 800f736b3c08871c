"""The bus at work: routes, order, batches, limits, attempts, fan-out, sources, round messages, stopping."""

import asyncio
import time
from typing import NamedTuple

import pytest

from funreason.bus.agent import ENDED, AnswerError, At, Emit, GraphError
from funreason.bus.graph import Graph
from funreason.bus.scheduler import Bus, RoundSteps
from funreason.bus.topology import Edge, Node
from funreason.types import Outcome, Sample, Task, Verdict

TASK = Task.of("t", "how warm is it", [])


def sample(i, **fields):
    return Sample.of(str(i), TASK, "[f()]", **fields)


def samples(n):
    return (sample(i) for i in range(n))


def line(*names, **settings):
    """A graph of nodes in a row that end in `end`; `settings` are per node."""
    nodes = {name: {"outcomes": ["pass", "error"], **settings.get(name, {})} for name in names} | {"end": {}}
    edges = [f"{a} pass {b}" for a, b in zip(names, [*names[1:], "end"], strict=True)]
    return Graph.from_mapping(
        {"start": names[0], "nodes": nodes, "edges": edges + [f"{name} error end" for name in names]}
    )


def again(**judge):
    """A judge with a retry edge back to itself."""
    nodes = {"judge": {"outcomes": ["pass", "regenerate", "exhausted", "error"], **judge}, "end": {}, "dead": {}}
    edges = ["judge pass end", "judge regenerate judge retry", "judge exhausted dead", "judge error dead"]
    return Graph.from_mapping({"start": "judge", "nodes": nodes, "edges": edges})


async def passing(message):
    return "pass"


async def passing_all(messages):
    return ["pass"] * len(messages)


async def ending(message):
    return None


def drain(graph, agents, source, **settings):
    ends = dict.fromkeys((node.name for node in graph.nodes if not node.outcomes), ending)
    return asyncio.run(Bus(graph, ends | agents, **settings).drain(source))


def test_every_message_walks_the_whole_line_and_is_counted_at_each_node():
    flow = drain(line("a", "b"), {"a": passing, "b": passing}, samples(50))
    assert [flow.nodes[name].entered for name in ("a", "b", "end")] == [50, 50, 50]
    assert flow.nodes["a"].answers == {"pass": 50}
    assert (flow.pulled, flow.ended, flow.forked, flow.stopped) == (50, 50, 0, False)


def test_a_verdict_travels_with_the_message_and_decides_its_way():
    ended = []

    async def judge(message):
        return Verdict("judge", Outcome.PASS, "fine")

    async def end(message):
        ended.append(message)

    drain(line("judge"), {"judge": judge, "end": end}, samples(3))
    assert [message.verdicts[0].reason for message in ended] == ["fine"] * 3


def test_an_observer_is_told_of_each_answer_after_its_route_is_decided():
    told = []
    graph = again()

    async def judge(message):
        return Verdict("judge", "regenerate")

    drain(graph, {"judge": judge}, samples(1), max_attempts=2, observe=lambda *seen: told.append(seen))
    assert [(node, before.attempt, outcome) for node, before, outcome, _, _ in told] == [
        ("judge", 0, "regenerate"),
        ("judge", 1, "exhausted"),
        ("dead", 1, ENDED),
    ]
    assert [None if after is None else after.attempt for _, _, _, after, _ in told] == [1, 1, None]
    assert all(seconds >= 0 for *_, seconds in told)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_sample_gets_no_more_than_the_maximum_of_attempts(most):
    seen = []

    async def judge(message):
        seen.append(message.attempt)
        return "regenerate"

    flow = drain(again(), {"judge": judge}, samples(4), max_attempts=most)
    assert max(seen) == most - 1
    assert len(seen) == 4 * most
    assert flow.nodes["dead"].entered == 4


def test_the_deepest_message_goes_first_so_that_samples_finish_early():
    seen = []

    def note(name):
        async def agent(message):
            seen.append((name, message.id))
            return "pass"

        return agent

    drain(line("a", "b"), {"a": note("a"), "b": note("b")}, samples(3), workers=1)
    assert seen == [(name, str(i)) for i in range(3) for name in ("a", "b")]


def test_the_source_is_pulled_only_when_nothing_is_ready_so_that_little_is_in_flight():
    pulled = ended = most = 0

    def source():
        nonlocal pulled, most
        for message in samples(500):
            pulled += 1
            most = max(most, pulled - ended)
            yield message

    async def end(message):
        nonlocal ended
        await asyncio.sleep(0)
        ended += 1

    flow = drain(line("a"), {"a": passing, "end": end}, source(), workers=8)
    assert most <= 9
    assert flow.peak <= 8


def test_a_slow_node_with_a_limit_holds_the_source_back():
    async def slow(message):
        await asyncio.sleep(0.0002)
        return "pass"

    flow = drain(line("a", "slow", slow={"concurrency": 1}), {"a": passing, "slow": slow}, samples(200), workers=8)
    assert flow.peak <= 3 * 8
    assert flow.ended == 200


def test_a_limit_on_calls_under_way_is_kept_and_used_up():
    running = most = 0

    async def slow(message):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.0005)
        running -= 1
        return "pass"

    drain(line("a", "slow", slow={"concurrency": 3}), {"a": passing, "slow": slow}, samples(60), workers=16)
    assert most == 3


def test_judges_that_wait_wait_together():
    running = most = 0

    async def slow(message):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return "pass"

    drain(line("slow"), {"slow": slow}, samples(100), workers=20)
    assert most == 20


def test_the_start_gets_whole_batches_and_the_rest_at_the_end():
    sizes = []

    async def batched(messages):
        sizes.append(len(messages))
        return await passing_all(messages)

    drain(line("a", a={"max_batch": 8}), {"a": batched}, samples(20))
    assert sizes == [8, 8, 4]


def test_a_part_of_a_batch_lets_other_ready_work_go_first_and_then_does_not_wait():
    sizes = []

    async def fork(message):
        return [Emit("pass", message) for _ in range(6)]

    async def batched(messages):
        sizes.append(len(messages))
        return await passing_all(messages)

    graph = line("fork", "rule", "batched", batched={"max_batch": 4})
    drain(graph, {"fork": fork, "rule": passing, "batched": batched}, samples(1), workers=1)
    assert sizes == [4, 2]


def test_while_a_batch_runs_those_behind_it_gather():
    sizes = []

    async def batched(messages):
        sizes.append(len(messages))
        await asyncio.sleep(0.002)
        return await passing_all(messages)

    graph = line("a", "batched", batched={"max_batch": 64, "concurrency": 1})
    drain(graph, {"a": passing, "batched": batched}, samples(64), workers=16)
    assert sum(sizes) == 64
    assert max(sizes) > 4


def test_one_task_becomes_many_samples_and_none_is_lost():
    async def generator(message):
        return [Emit("pass", sample(f"{message.id}/{k}")) for k in range(4)]

    flow = drain(line("generator", "judge"), {"generator": generator, "judge": passing}, samples(10))
    assert (flow.pulled, flow.forked, flow.ended) == (10, 30, 40)
    assert flow.nodes["generator"].entered == 10


def test_an_empty_list_ends_the_message():
    async def generator(message):
        return []

    flow = drain(line("generator"), {"generator": generator}, samples(10))
    assert (flow.pulled, flow.ended, flow.nodes["generator"].ended, flow.nodes["end"].entered) == (10, 10, 10, 0)


def test_a_batch_may_fork_each_of_its_messages_into_another_number():
    async def generator(messages):
        return [[Emit("pass", message)] * int(message.id) for message in messages]

    flow = drain(line("generator", generator={"max_batch": 4}), {"generator": generator}, samples(4))
    assert flow.nodes["end"].entered == 0 + 1 + 2 + 3
    assert flow.pulled + flow.forked == flow.ended == 7


def test_a_sink_may_take_batches():
    taken = []

    async def end(messages):
        taken.extend(messages)

    graph = Graph.from_mapping(
        {
            "start": "a",
            "nodes": {"a": {"outcomes": ["pass", "error"]}, "end": {"max_batch": 4}},
            "edges": ["a pass end", "a error end"],
        }
    )
    flow = drain(graph, {"a": passing, "end": end}, samples(9))
    assert len(taken) == flow.ended == 9


def test_an_async_source_is_drained_and_never_holds_back_what_is_there():
    async def play():
        first_ended = asyncio.Event()

        async def source():
            yield sample(0)
            await first_ended.wait()
            yield sample(1)

        async def end(message):
            first_ended.set()

        bus = Bus(line("a", a={"max_batch": 8}), {"a": passing_all, "end": end})
        return await asyncio.wait_for(bus.drain(source()), 5)

    assert asyncio.run(play()).ended == 2


def test_an_async_source_that_is_ready_fills_batches():
    sizes = []

    async def source():
        for message in samples(10):
            yield message

    async def batched(messages):
        sizes.append(len(messages))
        return await passing_all(messages)

    drain(line("a", a={"max_batch": 5}), {"a": batched}, source())
    assert sizes[:2] == [5, 5]


def test_a_message_that_came_from_an_async_source_before_the_stop_is_not_lost():
    given = []

    async def play():
        async def source():
            for message in samples(100):
                given.append(message.id)
                if message.id == "10":
                    bus.stop()
                yield message

        bus = Bus(line("a", a={"max_batch": 4}), {"a": passing_all, "end": ending})
        return await bus.drain(source())

    flow = asyncio.run(play())
    assert flow.stopped
    assert len(given) - flow.ended <= 1  # the one the source was making when it was cancelled


def test_a_source_may_place_a_message_further_down():
    flow = drain(line("a", "b"), {"a": passing, "b": passing}, [sample(0), At("b", sample(1)), At("end", sample(2))])
    assert [flow.nodes[name].entered for name in ("a", "b", "end")] == [1, 2, 3]


def test_a_message_placed_at_no_node_is_refused():
    with pytest.raises(KeyError, match="'c'"):
        drain(line("a"), {"a": passing}, [At("c", sample(0))])


def test_an_empty_source_is_done_at_once():
    assert drain(line("a"), {"a": passing}, []).pulled == 0


def test_what_cannot_be_iterated_is_no_source():
    with pytest.raises(TypeError, match="an iterable or an async iterable"):
        drain(line("a"), {"a": passing}, 3)


def test_judges_that_never_wait_leave_the_event_loop_time_to_breathe():
    async def busy(message):
        until = time.perf_counter() + 0.0005
        while time.perf_counter() < until:
            pass
        return "pass"

    async def play():
        beats = 0

        async def beat():
            nonlocal beats
            while True:
                await asyncio.sleep(0.01)
                beats += 1

        heart = asyncio.create_task(beat())
        await Bus(line("busy"), {"busy": busy, "end": ending}, workers=4).drain(samples(600))
        heart.cancel()
        return beats

    assert asyncio.run(play()) >= 4


def test_stop_pulls_no_more_and_finishes_what_is_in_flight():
    async def play():
        async def judge(message):
            if message.id == "20":
                bus.stop()
            await asyncio.sleep(0.001)
            return "pass"

        bus = Bus(line("judge"), {"judge": judge, "end": ending}, workers=4)
        return await bus.drain(samples(10**9))

    flow = asyncio.run(play())
    assert flow.stopped
    assert 20 < flow.pulled <= 30
    assert flow.pulled == flow.ended


def test_stop_ends_the_wait_for_an_async_source():
    async def play():
        async def source():
            yield sample(0)
            await asyncio.Event().wait()

        async def stop_when_only_the_wait_is_left():
            await ended.wait()
            for _ in range(100):  # turns of the loop, not time: however slow the machine is, the bus has its turn
                await asyncio.sleep(0)
            bus.stop()

        async def last(message):
            ended.set()

        ended = asyncio.Event()
        bus = Bus(line("a"), {"a": passing, "end": last})
        flow, _ = await asyncio.wait_for(asyncio.gather(bus.drain(source()), stop_when_only_the_wait_is_left()), 60)
        return flow

    flow = asyncio.run(play())
    assert (flow.pulled, flow.ended, flow.stopped) == (1, 1, True)


def test_a_bus_stopped_before_it_drains_pulls_nothing():
    bus = Bus(line("a"), {"a": passing, "end": ending})
    bus.stop()
    flow = asyncio.run(bus.drain(samples(5)))
    assert (flow.pulled, flow.stopped) == (0, True)


def test_a_bus_can_drain_again_but_not_twice_at_once():
    async def play():
        bus = Bus(line("a"), {"a": passing, "end": ending})
        first = await bus.drain(samples(3))
        second = await bus.drain(samples(4))
        with pytest.raises(RuntimeError, match="draining already"):
            await asyncio.gather(bus.drain(samples(1)), bus.drain(samples(1)))
        return first.ended, second.nodes["a"].entered

    assert asyncio.run(play()) == (3, 4)


class Message(NamedTuple):
    """A round's own message, with the verdicts it has collected."""

    text: str
    verdicts: tuple = ()

    def judged(self, verdict):
        return self._replace(verdicts=(*self.verdicts, verdict))


async def trainer(message):
    return Emit("candidate", Message("candidate")) if isinstance(message, Message) else None


async def evaluator(message):
    return Emit("accepted", message._replace(text="accepted"))


def looped(*more):
    nodes = {
        "a": {"outcomes": ["pass", "error", "drained"], "max_batch": 2},
        "trainer": {"outcomes": ["candidate"]},
        "evaluator": {"outcomes": ["accepted"]},
    }
    edges = ["a pass trainer", "a error trainer", "a drained trainer round", "trainer candidate evaluator round"]
    edges += ["evaluator accepted a round", *more]
    return Graph.from_mapping({"start": "a", "nodes": nodes, "edges": edges})


def test_a_rounds_message_travels_the_round_edges_and_comes_back_to_the_start():
    came_back = []

    async def start(messages):
        if isinstance(messages[0], Message):
            came_back.extend(messages)
            return [[]]
        return ["pass"] * len(messages)

    route = []

    class Noted(RoundSteps):
        def routed(self, source, outcome, target, message):
            route.append(f"{source} {outcome} {target}: {message.text}")

    bus = Bus(looped(), {"a": start, "trainer": trainer, "evaluator": evaluator})
    assert asyncio.run(bus.drain(samples(3))).nodes["trainer"].ended == 3
    assert asyncio.run(bus.send("drained", Message("drained"), Noted())) == Message("accepted")
    assert came_back == [Message("accepted")]
    assert route == [
        "a drained trainer: drained",
        "trainer candidate evaluator: candidate",
        "evaluator accepted a: accepted",
    ]


def test_a_verdict_on_a_rounds_message_travels_with_it():
    async def opinion(message):
        return Verdict("opinion", "drop", "too.soon")

    node = Node("opinion", outcomes=("pass", "drop"))
    refused = Edge("opinion", "drop", "evaluator", per_round=True)
    graph = looped().with_node(node, ("trainer", "evaluator"), "candidate", edges=[refused])
    agents = {"a": batch_passing, "trainer": trainer, "evaluator": evaluator, "opinion": opinion}
    last = asyncio.run(Bus(graph, agents).send("drained", Message("drained")))
    assert [verdict.reason for verdict in last.verdicts] == ["too.soon"]


async def batch_passing(messages):
    return ["pass"] * len(messages)


def test_a_round_answer_without_an_edge_is_refused_by_name():
    async def puzzled(message):
        return "puzzled" if isinstance(message, Message) else None

    async def silent(message):
        return None

    def sent(agent, outcome="drained"):
        bus = Bus(looped(), {"a": batch_passing, "trainer": agent, "evaluator": evaluator})
        return asyncio.run(bus.send(outcome, Message("drained")))

    with pytest.raises(AnswerError, match="'puzzled', which no round edge takes"):
        sent(puzzled)
    with pytest.raises(AnswerError, match="must answer a round's message"):
        sent(silent)
    with pytest.raises(KeyError, match="did you mean 'drained'"):
        sent(trainer, "draind")


def test_a_sample_cannot_take_a_rounds_edge():
    async def drained(messages):
        return ["drained"] * len(messages)

    flow = drain(looped(), {"a": drained, "trainer": trainer, "evaluator": evaluator}, samples(2))
    assert flow.nodes["a"].errors == 2


def test_a_fault_on_a_rounds_message_is_raised_and_not_routed():
    async def broken(message):
        raise OSError("no space left")

    bus = Bus(looped(), {"a": batch_passing, "trainer": broken, "evaluator": evaluator})
    with pytest.raises(OSError, match="no space left"):
        asyncio.run(bus.send("drained", Message("drained")))


def test_a_node_without_an_agent_is_refused():
    with pytest.raises(KeyError, match="node 'end' has no agent"):
        Bus(line("a"), {"a": passing})


@pytest.mark.parametrize("agent", [lambda message: "pass", print, 3, object()])
def test_what_is_not_async_is_no_agent(agent):
    with pytest.raises(TypeError, match=r"node 'a' is .*async"):
        Bus(line("a"), {"a": agent, "end": ending})


def test_a_graph_that_cannot_run_is_refused_before_anything_runs():
    with pytest.raises(GraphError):
        Bus(Graph((), (), ""), {})


@pytest.mark.parametrize("limits", [{"workers": 0}, {"max_attempts": 0}, {"error_limit": 2.0}])
def test_limits_out_of_range_are_refused(limits):
    with pytest.raises(ValueError, match=next(iter(limits))):
        Bus(line("a"), {"a": passing, "end": ending}, **limits)
