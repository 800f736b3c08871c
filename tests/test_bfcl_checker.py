"""The verdict, rule by rule, on cases small enough to read."""

import pytest

from funreason.bfcl import Case, check, check_any

SIMPLE = "simple_function_checker"


def doc(name="f", required=(), **properties):
    kinds = {key: kind if isinstance(kind, dict) else {"type": kind} for key, kind in properties.items()}
    return {"name": name, "parameters": {"type": "dict", "properties": kinds, "required": list(required)}}


def case(answer, *docs, category="simple_python"):
    return Case("c_0", category, [[{"role": "user", "content": "?"}]], list(docs), answer)


def one(kind, possible, required=(), category="simple_python"):
    return case([{"f": {"a": possible}}], doc(required=required, a=kind), category=category)


def array(inner, kind="array"):
    return {"type": kind, "items": {"type": inner}}


def error(a_case, output):
    return check(a_case, output).error_type


def test_a_right_call_is_valid_and_shows_what_was_decoded():
    assert check(one("integer", [5]), "[f(a=5)]") == (True, None, [{"f": {"a": 5}}])


@pytest.mark.parametrize(
    ("output", "word"),
    [
        ("f(a=", "ast_decoder:decoder_failed"),
        ("", f"{SIMPLE}:wrong_count"),
        ("f(a=5), f(a=5)", f"{SIMPLE}:wrong_count"),
        ("F(a=5)", f"{SIMPLE}:wrong_func_name"),
        ("f(b=1)", f"{SIMPLE}:missing_required"),
        ("f(a=5, b=1)", f"{SIMPLE}:unexpected_param"),
        ("f(b=1, a='x')", f"{SIMPLE}:unexpected_param"),
        ("f(a='x', b=1)", "type_error:simple"),
        ("f(a=5, **k)", f"{SIMPLE}:unexpected_param"),
        ("f(a=6)", "value_error:others"),
    ],
)
def test_the_first_thing_wrong_in_output_order_is_the_verdict(output, word):
    assert error(one("integer", [5], required=["a"]), output) == word


@pytest.mark.parametrize(
    ("kind", "possible", "source", "word"),
    [
        ("integer", [1], "True", "type_error:simple"),
        ("integer", [5], "'5'", "type_error:simple"),
        ("integer", [5], "5.0", "type_error:simple"),
        ("float", [5.0], "5", None),
        ("float", [5], "5.0", None),
        ("float", [0.3], "0.1 + 0.2", "value_error:others"),
        ("boolean", [True], "1", "type_error:simple"),
        ("string", ["New York, NY"], "'new york ny'", None),
        ("string", ["it's"], "'It\"s'", None),
        ("string", ["hi"], "'hi!'", "value_error:string"),
        ("string", ["a", ""], "''", None),
        ("string", [None, "a"], "'A'", "value_error:others"),
        ("string", [None, "a"], "None", None),
        ("integer", ["x"], "x", None),
        ("integer", ["x"], "X", "value_error:others"),
        ("any", [5], "5", None),
        (array("integer"), [[1, 2]], "[1, 2]", None),
        (array("integer"), [[1, 2]], "[2, 1]", "value_error:list/tuple"),
        (array("integer"), [[1, 2]], "(1, 2)", "type_error:simple"),
        (array("float"), [[1.5]], "[1]", "type_error:nested"),
        (array("float"), [[1, 2]], "[1, 2.0]", None),
        (array("string"), [["a b"]], "['A-B']", None),
        (array("string"), [["a"], ""], "[]", None),
        (array("float", "tuple"), [[1.0, 2.0]], "(1.0, 2.0)", None),
        ("dict", [{"k": ["v", ""], "n": [1]}], "{'n': True}", None),
        ("dict", [{"k": [1]}], "{'k': 2}", "value_error:dict_value"),
        ("dict", [{"k": [1], "n": [1]}], "{'k': 2}", "value_error:dict_key"),
        ("dict", [{"k": [1]}], "{'k': 1, 'z': 1}", "value_error:dict_key"),
        ("dict", [""], "{}", "dict_checker:unclear"),
        (array("dict"), [[{"k": ["A b"]}]], "[{'k': 'ab'}]", None),
        (array("dict"), [[{"k": [1]}]], "[]", "value_error:list_dict_count"),
        (array("dict"), [[{"k": [1]}], ""], "[]", None),
        (array("dict"), [[{"k": [1]}]], "[{'k': 2}]", "value_error:dict_value"),
    ],
)
def test_types_and_values_are_compared_by_the_leaderboards_rules(kind, possible, source, word):
    assert error(one(kind, possible), f"[f(a={source})]") == word


