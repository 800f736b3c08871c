"""Java and JavaScript text to values."""

import time

import pytest

from funreason.bfcl.java import MAX_CHARS, java_value
from funreason.bfcl.javascript import javascript_value


@pytest.mark.parametrize(
    ("text", "kind", "inner", "wanted"),
    [
        ("-5", "integer", None, -5),
        ("5L", "long", None, 5),
        ("5", "long", None, "5"),
        ("1.5f", "float", None, 1.5),
        ("1.5", "float", None, "1.5"),
        ("1e3", "double", None, 1000.0),
        ("1.5f", "double", None, "1.5f"),
        ("true", "boolean", None, True),
        ("True", "boolean", None, "True"),
        ("'a'", "char", None, "'a'"),
        ("5", "any", None, "5"),
        ("new int[]{1, 2,, x}", "Array", "integer", [1, 2, "x"]),
        ('new String[]{"a"}', "Array", "String", ['"a"']),
        ("{1, 2}", "Array", "integer", "{1, 2}"),
        ('new ArrayList<>(Arrays.asList("a", "b,c"))', "ArrayList", "String", ["a", "", ""]),
        ("new ArrayList<Integer>() {{ add(1); add(2); }}", "ArrayList", "integer", [1, 2]),
        ("new ArrayList<>() {{ }}", "ArrayList", "integer", []),
        ("new ArrayList<Integer>()", "ArrayList", "integer", []),
        ("new ArrayList<>(Arrays.asList(1L, 2.5, true, x))", "ArrayList", None, [1, 2.5, True, "x"]),
        ('new HashMap<String, Object>() {{ put("a", 1); put("b", "x"); }}', "HashMap", None, {"a": 1, "b": "x"}),
        ('wrap(new HashMap<>() { put("a", 2.5f); })', "HashMap", None, {"a": 2.5}),
        ('new HashMap<>() {{ put("a",\n 1);\nput("b", no }}', "HashMap", None, {"a": 1}),
        ("new HashMap<>()", "HashMap", None, {}),
        ("map", "HashMap", None, "map"),
    ],
)
def test_java_text_becomes_a_value_of_its_declared_type_or_stays_text(text, kind, inner, wanted):
    found = java_value(text, kind, inner)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("text", "kind", "inner", "wanted"),
    [
        ("5", "integer", None, 5),
        ("5.0", "integer", None, "5.0"),
        ("5", "float", None, 5.0),
        ("1e3", "float", None, "1e3"),
        ("5n", "Bigint", None, 5),
        ("false", "Boolean", None, False),
        ("'x'", "String", None, "x"),
        ("5", "any", None, "5"),
        (" [1, 2] ", "array", "integer", [1, 2]),
        ("[]", "array", "integer", []),
        ("['a', \"b\", c]", "array", "String", ["a", "b", "c"]),
        ("new Array(1, 2)", "array", "float", [1.0, 2.0]),
        ("[[1, 2], ['a']]", "array", "array", [[1, 2], ["a"]]),
        ("new Array([1], [2])", "array", "array", [[1], [2]]),
        ("[1, [2]]", "array", None, [1, "[2"]),
        ("x", "array", "integer", "x"),
        ("{}", "dict", None, {}),
        ("{a: 1, 'b': \"2\", c: [1, 2]}", "dict", None, {"a": 1, "b": 2, "c": [1, 2]}),
        ("{d: 'x, y', e: true}", "dict", None, {"d": "x, y", "e": True}),
        ("{a: {b: 1}}", "dict", None, {"a": "{b: 1"}),
        ("{\na: 1}", "dict", None, "{\na: 1}"),
    ],
)
def test_javascript_text_becomes_a_value_of_its_declared_type_or_stays_text(text, kind, inner, wanted):
    found = javascript_value(text, kind, inner)
    assert found == wanted
    assert type(found) is type(wanted)


HOSTILE = ["[[1]" + ",[1]" * 4000, "[" * 16000, "{" + "a:" * 8000, "{" + "a, " * 5000 + "}", "{" + ": , " * 4000 + "}"]
HOSTILE += ['put("",' * 2000, 'new HashMap<>() {{ put("' + '",' * 8000 + "}}", "new HashMap<" + "> () " * 3000]
HOSTILE += ["new ArrayList<>() {{" + " " * 16000, "new int[]{" * 1600, "new HashMap<>(){" + " " * 16000, "new " * 4000]
HOSTILE += ["x" * MAX_CHARS + "y"]


def test_no_text_makes_the_readings_slow():
    start = time.process_time()
    for text in HOSTILE:
        for kind in ("Array", "ArrayList", "HashMap"):
            java_value(text, kind, "String")
        for kind in ("array", "dict"):
            javascript_value(text, kind, "String")
    assert time.process_time() - start < 5
