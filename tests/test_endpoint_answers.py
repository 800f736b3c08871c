"""The shapes in which servers answer: what can be read is read, and what cannot is the fault of that one case."""

import asyncio
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from funreason.bfcl import Case
from funreason.config.models import Address
from funreason.evaluation.answers import answer_cases, answer_notes
from funreason.policies.endpoint.pool import MOST_UNREAD_IN_A_ROW, EndpointPool, RetryPolicy
from funreason.policies.endpoint.sampler import EndpointSampler
from funreason.policies.endpoint.wire import EndpointGone, PromptTooLong, UnreadableAnswer, read_response
from funreason.policies.protocol import ChatError, Request
from tests.serving import Said, ScriptedServer, completion

QUICK = RetryPolicy(tries=4, first_wait_s=0.01, longest_wait_s=0.04, first_cooldown_s=0.02)
ARGUMENTS = {"city": "Oslo", "days": 2}
CALL = "[forecast(city='Oslo', days=2)]"


def function(arguments, **more):
    return {"name": "forecast", "arguments": arguments, **more}


def tool_call(arguments, **more):
    return {"id": "c1", "type": "function", "function": function(arguments), **more}


def body(message, why="stop"):
    return {"choices": [{"index": 0, "message": message, "finish_reason": why}], "usage": None}


def read(message, why="stop"):
    """The text of an answer and what was left of it."""
    (choice,) = read_response("http://here", json.dumps(body(message, why))).choices
    return choice.written(), choice.unread


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": [tool_call(json.dumps(ARGUMENTS))]},
        {"content": None, "tool_calls": [tool_call(ARGUMENTS)]},
        {"content": None, "tool_calls": [tool_call(json.dumps(json.dumps(ARGUMENTS)))]},
        {"content": "", "tool_calls": [{"function": function(json.dumps(ARGUMENTS))}]},
        {"tool_calls": [{"id": None, "type": None, "index": 0, "function": function(ARGUMENTS)}]},
        {"tool_calls": tool_call(ARGUMENTS)},
        {"tool_calls": [function(ARGUMENTS)]},
        {"tool_calls": [{"name": "forecast", "args": ARGUMENTS}]},
        {"content": None, "function_call": function(json.dumps(ARGUMENTS))},
        {"content": None, "tool_calls": None, "function_call": function(ARGUMENTS)},
        {"content": [{"type": "tool_use", "id": "t", "name": "forecast", "input": ARGUMENTS}]},
        {"content": CALL},
        {"content": [{"type": "text", "text": CALL}]},
        {"content": [{"type": "text", "text": CALL[:9]}, {"type": "text", "text": CALL[9:]}]},
        {"content": [CALL]},
        {"content": {"type": "text", "text": CALL}},
        {"content": [{"type": "output_text", "text": CALL, "annotations": []}]},
        {"content": [{"type": "text", "text": {"value": CALL, "annotations": []}}]},
        {"content": CALL, "tool_calls": [], "refusal": None, "annotations": [], "audio": None},
    ],
    ids=lambda message: json.dumps(message)[:70],
)
def test_a_call_is_read_in_whatever_form_a_server_sends_it(message):
    assert read({"role": "assistant", **message}) == (CALL, ())


@pytest.mark.parametrize("arguments", [None, "", "null", " null ", "{}", {}])
def test_arguments_that_are_null_or_empty_are_no_arguments(arguments):
    assert read({"content": None, "tool_calls": [tool_call(arguments)]}) == ("[forecast()]", ())


def test_a_call_without_an_arguments_field_has_no_arguments():
    assert read({"content": None, "tool_calls": [{"function": {"name": "forecast"}}]}) == ("[forecast()]", ())


@pytest.mark.parametrize("arguments", ['{"city": "Os', "city=Oslo", "[1, 2]", [1, 2], 7])
def test_arguments_that_are_no_object_stay_visible_for_the_judge_of_form(arguments):
    text, left = read({"content": None, "tool_calls": [tool_call(arguments)]})
    assert text.startswith("[forecast(")
    assert text != "[forecast()]"
    assert left == ()


@pytest.mark.parametrize(
    "message",
    [
        {"content": CALL, "reasoning_content": "It is Oslo."},
        {"content": CALL, "reasoning": "It is Oslo."},
        {"content": CALL, "thinking": "It is Oslo."},
        {"content": f"<think>It is Oslo.</think>\n\n{CALL}"},
        {"content": [{"type": "thinking", "thinking": "It is Oslo."}, {"type": "text", "text": CALL}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "It is Oslo."}]}, CALL]},
        {"content": [{"type": "reasoning", "text": "It is Oslo."}, {"type": "text", "text": CALL}]},
        {"content": "It is Oslo.", "tool_calls": [tool_call(ARGUMENTS)]},
        {"content": "<think>It is Oslo.</think>", "tool_calls": [tool_call(ARGUMENTS)]},
        {"content": None, "reasoning": "It is Oslo.", "function_call": function(ARGUMENTS)},
    ],
    ids=lambda message: json.dumps(message)[:70],
)
def test_thinking_is_found_wherever_a_server_puts_it(message):
    assert read(message) == (f"<think>It is Oslo.</think>\n\n{CALL}", ())