def test_a_parameter_left_out_needs_the_mark_for_it_and_must_not_be_required():
    assert error(one("string", ["x"]), "f()") == f"{SIMPLE}:missing_optional"
    assert error(one("string", ["x", ""]), "f()") is None
    assert error(one("string", ["x", ""], required=["a"]), "f()") == f"{SIMPLE}:missing_required"


def test_a_simple_case_ignores_the_answers_own_function_name():
    assert error(case([{"other": {"a": [1]}}], doc(a="integer")), "f(a=1)") is None


def test_a_multiple_case_takes_the_doc_that_its_answer_names():
    choice = case([{"g": {"a": [1]}}], doc("f", a="string"), doc("g", a="integer"), category="multiple")
    assert error(choice, "g(a=1)") is None
    assert error(choice, "f(a=1)") == f"{SIMPLE}:wrong_func_name"
    assert error(choice, "g(a=1), f(a=1)") == "multiple_function_checker:wrong_count"


def test_parallel_calls_match_in_any_order_but_a_choice_is_never_taken_back():
    both = case([{"f": {"a": [1, 2]}}, {"f": {"a": [1]}}], doc(a="integer"), category="parallel")
    assert error(both, "f(a=2), f(a=1)") is None
    assert error(both, "f(a=1), f(a=2)") == "parallel_function_checker_no_order:cannot_find_match"
    assert error(both, "f(a=1)") == "parallel_function_checker_no_order:wrong_count"


@pytest.mark.parametrize("output", ["Sorry, none fits.", "", "[]", "```python\n[f(a=1)]\n```", '{"name": "f"}'])
def test_irrelevance_credits_whatever_is_no_decodable_call(output):
    assert check(case(None, doc(a="integer"), category="irrelevance"), output).valid
    relevant = check(case(None, doc(a="integer"), category="live_relevance"), output)
    assert relevant[:2] == (False, "relevance_error:decoder_failed")


def test_any_call_at_all_fails_irrelevance_and_passes_relevance():
    assert error(case(None, category="live_irrelevance"), "Sorry()") == "irrelevance_error:decoder_success"
    assert check(case(None, category="live_relevance"), "anything(x=1)").valid


def test_java_and_javascript_values_are_converted_before_they_are_compared():
    java = one("long", [5], category="simple_java")
    assert error(java, "[f(a=5L, b=1)]") == f"{SIMPLE}:unexpected_param"
    assert error(java, "[ff.call(a=5L)]") == f"{SIMPLE}:wrong_func_name"
    assert error(java, "int a = 5;") == "ast_decoder:decoder_wrong_output_format"
    named = case([{"m.run": {"a": [5]}}], doc("m.run", a="long"), category="simple_java")
    assert error(named, "[m.run(a=5L)]") is None
    assert error(named, "[m.run(a=50)]") == "type_error:simple"
    script = one(array("integer"), [[1, 2]], category="simple_javascript")
    assert error(script, "f(a=[1, 2])") is None
    assert error(script, "x = 1") == "ast_decoder:decoder_wrong_output_format"


def test_where_the_official_code_raises_the_verdict_is_invalid():
    unknown = check(one("number", [1]), "f(a=1)")
    assert (unknown.valid, unknown.error_type) == (False, "crash:KeyError")
    assert not check(one("float", [1.0]), "f(a=10 ** 5000)").valid


def test_any_format_accuracy_reads_what_the_strict_score_refuses():
    asked = one("integer", [5])
    wrapped = '<tool_call>{"name": "f", "arguments": {"a": 5}}</tool_call>'
    assert not check(asked, wrapped).valid
    assert check_any(asked, wrapped).valid
    assert check_any(asked, "no call here").error_type == "ast_decoder:decoder_failed"
    idle = case(None, category="irrelevance")
    assert check_any(idle, "no call here").valid
    assert not check_any(idle, wrapped).valid
