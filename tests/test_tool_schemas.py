"""Schemas of many sources: what they say is kept, what they ask is checked, and neither takes long."""

import json
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funreason.agents.judges.rules.grounding import evidence_of
from funreason.agents.judges.rules.stages import ungrounded
from funreason.bfcl.suites import validate_suite, write_suite
from funreason.calls.compare import same_calls
from funreason.calls.json_schema import ToolFormatError
from funreason.calls.pointers import target
from funreason.calls.schema import check_call, listed_values, parameter_schema
from funreason.calls.tools import normalise_tools, read_tools
from funreason.types import Call, Task


def problems(tool, **arguments):
    return [problem.code.removeprefix("schema.") for problem in check_call(Call(tool["name"], arguments), tool)]


def one(parameters, **around):
    [made] = normalise_tools([{"name": "f", "description": "d", "parameters": parameters, **around}])
    return made


def dangling(tool):
    """The references of a tool that lead nowhere."""
    found, waiting = [], [tool["parameters"]]
    while waiting:
        each = waiting.pop()
        waiting += each.values() if isinstance(each, dict) else each if isinstance(each, list) else []
        if isinstance(each, dict) and isinstance(each.get("$ref"), str):
            found.append(each["$ref"])
    return [reference for reference in found if target(reference, tool["parameters"]) is None]


ROOM = {
    "type": "object",
    "properties": {"floor": {"type": "integer"}, "name": {"type": "string"}},
    "required": ["floor"],
}
COLOUR = {"type": "string", "enum": ["red", "green"]}

REFERENCES = [
    pytest.param(
        {
            "$defs": {"Room": ROOM, "Colour": COLOUR},
            "type": "object",
            "properties": {
                "room": {"$ref": "#/$defs/Room"},
                "colour": {"anyOf": [{"$ref": "#/$defs/Colour"}, {"type": "null"}], "default": None},
            },
            "required": ["room"],
        },
        id="MCP, defs beside the properties",
    ),
    pytest.param(
        {
            "definitions": {
                "Room": {"allOf": [{"$ref": "#/definitions/Place"}, {"properties": {"name": {"type": "string"}}}]},
                "Place": {"type": "object", "properties": {"floor": {"type": "integer"}}, "required": ["floor"]},
                "Colour": COLOUR,
            },
            "type": "object",
            "properties": {
                "room": {"title": "Room", "allOf": [{"$ref": "#/definitions/Room"}]},
                "colour": {"description": "of the light", "allOf": [{"$ref": "#/definitions/Colour"}]},
            },
            "required": ["room"],
        },
        id="Pydantic 1, through allOf",
    ),
    pytest.param(
        {
            "type": "object",
            "properties": {
                "room": {"$ref": "#/components/schemas/Room"},
                "colour": {"oneOf": [{"$ref": "#/components/schemas/Colour"}]},
            },
            "required": ["room"],
            "components": {"schemas": {"Room": ROOM, "Colour": COLOUR}},
        },
        id="OpenAPI",
    ),
    pytest.param(
        {
            "$ref": "#/definitions/Args",
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {
                "Args": {
                    "type": "object",
                    "properties": {"room": {"$ref": "#/definitions/a~1b~0c%20d"}, "colour": COLOUR},
                    "required": ["room"],
                },
                "a/b~c d": ROOM,
            },
        },
        id="zod, the root is a reference, pointers with signs in them",
    ),
    pytest.param(
        {
            "type": "object",
            "properties": {"colour": COLOUR, "room": {"$ref": "#/$defs/One"}},
            "required": ["room"],
            "$defs": {"One": {"$ref": "#/$defs/Two"}, "Two": {"$ref": "#/$defs/Three"}, "Three": ROOM},
        },
        id="a chain",
    ),
    pytest.param(
        {
            "allOf": [
                {"type": "object", "properties": {"room": {"$ref": "#/$defs/Room"}}, "required": ["room"]},
                {"properties": {"colour": COLOUR}},
            ],
            "$defs": {"Room": ROOM},
        },
        id="the root is an allOf",
    ),
    pytest.param(
        {
            "type": "object",
            "properties": {
                "room": {"$defs": {"Inner": ROOM}, "$ref": "#/$defs/Inner"},
                "colour": {"$ref": "#/properties/colours/items"},
                "colours": {"type": "array", "items": COLOUR},
            },
            "required": ["room"],
        },
        id="definitions inside a property, and a pointer to another property",
    ),
    pytest.param(
        {
            "type": "object",
            "properties": {"room": {"$ref": "#place"}, "colour": {"$ref": "#/$defs/Colour"}},
            "required": ["room"],
            "$defs": {"Room": {"$anchor": "place", **ROOM}, "Colour": COLOUR},
        },
        id="an anchor",
    ),
    pytest.param(
        {
            "room": {"$ref": "#/$defs/Room", "required": True},
            "colour": {"$ref": "#/$defs/Colour", "required": False},
            "$defs": {"Room": ROOM, "Colour": COLOUR},
        },
        id="flat parameters with definitions beside them",
    ),
]


