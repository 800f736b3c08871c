"""A gate on BFCL files asks the model exactly what `funreason eval` asks it for the same case."""

import asyncio
import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import CHAT_TEMPLATE, tiny_tokenizer

from funreason.bfcl import BfclError, Case, load_cases
from funreason.bfcl.cases import data_folder
from funreason.config import Suite
from funreason.errors import ModelError
from funreason.evaluation.answers import check_cases, prompter
from funreason.gate.items import gate_suites, spread
from funreason.policies.policy import GenerateRequest, Policy

DOC = {
    "name": "book",
    "description": "Book seats.",
    "parameters": {"type": "dict", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}
RIGHT = {"book": {"n": [3]}}


def said(*pairs: str) -> list[dict[str, str]]:
    """Messages, given as `role: content`."""
    return [dict(zip(("role", "content"), pair.split(": ", 1), strict=True)) for pair in pairs]


QUESTIONS = {
    "simple_python": [said("user: Book 3 seats.")],
    "parallel": [said("user: Book 3 seats, twice.")],
    "irrelevance": [said("user: Sing.")],
    "live_simple": [said("system: Be brief.", "user: Book 3 seats.")],
    "live_multiple": [said("system: Be kind.", "user: Hi.", "assistant: Hello!", "user: Book 3 seats.")],
    "multiple": [said("user: I need seats."), said("assistant: How many?", "user: 3.")],
    "simple_java": [said("user: Book 3 seats in Java.")],
}


class Recorder:
    """Keeps what it is asked and answers nothing."""

    def sample(self, requests):
        self.asked = requests
        return [[] for _ in requests]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "possible_answer").mkdir()
    for category, question in QUESTIONS.items():
        case = {"id": f"{category}_0", "question": question, "function": [DOC]}
        (tmp_path / f"BFCL_v4_{category}.json").write_text(json.dumps(case) + "\n")
        if category != "irrelevance":
            truth = {"id": f"{category}_0", "ground_truth": [RIGHT] * (1 + (category == "parallel"))}
            (tmp_path / "possible_answer" / f"BFCL_v4_{category}.json").write_text(json.dumps(truth) + "\n")
    return tmp_path


@pytest.mark.parametrize("style", ["native", "text"])
@pytest.mark.parametrize("rendered", ["here", "by the server"])
def test_a_gate_asks_what_eval_asks(folder, tmp_path, style, rendered):
    sampler = Recorder()
    policy = Policy(sampler, tiny_tokenizer() if rendered == "here" else None, style=style)
    (suite,) = gate_suites({"official": Suite(path=str(folder))}, [], tmp_path / "gate")
    asks = prompter(style, policy.tokenizer, tags=policy.tags, variables=policy.variables)
    assert [case.category for case in suite.cases] == [case.category for case in load_cases(folder).values()]
    asyncio.run(policy.generate([GenerateRequest(task.id, task) for task in suite.tasks], greedy=True))
    for case, request in zip(suite.cases, sampler.asked, strict=True):
        assert asks(case) == (request.prompt or request.dialogue)
        shown = request.prompt or json.dumps(request.dialogue.messages)
        places = [shown.index(message["content"]) for turn in QUESTIONS[case.category] for message in turn]
        assert places == sorted(places)


def test_a_gate_names_the_case_whose_messages_or_functions_cannot_be_read(folder, tmp_path):
    for broken in ({"question": [[{"role": "user"}]]}, {"function": [3]}):
        case = {"id": "irrelevance_0", "question": QUESTIONS["irrelevance"], "function": [DOC]} | broken
        (folder / "BFCL_v4_irrelevance.json").write_text(json.dumps(case) + "\n")
        with pytest.raises(BfclError, match="irrelevance_0"):
            gate_suites({"official": Suite(path=str(folder))}, [], tmp_path / "gate")


def test_an_evaluation_checks_its_prompts_in_the_style_it_asks_in(folder):
    cases, tokenizer = load_cases(folder).values(), tiny_tokenizer()
    assert check_cases("native", tokenizer, cases) == check_cases("bfcl", tokenizer, cases) == []
    tokenizer.chat_template = CHAT_TEMPLATE.replace("if tools", "if false")
    with pytest.raises(ModelError, match=r"does not show the tools.*in eval: --prompt text"):
        check_cases("native", tokenizer, cases)
    assert check_cases("text", tokenizer, cases) == check_cases("bfcl", tokenizer, cases) == []
    assert check_cases("native", None, cases) == []  # its server renders the prompts


def test_a_model_without_system_messages_is_asked_the_same_by_gate_and_eval(folder, tmp_path):
    tokenizer, sampler = tiny_tokenizer(), Recorder()
    refuse = "{%- if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer.chat_template = refuse + CHAT_TEMPLATE
    cases = load_cases(folder)
    (note,) = check_cases("bfcl", tokenizer, cases.values())
    assert "begins the user's first message" in note
    (suite,) = gate_suites({"official": Suite(path=str(folder))}, [], tmp_path / "gate")
    policy, asks = Policy(sampler, tokenizer, style="text"), prompter("text", tokenizer)
    asyncio.run(policy.generate([GenerateRequest(task.id, task) for task in suite.tasks], greedy=True))
    assert [request.prompt for request in sampler.asked] == [asks(case) for case in suite.cases]
    assert all("Functions, as JSON" in request.prompt for request in sampler.asked)


def test_a_report_on_the_official_data_is_left_out_with_a_sentence_where_it_was_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    notes: list[str] = []
    assert gate_suites({"bfcl": Suite(path="bfcl-v4", role="report")}, [], tmp_path / "gate", notes) == []
    assert notes == ["gate.suites.bfcl is not measured: the official BFCL data is not here; run `funreason bfcl fetch`"]
    for role in ("decision", "guard"):
        with pytest.raises(BfclError, match="run: funreason bfcl fetch"):
            gate_suites({"bfcl": Suite(path="bfcl-v4", role=role)}, [], tmp_path / "gate", notes)


def test_the_official_data_is_measured_where_it_was_fetched(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data_folder().parent.mkdir(parents=True)
    shutil.copytree(folder, data_folder(), ignore=lambda *_: ["cache"])
    (suite,) = gate_suites({"bfcl": Suite(path="bfcl-v4", role="report")}, [], tmp_path / "gate")
    assert {case.category for case in suite.cases} == set(QUESTIONS)


@given(
    sizes=st.dictionaries(st.sampled_from(sorted(QUESTIONS)), st.integers(1, 30), min_size=1),
    share=st.floats(0.01, 1),
)
def test_fewer_items_keep_the_share_of_each_category_to_within_one(sizes, share):
    cases = [Case(f"{name}_{i}", name, [], [], None) for name, size in sizes.items() for i in range(size)]
    count = max(1, round(share * len(cases)))
    taken = spread(cases, count)
    assert len(taken) == count
    assert taken == [case for case in cases if case in taken]
    for name, size in sizes.items():
        found = [case.id for case in taken if case.category == name]
        assert found == [f"{name}_{i}" for i in range(len(found))]
        assert abs(len(found) - count * size / len(cases)) < 1 + 1e-9
    assert spread(cases, None) == cases
