"""Servers that answer, misbehave, come back or stay away: what a run makes of each."""

import asyncio
import json
import logging
import socket
import time
import traceback
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from funreason.config import ConfigError, check_config, dump_config
from funreason.config.models import Address
from funreason.errors import ModelError
from funreason.policies.endpoint.budget import BudgetSpent, SharedBudget
from funreason.policies.endpoint.pool import EndpointPool, RetryPolicy
from funreason.policies.endpoint.sampler import EndpointChat, EndpointSampler, draw_seed
from funreason.policies.endpoint.wire import EndpointGone, PromptTooLong, retry_after
from funreason.policies.protocol import ChatError, ChatModel, Dialogue, Request, Sampler
from tests.serving import Said, ScriptedServer, completion

QUICK = RetryPolicy(tries=4, first_wait_s=0.01, longest_wait_s=0.08, first_cooldown_s=0.02)
KEY = "sk-very%secret/key+1"


def pool_of(*servers, budget=None, retry_policy=QUICK, **settings):
    return EndpointPool([Address(server.url, **settings) for server in servers], budget, retry_policy)


def asked(pool, count=1, body=None, *, all_of_them=False):
    """The answers to `count` requests at once."""

    async def ask():
        async with pool:
            await pool.connect()
            posts = [pool.post("/completions", body or {"prompt": f"p{i}"}) for i in range(count)]
            return await asyncio.gather(*posts, return_exceptions=all_of_them)

    return asyncio.run(ask())


def requests(count, n=1, *, greedy=False):
    return [Request(f"r{i}", f"prompt {i}", n, seed=7, greedy=greedy) for i in range(count)]


def sampler_of(*servers, pool=None, **settings):
    sampler = EndpointSampler(pool or pool_of(*servers), max_new_tokens=16, temperature=0.5, **settings)
    sampler.connect()
    return sampler


def failing(times, said):
    """A script that says `said` to the first `times` requests and answers the others."""
    return lambda heard: said if heard.number < times else completion(n=heard.body.get("n", 1))


@pytest.mark.parametrize(
    "trouble",
    [
        Said({"error": {"message": "overloaded"}}, status=503),
        Said({"error": "slow down"}, status=429, headers={"Retry-After": "0"}),
        Said(completion(), cut=20),
        Said(b"", cut=0),
        Said(b"<html>garbage</html>"),
        Said({"choices": []}),
        Said({"error": {"message": "in a 200"}}),
        Said(completion(), after_s=0.5),
        Said(completion(), trickle_s=0.05),
    ],
    ids=["500s", "429", "torn", "dropped", "garbage", "no choice", "error as 200", "slow", "stalled"],
)
def test_a_passing_trouble_is_tried_again_and_nothing_is_doubled(trouble):
    with ScriptedServer(failing(2, trouble)) as server:
        pool = pool_of(server, timeout_s=0.2)
        (answer,) = asked(pool)
    assert answer.choices[0].written() == "[f(a=1)]"
    assert len(server.heard) == 3
    assert (pool.meter.spent.requests, pool.meter.spent.retries, pool.meter.spent.failed) == (3, 2, 0)
    assert pool.meter.spent.tokens == 14


@pytest.mark.parametrize("form", [str, lambda seconds: formatdate(time.time() + seconds, usegmt=True)])
def test_retry_after_is_obeyed_in_both_forms_and_by_all_requests(form):
    at = []

    def script(heard):
        at.append(time.monotonic())
        return (
            Said("", status=429, headers={"Retry-After": form(2 if form is not str else 1)})
            if not heard.number
            else completion()
        )

    with ScriptedServer(script) as server:
        pool = pool_of(server, concurrency=1)
        asked(pool, 4)
    assert at[1] - at[0] > 0.9
    assert at[-1] - at[1] < 0.5


@given(st.integers(0, 10**6))
def test_a_date_asks_for_the_seconds_until_it(seconds):
    now = 1_800_000_000.0
    assert retry_after({"retry-after": formatdate(now + seconds, usegmt=True)}, now) == pytest.approx(seconds, abs=1)
    assert retry_after({"retry-after": str(seconds)}) == seconds


