"""Chat templates of other people's models: several by name, and those that drop or refuse a part of the dialogue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import CHAT_TEMPLATE, tiny_model, tiny_tokenizer

from funreason.errors import ModelError
from funreason.policies.model_files import load_tokenizer, save_model
from funreason.policies.prompts import chosen_template, end_of_turn, place_of_system, prompt_text
from funreason.policies.template_check import check_prompts, thinking_advice
from funreason.types import Message, Task

BOOK = {
    "name": "book_seats",
    "description": "Books seats.",
    "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}
TURNS = (
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = (
    "{%- for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% endfor %}"
)
ONLY_USER = (
    "{%- for m in messages %}{% if m.role in ('user', 'assistant') %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "<|im_end|>\n{% endif %}{% endfor %}<|im_start|>assistant\n"
)
LAST_ONLY = "<|im_start|>{{ messages[-1].role }}\n{{ messages[-1].content }}<|im_end|>\n<|im_start|>assistant\n"
SYSTEM_WITHOUT_TOOLS = (
    "{%- if tools %}{{ tools | tojson }}{% elif messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}"
    "{%- for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


def tokenizer_with(template):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def task(*roles, tools=(BOOK,)):
    return Task("t1", tuple(Message(role, f"{role} says {i}") for i, role in enumerate(roles)), list(tools))


def prompt(template, asked, **how):
    return prompt_text(asked, tokenizer_with(template), **how)


def test_the_tool_use_template_renders_dialogues_that_offer_tools_and_the_default_all_others():
    both = {"default": "DEFAULT" + TURNS, "tool_use": "TOOLS" + CHAT_TEMPLATE}
    assert prompt(both, task("user")).startswith("TOOLS")
    assert "book_seats" in prompt(both, task("user"))
    assert prompt(both, task("user"), style="text").startswith("DEFAULT")
    assert prompt(both, task("user", tools=[])).startswith("DEFAULT")


def test_templates_by_name_without_a_default_use_the_first():
    assert chosen_template(tokenizer_with({"tool_use": "A", "rag": "B"}), tools=True) == ("tool_use", "A")
    assert chosen_template(tokenizer_with({"rag": "B"}), tools=True) == ("rag", "B")
    only = {"tool_use": CHAT_TEMPLATE}
    assert "user says 0" in prompt(only, task("user"), style="text")
    assert end_of_turn(tokenizer_with(only)) == end_of_turn(tiny_tokenizer())


def test_the_template_in_use_is_named():
    both = {"default": TURNS, "tool_use": CHAT_TEMPLATE}
    assert check_prompts(tokenizer_with(both), [task("user")]) == ["chat template: tool_use of default, tool_use"]
    text = check_prompts(tokenizer_with(both), [task("user")], style="text")
    assert text == ["chat template: default of default, tool_use"]
    assert check_prompts(tiny_tokenizer(), [task("user")]) == []


def test_every_template_comes_back_from_a_saved_folder(tmp_path):
    both = {"default": TURNS, "tool_use": CHAT_TEMPLATE, "rag": "{{ messages }}"}
    save_model(tiny_model(), tokenizer_with(both), tmp_path / "model")
    assert load_tokenizer(tmp_path / "model").chat_template == both
    save_model(tiny_model(), load_tokenizer(tmp_path / "model"), tmp_path / "model")  # over a folder with folders in it
    assert load_tokenizer(tmp_path / "model").chat_template == both


@pytest.mark.parametrize("style", ["text", "plain", "native"])
@pytest.mark.parametrize("head", [NO_SYSTEM, ""], ids=["refused", "ignored"])
def test_where_the_template_has_no_system_message_its_text_begins_the_users(style, head):
    template = head + (CHAT_TEMPLATE if head else "{{ tools | tojson if tools else '' }}" + ONLY_USER)
    shown = prompt(template, task("system", "user", "assistant", "user"), style=style)
    assert "<|im_start|>system\nsystem says" not in shown
    assert "system says 0\n\nuser says 1" in shown
    assert shown.count("system says 0") == 1
    assert ("book_seats" in shown) == (style != "plain")


def test_a_system_message_that_is_ignored_only_beside_tools_is_placed_only_there():
    tokenizer = tokenizer_with(SYSTEM_WITHOUT_TOOLS)
    assert place_of_system(tokenizer, tools=True) == "ignored"
    assert place_of_system(tokenizer, tools=False) == "shown"
    assert "system says 0\n\nuser says 1" in prompt_text(task("system", "user"), tokenizer)


def test_where_system_messages_go_is_noted():
    said = check_prompts(tokenizer_with(NO_SYSTEM + CHAT_TEMPLATE), [task("user")], style="text")
    assert said == ["system messages are refused by the chat template: their text begins the user's first message"]
    assert check_prompts(tokenizer_with(NO_SYSTEM + CHAT_TEMPLATE), [task("user")]) == []


def test_another_template_of_the_same_tokenizer_is_tried_again():
    tokenizer = tokenizer_with(NO_SYSTEM + CHAT_TEMPLATE)
    assert place_of_system(tokenizer) == "refused"
    tokenizer.chat_template = CHAT_TEMPLATE
    assert place_of_system(tokenizer) == "shown"


def test_variables_of_the_template_decide_too():
    template = "{%- if strict is defined and strict %}" + NO_SYSTEM + "{% endif %}" + CHAT_TEMPLATE
    assert place_of_system(tokenizer_with(template)) == "shown"
    assert place_of_system(tokenizer_with(template), variables={"strict": True}) == "refused"


def test_a_template_that_shows_no_tools_is_refused_and_the_text_style_named():
    with pytest.raises(ModelError, match=r"does not show the tools.*2 tasks.*t1.*model\.prompt=text"):
        check_prompts(tokenizer_with(TURNS), [task("user"), task("user")])
    check_prompts(tokenizer_with(TURNS), [task("user")], style="text")
    check_prompts(tokenizer_with(TURNS), [task("user", tools=[])])


def test_a_template_that_shows_only_the_first_tool_is_refused():
    first = "{%- if tools %}{{ tools[0] | tojson }}{% endif %}" + TURNS
    with pytest.raises(ModelError, match="does not show the tools"):
        check_prompts(tokenizer_with(first), [task("user")])


def test_a_template_that_refuses_tools_is_refused_with_its_own_words():
    picky = "{%- if tools %}{{ raise_exception('no tools in this family') }}{% endif %}" + TURNS
    with pytest.raises(ModelError, match=r"no tools in this family.*model\.prompt=text"):
        check_prompts(tokenizer_with(picky), [task("user")])


def test_a_template_that_drops_the_tools_results_is_refused_only_for_dialogues_with_some():
    calls = "{% for m in messages if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}{% endfor %}"
    template = "{{ tools | tojson if tools else '' }}" + calls + ONLY_USER
    check_prompts(tokenizer_with(template), [task("user"), task("user", "assistant", "user")])
    with pytest.raises(ModelError, match=r"role 'tool' \(message 3\).*1 tasks.*model.prompt=text"):
        check_prompts(tokenizer_with(template), [task("user"), task("user", "assistant", "tool")])


def test_a_template_that_knows_neither_calls_nor_results_is_given_both_as_text():
    template = "{{ tools | tojson if tools else '' }}" + ONLY_USER
    check_prompts(tokenizer_with(template), [task("user", "assistant", "tool")])
    assert "tool says 2" in prompt(template, task("user", "assistant", "tool"))


def test_a_template_that_drops_the_history_is_refused():
    template = "{{ tools | tojson if tools else '' }}" + LAST_ONLY
    with pytest.raises(ModelError, match=r"role 'user' \(message 1\)"):
        check_prompts(tokenizer_with(template), [task("user", "assistant", "user")])


def test_a_template_that_refuses_an_order_of_roles_says_which_tasks_have_it():
    strict = (
        "{%- for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + CHAT_TEMPLATE
    )
    check_prompts(tokenizer_with(strict), [task("system", "user", "assistant", "user")])
    with pytest.raises(ModelError, match=r"roles must alternate.*user, user"):
        check_prompts(tokenizer_with(strict), [task("user", "user")])


def test_a_template_that_fails_on_one_of_the_tasks_is_refused_by_that_task():
    picky = (
        "{%- for t in tools %}{% if t.function.name == 'tell' %}{{ raise_exception('not this one') }}{% endif %}"
        "{% endfor %}" + CHAT_TEMPLATE
    )
    check_prompts(tokenizer_with(picky), [task("user")])
    with pytest.raises(ModelError, match=r"task t1.*refused the native prompt: not this one"):
        check_prompts(tokenizer_with(picky), [task("user", tools=[BOOK | {"name": "tell"}])])


THINKS_NOT = "{%- if not (enable_thinking is defined and enable_thinking) %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"


def test_the_variable_that_lets_the_model_think_is_found():
    advice = thinking_advice(tokenizer_with(CHAT_TEMPLATE + THINKS_NOT), task("user"))
    assert "--set model.template={enable_thinking: true}" in advice
    other = CHAT_TEMPLATE + THINKS_NOT.replace("enable_thinking", "thinking")
    assert "model.template={thinking: true}" in thinking_advice(tokenizer_with(other), task("user"))
    always = CHAT_TEMPLATE + "{{ '<think>\n\n</think>\n\n' }}"
    assert "chat_template.jinja" in thinking_advice(tokenizer_with(always), task("user"))


@given(st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), min_size=1, max_size=6))
def test_whatever_the_check_lets_through_renders_every_message(roles):
    asked = task(*roles)
    for template in (CHAT_TEMPLATE, NO_SYSTEM + CHAT_TEMPLATE, "{{ tools | tojson if tools else '' }}" + ONLY_USER):
        tokenizer = tokenizer_with(template)
        try:
            check_prompts(tokenizer, [asked])
        except ModelError:
            continue
        shown = prompt_text(asked, tokenizer)
        assert all(message.content in shown for message in asked.messages)
        assert "book_seats" in shown
