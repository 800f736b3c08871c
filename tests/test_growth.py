"""Texts, values and schemas made to be slow: a judge's time grows no faster than their length."""

import asyncio
import json
import signal
import unicodedata

import pytest

from funreason.agents.judges.registry import judges
from funreason.agents.judges.rules.grounding import Evidence
from funreason.agents.judges.rules.words import MOST_LEAVES, leaves
from funreason.calls.compare import same_calls
from funreason.calls.marks import MOST_MARKS, marks_at, normalised
from funreason.calls.names import callable_names
from funreason.calls.parse import CallSyntaxError, parse_calls
from funreason.calls.schema import check_call
from funreason.calls.tools import read_tools
from funreason.config import Config
from funreason.data.reading import read_tasks
from funreason.types import Call, Sample, Task

LIMIT_S = 3.0
"""CPU seconds; what grows with the square takes ten times as long or more."""
LONG = 30_000
MARKS = "\u0301\u0316"


@pytest.fixture
def limit():
    """Ends a test that computes for longer."""

    def end(*_):
        raise AssertionError(f"it took more than {LIMIT_S} s")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def tool(parameters=None, **schema):
    properties = parameters or {"x": {"type": "string", **schema}}
    return {
        "name": "f",
        "description": "does f",
        "parameters": {"type": "object", "properties": properties, "required": []},
    }


def answered(*values):
    return json.dumps([{"name": "f", "arguments": {"x": value}} for value in values], ensure_ascii=False)


