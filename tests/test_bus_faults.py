"""When agents, observers and sources fail: who is blamed, what is kept, what goes on."""

import asyncio

import pytest

from funreason.bus.agent import At, BrokenAgent, Emit, Failed
from funreason.bus.graph import Graph
from funreason.bus.scheduler import Bus
from funreason.types import Sample, Task, Verdict

TASK = Task.of("t", "how warm is it", [])


def samples(n):
    return (Sample.of(str(i), TASK, "[f()]") for i in range(n))


def graph(**judge):
    nodes = {
        "judge": {"outcomes": ["pass", "regenerate", "exhausted", "error"], **judge},
        "end": {},
        "dead": {},
    }
    edges = ["judge pass end", "judge regenerate judge retry", "judge exhausted dead", "judge error dead"]
    return Graph.from_mapping({"start": "judge", "nodes": nodes, "edges": edges})


class Session:
    """A bus over one judge, which remembers what ended where."""

    def __init__(self, judge, end=None, settings=None, **node):
        self.kept, self.dead = [], []

        async def keep(message):
            self.kept.append(message)

        async def bury(message):
            self.dead.append(message)

        self.bus = Bus(graph(**node), {"judge": judge, "end": end or keep, "dead": bury}, **(settings or {}))

    def drain(self, source):
        return asyncio.run(self.bus.drain(source))


def test_an_agent_that_raises_once_is_asked_again_and_nobody_is_blamed():
    asked = []

    async def judge(message):
        asked.append(message.id)
        if len(asked) == 1:
            raise OSError("hiccup")
        return "pass"

    world = Session(judge)
    flow = world.drain(samples(5))
    assert len(world.kept) == 5
    assert (flow.nodes["judge"].errors, flow.nodes["judge"].retried) == (0, 1)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_an_agent_that_keeps_raising_sends_the_message_out_by_error_with_the_traceback(retries):
    asked = []

    async def judge(message):
        asked.append(message.id)
        raise ZeroDivisionError("no way")

    world = Session(judge, retries=retries)
    flow = world.drain(samples(1))
    (verdict,) = world.dead[0].verdicts
    assert (verdict.stage, verdict.outcome, verdict.reason) == ("judge", "error", "agent.ZeroDivisionError")
    assert "no way" in verdict.evidence
    assert len(asked) == 1 + retries
    assert flow.nodes["judge"].errors == 1


def test_a_batch_that_raises_is_asked_one_by_one_so_that_only_the_guilty_message_fails():
    async def judge(messages):
        if any(message.id == "3" for message in messages):
            raise ValueError("cannot read 3")
        return ["pass"] * len(messages)

    world = Session(judge, max_batch=8, retries=0)
    world.drain(samples(8))
    assert [message.id for message in world.dead] == ["3"]
    assert len(world.kept) == 7


@pytest.mark.parametrize("answers", [["pass"], None, "pass", [[]] * 9])
def test_a_batch_of_another_length_is_an_error_that_names_the_node(answers):
    async def judge(messages):
        return answers

    world = Session(judge, max_batch=4)
    world.drain(samples(4))
    if answers == ["pass"]:
        assert len(world.kept) == 4  # one by one, one answer is right
    else:
        assert all("'judge' got a batch of 1" in message.verdicts[0].evidence for message in world.dead)
        assert len(world.dead) == 4


def test_in_a_batch_only_the_message_with_a_bad_answer_is_asked_again():
    asked = []

    async def judge(messages):
        asked.append(len(messages))
        return ["pass" if message.id != "1" else "pas" for message in messages]

    world = Session(judge, max_batch=4)
    world.drain(samples(4))
    assert asked == [4, 1]
    assert [message.id for message in world.dead] == ["1"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("pas", "did you mean 'pass'?"),
        (None, "must answer a Verdict"),
        (7, "found int"),
        ([3], "found int"),
        (Verdict("judge", "keep"), "'keep'"),
        (Emit("pass", None), ""),
    ],
)
def test_an_answer_without_a_route_is_the_agents_error(answer, told):
    async def judge(message):
        return answer

    world = Session(judge)
    world.drain(samples(1))
    if told:
        assert world.dead[0].verdicts[0].reason == "agent.AnswerError"
        assert told in world.dead[0].verdicts[0].evidence
    else:
        assert world.kept == [None]