@pytest.mark.parametrize("said", ["", "soon", "-3", "Thu, 99 Foo 2026", "٣"])
def test_a_retry_after_that_says_nothing_leaves_the_usual_waiting(said):
    assert retry_after({"retry-after": said}) is None


def test_a_server_that_wants_hours_of_rest_ends_the_run_with_a_sentence():
    said = Said("", status=429, headers={"Retry-After": "86400"})
    with ScriptedServer(lambda heard: said) as server, pytest.raises(EndpointGone, match="left alone for 86400 s"):
        asked(pool_of(server))
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    ("status", "kind", "stops"),
    [(400, ChatError, False), (401, EndpointGone, True), (404, EndpointGone, True), (301, EndpointGone, True)],
)
def test_a_refusal_is_an_error_at_once_with_the_servers_words(status, kind, stops):
    said = Said({"error": {"message": "no, " + "because " * 200}}, status=status, headers={"Location": "http://x/"})
    with ScriptedServer(lambda heard: said) as server, pytest.raises(kind, match="no, because") as caught:
        asked(pool_of(server))
    assert caught.value.stops_run is stops
    assert len(str(caught.value)) < 700
    assert len(server.heard) == 1


def test_a_prompt_the_server_finds_too_long_is_told_apart():
    said = Said({"message": "This model's maximum context length is 512 tokens."}, status=400)
    with ScriptedServer(lambda heard: said if "long" in heard.body["prompt"] else completion()) as server:
        sampler = sampler_of(server)
        long, short = Request("a", "long", 1, 0), Request("b", "short", 1, 0)
        assert not sampler.too_long(long)
        with pytest.raises(PromptTooLong, match="the first is a"):
            sampler.sample([long, short])
        assert (sampler.too_long(long), sampler.too_long(short)) == (True, False)


def test_nobody_at_the_address_is_said_after_a_few_tries():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        with pytest.raises(EndpointGone, match=r"is the server running.*address"):
            asked(EndpointPool([Address(url)], retry_policy=QUICK))


def test_a_request_that_alone_fails_is_its_own_fault_and_the_others_are_answered():
    def script(heard):
        return Said(b"", cut=0) if heard.body["prompt"] == "p3" else Said(completion(), after_s=0.01)

    with ScriptedServer(script) as server:
        found = asked(pool_of(server, concurrency=2), 40, all_of_them=True)
    (fault,) = [each for each in found if isinstance(each, Exception)]
    assert found.index(fault) == 3
    assert type(fault) is ChatError
    assert "while other requests were answered" in str(fault)


def test_when_nothing_is_answered_any_more_the_server_is_gone_soon():
    with ScriptedServer(lambda heard: Said("", status=500)) as server:
        found = asked(pool_of(server, concurrency=8), 200, all_of_them=True)
    assert {type(each) for each in found} == {EndpointGone}
    assert all(each.stops_run for each in found)


def test_work_is_shared_by_who_has_the_least_to_do():
    with (
        ScriptedServer(lambda heard: Said(completion(), after_s=0.01)) as quick,
        ScriptedServer(lambda heard: Said(completion(), after_s=0.04)) as slow,
    ):
        asked(pool_of(quick, slow, concurrency=4), 100)
    assert len(quick.heard) + len(slow.heard) == 100
    assert len(quick.heard) > 2 * len(slow.heard) > 0
    assert max(quick.most, slow.most) <= 4


def test_a_server_that_fails_rests_while_another_answers_and_is_tried_again():
    with (
        ScriptedServer(failing(5, Said("", status=500))) as sick,
        ScriptedServer(lambda heard: Said(completion(), after_s=0.01)) as well,
    ):
        asked(pool_of(sick, well, concurrency=2), 120)
    assert len(sick.heard) > 10
    assert len(sick.heard) + len(well.heard) == 125


def test_a_server_that_stays_away_does_not_hold_up_the_other():
    with ScriptedServer() as well, socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        gone = Address(f"http://127.0.0.1:{held.getsockname()[1]}/v1", "small")
        pool = EndpointPool([gone, Address(well.url)], retry_policy=QUICK)
        assert len(asked(pool, 50)) == 50
    assert len(well.heard) == 50


