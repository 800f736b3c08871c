"""Names that cannot be called: every tool and parameter gets one that can, and the original name comes back."""

import json
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funreason.calls.names import (
    MAX_NAME,
    callable_answer,
    callable_names,
    callable_task,
    original_answer,
    original_tools,
    to_callable,
    to_original,
)
from funreason.calls.parse import parse_calls
from funreason.calls.render import is_callable_name, render_calls
from funreason.calls.tools import ToolFormatError, normalise_tools, read_tools
from funreason.types import Call, Message, Task, ToolNames


def tool(name, *parameters, **extra):
    properties = {parameter: {"type": "string"} for parameter in parameters}
    return {
        "name": name,
        "description": "",
        "parameters": {"type": "object", "properties": properties, "required": list(parameters), **extra},
    }


@pytest.mark.parametrize(
    ("original", "name"),
    [
        ("notion-search", "notion_search"),
        ("mcp__notion__notion-search", "mcp__notion__notion_search"),
        ("github/create_issue", "github_create_issue"),
        ("Road Length API", "Road_Length_API"),
        ("calendar.update-event", "calendar.update_event"),
        ("calendar..import", "calendar.import_"),
        ("import", "import_"),
        ("None", "None_"),
        ("3d_view", "_3d_view"),
        ("🚀launch🚀", "launch"),
        ("🚀", "tool"),
        ("  ", "tool"),
        ("search!", "search"),
        ("ﬁnd", "find"),
        ("suche-straße", "suche_straße"),
        ("查询-天气", "查询_天气"),
        ("_hidden-one", "_hidden_one"),
    ],
)
def test_a_callable_name_is_as_close_to_the_original_as_it_can_be(original, name):
    [made], names = callable_names([tool(original)])
    assert made["name"] == name
    assert names == {name: ToolNames(original)}


@pytest.mark.parametrize(
    ("original", "name"),
    [
        ("from", "from_"),
        ("from-currency", "from_currency"),
        ("$from", "from_"),
        ("a.b", "a_b"),
        ("2nd", "_2nd"),
        ("", "value"),
    ],
)
def test_a_parameter_is_named_likewise_and_has_no_dots(original, name):
    [made], names = callable_names([tool("f", original)])
    assert list(made["parameters"]["properties"]) == made["parameters"]["required"] == [name]
    assert names == {"f": ToolNames("f", {name: original})}


@pytest.mark.parametrize("name", ["f", "shop.order", "api.v1.get", "straße", "货币", "from_", "match", "x" * MAX_NAME])
def test_a_name_that_can_be_called_stays(name):
    tools = [tool(name, "straße", "to")]
    assert callable_names(tools) == (tools, {})


def test_names_that_would_become_one_are_told_apart_whatever_their_order():
    originals = ["a-b", "a b", "a_b", "a/b"]
    made = []
    for order in permutations(originals):
        tools, names = callable_names([tool(name) for name in order])
        made.append({names[t["name"]].tool if t["name"] in names else t["name"]: t["name"] for t in tools})
    assert all(each == made[0] for each in made)
    assert made[0] == {"a_b": "a_b", "a b": "a_b_2", "a-b": "a_b_3", "a/b": "a_b_4"}


def test_a_name_longer_than_servers_take_is_cut_and_stays_unique():
    tools, names = callable_names([tool("x" * 300), tool("x" * 300 + "y"), tool("x-" * 200)])
    found = [each["name"] for each in tools]
    assert len(set(found)) == 3
    assert max(map(len, found)) <= MAX_NAME
    assert [names[name].tool for name in found] == ["x" * 300, "x" * 300 + "y", "x-" * 200]


any_name = st.text(max_size=12) | st.sampled_from(
    [
        "a-b",
        "a b",
        "a_b",
        "a_b_2",
        "from",
        "from_",
        "$from",
        "a.b",
        "a..b",
        ".",
        "1",
        "٣",
        "é",
        "e\u0301",
        "🚀",
        "\ud800",
    ]
)
values = st.integers() | st.text(st.characters(codec="utf-8"), max_size=8) | st.lists(st.booleans(), max_size=2)


@st.composite
def offers(draw):
    """Tools of any names, and calls of them under these names."""
    names = draw(st.lists(any_name, min_size=1, max_size=5, unique=True))
    tools = [tool(name, *draw(st.lists(any_name, max_size=4, unique=True))) for name in names]
    calls = []
    for offered in draw(st.lists(st.sampled_from(tools), max_size=3)):
        arguments = {name: draw(values) for name in offered["parameters"]["properties"] if draw(st.booleans())}
        calls.append(Call(offered["name"], arguments))
    return tools, calls


@given(offers())
@settings(max_examples=300, deadline=None)
def test_any_names_become_callable_ones_and_come_back(offer):
    tools, calls = offer
    made, names = callable_names(tools)
    for each in made:
        assert is_callable_name(each["name"])
        assert all(is_callable_name(name) and "." not in name for name in each["parameters"]["properties"])
    assert len({each["name"] for each in made}) == len(tools)
    assert [len(each["parameters"]["properties"]) for each in made] == [
        len(each["parameters"]["properties"]) for each in tools
    ]
    assert original_tools(made, names) == tools
    mapped = to_callable(calls, names)
    assert to_original(mapped, names) == calls
    assert to_callable(mapped, names) == mapped
    assert parse_calls(render_calls(mapped)) == mapped
    assert callable_names(tools) == (made, names)


