"""The dialects of calls: each is read and written, none is taken for another, and prose stays prose."""

import json
import string
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funreason.calls.dialects.catalogue import dialect_named, dialects
from funreason.calls.dialects.dialect import Dialect
from funreason.calls.lenient import calls_from_json, looks_like_calls, needs_tools, parse_any
from funreason.calls.parse import CallSyntaxError
from funreason.calls.render import CallRenderError, is_callable_name
from funreason.calls.tools import normalise_tools
from funreason.types import Call

WRITTEN = [dialect for dialect in dialects() if dialect.write is not None]
MARKS = [
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    "<escape>",
    "```",
    "</parameter>",
    "}}]",
    "Action: f\n",
    "\\",
    '"',
]

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}(\.[a-z][a-z0-9_]{0,8}){0,1}", fullmatch=True).filter(is_callable_name)
keywords = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(is_callable_name)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.lists(
    st.sampled_from([*MARKS, "Oslo", " ", "7", "\n"]), max_size=4
).map("".join)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
many_calls = st.lists(st.builds(Call, names, st.dictionaries(keywords, values, max_size=3)), min_size=1, max_size=3)
CITY = [Call("get_weather", {"city": "Oslo", "days": 3})]


@given(made=many_calls)
@settings(max_examples=40, deadline=None)
def test_what_a_dialect_writes_is_read_as_the_same_calls_by_it_and_by_the_reader_of_all(made):
    """One draw for all dialects: drawing calls takes longer than reading them."""
    for dialect in WRITTEN:
        try:
            text = dialect.render(made)
        except CallRenderError:
            continue  # a value that this dialect cannot carry
        assert dialect.parse(text) == made, dialect.name
        assert parse_any(text) == made, dialect.name
        assert looks_like_calls(text), dialect.name


@pytest.mark.parametrize("dialect", WRITTEN, ids=lambda dialect: dialect.name)
def test_every_dialect_that_writes_carries_plain_values_of_all_json_types(dialect):
    made = [
        Call("book", {"city": "Oslo, old town", "days": 3, "share": 0.5, "late": True, "who": ["A", "B"], "x": None}),
        Call("pay", {"card": {"kind": "debit", "limits": [1, 2.5, False]}}),
    ]
    assert parse_any(dialect.render(made)) == made


@pytest.mark.parametrize("dialect", WRITTEN, ids=lambda dialect: dialect.name)
def test_a_text_cut_off_after_its_opening_is_still_an_attempt(dialect):
    text = dialect.render(CITY)
    seen = [looks_like_calls(text[:end]) for end in range(len(text) + 1)]
    opened = seen.index(True)
    assert all(seen[opened:])
    assert opened <= max(map(len, dialect.marks), default=0) + len('{"type": "function": "get_weather(city=')


@pytest.mark.parametrize("dialect", dialects(), ids=lambda dialect: dialect.name)
def test_every_dialect_reads_its_own_example_and_says_whom_it_serves(dialect):
    assert parse_any(dialect.example) == dialect.parse(dialect.example) != []
    assert looks_like_calls(dialect.example)
    assert dialect.serves


@pytest.mark.parametrize("dialect", WRITTEN, ids=lambda dialect: dialect.name)
def test_of_two_calls_of_which_the_second_is_cut_off_none_is_read(dialect):
    """Half of an answer would be another answer. Only the very end, such as a closing mark, may be missing."""
    whole = [Call("get_weather", {"city": "Oslo"}), Call("book_a_room", {"days": 3, "who": "Kim"})]
    text = dialect.render(whole)
    for end in range(text.index("book_a_room") + 1, len(text)):
        with suppress(CallSyntaxError):
            assert len(parse_any(text[:end])) == 2, text[:end]