@pytest.mark.parametrize("parameters", REFERENCES)
def test_what_a_reference_leads_to_is_checked(parameters):
    read = read_tools([{"name": "f", "inputSchema": parameters}])
    [made] = read.tools
    assert read.left == ()
    assert dangling(made) == []
    assert problems(made, room={"floor": 1, "name": "hall"}, colour="red") == []
    assert problems(made, room={"floor": 1}) == []
    assert problems(made, room="hall") == ["type"]
    assert problems(made, room={"name": "hall"}) == ["missing_required"]
    assert problems(made, room={"floor": "1"}) == ["type"]
    assert problems(made, room={"floor": 1}, colour="blue") == ["enum"]
    assert problems(made, colour="red") == ["missing_required"]
    assert normalise_tools([made]) == [made]


def test_definitions_beside_the_parameters_or_the_tools_are_brought_to_where_they_are_needed():
    parameters = {"type": "object", "properties": {"room": {"$ref": "#/$defs/Room"}}}
    inside = {"name": "f", "parameters": parameters, "$defs": {"Room": ROOM}}
    for raw in (
        inside,
        {"type": "function", "function": inside},
        {"tools": [{"name": "f", "parameters": parameters}], "$defs": {"Room": ROOM}},
    ):
        read = read_tools(raw)
        assert dangling(read.tools[0]) == []
        assert problems(read.tools[0], room=3) == ["type"]
        assert "$defs" not in read.tools[0]
        assert read.left == ()


@pytest.mark.parametrize(
    "reference", ["#/$defs/Gone", "https://example.org/room.json", "other.json#/Room", "#gone", "#/properties/room/x"]
)
def test_a_reference_that_leads_nowhere_constrains_nothing_and_is_counted(reference):
    read = read_tools(
        [{"name": "f", "parameters": {"type": "object", "properties": {"room": {"$ref": reference, "title": "R"}}}}]
    )
    assert read.left == ("tools.reference",)
    assert read.tools[0]["parameters"]["properties"] == {"room": {"title": "R"}}
    assert problems(read.tools[0], room=3) == []


PARAMETERS_OF_A_TREE = {
    "type": "object",
    "properties": {
        "tree": {"$ref": "#/$defs/Node"},
        "colour": {"anyOf": [{"$ref": "#/$defs/Colour"}, {"type": "null"}], "default": None},
    },
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "kind": {"enum": ["leaf"]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
            },
            "required": ["value"],
        },
        "Colour": {"type": "string", "enum": ["red"]},
    },
}
TREE = one(PARAMETERS_OF_A_TREE)


def test_a_recursive_schema_is_followed_as_deep_as_the_value_goes():
    assert dangling(TREE) == []
    assert problems(TREE, tree={"value": 1, "children": [{"value": 2, "children": [{"value": 3}]}]}) == []
    found = check_call(
        Call("f", {"tree": {"value": 1, "children": [{"value": 2, "children": [{"value": "x"}]}]}}), TREE
    )
    assert [(each.code, each.evidence) for each in found] == [
        ("schema.type", "f.tree.children[0].children[0].value wants integer, got 'x'")
    ]