def test_what_is_said_beside_thinking_and_calls_is_kept_before_them():
    message = {"content": "I look it up.", "reasoning": "Oslo.", "tool_calls": [tool_call(ARGUMENTS)]}
    assert read(message) == (f"<think>Oslo.\n\nI look it up.</think>\n\n{CALL}", ())


@pytest.mark.parametrize(
    ("message", "text", "left"),
    [
        ({"content": None, "refusal": "I cannot help."}, "I cannot help.", "refusal"),
        ({"content": [{"type": "refusal", "refusal": "I cannot help."}]}, "I cannot help.", "refusal"),
        (
            {"content": [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "a"}]},
            "a",
            "image_url",
        ),
        ({"content": 7}, "", "content.no_text"),
        ({"content": [7, "a"]}, "a", "content.no_text"),
        ({"content": "a", "tool_calls": [{"function": {"arguments": "{}"}}]}, "a", "tool_calls.no_call"),
        ({"content": "a", "tool_calls": "none"}, "a", "tool_calls.no_call"),
        ({"content": "a", "function_call": {"name": None}}, "a", "function_call.no_call"),
    ],
    ids=lambda each: str(each)[:50],
)
def test_what_is_no_text_and_no_call_is_left_and_named(message, text, left):
    found, unread = read(message)
    assert found == text
    assert len(unread) == 1
    assert left in unread[0]


def test_an_answer_that_the_server_withheld_says_so():
    assert read({"content": "So f"}, "content_filter") == ("So f", ("finish.content_filter",))


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"text": CALL}]},
        {"choices": {"message": {"content": CALL}}},
        {"choices": [{"delta": {"content": CALL}}]},
        {"choices": [{"message": CALL}]},
        {"message": {"role": "assistant", "content": CALL}, "done": True},
        {"role": "assistant", "content": [{"type": "text", "text": CALL}], "stop_reason": "end_turn"},
        {"choices": [{"message": {"content": CALL}, "finish_reason": 7}], "usage": {"prompt_tokens": "many"}},
        {"choices": [{"message": {"content": CALL}}], "usage": {"prompt_tokens": None, "completion_tokens": -1}},
        {"choices": [{"message": {"content": CALL}}], "error": None},
    ],
    ids=lambda answer: json.dumps(answer)[:60],
)
def test_an_answer_is_found_in_whatever_surrounds_it(answer):
    found = read_response("http://here", json.dumps(answer))
    assert [choice.written() for choice in found.choices] == [CALL]
    assert found.written_tokens > 0


def test_numbers_that_json_does_not_know_are_read_all_the_same():
    text = '{"choices": [{"message": {"content": "a"}, "logprobs": NaN}]}'
    assert read_response("http://here", text).choices[0].written() == "a"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<html><body>busy</body></html>", "answer.not_json"),
        ("", "answer.not_json"),
        ("[]", "answer.no_object"),
        ("null", "answer.no_object"),
        ("{}", "answer.no_choices"),
        ('{"choices": []}', "answer.no_choices"),
        ('{"choices": null}', "answer.no_choices"),
        ('{"error": {"message": "out of credit", "code": 402}}', "answer.error"),
        ('{"error": "overloaded"}', "answer.error"),
        ("[" * 100_000, "answer.not_json"),
    ],
    ids=lambda each: each[:30],
)
def test_a_body_without_an_answer_says_what_it_is_instead(text, code):
    with pytest.raises(UnreadableAnswer) as caught:
        read_response("http://here", text)
    assert caught.value.code == code
    assert len(str(caught.value)) < 600


def test_an_error_in_a_200_that_the_prompt_is_too_long_is_taken_for_that():
    said = '{"error": {"message": "This model\'s maximum context length is 512 tokens."}}'
    with pytest.raises(PromptTooLong):
        read_response("http://here", said)


things = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "type text content function name arguments tool_calls function_call thinking refusal input".split()
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(things)
def test_no_message_whatever_it_holds_is_more_than_one_answer(message):
    answer = {"choices": [{"message": message, "finish_reason": message}], "usage": message}
    (choice,) = read_response("http://here", json.dumps(answer)).choices
    assert isinstance(choice.written(), str)
    assert all(isinstance(code, str) for code in choice.unread)


# -- an evaluation -----------------------------------------------------------------------------------------------


def case(number):
    function = {"name": "forecast", "description": "", "parameters": {"type": "dict", "properties": {}, "required": []}}
    question = [[{"role": "user", "content": f"case {number}"}]]
    return Case(f"simple_python_{number}", "simple_python", question, [function], [])


def evaluated(server, tmp_path, count=8, **settings):
    """The answers to a suite, its notes, and the pool that asked."""
    pool = EndpointPool([Address(server.url, **settings)], retry_policy=QUICK)
    sampler = EndpointSampler(pool, max_new_tokens=16)
    sampler.connect()
    cases = [case(number) for number in range(count)]
    answers = answer_cases(sampler, lambda case: case.question[0][0]["content"], cases, tmp_path / "outputs.jsonl")
    return answers, answer_notes(answers, {case.id: case for case in cases}), pool


