"""Tools in one form, calls against their tool, calls against a reference."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funreason.calls.compare import same_calls, same_value
from funreason.calls.schema import check_call
from funreason.calls.tools import ToolFormatError, is_optional, normalise_tools, type_schema
from funreason.types import Call


def tool(**parameters):
    return normalise_tools([{"name": "f", "description": "does f", "parameters": parameters}])


XLAM = {"a": {"type": "str", "description": "x"}, "b": {"type": "int, optional"}, "c": {"type": "float", "default": 2}}
WANTED = {
    "a": {"type": "string", "description": "x"},
    "b": {"type": "integer"},
    "c": {"type": "number", "default": 2},
}


@pytest.mark.parametrize(
    "raw",
    [
        {"name": "f", "description": "d", "parameters": XLAM},
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": XLAM}},
        {
            "name": "f",
            "description": "d",
            "parameters": {
                "type": "dict",
                "properties": {
                    "a": {"type": "string", "description": "x"},
                    "b": {"type": "integer"},
                    "c": {"type": "float", "default": 2},
                },
                "required": ["a"],
            },
        },
    ],
)
def test_the_same_tool_in_another_form_becomes_the_same_tool(raw):
    [made] = normalise_tools([raw])
    assert made["parameters"] == {"type": "object", "properties": WANTED, "required": ["a"]}
    assert normalise_tools([made]) == [made]


def test_an_explicit_required_wins_over_type_and_default():
    made = tool(a={"type": "int, optional", "required": True}, b={"type": "int", "required": False})
    assert made[0]["parameters"]["required"] == ["a"]


def test_a_description_that_begins_with_optional_makes_a_parameter_optional():
    assert tool(a={"type": "str", "description": "[Optional] The language."})[0]["parameters"]["required"] == []


@pytest.mark.parametrize(
    ("spelling", "schema", "optional"),
    [
        ("List[Union[int, float]]", {"type": "array", "items": {"type": ["integer", "number"]}}, False),
        ("list(str)", {"type": "array", "items": {"type": "string"}}, False),
        ("Tuple[float, float]", {"type": "array", "items": {"type": "number"}}, False),
        ("Optional[str]", {"type": ["string", "null"]}, True),
        ("str, optional", {"type": "string"}, True),
        ("Dict[str, int]", {"type": "object"}, False),
        ("np.ndarray", {}, False),
        ("x" * 500, {}, False),
    ],
)
def test_type_spellings_of_real_data_sets(spelling, schema, optional):
    assert type_schema(spelling) == schema
    assert is_optional(spelling) is optional


@given(st.text("[](),| intfloasrLUu", max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_type_spelling_makes_the_reader_raise(spelling):
    assert isinstance(type_schema(spelling), dict)
    is_optional(spelling)


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ("f", "tools must be a list"),
        ([3], r"tools\[0\]"),
        ([{"description": "nameless"}], r"tools\[0\] has no name"),
        ([{"name": "f"}, {"name": "f", "description": "other"}], r"tools\[1\].*'f'"),
        ([{"name": "f", "parameters": "x"}], r"tools\[0\] \(f\)\.parameters"),
        ([{"name": "f", "parameters": {"a": 3}}], r"tools\[0\] \(f\)\.a"),
        ([{"name": "f", "parameters": {"a": {"type": 3}}}], r"\(f\)\.a\.type"),
    ],
)
def test_tools_nobody_can_understand_are_refused_with_the_place(raw, where):
    with pytest.raises(ToolFormatError, match=where):
        normalise_tools(raw)


def nested(**properties):
    [made] = normalise_tools([{"name": "f", "parameters": {"type": "object", "properties": properties}}])
    return made


def test_the_options_of_a_parameter_are_read_as_schemas():
    made = nested(a={"anyOf": ["str", {"type": "List[int]"}]})
    assert made["parameters"]["properties"]["a"] == {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]
    }
    assert normalise_tools([made]) == [made]
    assert [check_call(Call("f", {"a": value}), made) for value in ("x", [1])] == [[], []]
    assert [p.code for p in check_call(Call("f", {"a": ["x"]}), made)] == ["schema.type"]


@pytest.mark.parametrize("options", [None, 3, "string", [], ["string", 3], [{"type": "string"}, True]])
def test_options_nobody_can_understand_constrain_nothing(options):
    made = nested(a={"anyOf": options, "description": "d"})
    assert made["parameters"]["properties"] == {"a": {"description": "d"}}
    assert check_call(Call("f", {"a": 3}), made) == []


def test_an_option_may_be_broken_inside_and_is_refused_with_the_place():
    made = nested(a={"anyOf": [{"type": "object", "properties": {"z": "str"}, "required": 7}]}, b="int")
    assert [p.evidence for p in check_call(Call("f", {"a": {"z": 1}}), made)] == [
        "f.a fits none of its types, got {'z': 1}"
    ]
    with pytest.raises(ToolFormatError, match=r"\(f\)\.parameters\.a\.anyOf\[1\]\.type"):
        nested(a={"anyOf": ["str", {"type": 3}]})
    deep = {"type": "string"}
    for _ in range(40):
        deep = {"anyOf": [deep]}
    with pytest.raises(ToolFormatError, match="nests deeper"):
        nested(a=deep)


schema_words = st.sampled_from(["string", "int", "object", "array", "List[int]", "a", "optional"])
schemas = st.recursive(
    schema_words | st.none() | st.booleans() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "anyOf", "enum", "choices", "required", "items", "properties", "default", "description", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=5,
)


@given(schemas, values)
@settings(max_examples=300, deadline=None)
def test_no_schema_makes_its_reader_or_a_check_against_it_raise(schema, value):
    for parameters in (schema, {"a": schema}, {"type": "object", "properties": {"a": schema}, "required": ["a"]}):
        with suppress(ToolFormatError):
            [made] = normalise_tools([{"name": "f", "parameters": parameters}])
            assert normalise_tools([made]) == [made]
            check_call(Call("f", {"a": value}), made)


TYPES = {
    "s": {"type": "str"},
    "i": {"type": "int"},
    "n": {"type": "float"},
    "b": {"type": "bool"},
    "l": {"type": "List[int]"},
    "e": {"type": "str", "enum": ["red", "blue"]},
    "o": {"type": "dict"},
}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"n": 3}, None),
        ({"n": 3.5, "l": [1, 2], "e": "red", "o": {"k": 1}, "b": False}, None),
        ({"n": True}, "schema.type"),
        ({"i": True}, "schema.type"),
        ({"b": 1}, "schema.type"),
        ({"i": "3"}, "schema.type"),
        ({"i": 3.0}, "schema.type"),
        ({"s": 3}, "schema.type"),
        ({"l": [1, "2"]}, "schema.type"),
        ({"l": "1,2"}, "schema.type"),
        ({"e": "green"}, "schema.enum"),
        ({"z": 1}, "schema.unknown_parameter"),
    ],
)
def test_a_call_is_checked_against_its_schema(arguments, code):
    [made] = tool(**{name: {**schema, "required": False} for name, schema in TYPES.items()})
    assert [problem.code for problem in check_call(Call("f", arguments), made)] == ([code] if code else [])


def test_every_problem_of_a_call_is_named():
    [made] = tool(a={"type": "int"}, b={"type": "int"})
    found = check_call(Call("f", {"b": "x", "c": 1}), made)
    assert [problem.code for problem in found] == ["schema.unknown_parameter", "schema.missing_required", "schema.type"]
    assert "f needs a" in found[1].evidence


def test_null_passes_only_for_a_parameter_that_may_be_left_out():
    [made] = tool(a={"type": "int"}, b={"type": "int", "required": False})
    assert [p.code for p in check_call(Call("f", {"a": None, "b": None}), made)] == ["schema.type"]


TOOLS = tool(
    a={"type": "str"}, n={"type": "float"}, i={"type": "int"}, d={"type": "int", "default": "10"}, l={"type": "list"}
)


@pytest.mark.parametrize(
    ("given_", "wanted", "code"),
    [
        ({"a": "New-York, NY"}, {"a": "new york ny"}, None),
        ({"a": "it's"}, {"a": 'it"s'}, None),
        ({"a": "Oslo!"}, {"a": "oslo"}, "reference.value"),
        ({"n": 5}, {"n": 5.0}, None),
        ({"i": 5.0}, {"i": 5}, "reference.value"),
        ({"i": True}, {"i": 1}, "reference.value"),
        ({"a": "5"}, {"a": 5}, "reference.value"),
        ({"a": "x", "d": 10}, {"a": "x"}, None),
        ({"a": "x"}, {"a": "x", "d": 10}, None),
        ({"a": "x", "d": 11}, {"a": "x"}, "reference.unexpected"),
        ({}, {"a": "x"}, "reference.missing"),
        ({"l": ["A-b", 1]}, {"l": ["ab", 1]}, None),
        ({"l": [2, 1]}, {"l": [1, 2]}, "reference.value"),
        ({"l": [{"k": "A"}]}, {"l": [{"k": "a"}]}, None),
    ],
)
def test_values_are_compared_as_bfcl_compares_them(given_, wanted, code):
    problem = same_calls([Call("f", given_)], [Call("f", wanted)], TOOLS)
    assert (problem and problem.code) == code


def test_a_whole_number_equals_a_float_only_where_the_schema_wants_one():
    assert same_value(2, 2.0, number=True)
    assert not same_value(2, 2.0)
    assert not same_value(1, True, number=True)


def test_parallel_calls_may_come_in_any_order_but_each_once():
    one, two = Call("f", {"a": "x"}), Call("f", {"a": "y"})
    assert same_calls([two, one], [one, two], TOOLS) is None
    assert same_calls([one, one], [one, two], TOOLS).code == "reference.value"
    assert same_calls([one, one], [two, two], TOOLS).code == "reference.no_match"
    assert same_calls([one], [one, two], TOOLS).code == "reference.count"
    assert same_calls([Call("g", {})], [one], TOOLS).code == "reference.name"
    assert same_calls([one], [], TOOLS).code == "reference.count"
