"""Judges of one's own in the graph: where they stand, where their outcomes lead, what the record says of them."""

import asyncio
import json

import pytest

from funreason.agents.judges.custom import CustomJudge
from funreason.agents.judges.registry import judges
from funreason.bus.agent import GraphError
from funreason.cli.refine import run_refine
from funreason.config import AgentEntry, Config, ConfigError
from funreason.record.folder import RunFolder
from funreason.runtime.graph import loop_graph
from funreason.types import Sample, Task, Verdict


def graph(**entry):
    return loop_graph(Config(agents=[AgentEntry(name="mine", agent="x:y", **entry)]))


def edges(found):
    return {str(edge) for edge in found.edges_from("mine")}


def test_a_judge_stands_behind_a_node_and_goes_on_to_where_that_edge_led():
    found = graph(after="cot")
    assert edges(found) == {"mine pass parameters", "mine drop dead_letter", "mine error dead_letter"}
    assert "cot pass mine" in map(str, found.edges)


def test_a_judge_may_stand_on_another_edge_than_pass():
    found = graph(after="response", edge="keep_text")
    assert "response keep_text mine" in map(str, found.edges)
    assert "mine pass trainer" in edges(found)


def test_an_outcome_of_ones_own_leads_where_the_entry_says_and_a_way_back_costs_an_attempt():
    found = graph(after="cot", outcomes={"regenerate": "regenerator", "fine": "format", "drop": "trainer"})
    assert {"mine regenerate regenerator retry", "mine exhausted dead_letter"} <= edges(found)
    assert {"mine fine format", "mine drop trainer"} <= edges(found)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"after": "cot", "edge": "keep_text"}, "`keep_text` edge"),
        ({"after": "nowhere"}, "'nowhere'"),
        ({"after": "cot", "outcomes": {"perhaps": "regenerater"}}, r"'regenerater'.*regenerator"),
        ({"after": "cot", "outcomes": {"error": "regenerator"}}, "must not cost an attempt"),
    ],
)
def test_a_place_or_a_way_that_is_none_is_refused_with_a_sentence(entry, said):
    with pytest.raises(GraphError, match=said):
        graph(**entry)


def test_an_agent_that_declares_an_outcome_without_a_way_is_refused_before_anything_runs(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("async def judge(sample):\n    return 'again'\njudge.outcomes = ('again',)\n")
    entry = AgentEntry(name="mine", agent=f"{path}:judge")
    with pytest.raises(ConfigError, match=r"mine may answer 'again'.*outcomes: {again: regenerator}"):
        judges(Config(agents=[entry]))
    judges(Config(agents=[entry.model_copy(update={"outcomes": {"again": "regenerator"}})]))


def test_a_bare_word_is_recorded_as_a_verdict_of_the_judges_node():
    async def word(sample):
        return "drop"

    async def verdict(sample):
        return Verdict("elsewhere", "drop", "pii.email")

    sample = Sample.of(id="s", task=Task.of("t", "q", []), answer="[f()]")
    found = [asyncio.run(CustomJudge("mine", agent)(sample)) for agent in (word, verdict)]
    assert [(each.stage, each.outcome, each.reason) for each in found] == [
        ("mine", "drop", "mine.drop"),
        ("mine", "drop", "pii.email"),
    ]


def test_a_judges_own_timeout_is_not_told_as_the_limit_of_its_seat():
    async def own(sample):
        async with asyncio.timeout(0):
            await asyncio.sleep(3600)

    async def late(sample):
        await asyncio.sleep(3600)

    sample = Sample.of(id="s", task=Task.of("t", "q", []), answer="[f()]")
    with pytest.raises(TimeoutError, match=r"^$"):
        asyncio.run(CustomJudge("mine", own)(sample))
    with pytest.raises(TimeoutError, match=r"mine gave no answer within 0\.01 s"):
        asyncio.run(CustomJudge("mine", late, 0.01)(sample))


def test_a_judge_that_cancels_itself_has_failed_and_one_that_is_cancelled_has_not():
    async def cancels(sample):
        raise asyncio.CancelledError

    async def waits(sample):
        await asyncio.sleep(3600)

    async def cancelled():
        under_way = asyncio.create_task(CustomJudge("mine", waits)(sample))
        await asyncio.sleep(0)
        under_way.cancel()
        await under_way

    sample = Sample.of(id="s", task=Task.of("t", "q", []), answer="[f()]")
    with pytest.raises(RuntimeError, match="mine raised CancelledError, but was not cancelled"):
        asyncio.run(CustomJudge("mine", cancels)(sample))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())


def test_samples_sent_back_by_a_judge_of_ones_own_have_their_attempts_and_then_die(tmp_path):
    judge = tmp_path / "mine.py"
    judge.write_text("async def again(sample):\n    return 'regenerate'\n")
    tool = {"name": "add", "parameters": {"a": {"type": "int"}}}
    record = {"query": "add 1", "tools": json.dumps([tool]), "answers": '[{"name": "add", "arguments": {"a": 1}}]'}
    file = tmp_path / "tasks.jsonl"
    file.write_text("".join(json.dumps(record | {"id": i}) + "\n" for i in range(3)))
    entry = f"{{name: mine, agent: '{judge}:again', after: format, outcomes: {{regenerate: regenerator}}}}"
    assert run_refine(file, tmp_path / "out", "own-data", {}, [f"agents=[{entry}]"]) == 0
    r = RunFolder(tmp_path / "out").state().rounds[1]
    assert r.fates == {"dead": 3}
    assert r.dead_reasons == {"mine.regenerate": 3}
