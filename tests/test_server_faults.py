"""The same faults of a real server, met by both who ask one, the sampler and the judge: nothing lost or doubled."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from funreason.agents.judges.llm.judge import LlmJudge
from funreason.agents.judges.llm.panel import Panel
from funreason.agents.judges.rules.stages import judge_response
from funreason.calls.thinking import split_thinking
from funreason.config import LlmJudges
from funreason.config.models import Address
from funreason.policies.endpoint.pool import EndpointPool, RetryPolicy
from funreason.policies.endpoint.sampler import EndpointChat, EndpointSampler
from funreason.policies.endpoint.wire import EndpointGone
from funreason.policies.protocol import Request
from funreason.record.folder import RunFolder
from funreason.types import Sample, Task
from tests.scripted import TOOLS, YES
from tests.serving import Said, ScriptedServer, completion

QUICK = RetryPolicy(tries=6, first_wait_s=0.01, longest_wait_s=0.08, first_cooldown_s=0.02)
MANY = 24
OUTAGE_S = 30.0


def pool_at(url, retry_policy=QUICK, **settings):
    return EndpointPool([Address(url, **{"timeout_s": 1.0, "concurrency": 4, **settings})], retry_policy=retry_policy)


def sampled(pool, count=MANY):
    """What the sampler got: a text for each request, by the request's own words."""
    sampler = EndpointSampler(pool, max_new_tokens=16)
    sampler.connect()
    found = sampler.sample([Request(f"r{i}", f"words {i}", 1, seed=7) for i in range(count)])
    return {f"words {i}": one.text for i, (one,) in enumerate(found)}


def judged(pool, count=MANY):
    """What the judge of stage 3 said of as many samples, by the sample's own words."""

    async def all_of_them():
        async with pool:
            await pool.connect()
            judge = LlmJudge("cot", Panel([EndpointChat(pool)], LlmJudges()))
            task = Task.of("t", "f please", TOOLS)
            samples = [Sample.of(f"s{i}", task, "[f(a='x')]", f"words {i}") for i in range(count)]
            asked = [asyncio.create_task(judge(sample)) for sample in samples]
            await asyncio.wait(asked, return_when=asyncio.FIRST_EXCEPTION)
            for task in asked:  # as the bus does it
                task.cancel()
            verdicts = await asyncio.gather(*asked, return_exceptions=True)
        for verdict in verdicts:
            if isinstance(verdict, EndpointGone):
                raise verdict
        return {sample.thinking: verdict for sample, verdict in zip(samples, verdicts, strict=True)}

    return {words: (verdict.outcome, verdict.reason) for words, verdict in asyncio.run(all_of_them()).items()}


def of(asker):
    return "[f(a=1)]" if asker is sampled else YES


BOTH = pytest.mark.parametrize("asker", [sampled, judged], ids=["sampler", "judge"])
TROUBLES = {
    "500": lambda good: Said({"error": "internal"}, status=500),
    "429 with Retry-After": lambda good: Said("", status=429, headers={"Retry-After": "1"}),
    "dropped before an answer": lambda good: Said(good, cut=0),
    "dropped mid-answer": lambda good: Said(good, cut=40),
    "stalled stream": lambda good: Said(good, trickle_s=0.1),
    "never answers": lambda good: Said(good, after_s=4),
    "garbage JSON": lambda good: Said(b'{"choices": [{"mess'),
    "no JSON": lambda good: Said(b"<html>busy</html>"),
}


@BOTH
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_trouble_now_and_then_costs_a_retry_and_no_answer(asker, trouble):
    good = completion(of(asker))
    said = TROUBLES[trouble](good)
    with ScriptedServer(lambda heard: said if heard.number in (3, 9, 10) else good) as server:
        pool = pool_at(server.url)
        found = asker(pool)
    assert set(found.values()) == {of(asker) if asker is sampled else ("pass", "")}
    assert len(found) == MANY
    assert len(server.heard) == MANY + 3
    assert max(Counter(words_of(heard) for heard in server.heard).values()) <= 4
    spent = pool.meter.spent
    assert (spent.requests, spent.retries, spent.failed) == (MANY + 3, 3, 0)
    assert spent.tokens == 14 * MANY


def words_of(heard):
    """Which sample a request is about."""
    text = heard.body.get("prompt") or heard.body["messages"][-1]["content"]
    return text[text.index("words") :].split("\n")[0]


@BOTH
def test_nobody_at_the_address_is_said_before_anything_is_asked(asker):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(EndpointGone, match=r"is the server running.*address"):
            asker(pool_at(f"http://127.0.0.1:{held.getsockname()[1]}/v1"))


@BOTH
def test_a_server_that_comes_up_a_moment_late_is_waited_for(asker):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    late = ScriptedServer(lambda heard: completion(of(asker)), port=port)
    pool = pool_at(f"http://127.0.0.1:{port}/v1", RetryPolicy(first_wait_s=0.5))

    with ThreadPoolExecutor(1) as apart:
        asking = apart.submit(asker, pool)
        time.sleep(0.3)
        with late:
            assert len(asking.result()) == MANY
    assert len(late.heard) == MANY