@pytest.mark.parametrize(
    "loop",
    [
        {"A": {"$ref": "#/$defs/A"}},
        {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}},
        {"A": {"allOf": [{"$ref": "#/$defs/A"}]}},
        {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}]}},
        {"A": {"$ref": "#"}},
    ],
)
def test_a_schema_that_is_only_itself_ends(loop):
    made = one({"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": loop})
    assert problems(made, a={}) == []
    assert normalise_tools([made]) == [made]


def doubling(key, depth):
    """Each definition holds the next one twice."""
    names = [f"D{i}" for i in range(depth)]
    held = {name: {key: [{"$ref": f"#/$defs/{after}"}] * 2} for name, after in pairwise(names)}
    return {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/D0"}},
        "$defs": held | {names[-1]: {"type": "integer"}},
    }


def long_union(count):
    options = [
        {"type": "object", "properties": {"kind": {"const": i}, "next": {"$ref": "#/$defs/U"}}} for i in range(count)
    ]
    return {"type": "object", "properties": {"a": {"$ref": "#/$defs/U"}}, "$defs": {"U": {"anyOf": options}}}


def chain(depth):
    value = {"kind": -1}
    for _ in range(depth):
        value = {"kind": 0, "next": value}
    return value


@pytest.mark.parametrize(
    ("parameters", "value"),
    [
        (doubling("anyOf", 60), "x"),
        (doubling("allOf", 60), "x"),
        (doubling("oneOf", 60), "x"),
        (long_union(200), chain(50)),
        ({"a": {"type": "string", "enum": [f"v{i}" for i in range(100_000)]}}, "w"),
        (
            {"a": {"type": "array", "items": {"enum": [f"v{i}" for i in range(100_000)]}}},
            [f"v{i}" for i in range(20_000)],
        ),
        ({"a": {"type": "array", "enum": [[i] for i in range(20_000)]}}, [[-1] for i in range(20_000)]),
        ({"a": {"type": "string", "pattern": "(a+)+$"}}, "a" * 60 + "b"),
        (
            {"a": {"type": "array", "items": {"$ref": "#/$defs/U"}}, "$defs": long_union(50)["$defs"]},
            [chain(20)] * 2000,
        ),
    ],
)
def test_no_schema_takes_long(parameters, value):
    start = time.process_time()
    made = one(parameters)
    check_call(Call("f", {"a": value}), made)
    assert time.process_time() - start < 2


PARAMETERS = {
    "type": "object",
    "properties": {"town": {"type": "string", "description": "where"}, "days": {"type": "integer"}},
    "required": ["town"],
}
PLAIN = {"name": "forecast", "description": "Weather.", "parameters": PARAMETERS}


def without(key, found=PARAMETERS):
    return {name: value for name, value in found.items() if name != key}


