"""The strict reader, the renderer and the lenient reader of calls."""

import string
import warnings
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funreason.calls.lenient import looks_like_calls, parse_any
from funreason.calls.parse import CallSyntaxError, parse_calls
from funreason.calls.render import CallRenderError, is_callable_name, render_calls
from funreason.calls.strict_json import JsonRefused, read_json
from funreason.types import Call

names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}(\.[a-z_][a-z0-9_]{0,8}){0,2}", fullmatch=True).filter(is_callable_name)
keywords = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(is_callable_name)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.tuples(inner)
        | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=8,
)
calls = st.builds(Call, names, st.dictionaries(keywords, values, max_size=3))


def reason_of(text: str) -> str:
    with pytest.raises(CallSyntaxError) as refused:
        parse_calls(text)
    return refused.value.reason


@given(st.lists(calls, max_size=3))
@settings(max_examples=150, deadline=None)
def test_what_is_rendered_reads_back_as_the_same_calls(made):
    assert parse_calls(render_calls(made)) == made
    assert parse_any(render_calls(made)) == made


@given(st.text(string.printable, max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_text_makes_a_reader_raise_anything_but_its_own_error(text):
    for reader in (parse_calls, parse_any, lambda t: parse_any(f"[f(a={t})]")):
        with suppress(CallSyntaxError):
            reader(text)


def test_the_papers_own_example_is_read_and_written_unchanged():
    text = "[get_random_word(verbeconjugue=True, minlong='7')]"
    assert parse_calls(text) == [Call("get_random_word", {"verbeconjugue": True, "minlong": "7"})]
    assert render_calls(parse_calls(text)) == text


def test_the_empty_list_is_no_call():
    assert parse_calls("[]") == []
    assert render_calls([]) == "[]"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "form.empty"),
        ("f(a=1)", "form.not_a_list"),
        ("(f(a=1),)", "form.not_a_list"),
        ("[f(a=1)", "form.not_a_list"),
        ("[f(a=1)] done", "form.not_a_list"),
        ("[f(a=1)][0]", "form.not_a_list"),
        ("[f(a=1]", "form.syntax"),
        ("[class(a=1)]", "form.syntax"),
        ("[f, g]", "form.not_a_call"),
        ("[[f(a=1)]]", "form.not_a_call"),
        ("[f(a=1)(b=2)]", "form.name"),
        ("['f'.g(a=1)]", "form.name"),
        ("[ f(a=1)]", "form.blank_in_name"),
        ("[f (a=1)]", "form.blank_in_name"),
        ("[a .b(x=1)]", "form.blank_in_name"),
        ("[a.b(x=1), c .d(y=2)]", "form.blank_in_name"),
        ("[(f(a=1))]", "form.blank_in_name"),
        ("[f(a=1), (g(b=2))]", "form.between_calls"),
        ("[f(a=1),]", "form.between_calls"),
        ("[f(a=1) # hm\n]", "form.between_calls"),
        ("[f(1)]", "form.positional"),
        ("[f(*x)]", "form.star_argument"),
        ("[f(**x)]", "form.star_argument"),
        ("[f(a=1, a=2)]", "form.repeated_keyword"),
        ("[f(a=x)]", "value.not_literal"),
        ("[f(a=true)]", "value.not_literal"),
        ("[f(a=+5)]", "value.not_literal"),
        ("[f(a=1+1)]", "value.not_literal"),
        ("[f(a=-True)]", "value.not_literal"),
        ("[f(a=b'x')]", "value.not_literal"),
        ("[f(a={1, 2})]", "value.not_literal"),
        ("[f(a=f'{x}')]", "value.not_literal"),
        ("[f(a=__import__('os').system('true'))]", "value.not_literal"),
        ("[f(a={**x})]", "value.not_literal"),
        ("[f(a=1e999)]", "value.not_finite"),
        ("[f(a='\\ud800')]", "value.surrogate"),
        ("[f(a={'k': 1, 'k': 2})]", "value.repeated_key"),
        ("[f(a='\0')]", "form.null_byte"),
        ("[f(a=" + "[" * 70 + "]" * 70 + ")]", "form.too_deep"),
        ("[f(a='" + "x" * 100_001 + "')]", "form.too_long"),
        ("[f(a=" + "-" * 50_000 + "1)]", "form.syntax"),
        ("[f(a=1" + "+1" * 40_000 + ")]", "form.syntax"),
        ("[a" + ".a" * 45_000 + "(b=1)]", "form.syntax"),
        ("[f(a=" + "9" * 5_000 + ")]", "form.syntax"),
        ("[f(a=0x" + "f" * 4_000 + ")]", "value.too_long"),
        ("[f(a={'k': [-0b1" + "0" * 14_285 + "]})]", "value.too_long"),
    ],
)
def test_a_failure_of_form_has_its_own_reason(text, reason):
    assert reason_of(text) == reason


