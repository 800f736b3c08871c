"""How raw text becomes calls, oddity by oddity."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from funreason.bfcl.categories import Undecodable
from funreason.bfcl.checker import MAX_CHARS, decode


def arguments(text, language="python"):
    [call] = decode(text, language)
    [(_, given)] = call.items()
    return given


def value(source):
    return arguments(f"[f(a={source})]")["a"]


@pytest.mark.parametrize(
    "text",
    ["[f(a=1)]", "f(a=1)", "[f(a=1)", "f(a=1)]", "```\n[f(a=1)]\n```", " \n[f(a=1)] ", "[f(a=1)] # c"],
)
def test_brackets_are_mended_and_backticks_newlines_and_spaces_stripped(text):
    assert decode(text) == [{"f": {"a": 1}}]


@pytest.mark.parametrize(
    "text",
    [
        "```python\n[f(a=1)]\n```",
        "[f(a=1)]\r\n",
        "\t[f(a=1)]",
        "<think>x</think>[f(a=1)]",
        "[f(a=1)\ng(b=2)]",
        "f(a=1) # c",
    ],
)
def test_nothing_else_is_stripped_or_mended(text):
    with pytest.raises(Undecodable):
        decode(text)


@pytest.mark.parametrize("text", ["", "  \n", "``````", "[]", "[# x\n]"])
def test_empty_text_is_no_calls_rather_than_a_failure(text):
    assert decode(text) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [("a.b.f(x=1)", "a.b.f"), ("a[0].f(x=1)", "f"), ("g().f(x=1)", "f"), ("'s'.f(x=1)", "f"), ("f()(x=1)", "")],
)
def test_a_name_keeps_only_its_plain_dotted_part(text, name):
    assert decode(text) == [{name: {"x": 1}}]


def test_positional_arguments_vanish_and_the_last_of_two_equal_keywords_wins():
    assert arguments("[f({'a': 1}, *rest, b=2, c=3, b=4)]") == {"b": 4, "c": 3}
    assert arguments("[f(**more)]") == {None: "more"}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("+5", -5),
        ("~5", -5),
        ("not True", -1),
        ("-1.5", -1.5),
        ("...", "..."),
        ("None", None),
        ("1e400", float("inf")),
        ("'a' 'b'", "ab"),
        ("true", "true"),
        ("(1, 2)", (1, 2)),
        ("{'k': [x]}", {"k": ["x"]}),
        ('g( 1,"b" )', "g(1, 'b')"),
        ("g(1, b=2)", {"g": {"b": 2}}),
        ("x[ 0 ]", "x[0]"),
        ("x['a'][1:2]", "x['a'][1:2]"),
        (r"'\d'", r"\d"),
    ],
)
def test_a_value_is_read_as_the_leaderboard_reads_it(source, wanted):
    assert value(source) == wanted


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("2 + 3 * 4", 14),
        ("-(2) + +3", 1),
        ("'a' + 'b'", "ab"),
        ("[1] + [2]", [1, 2]),
        ("{} | {'a': 1}", {"a": 1}),
        ("10 ** 3", 1000),
        ("50000000 * 1.0", 50000000.0),
        ("len('abcd') + 1", 5),
        ("[1, 2][0] + 1", 2),
        ("'%s-%d' % ('a', 5)", "a-5"),
        ("(1 if True else 2) + 3", 4),
        ("(0 or 2) + (1 < 2 < 3)", 3),
        ("[*[1]] + [2]", [1, 2]),
        ("f'a' + 'b'", "ab"),
        ("int | None", int | None),
    ],
)
def test_arithmetic_on_literals_has_its_value(source, wanted):
    assert value(source) == wanted


@pytest.mark.parametrize(
    "source",
    [
        "10 ** 10 ** 9",
        "1 << 10 ** 9",
        "'a' * 10 ** 10",
        "[[[0] * 1000] * 1000] * 1000",
        "'%1000000000d' % 1",
        "'%*d' % (10 ** 9, 1)",
        " + ".join(["9 ** 99999"] * 300),
        "[" + "[0] * 900000, " * 1000 + "] + []",
        "1 / 0",
        "x + 1",
        "5 @ 2",
        "print(1) + 1",
        "open('f').read() + ''",
        "len(1) + 1",
        "(lambda: 1)() + 1",
    ],
)
def test_arithmetic_past_the_bounds_or_beyond_literals_is_a_failure_at_once(source):
    with pytest.raises(Undecodable):
        value(source)


@pytest.mark.parametrize(
    "source",
    ["--5", "-(1 + 2)", "-x", "-'a'", "a.b", "f'x'", "{1, 2}", "[x for x in y]", "lambda: 0", "1 if 1 else 2"],
)
def test_signs_stand_before_numbers_and_computed_syntax_is_a_failure(source):
    with pytest.raises(Undecodable):
        value(source)


@pytest.mark.parametrize("source", ["1 == 1", "a and b", "(x := 1)", "await x", "[*a]", "{**a}", "{[]: 1}"])
def test_other_syntax_is_a_failure(source):
    with pytest.raises(Undecodable):
        value(source)


def test_text_that_is_too_long_or_no_text_is_a_failure():
    for output in ["[" + "1," * MAX_CHARS, None, ["f(a=1)"]]:
        with pytest.raises(Undecodable):
            decode(output)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("abc.def(x=1)", [{"abc.def": {"x": "1"}}]),
        ("a.b(x=true)", [{"a.b": {"x": "true"}}]),
        ("a.b(x=1).c(y=2)", [{"a.b(x=1).c": {"y": "2"}}]),
        ("foo(a.b(x=1, z=2))", [{"foo": {}}]),
        ('a.b(x="q\\"r", c=\'z\')', [{"a.b": {"x": 'q\\"r', "c": "z"}}]),
        ('a.b(x=new String[]{ "a" , "b" })', [{"a.b": {"x": 'new String[]{"a","b"}'}}]),
        ("a.b(x=new HashMap<>() {{ put(1, 2); }})", [{"a.b": {"x": "new HashMap<>()"}}]),
        ("a.b(name, Foo, y=2)".replace(", Foo", ""), [{"a.b": {None: "name", "y": "2"}}]),
        ('a.b(x="é", y="abc")', [{"a.b": {"x": 'é"', "=": 'bc"'}}]),
        ("int x = 1;", None),
    ],
)
def test_java_calls_are_read_by_the_first_invocation_and_by_bytes(text, wanted):
    assert decode(text, "java") == wanted


@pytest.mark.parametrize("text", ["a.b(x=1)", "a.b(x=1, x=2)", "a.b(first, second)", 'a.b(x="\ud800")', "((("])
def test_java_that_the_parser_cannot_mend_is_a_failure(text):
    with pytest.raises(Undecodable):
        decode(text, "java")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("f(a=1, b='x', c=\"y\")", [{"f": {"a": "1", "b": "x", "c": "y"}}]),
        ('f(a="é", b={k: [1]})', [{"f": {"a": "é", "b": "{k: [1]}"}}]),
        ('f(a="x" + "y")', [{"f": {"a": 'x" + "y'}}]),
        ("f(false, 1, {a: 1}, b=2)", [{"f": {"b": "2"}}]),
        ("f(true, b=2)", [{"f": {None: "true", "b": "2"}}]),
        ("f(a=1); g(b=2)", [{"f": {"a": "1"}}]),
        ("f(a=1), g(b=2)", None),
        ("await f(a=1)", None),
    ],
)
def test_javascript_calls_are_statements_of_their_own(text, wanted):
    assert decode(text, "javascript") == wanted


@pytest.mark.parametrize("text", ["f(a=1, a=2)", "f(x, y)", "f(", "f(a: 1)"])
def test_javascript_with_errors_or_doubled_names_is_a_failure(text):
    with pytest.raises(Undecodable):
        decode(text, "javascript")


NAMES = st.sampled_from(["f", "a.b_2", "g.f", "match", "x.if", "None", "__debug__"])
ITEMS = st.sampled_from(
    ["0", "-0", "-0.0", "12.50", "007", "1.", "True", "None", "-None", "''", "'a, b=(1)]'", '"it\'s"']
)
ITEMS |= st.sampled_from(
    ["'é'", "'\ud800'", "'a' 'b'", "'" * 3, "1e3", "true", "123456789012345678901", "'#'", "f(x=1)"]
)
VALUES = ITEMS | st.lists(ITEMS, max_size=3).map(lambda items: f"[{', '.join(items)}]")
PAIRS = st.lists(st.tuples(st.sampled_from(["a", "b", "class", "print"]), VALUES), max_size=3)


@given(st.lists(st.tuples(NAMES, PAIRS), min_size=1, max_size=3))
def test_the_quick_reading_of_plain_calls_means_what_pythons_parser_means(calls):
    text = ", ".join(f"{name}({', '.join(f'{key}={item}' for key, item in pairs)})" for name, pairs in calls)
    found = []
    for form in (f"[{text}]", f"[{text},]"):  # the patterns do not take the trailing comma, so the parser does
        try:
            found.append(repr(decode(form)))
        except Undecodable:
            found.append("undecodable")
    assert found[0] == found[1]