SPELLINGS = {
    "an Anthropic tool": {**without("parameters", PLAIN), "input_schema": PARAMETERS},
    "an MCP tool": {**without("parameters", PLAIN), "inputSchema": PARAMETERS},
    "an OpenAI tool": {"type": "function", "function": PLAIN},
    "an OpenAI tool as text": {"type": "function", "function": json.dumps(PLAIN)},
    "the Responses API": {"type": "function", **PLAIN},
    "Google's declarations": {
        "function_declarations": [
            {
                **PLAIN,
                "parameters": {
                    "type": "OBJECT",
                    "properties": {"town": {"type": "STRING", "description": "where"}, "days": {"type": "INTEGER"}},
                    "required": ["town"],
                },
            }
        ]
    },
    "Google's JSON Schema": {
        "functionDeclarations": [{**without("parameters", PLAIN), "parametersJsonSchema": PARAMETERS}]
    },
    "Bedrock": {"toolSpec": {**without("parameters", PLAIN), "inputSchema": {"json": PARAMETERS}}},
    "Bedrock's request": {
        "toolConfig": {
            "tools": [{"toolSpec": {**without("parameters", PLAIN), "inputSchema": {"json": json.dumps(PARAMETERS)}}}]
        }
    },
    "a server's list": {"tools": [{**without("parameters", PLAIN), "inputSchema": PARAMETERS}]},
    "a server's answer": {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {"tools": [{**without("parameters", PLAIN), "inputSchema": PARAMETERS}]},
    },
    "older OpenAI functions": {"functions": [PLAIN]},
    "parameters as text": {**PLAIN, "parameters": json.dumps(PARAMETERS)},
    "parameters without a type": {**PLAIN, "parameters": without("type")},
    "parameters with a list of types": {**PLAIN, "parameters": {**PARAMETERS, "type": ["object", "null"]}},
    "parameters in a list": {
        **PLAIN,
        "parameters": [
            {"name": "town", "type": "string", "description": "where", "required": True},
            {"name": "days", "type": "integer", "required": False},
        ],
    },
    "OpenAPI's list of parameters": {
        **PLAIN,
        "parameters": [
            {"name": "town", "schema": {"type": "string"}, "description": "where", "required": True},
            {"name": "days", "schema": {"type": "integer"}, "required": False},
        ],
    },
    "arguments": {**without("parameters", PLAIN), "arguments": PARAMETERS},
    "an empty column beside": {**without("parameters", PLAIN), "parameters": None, "input_schema": PARAMETERS},
    "flat parameters": {
        **PLAIN,
        "parameters": {"town": {"type": "str", "description": "where"}, "days": {"type": "int, optional"}},
    },
    "smolagents": {
        **without("parameters", PLAIN),
        "inputs": {"town": {"type": "string", "description": "where"}, "days": {"type": "integer", "required": False}},
    },
    "ToolBench": {
        **without("parameters", PLAIN),
        "required_parameters": [{"name": "town", "type": "STRING", "description": "where"}],
        "optional_parameters": [{"name": "days", "type": "INTEGER"}],
    },
    "a name around the function": {"name": "forecast", "function": PLAIN},
    "a Pydantic model": {"title": "forecast", "description": "Weather.", **PARAMETERS},
    "required on each property": {
        **PLAIN,
        "parameters": {
            "type": "object",
            "properties": {
                "town": {"type": "string", "description": "where", "required": True},
                "days": {"type": "integer"},
            },
        },
    },
}
"""The same tool, as different sources write it."""


@pytest.mark.parametrize("raw", SPELLINGS.values(), ids=SPELLINGS)
def test_one_tool_is_read_the_same_from_every_spelling(raw):
    for given_ in (raw, [raw], json.dumps(raw), json.dumps([raw]), [json.dumps(raw)], repr(raw), repr([raw])):
        assert read_tools(given_) == ([PLAIN], {}, ())
        assert normalise_tools(given_) == [PLAIN]


def test_parameters_named_like_words_of_a_schema_stay_parameters():
    flat = {
        "type": {"type": "string", "description": "Type of item"},
        "properties": {"type": "integer", "description": "how many properties to show", "default": 3},
        "required": {"type": "bool", "description": "only required ones", "default": False},
    }
    made = one(flat)
    assert list(made["parameters"]["properties"]) == ["type", "properties", "required"]
    assert made["parameters"]["required"] == ["type"]
    assert problems(made, type="books", properties=2, required=True) == []
    nested = one({"properties": {"type": {"type": "string"}, "properties": {"type": "object"}}, "required": ["type"]})
    assert problems(nested, type="x", properties={}) == []


def test_a_schema_without_a_type_and_without_required_needs_nothing():
    made = one({"properties": {"a": {"type": "string"}}})
    assert (problems(made), problems(made, a=3), problems(made, b=3)) == ([], ["type"], ["unknown_parameter"])


def test_what_a_source_says_beyond_the_reading_is_kept():
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Args",
        "type": "object",
        "properties": {
            "when": {"type": "string", "format": "date", "title": "When", "examples": ["2024-01-01"], "x-order": 1},
            "size": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
            "tag": {"const": "a", "not": {"enum": ["b"]}, "readOnly": True},
        },
        "required": ["when"],
        "additionalProperties": False,
        "x-origin": {"file": "a.yaml"},
    }
    tool = {
        "name": "f",
        "description": "d",
        "strict": True,
        "annotations": {"readOnlyHint": True},
        "outputSchema": {"type": "object"},
    }
    [made] = normalise_tools(
        [{"type": "function", "function": {**tool, "parameters": schema}, "cache_control": {"type": "ephemeral"}}]
    )
    assert made == {**tool, "parameters": schema, "cache_control": {"type": "ephemeral"}}