def test_an_agent_cannot_set_attempts_back_to_escape_their_count():
    async def judge(message):
        if message.attempt == 0:
            return "regenerate"
        return Emit("regenerate", next(samples(1)))

    world = Session(judge)
    world.drain(samples(1))
    assert "set a message back from attempt 1 to 0" in world.dead[0].verdicts[0].evidence


def test_a_message_that_has_no_attempts_cannot_take_a_retry_edge():
    async def judge(message):
        return "regenerate"

    world = Session(judge)
    world.drain([TASK])
    failed = world.dead[0]
    assert isinstance(failed, Failed)
    assert failed.message is TASK
    assert "counts attempts" in failed.verdict.evidence


def test_an_agent_that_errs_too_often_stops_the_run_and_nothing_is_lost():
    async def judge(message):
        if int(message.id) % 2:
            raise RuntimeError("model server is gone")
        return "pass"

    world = Session(judge, settings={"error_floor": 10, "error_limit": 0.3})
    pulled = []
    with pytest.raises(BrokenAgent, match="model server is gone") as caught:
        world.drain(pulled.append(message) or message for message in samples(1000))
    broken = caught.value
    assert (broken.node, broken.errors > 0.3 * broken.answers) == ("judge", True)
    assert len(pulled) < 100
    left = [message.id for _, message in broken.unfinished]
    ended = [message.id for message in world.kept + world.dead]
    assert sorted(left + ended) == sorted(message.id for message in pulled)


def test_an_agent_that_answers_error_without_a_verdict_stops_the_run_and_no_evidence_is_made_up():
    async def judge(message):
        return "error"

    with pytest.raises(BrokenAgent) as caught:
        Session(judge, settings={"error_floor": 5}).drain(samples(100))
    assert caught.value.evidence == ""


def test_what_a_broken_agent_left_can_be_drained_once_it_is_mended():
    async def broken(message):
        raise RuntimeError("gone")

    async def mended(message):
        return "pass"

    with pytest.raises(BrokenAgent) as caught:
        Session(broken, settings={"error_floor": 5}).drain(samples(1000))
    world = Session(mended)
    flow = world.drain(caught.value.unfinished)
    assert flow.ended == len(caught.value.unfinished) > 0


def test_a_few_errors_below_the_limit_do_not_stop_the_run():
    async def judge(message):
        if int(message.id) % 10 == 9:
            raise RuntimeError("rare")
        return "pass"

    world = Session(judge)
    assert world.drain(samples(200)).nodes["judge"].errors == len(world.dead) == 20


@pytest.mark.parametrize("count", [1, 12])
def test_an_agent_whose_every_answer_was_an_error_is_broken_also_below_the_floor(count):
    async def judge(message):
        return Verdict("judge", "error", "judge.unreachable", "nobody there")

    world = Session(judge, settings={"check_at_end": True})
    with pytest.raises(BrokenAgent, match=rf"{count} of {count} answers(.|\n)*unreachable nobody there") as caught:
        world.drain(samples(count))
    assert caught.value.unfinished == []
    assert len(world.dead) == count
    assert Session(judge, settings={"check_at_end": True, "error_limit": 1.0}).drain(samples(count)).ended == count


