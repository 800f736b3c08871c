"""The base model of the package: that it loads, keeps its tokenizer's promises, and knows the familiar tools alone."""

from __future__ import annotations

import json

import pytest

from funreason.bfcl import check, load_cases
from funreason.bfcl.suites import validate_suite, write_suite
from funreason.calls.parse import parse_calls
from funreason.calls.render import render_calls
from funreason.calls.thinking import join_thinking, split_thinking
from funreason.data.toolbox import BASE, generate
from funreason.types import Task

pytest.importorskip("torch")
pytest.importorskip("transformers")

from funreason.policies.huggingface.sampler import HuggingFaceSampler
from funreason.policies.model_files import load_model, load_tokenizer
from funreason.policies.protocol import Request


@pytest.fixture(scope="module")
def sampler() -> HuggingFaceSampler:
    model = load_model(BASE)
    return HuggingFaceSampler(model, load_tokenizer(BASE, model), weights_id="base", max_new_tokens=160)


def prompt(sampler: HuggingFaceSampler, messages: list[dict[str, object]], tools: list[dict[str, object]]) -> str:
    return sampler.tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, tokenize=False)


def asked(sampler: HuggingFaceSampler, task: Task) -> str:
    return prompt(sampler, [{"role": "user", "content": task.query}], task.tools)


def share_right(sampler: HuggingFaceSampler, tasks: list[Task]) -> float:
    requests = [Request(id=t.id, prompt=asked(sampler, t), n=1, seed=0, greedy=True) for t in tasks]
    answers = [split_thinking(completions[0].text).answer for completions in sampler.sample(requests)]
    return sum(answer == render_calls(t.reference or []) for t, answer in zip(tasks, answers, strict=True)) / len(tasks)


def test_the_checkpoint_is_safetensors_under_ten_megabytes() -> None:
    sizes = {path.name: path.stat().st_size for path in BASE.iterdir()}
    assert "model.safetensors" in sizes
    assert not [name for name in sizes if name.endswith((".bin", ".pt", ".pth"))]
    assert sum(sizes.values()) < 10_000_000


def test_a_value_has_the_same_ids_in_the_query_in_the_thinking_and_between_quotes(sampler: HuggingFaceSampler) -> None:
    word = sampler.tokenizer("jajuvion")["input_ids"]
    for around in ("paint jajuvion by", "color jajuvion, coats", "f(color='jajuvion', n=2)"):
        ids = sampler.tokenizer(around)["input_ids"]
        assert any(ids[i : i + len(word)] == word for i in range(len(ids))), around


def test_prompts_and_targets_survive_the_tokenizer_unchanged(sampler: HuggingFaceSampler) -> None:
    for task in generate("new_dev", 50, seed=4):
        answer = render_calls(task.reference) if task.reference else task.reference_text or ""
        text = asked(sampler, task) + join_thinking(task.reference_thinking, answer)
        assert sampler.tokenizer.decode(sampler.tokenizer(text)["input_ids"]) == text


def test_the_template_takes_what_real_tools_and_dialogues_bring(sampler: HuggingFaceSampler) -> None:
    tools: list[dict[str, object]] = [
        {"name": "bare", "parameters": {}},
        {
            "type": "function",
            "function": {"name": "wrapped", "description": "Line one.\nLine two.", "parameters": None},
        },
        {
            "name": "deep",
            "description": "",
            "parameters": {
                "type": "object",
                "properties": {
                    "nested": {"type": "object", "properties": {"x": {"type": "string"}}},
                    "either": {"type": ["string", "null"]},
                    "lists": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
                    "anything": {},
                    "items": {"type": "string", "enum": [1, "zwei"]},
                },
            },
        },
    ]
    messages: list[dict[str, object]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Grüße 🙂"},
        {"role": "assistant", "content": None},
        {"role": "tool", "content": [{"x": 1}]},
        {"role": "user", "content": "Go on."},
    ]
    text = prompt(sampler, messages, tools)
    assert "lists integer[][]?" in text
    assert "items 1|zwei?" in text
    assert "Line one.: wrapped()" in text
    assert text.endswith("<|user|>Go on.<|assistant|>")


def test_a_prompt_without_tools_is_only_the_dialogue(sampler: HuggingFaceSampler) -> None:
    text = sampler.tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
    assert text == "<|user|>Hello"


@pytest.mark.slow
def test_the_base_knows_the_familiar_tools_and_not_the_unseen_ones(sampler: HuggingFaceSampler) -> None:
    calling = {"simple": 1.0, "multiple": 1.0}
    assert share_right(sampler, generate("old_dev", 60, seed=8, quotas=calling)) > 0.7
    assert share_right(sampler, generate("new_dev", 60, seed=8, quotas=calling)) < 0.2


def test_the_gate_splits_become_valid_suites_that_their_references_solve(tmp_path) -> None:
    for split in ("new_gate", "old_gate"):
        tasks = generate(split, 80, seed=2)
        folder = tmp_path / split
        write_suite(tasks, folder, "toolbox")
        assert validate_suite(folder) == []
        cases = list(load_cases(folder).values())
        by_query = {json.dumps(task.query): task for task in tasks}
        for case in cases:
            query = json.dumps(case.question[0][-1]["content"])
            task = by_query[query]
            answer = render_calls(task.reference) if task.reference else task.reference_text or ""
            assert check(case, answer).valid, (task.query, answer)


def test_reference_answers_are_in_the_strict_form() -> None:
    for task in generate("new_train", 100, seed=6):
        if task.reference:
            assert parse_calls(render_calls(task.reference)) == task.reference