def test_what_is_no_function_is_left_out_and_counted():
    built_in = [
        {"type": "web_search"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "computer_20241022", "name": "computer", "display_width_px": 1024},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
        {"type": "mcp", "server_label": "x", "server_url": "https://example.org"},
        {"google_search": {}},
        {"cachePoint": {"type": "default"}},
        {"type": "custom", "name": "code", "format": {"type": "text"}},
        {"type": "a_tool_of_next_year"},
    ]
    read = read_tools([PLAIN, *built_in])
    assert read.tools == [PLAIN]
    assert read.left == ("tools.built_in",) * len(built_in)
    assert read_tools(built_in[:1]).tools == []
    assert read_tools(
        [{"type": "custom", "name": "forecast", "description": "Weather.", "input_schema": PARAMETERS}]
    ).tools == [PLAIN]


def test_an_identical_copy_costs_nothing_and_another_tool_of_the_name_is_refused():
    read = read_tools(
        [PLAIN, {"type": "function", "function": PLAIN}, {**without("parameters", PLAIN), "input_schema": PARAMETERS}]
    )
    assert read == ([PLAIN], {}, ("tools.copy", "tools.copy"))
    with pytest.raises(ToolFormatError, match=r"tools\[1\].*'forecast'.*differ"):
        read_tools([PLAIN, {**PLAIN, "description": "Another."}])


def test_what_lies_around_a_list_of_tools_is_counted():
    read = read_tools({"tools": [PLAIN], "nextCursor": "abc", "tool_choice": "auto", "_meta": None})
    assert read == ([PLAIN], {}, ("tools.around", "tools.around"))


def test_what_arrow_filled_with_nulls_is_absent():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "enum": None, "items": None, "const": None, "anyOf": None}, "b": None},
        "required": ["a"],
        "$defs": None,
        "additionalProperties": None,
    }
    [made] = normalise_tools([{"name": "f", "description": "d", "strict": None, "parameters": schema}])
    assert made == one({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
    assert one({"a": {"type": "str"}, "b": None}) == one({"a": {"type": "str"}})


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"oneOf": [{"type": "integer"}, {"enum": ["small"]}]}, [3, "small"], ["big", [3]]),
        ({"const": "led"}, ["led"], ["neon", None]),
        ({"const": 0}, [0], [False, 1]),
        ({"const": None, "type": "null"}, [None], [3]),
        ({"type": "string", "nullable": True}, ["x", None], [3]),
        ({"type": ["integer", "null"]}, [3, None], ["3"]),
        ({"type": ["INTEGER", "STRING"]}, [3, "3"], [3.5, None]),
        ({"allOf": [{"type": "integer"}, {"enum": [1, 2]}]}, [1], [3, "1"]),
        ({"allOf": [{"enum": [1, 2]}, {"enum": [2, 3]}]}, [2], [1, 3]),
        ({"allOf": [{"type": "number"}, {"type": ["integer", "string"]}]}, [1], [1.5, "x"]),
        ({"allOf": [{"anyOf": [{"const": 1}, {"const": 2}]}, {"anyOf": [{"const": 2}, {"const": 3}]}]}, [2], [1, 3]),
        (
            {
                "allOf": [{"properties": {"a": {"type": "number"}}}, {"properties": {"a": {"enum": [1]}}}],
                "type": "object",
            },
            [{"a": 1}],
            [{"a": 2}, {"a": "1"}],
        ),
        (
            {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}},
            [["a", 1]],
            [["a", "b"], [1]],
        ),
        ({"type": "array", "items": [{"type": "string"}, {"type": "integer"}]}, [["a", 1, None]], [[1, 1], ["a", "b"]]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, [{"x": 1}, {}], [{"x": "1"}]),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, [{"a": 1}], [{"a": 1, "b": 2}]),
        ({"type": "object", "properties": {"a": {}}}, [{"a": 1, "b": 2}], [3]),
        ({"not": {"enum": ["root"]}}, ["x"], ["root"]),
        ({"not": {"pattern": "x"}}, ["x", "y"], []),
        ({"type": "object", "required": ["a"]}, [{"a": 1}], [{}]),
        ({"enum": [{"a": 1}, 3]}, [{"a": 1}, 3], [{"a": 2}, True]),
    ],
)
def test_the_words_of_json_schema_are_checked(schema, right, wrong):
    for found in (schema, {"$ref": "#/$defs/S"}):
        made = one({"type": "object", "properties": {"a": found}, "required": ["a"], "$defs": {"S": schema}})
        assert [value for value in right if problems(made, a=value)] == []
        assert [value for value in wrong if not problems(made, a=value)] == []
        assert normalise_tools([made]) == [made]


