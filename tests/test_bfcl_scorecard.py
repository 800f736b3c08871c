"""BFCL from Python: load, score and compare, objects in and objects out."""

import json

import pytest

from funreason import Call, bfcl
from funreason.bfcl.suites import write_suite
from funreason.sources.tasks import toolbox_tasks


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite") / "small"
    write_suite(toolbox_tasks("toolbox:new_gate", 40, 0), folder, "small")
    return folder


def right(case: bfcl.Case) -> list[Call]:
    """The calls a case expects, with the first value that it accepts for each parameter; none where none is right."""
    return [
        Call(name, {key: values[0] for key, values in parameters.items() if values[0] != ""})
        for expected in case.answer or []
        for name, parameters in expected.items()
    ]


def as_text(calls: list[Call]) -> str:
    shown = (f"{c.name}({', '.join(f'{key}={value!r}' for key, value in c.arguments.items())})" for c in calls)
    return f"<think>so</think>\n\n[{', '.join(shown)}]" if calls else "None of these can."


def test_answers_are_scored_by_case_and_category_with_intervals(suite):
    cases = bfcl.load(suite)
    card = bfcl.score({case.id: as_text(right(case)) for case in cases}, cases)
    assert (card.accuracy, card["all"].total) == (1.0, len(cases))
    assert list(card) == [*dict.fromkeys(case.category for case in cases), "all"]
    assert card["all"].interval.low < 1.0 == card["all"].interval.high
    assert "| all |" not in str(card)
    assert "| irrelevance |" in str(card)


def test_calls_are_scored_as_text_is_and_as_a_chat_api_gives_them(suite):
    cases = bfcl.load(suite, ["simple_python"])
    by_text = bfcl.score({case.id: as_text(right(case)) for case in cases}, cases)
    by_call = bfcl.score({case.id: right(case) for case in cases}, cases)
    as_objects = {
        case.id: [{"function": {"name": c.name, "arguments": json.dumps(c.arguments)}} for c in right(case)]
        for case in cases
    }
    assert by_text.valid == by_call.valid == bfcl.score(as_objects, cases).valid
    assert by_text["simple_python"].accuracy == 1.0
    case = cases[0]
    assert case.messages[-1]["role"] == "user"
    assert {tool["function"]["name"] for tool in case.tools} >= {call.name for call in right(case)}


def test_two_scorecards_are_compared_case_by_case(suite):
    cases = bfcl.load(suite)
    good = bfcl.score({case.id: right(case) for case in cases}, cases)
    bad = bfcl.score({case.id: "[f()]" for case in cases}, cases)
    found = bfcl.compare(bad, good)
    assert found.difference == pytest.approx(good.accuracy - bad.accuracy)
    assert found.p < 0.001 < bfcl.compare(good, good).p
    assert found["irrelevance"].gained == good["irrelevance"].total
    assert "| all |" in str(found)
    with pytest.raises(bfcl.BfclError, match="expected verdicts on the same cases"):
        bfcl.compare(bfcl.score({cases[0].id: "[f()]"}, cases, partial=True), good)


def test_what_is_missing_or_unknown_or_no_answer_is_refused(suite):
    cases = bfcl.load(suite)
    with pytest.raises(bfcl.BfclError, match=rf"{len(cases) - 1} cases have no answer"):
        bfcl.score({cases[0].id: ""}, cases)
    with pytest.raises(bfcl.BfclError, match="1 answers belong to no case, the first is 'x'"):
        bfcl.score({"x": ""}, cases)
    with pytest.raises(bfcl.BfclError, match="expected text, or a list of calls"):
        bfcl.score({cases[0].id: [{"name": 3}]}, cases, partial=True)
    with pytest.raises(bfcl.BfclError, match="no category 'simple_java'; it has simple_python"):
        bfcl.load(suite, ["java"])


def test_calls_in_any_dialect_are_read_when_asked_for(suite):
    cases = bfcl.load(suite, ["simple_python"])
    answers = {case.id: json.dumps([{"name": c.name, "arguments": c.arguments} for c in right(case)]) for case in cases}
    assert bfcl.score(answers, cases).accuracy == 0.0
    assert bfcl.score(answers, cases, any_form=True).accuracy == 1.0
