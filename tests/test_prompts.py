"""Prompts and model folders: the two styles, and what is refused in one clear sentence."""

from __future__ import annotations

import json

import pytest
import torch
from tiny import CHAT_TEMPLATE, tiny_model, tiny_tokenizer

from funreason.errors import ModelError
from funreason.policies.model_files import load_model, load_tokenizer, save_model, weights_id_of
from funreason.policies.prompts import opens_thinking, prompt_text, task_dialogue
from funreason.types import Call, Message, Task

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


ADDED = Task(
    "d1",
    (
        Message("system", "Be brief."),
        Message("system", "You can add."),
        Message("user", "add 1 and 2 please"),
        Message("assistant", "I add.", "Two numbers.", (Call("add", {"n": 1}), Call("add", {"n": 2}))),
        Message("tool", "1", name="add"),
        Message("tool", "3"),
        Message("assistant", "It is 3."),
        Message("user", "and 4?"),
    ),
    [ADD],
)
CALLS_SHOWN = (
    "{%- for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{%- for c in m.tool_calls or [] %}<call {{ c.id }}>{{ c.function.name }} {{ c.function.arguments | tojson }}"
    "{% endfor %}"
    "{%- if m.role == 'tool' %} of {{ m.tool_call_id }} {{ m.name }}{% endif %}{% endfor %}<assistant>"
)


def with_template(template):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def test_the_native_prompt_of_a_later_turn_has_calls_and_results_as_the_template_writes_them():
    assert prompt_text(ADDED, with_template(CALLS_SHOWN)) == (
        "<system>Be brief.\n\nYou can add.<user>add 1 and 2 please<assistant><think>Two numbers.</think>\n\nI add."
        '<call call00000>add {"n": 1}<call call00001>add {"n": 2}'
        "<tool>1 of call00000 add<tool>3 of call00001 add<assistant>It is 3.<user>and 4?<assistant>"
    )


@pytest.mark.parametrize(
    ("style", "template"),
    [
        ("text", CALLS_SHOWN),
        ("native", CHAT_TEMPLATE),
        ("native", CALLS_SHOWN.replace("<call", "{{ raise_exception('one call at a time') if loop.length > 1 }}<call")),
    ],
    ids=["text style", "a template that ignores calls", "a template that refuses two calls"],
)
def test_a_later_turn_has_calls_and_results_as_text_where_the_template_cannot_write_them(style, template):
    prompt = prompt_text(ADDED, with_template(template), style=style)
    assert "<think>Two numbers.</think>\n\nI add.\n\n[add(n=1), add(n=2)]" in prompt
    assert "add returned: 1\nadd returned: 3" in prompt
    assert prompt.index("returned: 3") < prompt.index("It is 3.") < prompt.index("and 4?")


def test_a_server_that_renders_the_prompt_gets_the_arguments_as_json_text():
    shown = task_dialogue(ADDED)
    assert [call["function"]["arguments"] for call in shown.messages[2]["tool_calls"]] == ['{"n": 1}', '{"n": 2}']
    assert [message["role"] for message in shown.messages].count("tool") == 2


def test_a_transcript_names_who_speaks_and_a_single_query_stays_as_it_is():
    assert TASK.transcript == TASK.grounding_text == "add 1 please"
    assert ADDED.transcript.splitlines()[3:5] == ["assistant: I add. add(n=1) add(n=2)", "tool add: 1"]
    assert ADDED.grounding_text.splitlines()[:2] == ["Be brief.", "You can add."]
    assert "Two numbers" not in ADDED.transcript + ADDED.grounding_text


def test_whether_calls_are_shown_is_asked_of_the_template_that_renders_the_dialogue():
    """A default template that writes text alone says nothing of the one for dialogues that offer tools."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = {
        "default": "{% for m in messages %}{{ m.content }}{% endfor %}",
        "tool_use": "{{ tools | tojson }}{% for m in messages %}{{ (m.tool_calls or m.content) | tojson }}{% endfor %}",
    }
    prompt = prompt_text(ADDED, tokenizer)
    assert prompt.count('"arguments"') == 2
    assert "returned: " not in prompt  # a result is a message of its own, not what the user says