def test_connections_are_pooled_and_no_more_requests_are_out_than_allowed():
    with ScriptedServer(lambda heard: Said(completion(), after_s=0.005)) as server:
        asked(pool_of(server, concurrency=5), 100)
    assert server.most == 5
    assert server.connections <= 6


def test_a_proxy_of_the_environment_is_asked_unless_the_environment_says_otherwise(monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    with ScriptedServer() as proxy, ScriptedServer() as server:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        asked(pool_of(server))
        assert [heard.path for heard in proxy.heard] == [f"{server.url}/completions"]
        assert server.heard == []
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        asked(pool_of(server))
    assert (len(proxy.heard), len(server.heard)) == (1, 1)


@pytest.mark.parametrize("names", [(), ("a", "b")])
def test_which_model_is_meant_must_be_clear(names):
    with ScriptedServer(models=names) as server:
        with pytest.raises(ModelError, match=f"lists {len(names)} models.*say which"):
            asked(pool_of(server))
        asked(pool_of(server, model="c"))
    assert server.heard[0].body["model"] == "c"


def test_what_only_vllm_knows_is_said_to_vllm_alone():
    dialogue = Dialogue([{"role": "user", "content": "q"}], [{"type": "function", "function": {"name": "f"}}])
    for owner, extra in (("vllm", {"skip_special_tokens": False, "tool_choice": "none"}), ("me", {})):
        with ScriptedServer(models=[{"id": "m", "owned_by": owner, "max_model_len": 512}]) as server:
            sampler = sampler_of(server)
            sampler.sample([Request("a", "", 1, 0, dialogue=dialogue)])
        sent = server.heard[0]
        assert sent.path == "/v1/chat/completions"
        assert {k: v for k, v in sent.body.items() if k in ("skip_special_tokens", "tool_choice")} == extra
        assert sent.body["tools"] == dialogue.tools
        assert sampler.pool.context == 512


# -- the sampler -----------------------------------------------------------------------------------------------


def test_a_sampler_answers_in_order_with_its_draws_seeds_and_settings():
    def script(heard):
        return completion(heard.body["prompt"] + "!", heard.body.get("n", 1), why="length")

    with ScriptedServer(script) as server:
        sampler: Sampler = sampler_of(server, top_p=0.9)
        found = sampler.sample(requests(20, 3))
    assert [[one.text for one in each] for each in found] == [[f"prompt {i}!"] * 3 for i in range(20)]
    assert all(one.truncated and one.tokens == 4 and one.logprobs is None for each in found for one in each)
    assert {one.weights_id for each in found for one in each} == {"endpoint:small"}
    assert sampler.weights_id == "endpoint:small"
    sent = {heard.body["prompt"]: heard.body for heard in server.heard}["prompt 4"]
    assert sent["seed"] == draw_seed(7, "r4", 0) < 2**31
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"], sent["n"]) == (0.5, 0.9, 16, 3)


def test_greedy_means_temperature_0_and_one_question_for_n_answers():
    with ScriptedServer() as server:
        found = sampler_of(server).sample(requests(1, 3, greedy=True))
    assert len(found[0]) == 3
    assert len(server.heard) == 1
    assert server.heard[0].body["temperature"] == 0
    assert not {"n", "seed", "top_p"} & server.heard[0].body.keys()


def test_a_server_that_does_not_know_n_is_asked_as_often_as_needed_with_other_seeds():
    with ScriptedServer(lambda heard: completion()) as server:
        found = sampler_of(server).sample(requests(5, 4))
    assert [len(each) for each in found] == [4] * 5
    assert len({heard.body["seed"] for heard in server.heard}) == len(server.heard) == 20


def test_thinking_and_calls_that_a_server_took_apart_are_put_together_again():
    calls = [{"type": "function", "function": {"name": "f", "arguments": '{"a": "x", "b": [1]}'}}]
    message = {"content": None, "reasoning_content": "because", "tool_calls": calls}
    said = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    with ScriptedServer(lambda heard: said) as server:
        ((found,),) = sampler_of(server).sample(requests(1))
    assert found.text == "<think>because</think>\n\n[f(a='x', b=[1])]"
    assert found.tokens > 0


def test_what_was_paid_for_is_not_asked_twice_when_one_request_fails():
    def script(heard):
        return Said({"detail": "not this one"}, status=422) if heard.body["prompt"] == "prompt 3" else completion()

    with ScriptedServer(script) as server:
        sampler = sampler_of(server)
        with pytest.raises(ChatError, match="not this one"):
            sampler.sample(requests(10))
        assert len(sampler.sample(requests(3))) == 3
    assert len(server.heard) == 10


def test_a_servers_weights_cannot_be_replaced():
    with ScriptedServer() as server, pytest.raises(ModelError, match="cannot be replaced"):
        sampler_of(server).load_weights("folder", "abc")


def test_answers_of_a_megabyte_arrive_whole():
    with ScriptedServer(lambda heard: completion("x" * 2**20)) as server:
        ((found,),) = sampler_of(server).sample(requests(1))
    assert len(found.text) == 2**20


# -- the chat model --------------------------------------------------------------------------------------------


def test_a_chat_model_replies_and_sends_a_schema_only_where_it_is_obeyed():
    async def reply(pool):
        async with pool:
            await pool.connect()
            chat: ChatModel = EndpointChat(pool)
            return chat.name, await chat.reply(
                [{"role": "user", "content": "q"}], temperature=0.1, max_tokens=9, schema={"type": "object"}, seed=3
            )

    for supports_json_schema in (False, True):
        with ScriptedServer() as server:
            name, found = asyncio.run(reply(pool_of(server, supports_json_schema=supports_json_schema)))
        assert (name, found.text, found.tokens, found.truncated) == ("small", "[f(a=1)]", 14, False)
        assert ("response_format" in server.heard[0].body) is supports_json_schema
        assert server.heard[0].body["seed"] == 3


# -- budget ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("budget", "most"), [(SharedBudget(requests=5), 5), (SharedBudget(tokens=50), 4)])
def test_a_budget_ends_asking_with_a_sentence_and_keeps_what_was_answered(budget, most):
    with ScriptedServer() as server:
        sampler = sampler_of(pool=pool_of(server, budget=budget, concurrency=1))
        with pytest.raises(BudgetSpent, match="the budget at endpoints is reached") as caught:
            sampler.sample(requests(20))
        assert caught.value.stops_run
        assert len(server.heard) == most
        assert len(sampler.sample(requests(3))) == 3
    assert len(server.heard) == most


def test_tokens_a_server_does_not_count_are_estimated_and_told_apart():
    with ScriptedServer(lambda heard: {"choices": [{"text": "x" * 400}]}) as server:
        pool = pool_of(server)
        asked(pool, body={"prompt": "y" * 80})
    assert pool.meter.spent.tokens == pool.meter.spent.estimated == 120


# -- the key ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        lambda heard: Said({"error": {"message": f"bad key {heard.headers['authorization']}"}}, status=401),
        lambda heard: Said(heard.headers["authorization"].encode()),
        lambda heard: Said({"error": heard.headers["authorization"]}, status=500),
        lambda heard: Said("x" * 290 + heard.headers["authorization"], status=400),
    ],
)
def test_the_key_is_sent_and_stands_nowhere_else_even_when_a_server_echoes_it(script, monkeypatch, caplog, capfd):
    monkeypatch.setenv("SMALL_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with ScriptedServer(script) as server:
        pool = pool_of(server, key_env="SMALL_KEY")
        with pytest.raises(ChatError) as caught:
            asked(pool)
    assert server.heard[0].headers["authorization"] == f"Bearer {KEY}"
    told = "".join(traceback.format_exception(caught.value, chain=True)) + repr(vars(pool)) + caplog.text
    told += repr([vars(each)["address"] for each in pool.servers]) + "".join(capfd.readouterr())
    assert KEY not in told
    assert KEY[:20] not in told


ODD_KEY = "sk-aB+cd/EFgh0123456789/zz+Q=="


@pytest.mark.parametrize(
    "spelt", [{}, {"/": "\\/"}, {"+": "\\u002B"}, {"+": "\\u002b", "=": "\\u003D", "k": "\\u006b"}]
)
@pytest.mark.parametrize("status", [200, 400, 401])
def test_a_key_is_found_however_json_spells_it(status, spelt, monkeypatch):
    monkeypatch.setenv("SMALL_KEY", ODD_KEY)
    key = "".join(spelt.get(char, char) for char in ODD_KEY)
    body = completion("Bearer KEY") if status == 200 else {"error": {"message": "bad Bearer KEY"}}
    with ScriptedServer(lambda heard: Said(json.dumps(body).replace("KEY", key).encode(), status=status)) as server:
        pool = pool_of(server, key_env="SMALL_KEY")
        if status == 200:
            ((found,),) = sampler_of(pool=pool).sample(requests(1))
            assert found.text == "Bearer ***"
            return
        with pytest.raises(ChatError, match=r"Bearer \*\*\*"):
            asked(pool)


def test_a_key_that_is_a_word_changes_no_answer_and_is_hidden_in_errors(monkeypatch):
    monkeypatch.setenv("SMALL_KEY", "test")
    said = iter([completion('[run_test(name="latest")]'), Said({"error": "who is test? the latest"}, status=400)])
    with ScriptedServer(lambda heard: next(said)) as server:
        pool = pool_of(server, key_env="SMALL_KEY")
        ((found,),) = sampler_of(pool=pool).sample(requests(1))
        assert found.text == '[run_test(name="latest")]'
        with pytest.raises(ChatError, match=r"who is \*\*\*\? the latest"):
            asked(pool)


def test_a_key_put_where_its_variables_name_belongs_is_not_shown(monkeypatch):
    with pytest.raises(ModelError, match="variable's NAME") as caught:
        EndpointPool([Address("http://127.0.0.1:1/v1", key_env="hf_abcDEF123456")])
    assert "hf_abc" not in str(caught.value)


def test_a_key_in_an_answer_does_not_reach_a_sample(monkeypatch):
    monkeypatch.setenv("SMALL_KEY", KEY)
    with ScriptedServer(lambda heard: completion(heard.headers["authorization"])) as server:
        ((found,),) = sampler_of(pool=pool_of(server, key_env="SMALL_KEY")).sample(requests(1))
    assert found.text == "Bearer ***"


@pytest.mark.parametrize(("value", "said"), [(None, "not set"), ("a\nb", "cannot be a key"), ("é", "cannot be a key")])
def test_a_key_that_is_none_is_named_by_its_variable_and_not_shown(value, said, monkeypatch):
    monkeypatch.delenv("SMALL_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SMALL_KEY", value)
    with pytest.raises(ModelError, match=f"SMALL_KEY.*{said}") as caught:
        EndpointPool([Address("http://127.0.0.1:1/v1", key_env="SMALL_KEY")])
    assert value is None or value not in str(caught.value)


@pytest.mark.parametrize("url", ["http://user:hunter2@host/v1", "http://host/v1?api-key=hunter2"])
def test_an_address_that_carries_a_secret_is_refused_without_showing_it(url):
    with pytest.raises(ModelError, match="key_env") as caught:
        Address(url)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="key_env") as caught:
        check_config({"sample": {"endpoints": [{"url": url}]}}, "here")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_key_given_where_its_variables_name_belongs_is_refused_without_showing_it():
    for make in (
        Address,
        lambda url, key_env: check_config({"sample": {"endpoints": [{"url": url, "key_env": key_env}]}}, ""),
    ):
        with pytest.raises((ModelError, ConfigError), match="NAME of an environment variable") as caught:
            make("http://host/v1", key_env=KEY)
        assert KEY not in str(caught.value)


def test_the_configuration_holds_the_variables_name_only(monkeypatch):
    monkeypatch.setenv("SMALL_KEY", KEY)
    config = check_config({"sample": {"endpoints": [{"url": "http://h/v1", "key_env": "SMALL_KEY"}]}}, "here")
    assert "SMALL_KEY" in dump_config(config)
    assert KEY not in dump_config(config)


def test_log_probabilities_are_refused_for_servers_report_those_of_another_distribution():
    with (
        ScriptedServer(lambda heard: completion("no")) as server,
        pytest.raises(ModelError, match="huggingface or vllm"),
    ):
        sampler_of(server).sample([Request("r", "prompt", 1, 0, logprobs=True)])