def one_is(said, bad=3):
    """A script that says `said` to one case, however often it asks, and answers all others."""
    return lambda heard: said if f"case {bad}" in str(heard.body) else completion(CALL)


@pytest.mark.parametrize(
    "said",
    [
        {"choices": []},
        {"error": {"message": "the tool parser failed"}},
        Said(b"<html>502</html>"),
        Said({"error": {"message": "the tool parser failed"}}, status=500),
        Said({"detail": "not this one"}, status=422),
    ],
    ids=["no choice", "error as 200", "html", "500", "422"],
)
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_case_without_a_readable_answer_is_counted_and_the_others_are_answered(tmp_path, said, concurrency):
    with ScriptedServer(one_is(said)) as server:
        answers, notes, _ = evaluated(server, tmp_path, concurrency=concurrency)
    faulty = answers.pop("simple_python_3")
    assert {answer.output for answer in answers.values()} == {CALL}
    assert len(answers) == 7
    assert (faulty.output, faulty.fits) == ("", True)
    assert faulty.fault.startswith(server.url)
    (note,) = notes
    assert re.search(r"1 cases got no answer that can be read.*simple_python_3", note)


def test_a_case_without_a_readable_answer_is_not_asked_again_when_the_command_is_repeated(tmp_path):
    with ScriptedServer(one_is({"choices": []})) as server:
        first, _, _ = evaluated(server, tmp_path)
        heard = len(server.heard)
        again, _, _ = evaluated(server, tmp_path)
    assert first == again
    assert len(server.heard) == heard


def test_the_last_case_of_all_may_fail_alone_too(tmp_path):
    with ScriptedServer(one_is(Said("", status=500), bad=7)) as server:
        answers, _, _ = evaluated(server, tmp_path, concurrency=1)
    assert [bool(answer.fault) for answer in answers.values()] == [False] * 7 + [True]


def test_parts_that_could_not_be_read_are_counted_by_place(tmp_path):
    odd = {"role": "assistant", "content": [{"type": "image_url"}, {"type": "text", "text": CALL}]}
    with ScriptedServer(one_is(body(odd))) as server:
        answers, notes, pool = evaluated(server, tmp_path)
    assert {answer.output for answer in answers.values()} == {CALL}
    assert (notes, dict(pool.unread)) == ([], {"content.image_url": 1})


def test_an_address_where_no_api_answers_ends_with_the_sentence_about_the_address(tmp_path):
    welcome = Said(b"<html>welcome</html>")
    with ScriptedServer(lambda heard: welcome) as server, pytest.raises(EndpointGone, match=r"running.*address"):
        evaluated(server, tmp_path)


def test_many_answers_in_a_row_that_cannot_be_read_end_an_evaluation(tmp_path):
    def script(heard):
        return completion(CALL) if heard.number < 4 else {"error": "out of credit"}

    with (
        ScriptedServer(script) as server,
        pytest.raises(EndpointGone, match=r"out of credit.*answered 4 requests before"),
    ):
        evaluated(server, tmp_path, 3 * MOST_UNREAD_IN_A_ROW, concurrency=2)


def test_a_server_that_goes_away_is_said_to_have_answered_before(tmp_path):
    def script(heard):
        return completion(CALL) if heard.number < 4 else Said(b"", cut=0, status=503)

    with ScriptedServer(script) as server, pytest.raises(EndpointGone, match="answered 4 requests before") as caught:
        evaluated(server, tmp_path, 20, concurrency=2)
    assert "is the server running" not in str(caught.value)


def test_a_list_of_models_that_cannot_be_read_matters_only_where_the_model_has_no_name():
    async def ask(pool):
        async with pool:
            await pool.connect()
            return await pool.post("/completions", {"prompt": "p"})

    with ScriptedServer(models=[{"name": "x"}]) as server:
        assert asyncio.run(ask(EndpointPool([Address(server.url)], retry_policy=QUICK))).choices
    with ScriptedServer(models=[7]) as server:
        with pytest.raises(ChatError, match="lists 0 models"):
            asyncio.run(ask(EndpointPool([Address(server.url)], retry_policy=QUICK)))
        assert asyncio.run(ask(EndpointPool([Address(server.url, "m")], retry_policy=QUICK))).choices


def test_a_sampler_without_an_ear_for_faults_raises_the_first_one_after_all_others():
    with ScriptedServer(one_is({"choices": []}, bad=1)) as server:
        sampler = EndpointSampler(EndpointPool([Address(server.url)], retry_policy=QUICK), max_new_tokens=9)
        sampler.connect()
        found = []
        with pytest.raises(ChatError, match="without choices"):
            found.extend(sampler.answers([Request(f"r{i}", f"case {i}", 1, seed=1) for i in range(4)]))
        assert len(found) == 3