def test_the_problem_named_is_that_of_the_option_that_is_meant():
    card = {
        "type": "object",
        "properties": {"kind": {"const": "card"}, "number": {"type": "string"}},
        "required": ["number"],
    }
    iban = {
        "type": "object",
        "properties": {"kind": {"enum": ["iban"]}, "iban": {"type": "string"}},
        "required": ["iban"],
    }
    options = {"oneOf": [{"$ref": "#/$defs/Card"}, {"$ref": "#/$defs/Iban"}]}
    made = one({"type": "object", "properties": {"by": options}, "$defs": {"Card": card, "Iban": iban}})
    evidence = [
        [problem.evidence for problem in check_call(Call("f", {"by": by}), made)]
        for by in ({"kind": "card", "number": 1}, {"kind": "iban", "number": "1"}, {"kind": "iban", "iban": "1"})
    ]
    assert evidence == [["f.by.number wants string, got 1"], ["f.by needs iban"], []]


def test_parameters_that_no_property_names_are_known_only_where_the_source_says_so():
    properties = {"a": {"type": "integer"}}
    cases = [({}, ["unknown_parameter"]), ({"additionalProperties": False}, ["unknown_parameter"])]
    cases += [({"additionalProperties": True}, []), ({"additionalProperties": {}}, [])]
    cases += [({"additionalProperties": {"type": "string"}}, ["type"]), ({"patternProperties": {"^x-": {}}}, [])]
    for said, found in cases:
        assert problems(one({"type": "object", "properties": properties, **said}), a=1, other=2) == found


def test_a_root_of_options_takes_the_parameters_of_each_and_wants_one_of_them_whole():
    by_id = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    by_name = {"$ref": "#/$defs/ByName"}
    named = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    for key in ("anyOf", "oneOf"):
        made = one({key: [by_id, by_name], "$defs": {"ByName": named}})
        assert list(made["parameters"]["properties"]) == ["id", "name"]
        assert (problems(made, id=1), problems(made, name="x")) == ([], [])
        assert (problems(made), problems(made, id="1")) == (["missing_required"], ["type"])
        assert problems(made, other=1)[0] == "unknown_parameter"
        assert normalise_tools([made]) == [made]


def test_the_schema_of_a_parameter_can_be_had_without_its_references():
    made = one(
        {
            "type": "object",
            "properties": {
                "level": {"anyOf": [{"$ref": "#/$defs/L"}, {"type": "null"}], "default": None, "title": "Level"}
            },
            "$defs": {"L": {"type": "string", "enum": ["low", "high"], "title": "L"}},
        }
    )
    assert parameter_schema(made, "level") == {
        "type": "string", "enum": ["low", "high"], "title": "Level", "default": None, "nullable": True,
    }  # fmt: skip
    assert parameter_schema(made, "gone") == {}
    assert parameter_schema(None, "level") == {}