def judged(answer="[f(x='seven')]", query="f of seven", thinking="f of seven", tools=None):
    """The reason of each stage's verdict, "" where it passes."""

    async def ask():
        sample = Sample.of("s", Task.of("t", query, tools or [tool()]), answer, thinking)
        return {name: (await judge(sample)).reason for name, judge in judges(Config()).items()}

    return asyncio.run(ask())


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("one two", f"-{'1' * LONG}x9x"),
        ("one two", f"12:00{' ' * LONG}x"),
        ("one two", f"1{' ' * LONG}x9"),
        ("one two", "1\n" * LONG + "x9"),
        ("1" * LONG, "1" * (LONG // 2)),
        ("12a" * LONG, "12a" * 2_000 + "1"),
        (f"{'1' * LONG} 一万", "二万"),
        (f"цена {'.'.join(['111'] * LONG)}.1 рублей", "сто"),
        ("나 " + "가 " * LONG, "가 " * 199 + "나"),
        (MARKS * LONG, "seven"),
        ("x", MARKS * LONG),
        ("x", "\uff9e\u0f73" * LONG),
        ("ab", "".join(map(chr, range(0x4E00, 0x9F00)))),
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_no_query_and_no_value_makes_support_slow(query, value):
    assert Evidence(query).supports(value) in (True, False)


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize(
    ("thinking", "value"),
    [
        ("f 1,1,1", "1," * LONG),
        ("f 2 " + "1 " * LONG, "1 " * 199 + "2"),
        ("f 2 " + "1,1" * LONG, "1,1,2"),
        (f"f {MARKS * LONG}", "seven"),
        ("f", " ".join(f"1/1/{year}" for year in range(1000, 7000))),
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_no_thinking_and_no_value_makes_naming_slow(thinking, value):
    assert judged(answered(value), thinking=thinking)["cot"] in ("", "cot.value_not_named")


@pytest.mark.usefixtures("limit")
def test_many_values_against_many_words_numbers_and_days_take_no_longer_than_both_alone():
    words = "".join(chr(97 + i) for i in range(26))
    short = [a + b + c for a in words for b in words for c in words if a < b < c]
    floats, said = [i + 0.12 for i in range(3_000)], " ".join(f"{i}.123" for i in range(3_000))
    assert Evidence(f"{words} {said}").supports([*floats, *short])
    days = [f"{year}-03-04" for year in range(1000, 4000)]
    assert Evidence(" ".join(days)).supports(days)


@pytest.mark.usefixtures("limit")
def test_many_calls_of_a_tool_read_its_lists_and_texts_once():
    listed = tool(enum=[f"v{i}" for i in range(100_000)])
    calls = answered(*[f"v{i}" for i in range(99_500, 100_000)])
    assert judged(calls, tools=[listed])["query_tool"] == ""
    assert judged(calls, tools=[listed])["parameters"] == ""
    described = tool({"x": {"type": "string", "description": " ".join(f"w{i}" for i in range(8_000)) + " zz9y"}})
    assert judged(answered(*["zz9y"] * 500), tools=[described])["query_tool"] == ""
    options = tool(anyOf=[{"type": "integer"}] * 3_000)
    assert judged(calls, tools=[options])["parameters"] == "schema.type"


@pytest.mark.usefixtures("limit")
def test_many_calls_in_another_order_are_compared_up_to_a_bound():
    calls = [Call("f", {"x": str(i)}) for i in range(3_000)]
    assert same_calls(calls[:300], calls[:300][::-1], [tool()]) is None
    assert same_calls(calls, calls[::-1], [tool()]).code == "reference.too_many"


@pytest.mark.usefixtures("limit")
def test_many_names_that_become_the_same_one_are_numbered_without_counting_again():
    raw = [{**tool(), "name": f"a{i:013b}".replace("0", "!").replace("1", "?")} for i in range(4_000)]
    made, _ = callable_names(raw)
    assert len({each["name"] for each in made}) == 4_000


@pytest.mark.usefixtures("limit")
def test_many_records_with_one_id_are_numbered_without_counting_again(tmp_path):
    lines = [json.dumps({"id": "a", "query": f"Book {i}.", "tools": [tool()], "answers": []}) for i in range(4_000)]
    file = tmp_path / "records.jsonl"
    file.write_text("\n".join(lines))
    ids = [task.id for task in read_tasks(file).tasks]
    assert ids[:3] == ["a", "a.r2", "a.r3"]
    assert ids[-1] == "a.r4000"


@pytest.mark.usefixtures("limit")
def test_a_name_of_marks_is_refused_before_python_normalises_it():
    with pytest.raises(CallSyntaxError) as caught:
        parse_calls(f"[f{MARKS * 40_000}(x=1)]")
    assert caught.value.reason == "form.too_many_marks"


def test_a_text_with_few_marks_in_a_row_is_normalised_as_ever():
    text = "e\u0301" * 40 + "é" + MARKS * (MOST_MARKS // 2) + "ﾊﾞ½"
    for form in ("NFC", "NFD", "NFKC"):
        assert normalised(form, text) == unicodedata.normalize(form, text)
    assert marks_at(text) == -1


@pytest.mark.parametrize("before", [0, 1, 29, 30, 31, 100])
def test_a_row_of_marks_is_found_wherever_it_begins(before):
    text = "é" * before + "\u0301" * (MOST_MARKS + 1) + "x"
    assert marks_at(text) == before
    assert len(normalised("NFC", text)) < len(text)


def test_leaves_are_what_containers_hold_and_each_text_once():
    value = {"a": ["x", 1, ["x", True]], "b": {"c": None, "d": 1.0}}
    assert list(leaves(value)) == ["x", 1, True, None, 1.0]
    assert len(list(leaves(list(range(10 * MOST_LEAVES))))) == MOST_LEAVES


def wide(count, key):
    return {
        key: [{"type": "object", "properties": {f"a{i}": {"const": i}}, "required": [f"a{i}"]} for i in range(count)]
    }


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize(
    "parameters",
    [
        {"anyOf": [{"type": "object", "properties": {"a": {"const": i}}} for i in range(12_000)]},
        wide(5_000, "allOf"),
        wide(5_000, "oneOf"),
        {
            "type": "object",
            "properties": {f"a{i}": {"$ref": f"#n{i}"} for i in range(6_000)},
            "$defs": {f"d{i}": {"$anchor": f"n{i}", "type": "string"} for i in range(6_000)},
        },
        {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"enum": [f"v{i}" for i in range(100_000)]}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+$"}}},
    ],
    ids=["options", "all of many", "one of many", "anchors", "itself, and a long list", "a pattern"],
)
def test_no_schema_is_slow_to_read_and_to_check(parameters):
    (made,) = read_tools([{"name": "f", "description": "", "parameters": parameters}]).tools
    assert made["parameters"]["properties"]
    check_call(Call("f", {"a": "a" * 30 + "b", "a1": 1}), made)