OSLO = [Call("get_weather", {"city": "Oslo"})]
TWO = [*OSLO, Call("book", {"days": 3})]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<tool_call>\n{'arguments': {'city': 'Oslo'}, 'name': 'get_weather'}\n</tool_call>", OSLO),
        ('<tool_call>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]', OSLO),
        ('<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}', OSLO),
        ('I use <tool_call> here: <tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</tool_call>', OSLO),
        ("<tool_call>[get_weather(city='Oslo')]</tool_call>", OSLO),
        ('<TOOLCALL>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]</TOOLCALL>', OSLO),
        ('<function_call> {"name": "get_weather", "arguments": {"city": "Oslo"}}', OSLO),
        ('<functioncall> {"name": "get_weather", "arguments": \'{"city": "Oslo"}\'} <|endoftext|>', OSLO),
        (
            '<functioncall> {"name": "say", "arguments": \'{"text": "it\'s late"}\'}',
            [Call("say", {"text": "it's late"})],
        ),
        ('<tool_calls>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]</tool_calls>', OSLO),
        ('<|python_tag|>{"name": "get_weather", "parameters": {"city": "Oslo"}}<|eom_id|>', OSLO),
        ("<|python_tag|>get_weather.call(city='Oslo')", OSLO),
        ("<|python_tag|>get_weather(city='Oslo')<|eot_id|>", OSLO),
        ('{"name": "get_weather", "parameters": {"city": "Oslo"}}; {"name": "book", "parameters": {"days": 3}}', TWO),
        ('<function=get_weather>{"city": "Oslo"}</function><function=book>{"days": 3}</function>', TWO),
        ("<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>", OSLO),
        ("<tool_call>\n<function=now>\n</function>\n</tool_call>", [Call("now", {})]),
        ('[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Oslo"}, "id": "a1b2c3d4e"}]', OSLO),
        ('[TOOL_CALLS]get_weather{"city": "Oslo"}[TOOL_CALLS]book[CALL_ID]a1b2c3d4e[ARGS]{"days": 3}', TWO),
        ('<|tool_call|>[{"arguments": {"city": "Oslo"}, "name": "get_weather"}]', OSLO),
        ('functools[{"name": "get_weather", "arguments": {"city": "Oslo"}}]', OSLO),
        (
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
            '{"city": "Oslo"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>book\n```json\n'
            '{"days": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
            TWO,
        ),
        ('<|tool_calls_begin|><|tool_call_begin|>get_weather<|tool_sep|>{"city": "Oslo"}<|tool_call_end|>', OSLO),
        (
            "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call>\n"
            "<tool_call>book\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
            TWO,
        ),
        (
            "<function_calls>\n<invoke>\n<tool_name>get_weather</tool_name>\n<parameters>\n<city>Oslo</city>\n"
            "</parameters>\n</invoke>\n</function_calls>",
            OSLO,
        ),
        (
            '<function_calls><antml:invoke name="get_weather"><antml:parameter name="city">Oslo</antml:parameter>'
            "</antml:invoke></function_calls>",
            OSLO,
        ),
        (
            "<start_function_call>call:f{a:<escape>x, y<escape>,b:[1,{c:true}],d:null}<end_function_call>",
            [Call("f", {"a": "x, y", "b": [1, {"c": True}], "d": None})],
        ),
        ("```tool_code\nprint(default_api.get_weather(city='Oslo'))\n```", OSLO),
        (
            'Action: ```json\n[\n  {\n    "tool_name": "get_weather",\n    "parameters": {"city": "Oslo"}\n  }\n]```',
            OSLO,
        ),
        ('Action:\n```\n{"action": "get_weather", "action_input": {"city": "Oslo"}}\n```', OSLO),
        ('Plan: look.\nAction: ```json\n[{"tool_name": "get_weather", "parameters": {"city": "Oslo"}}]\n```', OSLO),
        ('<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "get_weather", "parameters": {"city": "Oslo"}}]', OSLO),
        ("[get_weather(city='Oslo'), book(days=3)]", TWO),
        (
            '[Road Length API(start="Fulda", end="Gotha"), get-weather(city="(Oslo)")]',
            [Call("Road Length API", {"start": "Fulda", "end": "Gotha"}), Call("get-weather", {"city": "(Oslo)"})],
        ),
        ("get-weather(city='Oslo')", [Call("get-weather", {"city": "Oslo"})]),
        (
            "[convert(from='EUR', from-currency='x', class=true)]",
            [Call("convert", {"from": "EUR", "from-currency": "x", "class": True})],
        ),
        (
            "<|channel|>analysis<|message|>Look it up.<|end|><|start|>assistant to=functions.get_weather<|channel|>"
            'commentary json<|message|>{"city": "Oslo"}<|call|>',
            OSLO,
        ),
        (
            'Thought: look it up.\nAction: get_weather\nAction Input: {"city": "Oslo"}\nObservation: 3 degrees',
            OSLO,
        ),
        ("Action: get_weather\nAction Input: {'city': 'Oslo'}", OSLO),
        ("[{'name': 'get_weather', 'arguments': {'city': 'Oslo'}}]", OSLO),
        ('{"get_weather": {"city": "Oslo"}}', OSLO),
        ('✿FUNCTION✿: get_weather\n✿ARGS✿: {"city": "Oslo"}', OSLO),
        ('<|tools_prefix|>[{"get_weather": {"city": "Oslo"}}, {"book": {"days": 3}}]<|tools_suffix|>', TWO),
        ("get_weather\n```python\ntool_call(city='Oslo')\n```", OSLO),
    ],
)
def test_the_variants_that_models_and_data_sets_write_are_read(text, expected):
    assert parse_any(text) == expected
    assert looks_like_calls(text)