def test_a_default_and_a_number_are_found_through_a_reference_too():
    made = one(
        {
            "type": "object",
            "properties": {"n": {"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]}, "size": {"$ref": "#/$defs/Size"}},
            "$defs": {"N": {"type": "number"}, "Size": {"type": "integer", "default": 3}},
        }
    )
    assert same_calls([Call("f", {"n": 5, "size": 3})], [Call("f", {"n": 5.0})], [made]) is None


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ("[{'name': 'f', 'run': __import__('os')}]", "tools must be a list of objects"),
        ([{"name": "f", "parameters": [{"type": "string"}]}], r"\(f\)\.parameters\[0\] must be an object with a name"),
        ([{"name": "f", "parameters": ["a", "a"]}], r"\(f\)\.parameters\[1\].*'a'"),
        ([{"name": "f", "parameters": "{"}], r"\(f\)\.parameters must be"),
        ([{"type": "function", "function": "[1]"}], r"function must be an object"),
        ([{"type": "function"}], "has no name"),
        ([[PLAIN]], r"tools\[0\] must be an object, found list"),
        ('{"result": ' * 20 + "[1]" + "}" * 20, "wraps"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_place(raw, where):
    with pytest.raises(ToolFormatError, match=where):
        read_tools(raw)


words = st.sampled_from(["string", "int", "object", "array", "a", "#/$defs/a", "#/properties/a", "#", "x"])
keys = st.sampled_from(
    "type anyOf oneOf allOf enum const required items prefixItems properties additionalProperties $defs definitions "
    "$ref components schemas not default nullable a patternProperties choices description".split()
)
schemas = st.recursive(
    words | st.none() | st.booleans() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=25,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


def test_required_names_inside_an_object_that_are_no_text_are_left_out():
    held = {"type": "object", "properties": {"a": {"type": "string"}}, "required": [[], 3, None, "a"]}
    parameters = {"type": "object", "properties": {"box": held}, "required": ["box"]}
    tool = {"name": "f", "description": "", "parameters": parameters}
    assert check_call(Call("f", {"box": {"a": "x"}}), tool) == []
    assert [problem.code for problem in check_call(Call("f", {"box": {}}), tool)] == ["schema.missing_required"]


@given(schemas, schemas, values)
@settings(max_examples=500, deadline=None)
def test_no_schema_and_no_definition_makes_the_reader_or_a_check_raise(schema, held, value):
    for parameters in (
        schema,
        {"a": schema, "$defs": {"a": held}},
        {"type": "object", "properties": {"a": schema}, "$defs": {"a": held}},
        {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"allOf": [held, schema]}}},
        {"allOf": [{"$ref": "#/$defs/a"}, schema], "$defs": {"a": held}},
    ):
        try:
            [made] = normalise_tools([{"name": "f", "parameters": parameters}])
        except ToolFormatError:
            continue
        if not (
            isinstance(parameters, dict) and "allOf" in parameters
        ):  # parts that contradict each other are noted once more each time
            assert normalise_tools([made]) == [made]
        check_call(Call("f", {"a": value}), made)
        parameter_schema(made, "a")


def test_a_suite_in_bfcls_form_holds_no_references(tmp_path):
    task = Task.of(
        "t", "the tree of 1 in red", [one(PARAMETERS_OF_A_TREE)], [Call("f", {"tree": {"value": 1}, "colour": "red"})]
    )
    write_suite([task], tmp_path)
    [line] = (tmp_path / "USER_simple_python.json").read_text().splitlines()
    assert "$ref" not in line
    [doc] = json.loads(line)["function"]
    assert doc["parameters"]["properties"]["tree"]["properties"]["value"]["type"] == "integer"
    assert doc["parameters"]["properties"]["colour"] == {
        "type": "string",
        "enum": ["red"],
        "default": None,
        "nullable": True,
    }
    assert validate_suite(tmp_path) == []


def test_a_value_that_a_schema_lists_needs_no_support_wherever_it_is_listed():
    made = one(PARAMETERS_OF_A_TREE)
    assert listed_values(made, "colour") == ["red"]
    assert listed_values(made, "tree") == ["leaf"]
    call = Call("f", {"tree": {"value": 1, "kind": "leaf"}, "colour": "red"})
    assert ungrounded(call, made, evidence_of("the tree of 1")) == ""