@BOTH
@pytest.mark.parametrize(
    ("status", "said", "advice"),
    [(404, "The model `wrong` does not exist.", "the model's name"), (401, "Your key has expired.", "key_env")],
    ids=["wrong model name", "expired key"],
)
def test_what_every_request_would_meet_ends_asking_at_once_with_the_servers_words(asker, status, said, advice):
    refusal = Said({"error": {"message": said}}, status=status)
    with ScriptedServer(lambda heard: completion(of(asker)) if heard.number < 5 else refusal) as server:
        pool = pool_at(server.url, model="wrong", concurrency=1)
        with pytest.raises(EndpointGone, match=said.split("`")[0]) as caught:
            asker(pool)
    assert advice in str(caught.value)
    assert caught.value.stops_run
    assert pool.meter.spent.retries == 0
    assert 6 <= len(server.heard) <= pool.meter.spent.requests < 10


@BOTH
def test_an_answer_of_a_megabyte_is_read_whole(asker):
    long = "So far, so good. " * 62_000 + of(asker)
    assert len(long) > 2**20
    with ScriptedServer(lambda heard: completion(long)) as server:
        found = asker(pool_at(server.url, timeout_s=60), 4)
    assert set(found.values()) == {long if asker is sampled else ("pass", "")}
    assert len(server.heard) == 4


@BOTH
def test_a_model_that_never_closes_its_thinking_is_told_by_name(asker):
    endless = completion("<think>" + "hm " * 10_000, why="length")
    with ScriptedServer(lambda heard: endless) as server:
        found = asker(pool_at(server.url), 4)
    if asker is judged:
        assert set(found.values()) == {("error", "judge.unreadable")}
        assert len(server.heard) == 8  # each was told once what was wrong with its reply
        return
    for text in found.values():
        split = split_thinking(text)
        sample = Sample.of("s", Task.of("t", "f please", TOOLS), split.answer, split.thinking, truncated=True)
        assert asyncio.run(judge_response(sample)).reason == "response.unclosed_thinking"


# -- 500s for 30 seconds -----------------------------------------------------------------------------------------


class Outage:
    """Answers what `good` says to the first `before` requests and from `OUTAGE_S` seconds after them on; else 500."""

    def __init__(self, before, good):
        self.before, self.good, self.began, self.refused = before, good, None, 0

    def __call__(self, heard):
        if self.began is None and heard.number >= self.before:
            self.began = time.monotonic()
        if self.began is None or time.monotonic() - self.began > OUTAGE_S:
            return completion(self.good)
        self.refused += 1
        return Said({"error": {"message": "out of order"}}, status=500)


@pytest.mark.slow
def test_500s_for_30_seconds_are_outlasted_with_the_settings_that_a_run_has_by_default(tmp_path):
    tool = {"name": "add", "description": "adds", "parameters": {"a": {"type": "int"}}}
    rows = [
        {
            "id": i,
            "query": f"add {i}",
            "tools": json.dumps([tool]),
            "answers": f'[{{"name": "add", "arguments": {{"a": {i}}}}}]',
        }
        for i in range(100)
    ]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judging, sampling = Outage(30, YES), Outage(30, "[f(a=1)]")
    with ScriptedServer(judging) as judge, ScriptedServer(sampling) as served:
        command = [sys.executable, "-m", "funreason", "refine", str(tmp_path / "tasks.jsonl")]
        command += ["--out", str(tmp_path / "out"), "--set", "fcdr.stages=both"]
        command += ["--set", f"fcdr.llm.endpoints={json.dumps([{'url': judge.url}])}"]
        environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        pool = EndpointPool([Address(served.url)])
        found = sampled(pool, 100)
        told = run.communicate(timeout=240)[0]
    assert set(found.values()) == {"[f(a=1)]"}
    assert len(served.heard) == 100 + sampling.refused == pool.meter.spent.requests
    assert pool.meter.spent.failed == 0
    assert min(judging.refused, sampling.refused) > 0
    assert run.returncode == 0, told
    folder = RunFolder(tmp_path / "out")
    state = folder.state()
    assert sorted(sample.id for sample in folder.texts(1).get("kept")) == sorted(str(row["id"]) for row in rows)
    assert state.rounds[1].fates == {"kept": 100}
    assert not any(health.errors for health in state.rounds[1].health.values())
    paid = state.rounds[1].paid["judges"]
    assert paid["failed"] == 0
    assert paid["retries"] == judging.refused
    assert paid["requests"] == len(judge.heard)
    assert len({words_of_case(heard) for heard in judge.heard}) == len(judge.heard) - judging.refused


def words_of_case(heard):
    """A question to a judge: what it is shown, and the draw."""
    return heard.body["messages"][-1]["content"], heard.body["messages"][0]["content"], heard.body["seed"]