@pytest.mark.parametrize(
    "value",
    [
        {"name": "f", "arguments": {"a": 1}},
        {"name": "f", "arguments": '{"a": 1}'},
        {"name": "f", "arguments": json.dumps('{"a": 1}')},
        {"name": "f", "arguments": "{'a': 1}"},
        {"name": "f", "arguments": None, "parameters": {"a": 1}},
        {"name": "f", "parameters": {"a": 1}},
        {"function": "f", "args": {"a": 1}},
        {"function": {"name": "f", "arguments": '{"a": 1}'}, "id": "call_1", "type": "function"},
        {"f": {"a": 1}},
        {"tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {"a": 1}}]},
        [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}],
        [{"type": "text", "text": "I look."}, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}],
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1}'},
        {"functionCall": {"name": "f", "args": {"a": 1}}},
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}},
        {"tool_name": "f", "parameters": {"a": 1}},
        {"action": "f", "action_input": {"a": 1}},
    ],
)
def test_every_json_shape_of_a_call_is_read(value):
    assert calls_from_json(value) == [Call("f", {"a": 1})]
    assert parse_any(json.dumps(value)) == [Call("f", {"a": 1})]
    assert looks_like_calls(json.dumps(value))


@pytest.mark.parametrize("arguments", [None, {}, "", "null", "{}", " ", '""'])
def test_no_arguments_may_be_spelt_in_several_ways(arguments):
    assert calls_from_json({"name": "now", "arguments": arguments}) == [Call("now", {})]
    assert calls_from_json({"name": "now"}) == [Call("now", {})]


@pytest.mark.parametrize(
    "value",
    [
        {"name": "Oslo", "population": 700_000},
        {"name": "f", "description": "Does it.", "parameters": {"type": "object", "properties": {"a": {}}}},
        {"name": "f", "arguments": [1]},
        {"name": "f", "arguments": "Oslo"},
        {"km": 92},
        {"name": 3},
        "f",
        3,
    ],
)
def test_json_that_calls_nothing_is_not_taken_for_a_call(value):
    with pytest.raises(CallSyntaxError):
        calls_from_json(value)


def test_a_name_as_the_only_key_must_be_a_known_tool_where_the_tools_are_known():
    tools = normalise_tools([{"name": "get_weather", "parameters": {"city": {"type": "str"}}}])
    assert parse_any('{"get_weather": {"city": "Oslo"}}', tools) == OSLO
    with pytest.raises(CallSyntaxError):
        parse_any('{"weather": {"city": "Oslo"}}', tools)