def test_an_agent_that_was_asked_about_few_of_many_and_erred_is_not_broken():
    async def judge(message):
        return "pass" if int(message.id) else "regenerate"

    async def seldom(message):
        raise RuntimeError("rare")

    nodes = {
        "judge": {"outcomes": ["pass", "regenerate", "error"]},
        "seldom": {"outcomes": ["pass", "error"]},
        "end": {},
        "dead": {},
    }
    edges = ["judge pass end", "judge regenerate seldom", "judge error dead", "seldom pass end", "seldom error dead"]

    async def end(message):
        return None

    agents = {"judge": judge, "seldom": seldom, "end": end, "dead": end}
    bus = Bus(Graph.from_mapping({"start": "judge", "nodes": nodes, "edges": edges}), agents, check_at_end=True)
    flow = asyncio.run(bus.drain(samples(10)))
    assert (flow.ended, flow.nodes["seldom"].errors, flow.nodes["seldom"].entered) == (10, 1, 1)


def test_an_error_that_an_agent_answers_counts_like_one_it_raises():
    async def judge(message):
        return Verdict("judge", "error", "judge.unreadable", "no verdict in the reply")

    with pytest.raises(BrokenAgent, match=r"judge\.unreadable no verdict"):
        Session(judge).drain(samples(100))


def test_in_flight_calls_are_settled_before_a_broken_agent_stops_the_run():
    started, settled = [], []

    async def judge(message):
        started.append(message.id)
        await asyncio.sleep(0.001 * (1 + int(message.id) % 5))
        settled.append(message.id)
        raise RuntimeError("gone")

    with pytest.raises(BrokenAgent):
        Session(judge, settings={"error_floor": 5, "workers": 16}, retries=0).drain(samples(1000))
    assert sorted(started) == sorted(settled)


def test_a_sink_that_raises_stops_the_run_and_keeps_the_message():
    async def judge(message):
        return "pass"

    async def end(message):
        raise OSError("disk full")

    with pytest.raises(BrokenAgent, match="disk full") as caught:
        Session(judge, end).drain(samples(10))
    assert caught.value.node == "end"
    assert caught.value.unfinished[0][0] == "end"


def test_an_observer_that_raises_stops_the_run():
    async def judge(message):
        return "pass"

    def observe(*seen):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        Session(judge, settings={"observe": observe}).drain(samples(10))


def test_a_source_that_raises_lets_what_is_in_flight_finish_and_then_is_heard():
    async def judge(message):
        await asyncio.sleep(0.001)
        return "pass"

    def source():
        yield from samples(5)
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "line 6")

    world = Session(judge)
    with pytest.raises(UnicodeDecodeError, match="line 6"):
        world.drain(source())
    assert len(world.kept) == 5


def test_an_async_source_that_raises_is_heard_too():
    async def judge(message):
        return "pass"

    async def source():
        for message in samples(2):
            yield message
        raise OSError("line 3")

    world = Session(judge)
    with pytest.raises(OSError, match="line 3"):
        world.drain(source())
    assert len(world.kept) == 2


def test_a_cancelled_drain_cancels_its_agents_and_leaves_no_task_behind():
    cancelled = []

    async def judge(message):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(message.id)
            raise
        return "pass"

    async def play():
        drain = asyncio.create_task(Session(judge, settings={"workers": 4}).bus.drain(samples(100)))
        await asyncio.sleep(0.01)
        drain.cancel()
        with pytest.raises(asyncio.CancelledError):
            await drain
        return len(asyncio.all_tasks())

    assert asyncio.run(play()) == 1
    assert len(cancelled) == 4


def test_a_keyboard_interrupt_passes_through():
    async def judge(message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Session(judge).drain(samples(3))


def test_an_agent_that_cancels_itself_cancels_the_drain_and_does_not_hang_it():
    async def judge(message):
        raise asyncio.CancelledError

    async def play():
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(Session(judge).bus.drain(samples(3)), 5)

    asyncio.run(play())


def test_a_message_that_cannot_carry_a_verdict_fails_in_a_wrapper_that_does():
    async def judge(message):
        raise RuntimeError("no tokenizer")

    world = Session(judge)
    world.drain([TASK, At("judge", TASK)])
    assert [(failed.message, failed.verdict.reason) for failed in world.dead] == [(TASK, "agent.RuntimeError")] * 2
