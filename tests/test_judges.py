"""The five rule judges, each on small samples, and all on references that are right."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funreason.agents.judges.rules.stages import (
    CotJudge,
    judge_format,
    judge_parameters,
    judge_query_tool,
    judge_response,
)
from funreason.calls.render import render_calls
from funreason.calls.tools import normalise_tools
from funreason.data.toolbox import SPLITS, generate
from funreason.types import Call, Sample, Task

JUDGES = (judge_response, judge_query_tool, CotJudge(), judge_parameters, judge_format)


def judged(judge, sample):
    verdict = asyncio.run(judge(sample))
    assert verdict.judge == "rules"
    return verdict.outcome, verdict.reason


def sample(answer, query="", thinking=None, reference=None, truncated=False, **parameters):
    tools = normalise_tools([{"name": "f", "description": "does f", "parameters": parameters}])
    return Sample.of("s", Task.of("s", query, tools, reference), answer, thinking, truncated=truncated)


@pytest.mark.parametrize("answer", ["[f(a=1)]", "f(a=1)", "[f(a=", '{"name": "f", "arguments": {}}', "Sure: [f(a=1)]"])
def test_an_attempt_at_a_call_goes_on_to_the_other_stages(answer):
    assert judged(judge_response, sample(answer)) == ("pass", "")
    assert judged(judge_response, sample(answer, reference=[])) == ("pass", "")


def test_ordinary_text_is_kept_unless_calls_are_known_to_be_right():
    text = "I cannot book a hotel with these tools."
    assert judged(judge_response, sample(text)) == ("keep_text", "response.text")
    assert judged(judge_response, sample(text, reference=[])) == ("keep_text", "response.text")
    assert judged(judge_response, sample("[]", reference=[])) == ("keep_text", "response.no_call")
    known = [Call("f", {})]
    assert judged(judge_response, sample(text, reference=known)) == ("drop", "response.text_where_calls_expected")
    assert judged(judge_response, sample("[]", reference=known)) == ("drop", "response.text_where_calls_expected")


def test_what_is_empty_or_cut_off_is_dropped():
    assert judged(judge_response, sample("")) == ("drop", "response.empty")
    assert judged(judge_response, sample("[f(a=", truncated=True)) == ("drop", "response.truncated")
    assert judged(judge_response, sample("", thinking="so", truncated=True)) == ("drop", "response.unclosed_thinking")


STR, INT, FLOAT = {"type": "str"}, {"type": "int"}, {"type": "float"}


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("three nights", 3),
        ("twenty-five people", 25),
        ("a dozen eggs", 12),
        ("two and a half million dollars", 2_500_000),
        ("one hundred and five", 105),
        ("the third floor", 3),
        ("the 21st floor", 21),
        ("$1,250.50 please", 1250.5),
        ("50k views", 50_000),
        ("a rate of 4%", 0.04),
        ("a rate of 4%", 4),
        ("four percent", 0.04),
        ("for 2 hours", 120),
        ("temperature -5", -5),
        ("in March", 3),
        ("room 0012", "0012"),
        ("March 17th, 2023", "2023-03-17"),
        ("17 March 2023", "03/17/2023"),
        ("on Mar 17", "2023-03-17"),
        ("since March 17, 2023", 20230317),
        ("tomorrow", "2023-05-05"),
        ("at 9 pm", "21:00"),
        ("at 9:30 AM", "09:30"),
        ("at half past, 14:00", "2 pm"),
        ("on June 3rd at 3pm", "2023-06-03 15:00:00"),
        ("next year", 2025),
        ("next year", "2025"),
        ("three nights from July 15th, 2023", "2023-07-18"),
        ("everything in March 2023", "2023-03-31"),
        ("about 0.65", 0.6508643),
        ("in NEW YORK", "New York"),
        ("the 'Blue Note' club", "blue note"),
        ("red shoes", "shoe"),
        ("open the valve", "open_valve"),
        ("weather in China", "CN"),
        ("translate into German", "de"),
        ("shares of Tesla", "TSLA"),
        ("in the United States", "US"),
        ("in the United States", "USA"),
        ("in dollars", "USD"),
        ("the third quarter", "Q3"),
        ("cats and dogs", ["cat", "dog"]),
        ("from Oslo to Lima", {"from": "Oslo", "to": ["Lima"]}),
        ("in 北京", "Beijing"),
        ("anything", True),
        ("anything", None),
        ("anything", ""),
    ],
)
def test_a_value_that_the_query_spells_otherwise_is_grounded(query, value):
    answer = render_calls([Call("f", {"a": value})])
    assert judged(judge_query_tool, sample(answer, query, a=STR)) == ("pass", "")


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("three nights", 4),
        ("order 17 eggs", 7),
        ("room 170", "17"),
        ("March 17th, 2023", "2023-05-18"),
        ("March 17th, 2023", "2022-03-17"),
        ("March 17th, 2023", "2023-03-18"),
        ("a length of 100", 100.1),
        ("order AB-12345", "AB-1234"),
        ("at 9 pm", "20:15"),
        ("a table in Oslo", "Lisbon"),
        ("my patient", "John Doe"),
        ("weather in China", "BR"),
        ("cats and dogs", ["cat", "horse"]),
        ("from Oslo to Lima", {"from": "Oslo", "to": ["Quito"]}),
        ("the user's page", "x7Kq92LmP"),
        ("a page", "https://bitbucket.org/team"),
    ],
)
def test_a_value_without_any_support_drops_the_sample(query, value):
    answer = render_calls([Call("f", {"a": value})])
    assert judged(judge_query_tool, sample(answer, query, a=STR)) == ("drop", "query.ungrounded_value")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "str", "enum": ["celsius", "kelvin"]},
        {"type": "str", "default": "kelvin"},
        {"type": "str", "description": "The unit, such as Kelvin."},
        {"type": "list", "items": {"type": "str", "enum": ["kelvin"]}},
    ],
)
def test_a_value_that_the_tool_itself_gives_needs_no_support(schema):
    value = ["kelvin"] if schema["type"] == "list" else "kelvin"
    answer = render_calls([Call("f", {"a": value})])
    assert judged(judge_query_tool, sample(answer, "how warm is it", a=schema)) == ("pass", "")


def test_a_function_that_is_not_offered_drops_the_sample():
    assert judged(judge_query_tool, sample("[g()]", "g")) == ("drop", "tools.unknown_function")
    assert judged(judge_query_tool, Sample.of("s", Task.of("s", "q", []), "[f()]")) == ("drop", "tools.empty")


CITY = {"a": {"type": "str"}, "n": {"type": "int", "required": False}}


@pytest.mark.parametrize(
    ("thinking", "answer", "reason"),
    [
        ("f fits: a Oslo, n 7", "[f(a='Oslo', n=7)]", ""),
        ("Use `f` with a=Oslo and seven rows.", "[f(a='Oslo', n=7)]", ""),
        ("f fits: a Oslo, n 17", "[f(a='Oslo', n=7)]", "cot.value_not_named"),
        ("f fits: a Oslo", "[f(a='Lima')]", "cot.value_not_named"),
        ("f fits: a Oslo", "[f(a='Oslo Bay')]", "cot.value_not_named"),
        ("g fits: a Oslo", "[f(a='Oslo')]", "cot.function_not_named"),
        ("of course: a Oslo", "[f(a='Oslo')]", "cot.function_not_named"),
        ("f of Lima or Oslo? So I call f(a='Lima')", "[f(a='Oslo')]", "cot.ends_in_another_call"),
        ("f it is: `[f(a='oslo')]`.", "[f(a='Oslo')]", ""),
        ("", "[f(a='Oslo')]", "cot.empty"),
        (None, "[f(a='Oslo')]", "cot.missing"),
    ],
)
def test_the_thinking_must_lead_to_the_call(thinking, answer, reason):
    expected = ("drop", reason) if reason else ("pass", "")
    assert judged(CotJudge(), sample(answer, "", thinking, **CITY)) == expected


@pytest.mark.parametrize(
    "ending",
    [
        "[f(a='{}'),\n f(a='Oslo')\n]",
        "```python\n[\n  f(a='{}')\n]\n```",
        '{{"name": "f", "arguments": {{"a": "{}"}}}}',
        '[\n  {{"name": "f", "arguments": {{\n    "a": "{}"}}\n  }}\n]',
        '<tool_call>\n{{"name": "f", "arguments": {{"a": "{}"}}}}\n</tool_call>',
    ],
)
def test_the_call_that_a_thinking_ends_in_is_read_in_other_clothes_too(ending):
    for place, expected in (("Lima", ("drop", "cot.ends_in_another_call")), ("Oslo", ("pass", ""))):
        made = sample("[f(a='Oslo')]", "", f"f of Oslo or Lima?\n[It is f.]\nSo:\n{ending.format(place)}", **CITY)
        assert judged(CotJudge(), made) == expected


@pytest.mark.parametrize("answer", ["[f('Oslo')]", "[f(a=Oslo)]", "[f(a='Oslo'"])
def test_a_thinking_that_ends_in_a_call_is_held_against_no_answer_that_nobody_can_read(answer):
    made = sample(answer, "do f with Oslo", "f fits, so I call [f(a='Oslo')]", **CITY)
    found = [judged(judge, made) for judge in JUDGES]
    assert found[:4] == [("pass", "")] * 4
    assert found[4][0] == "regenerate"


def test_a_thinking_that_ends_in_a_call_leads_to_no_answer_without_one():
    made = sample("[]", "", "f fits, so I call [f(a='Oslo')]", **CITY)
    assert judged(CotJudge(), made) == ("drop", "cot.ends_in_another_call")


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("AB-12345", "AB-1234"),
        ("AB-1234-5", "AB-1234"),
        ("AB-1234", "1234"),
        ("2024-05-12", "2024-05-13"),
        ("12 May 2024", "2023-05-12"),
        ("12 May 2024", "12 May 2023"),
        ("2024-05-12 at 9:00", "2024-05-12 10:00"),
        ("-7", 7),
        ("7", -7),
        ("7.5", 7),
        ("x7", 7),
        ("100.1", 100.0),
        ("twenty-five", 5),
        ("landon", "london"),
        ("Mars", "Mary"),
        ("chocolate", "CAT"),
        ("a value", 0),
        ("a value", 1),
        ("7 am", "19:00"),
        ("5 miles", "5km"),
        ("the ids 521 and 1078", "521,634,1078"),
        ("cats, dogs", ["cat", "horse"]),
    ],
)
def test_a_value_that_the_thinking_gives_only_nearly_is_not_named(said, value):
    answer = render_calls([Call("f", {"a": value})])
    assert judged(CotJudge(), sample(answer, "", f"f fits: a {said}", a=STR)) == ("drop", "cot.value_not_named")


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("eight", 8),
        ("7 pm", "19:00"),
        ("9:30 in the evening", "21:30"),
        ("Friday", "Fri"),
        ("minus seven", -7),
        ("two and a half million", 2_500_000),
        ("4 %", 0.04),
        ("$1,250.50", 1250.5),
        ("[1,2,300]", [1, 2, 300]),
        ("[100,200]", [100, 200]),
        ("the ids 521, 634 and 'AB-1078'", "521,634,AB-1078"),
        ("1e-05", 0.00001),
        ("May 12th, 2024", "2024-05-12"),
        ("12/05/2024", "2024-05-12"),
        ("10:00 on 2024-05-13", "2024-05-13T10:00"),
        ("German", "de"),
        ("5 km", "5km"),
        ("the `ab-1234`.", "AB-1234"),
        ("open valve", "openValve"),
    ],
)
def test_a_value_may_be_named_in_another_spelling(said, value):
    answer = render_calls([Call("f", {"a": value})])
    assert judged(CotJudge(), sample(answer, "", f"f fits: a {said}", a=STR)) == ("pass", "")


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_a_number_is_named_by_itself_and_by_no_other(said, value):
    thinking = f"f fits: a {said}"
    outcome, _ = judged(CotJudge(), sample(f"[f(a={value})]", "", thinking, a=INT))
    assert (outcome == "pass") == (said == value)


def test_a_dotted_or_joined_name_may_be_thought_of_in_words():
    tools = normalise_tools([{"name": "weather.get_forecast"}, {"name": "getWeather"}])
    task = Task.of("s", "", tools)
    for thinking, answer in [
        ("weather.get_forecast fits", "[weather.get_forecast()]"),
        ("I get weather first", "[getWeather()]"),
        ("then weather, get forecast", "[weather.get_forecast()]"),
    ]:
        assert judged(CotJudge(), Sample.of("s", task, answer, thinking))[0] == "pass"


def test_samples_without_thinking_pass_where_none_is_required():
    assert judged(CotJudge(require=False), sample("[f(a='Oslo')]", **CITY)) == ("pass", "")


@pytest.mark.parametrize(
    ("answer", "reference", "reason"),
    [
        ("[f(a='Oslo')]", None, ""),
        ("[f(a=3)]", None, "schema.type"),
        ("[f()]", None, "schema.missing_required"),
        ("[f(a='x', z=1)]", None, "schema.unknown_parameter"),
        ("[g()]", None, "schema.unknown_function"),
        ("[f(a='oslo')]", [Call("f", {"a": "Oslo"})], ""),
        ("[f(a='Lima')]", [Call("f", {"a": "Oslo"})], "reference.value"),
        ("[f(a='Oslo')]", [], "reference.count"),
        ("[f(a=", None, ""),
    ],
)
def test_parameters_are_checked_against_schema_and_reference(answer, reference, reason):
    expected = ("regenerate", reason) if reason else ("pass", "")
    assert judged(judge_parameters, sample(answer, reference=reference, **CITY)) == expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("[f(a='Oslo')]", ""),
        ("f(a='Oslo')", "form.not_a_list"),
        ("[ f(a='Oslo')]", "form.blank_in_name"),
        ("Here: [f(a='Oslo')]", "form.not_a_list"),
        ('[{"name": "f"}]', "form.not_a_call"),
    ],
)
def test_only_the_exact_form_passes(answer, reason):
    expected = ("regenerate", reason) if reason else ("pass", "")
    assert judged(judge_format, sample(answer, **CITY)) == expected


@pytest.mark.parametrize("split", sorted(SPLITS))
def test_right_answers_of_the_toolbox_pass_all_five_stages(split):
    for task in generate(split, 120, seed=5):
        answer = render_calls(task.reference) if task.reference else task.reference_text
        made = Sample.of(task.id, task, answer, task.reference_thinking)
        found = [judged(judge, made) for judge in JUDGES]
        if task.reference:
            assert found == [("pass", "")] * 5, (task.query, answer, task.reference_thinking)
        else:
            assert found[0] == ("keep_text", "response.text")


odd = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(odd, odd, odd, odd)
@settings(max_examples=200, deadline=None)
def test_no_sample_makes_a_judge_raise(answer, query, thinking, value):
    for text in (answer, f"[f(a={answer})]", f"[f(a={value!r})]"):
        for judge in JUDGES:
            asyncio.run(judge(sample(text, query, thinking, a=STR, b=INT, c=FLOAT)))


@pytest.mark.parametrize("number", ["0x" + "f" * 4_000, "-0b1" + "0" * 14_285, "[0o7" + "0" * 9_000 + "]"])
def test_a_number_too_long_to_be_written_is_a_failure_of_form_and_of_nothing_else(number):
    made = sample(f"[f(a={number})]", "do f", "f it is", reference=[Call("f", {"a": 1})], a=INT)
    assert [judged(judge, made) for judge in JUDGES] == [("pass", "")] * 4 + [("regenerate", "value.too_long")]


HUGE = {
    "digits": "9" * 4_000,
    "separators": "1," * 40_000,
    "number words": "two " * 20_000,
    "brackets": "[" * 90_000,
    "clocks": "9:" * 30_000,
    "open calls": "f(" * 40_000,
    "dashes": "a-" * 40_000,
    "one word": "a" * 90_000,
    "many words": " ".join(f"word{i:x}x" for i in range(9_000)),
    "blank lines": "\n" * 45_000 + "x",
    "open tags": "<tool_call>" * 8_000,
    "open and one closing": "<tool_call>" * 8_000 + "</tool_call>",
    "fences": "```" * 30_001,
    "quotes": "\"'" * 30_000,
    "capitals": "Ab" * 40_000,
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_huge_text_is_judged_in_bounded_time(kind):
    text = HUGE[kind]
    answer = render_calls([Call("f", {"a": text})])
    start = time.process_time()
    for made in (
        sample("[f(a='us', b=7)]", text, f"f {text}", a=STR, b=INT),
        sample(answer, "q", "f", a=STR),
        sample(answer, text[::-1], f"f {text[::-1]}", a=STR),
        sample(text, "q", text, a=STR),
    ):
        for judge in JUDGES:
            asyncio.run(judge(made))
    assert time.process_time() - start < 10  # twenty judgements; a quadratic rule would take minutes