@pytest.mark.parametrize(
    "text",
    [
        "The function f() needs an id, which you did not give.",
        "Action: please call the office (before noon) and ask for Kim.",
        "Use functools or itertools for that; both are in the standard library.",
        "Call: I would rather not, it is late.",
        "A list such as [1, 2, 3] or a note [see below] is fine.",
        "In Markdown a link is [Road Length API](https://example.org).",
        "It costs < 3 EUR and > 2 EUR; if a<b then b>a.",
        '{"km": 92, "towns": ["Fulda", "Gotha"]}',
        "Write:\n```\nprint 'hello'\n```",
        'A tool is described so: {"type": "function", "function": {"description": "Adds.", "strict": true}}.',
        "The forms are listed in the manual (see page=3), so call f(a=1) there.",
        "The answer is 42.",
    ],
)
def test_prose_stays_prose(text):
    assert not looks_like_calls(text)
    with pytest.raises(CallSyntaxError):
        parse_any(text)


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "f", "arguments": {"a": ',
        "[Road Length API(start=Fulda)]",
        "I call [Road Length API(start='Fulda')] now.",
        'See <tool_use>{"name": "f", "arguments": {"a": 1}}</tool_use>',
        'Here you are: {"name": "f", "arguments": {"a": 1}} - I hope it helps.',
        '<tool_call>{"name": "f", "arguments": {"a": 1}} and then</tool_call>',
        '<tool_call>{"name": "f", "arguments": {}}</tool_call><tool_call>{"name": "g", </tool_call>',
        "<function=f>1, 2</function>",
        "[TOOL_CALLS]f[ARGS]",
        "Action: f\nAction Input: Oslo",
        "<start_function_call>call:f{a:<escape>x",
    ],
)
def test_a_broken_call_is_an_attempt_and_is_not_read_in_part(text):
    assert looks_like_calls(text)
    with pytest.raises(CallSyntaxError):
        parse_any(text)


@pytest.mark.parametrize("dialect", dialects(), ids=lambda dialect: dialect.name)
def test_the_tools_are_asked_for_only_where_values_have_no_types(dialect):
    assert needs_tools(dialect.example) is not dialect.typed


def test_a_value_without_its_type_is_read_as_the_tools_schema_says():
    tools = normalise_tools(
        [{"name": "send", "parameters": {"zip": {"type": "str"}, "kilos": {"type": "float"}, "fast": {"type": "bool"}}}]
    )
    for text in (
        "<tool_call>\n<function=send>\n<parameter=zip>\n07745\n</parameter>\n<parameter=kilos>\n3\n</parameter>\n"
        "<parameter=fast>\nTrue\n</parameter>\n</function>\n</tool_call>",
        "<tool_call>send\n<arg_key>zip</arg_key>\n<arg_value>07745</arg_value>\n<arg_key>kilos</arg_key>\n"
        "<arg_value>3</arg_value>\n<arg_key>fast</arg_key>\n<arg_value>true</arg_value>\n</tool_call>",
        '<function_calls>\n<invoke name="send">\n<parameter name="zip">07745</parameter>\n<parameter name="kilos">3'
        '</parameter>\n<parameter name="fast">true</parameter>\n</invoke>\n</function_calls>',
    ):
        assert parse_any(text, tools) == [Call("send", {"zip": "07745", "kilos": 3, "fast": True})]


TYPED = normalise_tools(
    [{"name": "send", "parameters": {"zip": {"type": "str"}, "n": {"type": "int"}, "who": {"type": "List[str]"}}}]
)


