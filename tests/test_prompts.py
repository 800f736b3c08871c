"""Prompts and model folders: the two styles, and what is refused in one clear sentence."""

from __future__ import annotations

import json

import pytest
import torch
from tiny import CHAT_TEMPLATE, tiny_model, tiny_tokenizer

from funreason.errors import ModelError
from funreason.policies.model_files import load_model, load_tokenizer, save_model, weights_id_of
from funreason.policies.prompts import opens_thinking, prompt_text
from funreason.types import Task

ADD = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}
TASK = Task.of(id="t1", query="add 1 please", tools=[ADD])


def test_native_style_hands_the_tools_to_the_chat_template():
    prompt = prompt_text(TASK, tiny_tokenizer())
    assert prompt.startswith("<|im_start|>system\n" + '{"name": "add"')
    assert prompt.endswith("<|im_start|>user\nadd 1 please<|im_end|>\n<|im_start|>assistant\n")


def test_text_style_says_form_thinking_and_tools_in_a_system_message():
    prompt = prompt_text(TASK, tiny_tokenizer(), style="text")
    system, _, rest = prompt.partition("<|im_end|>")
    assert "<think>" in system
    assert "[name(parameter=value)" in system
    assert json.dumps(ADD) in system
    assert "add 1 please" in rest


def test_a_query_that_looks_like_a_template_is_only_text():
    prompt = prompt_text(Task.of(id="t", query="{{ 7 * 7 }} {% raise %}", tools=[]), tiny_tokenizer())
    assert "{{ 7 * 7 }} {% raise %}" in prompt


def test_a_template_that_opens_the_thinking_is_noticed():
    thinking = tiny_tokenizer()
    thinking.chat_template = CHAT_TEMPLATE.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
    assert opens_thinking(prompt_text(TASK, thinking))
    assert not opens_thinking(prompt_text(TASK, tiny_tokenizer()))


def test_a_tokenizer_without_chat_template_is_refused():
    bare = tiny_tokenizer()
    bare.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        prompt_text(TASK, bare)


def test_a_template_that_fails_names_the_task():
    failing = tiny_tokenizer()
    failing.chat_template = "{{ raise_exception('no tools here') }}"
    with pytest.raises(ModelError, match=r"task t1.*no tools here"):
        prompt_text(TASK, failing)


def test_an_unknown_style_names_the_two_there_are():
    with pytest.raises(ModelError, match=r"'fancy'.*native.*text"):
        prompt_text(TASK, tiny_tokenizer(), style="fancy")


def test_a_saved_model_comes_back_with_the_same_weights_id(tmp_path):
    model = tiny_model()
    weights_id = save_model(model, tiny_tokenizer(), tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    assert weights_id == weights_id_of(model) == weights_id_of(loaded)
    assert weights_id != weights_id_of(tiny_model(seed=1))
    tokenizer = load_tokenizer(tmp_path / "m", loaded)
    assert prompt_text(TASK, tokenizer) == prompt_text(TASK, tiny_tokenizer())
    assert tokenizer("[add(n=1)]")["input_ids"] == tiny_tokenizer()("[add(n=1)]")["input_ids"]


def test_saving_over_a_folder_leaves_only_the_new_one(tmp_path):
    save_model(tiny_model(), tiny_tokenizer(), tmp_path / "m")
    (tmp_path / "m" / "left.txt").write_text("over")
    weights_id = save_model(tiny_model(seed=1), tiny_tokenizer(), tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert not (tmp_path / "m" / "left.txt").exists()
    assert weights_id_of(load_model(tmp_path / "m")) == weights_id


def test_the_type_asked_for_is_the_type_loaded(tmp_path):
    save_model(tiny_model(), tiny_tokenizer(), tmp_path / "m")
    assert load_model(tmp_path / "m", dtype="bfloat16").dtype == torch.bfloat16
    with pytest.raises(ModelError, match="dtype is 'float'"):
        load_model(tmp_path / "m", dtype="float")


def test_a_folder_that_is_no_model_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(ModelError, match="found nothing"):
        load_model(tmp_path / "absent")
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_model(tmp_path)
    save_model(tiny_model(), tiny_tokenizer(), tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no \*\.safetensors"):
        load_model(tmp_path / "m")


def test_torn_weights_are_refused_in_one_sentence(tmp_path):
    save_model(tiny_model(), tiny_tokenizer(), tmp_path / "m")
    whole = (tmp_path / "m" / "model.safetensors").read_bytes()
    (tmp_path / "m" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="could not be built"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("device", ["cuda:97", "nope", "cpu:x"])
def test_a_device_that_cannot_be_used_is_refused_in_one_sentence(tmp_path, device):
    save_model(tiny_model(), tiny_tokenizer(), tmp_path / "m")
    with pytest.raises(ModelError, match=f"model.device is '{device}'"):
        load_model(tmp_path / "m", device)


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no tokenizer here"):
        load_tokenizer(tmp_path)


def test_a_folder_that_lacks_weights_is_refused_by_the_first_that_is_missing(tmp_path):
    save_model(tiny_model(), tiny_tokenizer(), tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    deeper = {key: value for key, value in config.items() if key != "layer_types"}
    deeper["num_hidden_layers"] += 1
    (tmp_path / "model" / "config.json").write_text(json.dumps(deeper))
    with pytest.raises(ModelError, match=r"lack \d+ of the tensors.*model\.layers\.2\."):
        load_model(tmp_path / "model")


def test_a_tokenizer_larger_than_the_embedding_is_refused(tmp_path):
    small = tiny_model(vocabulary=100)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="knows 259 tokens, the model only 100"):
        load_tokenizer(tmp_path, small)