@given(offers(), st.randoms())
@settings(max_examples=100, deadline=None)
def test_a_name_does_not_depend_on_the_order_of_the_tools(offer, random):
    tools, _ = offer
    made, names = callable_names(tools)
    mixed = random.sample(tools, len(tools))
    again, others = callable_names(mixed)
    assert others == names
    assert sorted(each["name"] for each in again) == sorted(each["name"] for each in made)


@given(offers())
@settings(max_examples=300, deadline=None)
def test_an_answer_in_original_names_reads_as_the_one_in_callable_names(offer):
    tools, calls = offer
    _, names = callable_names(tools)
    answer = render_calls(to_callable(calls, names))
    shown = original_answer(answer, names)
    assert parse_calls(callable_answer(shown, names)) == parse_calls(answer)
    assert callable_answer(answer, names) == answer


@given(offers(), st.lists(st.builds(Call, any_name, st.dictionaries(any_name, values, max_size=3)), max_size=3))
@settings(max_examples=300, deadline=None)
def test_calls_of_what_no_tool_has_can_be_written_too_and_come_back(offer, strangers):
    tools, calls = offer
    made, names = callable_names(tools)
    task = Task.of("t", "q", made, [*calls, *strangers], names=names)
    read = callable_task(task)
    assert parse_calls(render_calls(read.reference)) == read.reference
    assert callable_task(read) == read
    offered = {each["name"] for each in made} | {known.tool for known in names.values()}
    for call, mapped in zip(task.reference, read.reference, strict=True):
        assert (mapped.name in {each["name"] for each in made}) == (call.name in offered)
    assert original_tools(read.tools, read.names) == tools


SEARCH = tool("notion-search", "query", "from", "page-size")
READ = read_tools([SEARCH, tool("add", "a", "b")])


def test_both_names_of_a_tool_and_its_parameters_are_understood():
    wanted = [Call("notion_search", {"query": "x", "from_": "y"})]
    for name in ("notion-search", "notion_search"):
        for parameter in ("from", "from_"):
            assert to_callable([Call(name, {"query": "x", parameter: "y"})], READ.names) == wanted


def test_the_calls_of_a_dialogue_are_mapped_and_its_texts_are_left_alone():
    call = Call("notion-search", {"from": "2024"})
    messages = (
        Message("user", "use notion-search"),
        Message("assistant", "I call notion-search.", "notion-search fits", (call,)),
        Message("tool", "3 pages", name="notion-search"),
    )
    task = callable_task(Task("t", messages, READ.tools, [call], names=READ.names))
    assert task.reference == [Call("notion_search", {"from_": "2024"})]
    assert task.messages[1].calls == (Call("notion_search", {"from_": "2024"}),)
    assert [(m.content, m.thinking) for m in task.messages] == [(m.content, m.thinking) for m in messages]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("[notion-search(query='x', from='y')]", "[notion_search(query='x', from_='y')]"),
        ('[notion-search(from = "notion-search(from=1)")]', '[notion_search(from_ = "notion-search(from=1)")]'),
        ("[add(a=1, b=2), notion-search(page-size=3)]", "[add(a=1, b=2), notion_search(page_size=3)]"),
        ("notion-search(query='x')", "notion_search(query='x')"),
        ("[notion_search(from_='y')]", "[notion_search(from_='y')]"),
        ('[{"name": "notion-search", "arguments": {"from": "y"}}]', "[notion_search(from_='y')]"),
        ("I would use notion-search (from=2024) for that.", "I would use notion-search (from=2024) for that."),
        ("[add(a='notion-search', b=1)]", "[add(a='notion-search', b=1)]"),
    ],
)
def test_the_text_of_an_answer_is_read_under_callable_names(written, read):
    assert callable_answer(written, READ.names) == read


def test_a_call_that_gives_one_parameter_under_both_names_keeps_both_for_a_judge_to_see():
    [call] = to_callable([Call("notion-search", {"from": 1, "from_": 2})], READ.names)
    assert call.arguments == {"from": 1, "from_": 2}


def test_a_pointer_into_renamed_parameters_still_leads_there():
    schema = {"type": "object", "properties": {"from": {"enum": ["a"]}, "to": {"$ref": "#/properties/from"}}}
    [made] = read_tools([{"name": "f", "parameters": schema}]).tools
    assert made["parameters"]["properties"]["to"] == {"$ref": "#/properties/from_"}
    assert original_tools([made], {"f": ToolNames("f", {"from_": "from"})}) == normalise_tools(
        [{"name": "f", "parameters": schema}]
    )


def test_only_a_tool_without_any_name_is_refused():
    for name in ("", "   ", None, 3):
        with pytest.raises(ToolFormatError, match=r"tools\[0\] has no name"):
            read_tools([{"name": name, "parameters": {}}])
    assert read_tools(json.loads('[{"name": "\\ud83d\\ude80"}]')).tools[0]["name"] == "tool"