@pytest.mark.parametrize("dialect", [d for d in WRITTEN if not d.typed], ids=lambda dialect: dialect.name)
@given(text=st.from_regex(r"[\w .,:+-]{1,12}", fullmatch=True), number=st.integers(), who=st.lists(texts, max_size=2))
@settings(max_examples=40, deadline=None)
def test_with_the_tools_any_plain_text_is_carried_even_digits(dialect, text, number, who):
    made = [Call("send", {"zip": text, "n": number, "who": who})]
    try:
        written = dialect.render(made, TYPED)
    except CallRenderError:
        assert any(mark in json.dumps(who) for mark in ("<", "\\"))  # a value that holds a closing tag
        return
    assert dialect.parse(written, TYPED) == parse_any(written, TYPED) == made


def test_a_reader_that_fails_refuses_the_text_and_ends_nothing():
    broken = Dialect(name="broken", serves="", example="", marks=("%%",), read=lambda text, tools: [][0])
    with pytest.raises(CallSyntaxError, match="the reader of broken failed: IndexError"):
        broken.parse("%% f")


@pytest.mark.parametrize("name", ["qwen_coder", "glm", "anthropic_xml", "minimax", "seed"])
def test_text_that_would_be_read_as_a_number_is_written_only_where_the_schema_says_text(name):
    tools = normalise_tools([{"name": "send", "parameters": {"zip": {"type": "str"}}}])
    made = [Call("send", {"zip": "99084"})]
    assert parse_any(dialect_named(name).render(made, tools), tools) == made
    with pytest.raises(CallRenderError):
        dialect_named(name).render(made)


@pytest.mark.parametrize("value", [(1, 2), float("nan"), "\ud800", object(), {1: "a"}])
def test_a_value_that_could_not_be_read_back_is_not_written(value):
    for dialect in WRITTEN:
        with suppress(CallRenderError):
            assert dialect.parse(dialect.render([Call("f", {"a": value})])) == [Call("f", {"a": value})]
    with pytest.raises(CallRenderError, match="f cannot be written as hermes"):
        dialect_named("hermes").render([Call("f", {"a": value})])


@given(
    st.lists(
        st.sampled_from(
            [*MARKS, *[mark for d in dialects() for mark in d.marks], "f", "(", ")", "{", "}", "=", "1", ",", " "]
        )
    )
)
@settings(max_examples=300, deadline=None)
def test_no_mixture_of_marks_makes_a_reader_raise_anything_but_its_own_error(pieces):
    text = "".join(pieces)
    looks_like_calls(text)
    for reader in (parse_any, *(dialect.parse for dialect in dialects())):
        with suppress(CallSyntaxError):
            reader(text)


MARKED = sorted({mark for d in dialects() for mark in d.marks})
HOSTILE = [
    *(mark * (90_000 // len(mark)) for mark in MARKED),
    *(f"{d.example[: len(d.example) * 2 // 3]}" * 900 for d in dialects()),
    *(d.example * 700 for d in dialects()),
    "<tool_call>{'a':" * 6000,
    "<tool_call>" + "{" * 80_000,
    "<function=a>" * 8000,
    '<parameter name="a">' * 4000,
    "[" + "a " * 45_000,
    "[a(" + "b=" * 40_000,
    "[" + "a b(c=1), " * 9000,
    "Action: " * 11_000,
    "Action: f\n" * 9000,
    "{" * 50 + "a:" * 40_000,
    "<start_function_call>call:f{" + "a:[" * 25_000,
    " " * 90_000 + "x",
    *(mark + blank * 45_000 + after for mark in MARKED for blank in " \n" for after in ("", "x", "{", ":")),
    *(f"{mark}a " * (90_000 // (len(mark) + 2)) for mark in MARKED),
    "<|channel|>" + "to=f" * 20_000 + "<|message|>",
    "<|channel|>commentary to=f" + "to=f<|message|>" * 6000,
    "\n" * 90_000 + "<tool_call>",
    "to=f" * 20_000 + "<|message|>",
    string.printable * 900,
]


def test_no_hostile_text_takes_long():
    for text in HOSTILE:
        text = text[:100_000]
        before = time.process_time()
        looks_like_calls(text)
        with suppress(CallSyntaxError):
            parse_any(text)
        assert time.process_time() - before < 1, text[:60]