def test_the_longest_number_that_can_be_written_is_read_and_written():
    longest = "9" * 4_300
    assert render_calls(parse_calls(f"[f(a={longest}, b=-0xff)]")) == f"[f(a={longest}, b=-255)]"


def test_brackets_inside_strings_do_not_count_as_depth():
    assert parse_calls(f"[f(a='{'(' * 500}')]") == [Call("f", {"a": "(" * 500})]


def test_names_outside_ascii_and_calls_over_several_lines_are_read():
    assert parse_calls("[é(a='ü'),\n g(b=2)]") == [Call("é", {"a": "ü"}), Call("g", {"b": 2})]


def test_an_unknown_escape_is_read_without_a_warning():
    assert parse_calls(r"[f(a='\d+')]") == [Call("f", {"a": "\\d+"})]


@pytest.mark.parametrize(
    "call",
    [
        Call("7SN.pj", {}),
        Call("Get Cash Flow", {}),
        Call("class", {}),
        Call("f", {"from": 1}),
        Call("f", {"a-b": 1}),
        Call("f", {"a": float("nan")}),
        Call("f", {"a": object()}),
        Call("f", {"a": "\ud800"}),
        Call("f", {"a": [10**4_300]}),
    ],
)
def test_a_call_that_could_not_be_read_back_is_not_written(call):
    with pytest.raises(CallRenderError, match=r"7SN|Get Cash|class|from|a-b|f\.a"):
        render_calls([call])


F1 = [Call("f", {"a": 1})]


@pytest.mark.parametrize(
    "text",
    [
        "[f(a=1)]",
        "f(a=1)",
        "[ f (a = 1) ]",
        "```python\n[f(a=1)]\n```",
        '```json\n[{"name": "f", "arguments": {"a": 1}}]\n```',
        '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>',
        '{"name": "f", "parameters": {"a": 1}}',
        '{"name": "f", "arguments": "{\\"a\\": 1}"}',
        '{"tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{\\"a\\": 1}"}}]}',
        "Sure:\n```\nf(a=1)\n```\nDone.",
    ],
)
def test_the_lenient_reader_sees_through_the_clothes(text):
    assert parse_any(text) == F1
    assert looks_like_calls(text)


def test_the_lenient_reader_takes_one_call_a_line_and_jsons_words():
    assert parse_any("f(a=true)\ng(b=null)") == [Call("f", {"a": True}), Call("g", {"b": None})]


@pytest.mark.parametrize(
    "text",
    ["I cannot do that.", "f(1)", "[f(a=x)]", "[f(a=1", '{"name": ""}', '{"name": "f", "arguments": 3}', "```", ""],
)
def test_the_lenient_reader_mends_clothes_and_not_meaning(text):
    with pytest.raises(CallSyntaxError):
        parse_any(text)


@pytest.mark.parametrize(
    ("text", "attempt"),
    [
        ("[f(a=1", True),
        ("[f(a='x', b=", True),
        ("I will call this: [f(a=1)]", True),
        ("<tool_call>{", True),
        ("", False),
        ("[]", False),
        ("No tool here can book a hotel.", False),
        ("The function f() needs an id, which you did not give.", False),
        ("Prices (USD): 3, 4", False),
    ],
)
def test_an_attempt_at_a_call_is_told_from_prose(text, attempt):
    assert looks_like_calls(text) is attempt


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "json.broken"),
        ('{"a": NaN}', "json.not_finite"),
        ("[1e400]", "json.not_finite"),
        ('{"a": 1, "a": 2}', "json.repeated_key"),
        ('["\\ud800"]', "json.surrogate"),
        ('["\\u0000"]', "json.null_byte"),
        ("[" * 100 + "]" * 100, "json.too_deep"),
        ("[" * 100_000, "json.too_deep"),
        ("9" * 5000, "json.broken"),
    ],
)
def test_json_that_python_would_let_through_is_refused(text, reason):
    with pytest.raises(JsonRefused) as refused:
        read_json(text)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "text", ["[f(a=1if x)]", "[f(a=0x1for x)]", "[f(a=1.in x)]", "[f(a=1jor 2)]", r"[f(a='\_')]", "[f(a=1_0and 2)]"]
)
def test_no_text_makes_the_parser_warn(text):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with suppress(CallSyntaxError):
            parse_calls(text)
    assert heard == []
