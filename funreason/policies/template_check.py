"""Checks, before anything is trained or measured, that the chat template renders the run's dialogues whole.

A template that drops what it does not know raises nothing: the model is then trained and scored without its tools, or
without the tool's result it is asked about. So for each form of dialogue among the tasks (the order of roles, which
messages call, whether tools are offered) a dialogue of that form is rendered with marked texts, and each mark must be
in the prompt. Some of the tasks themselves are rendered too, since a template may fail on what only they hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from funreason.calls.thinking import THINK_TAGS
from funreason.errors import ModelError
from funreason.policies.prompts import (
    NO_VARIABLES,
    PROBE_TOOL,
    SHOWN,
    chosen_template,
    closes_thinking,
    place_of_system,
    prompt_text,
)
from funreason.types import Call, Message, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_RENDERED = 200
"""Tasks that are rendered as they are: a fraction of a second."""
LONGEST_FORM = 64
"""Messages of a form that are looked at; longer dialogues repeat themselves."""
STYLES = {"native": "native", "text": "text", "plain": "bfcl"}
"""How a user names each style of prompt."""
THINKING_VARIABLES: tuple[dict[str, bool], ...] = ({"enable_thinking": True}, {"thinking": True})
"""What the published templates call the switch: Qwen3, GLM and SmolLM3; DeepSeek and Granite."""


class DialogueForm(NamedTuple):
    """The form of a dialogue: its roles, how many calls each message carries (2: several), whether it offers tools."""

    roles: tuple[str, ...]
    calls: tuple[int, ...]
    tools: bool

    @classmethod
    def of(cls, task: Task) -> DialogueForm:
        """The form of a task's messages."""
        shown = task.messages[:LONGEST_FORM]
        return cls(tuple(m.role for m in shown), tuple(min(len(m.calls), 2) for m in shown), bool(task.tools))


def check_prompts(tokenizer: PreTrainedTokenizerBase, tasks: Iterable[Task], **how: Any) -> list[str]:
    """Check that prompts hold the tools and messages of `tasks`; notes on how the template is used, for the record.

    `how` is what `prompt_text` takes: style, tags, variables. Raises ModelError when the template refuses a dialogue or
    leaves a part of it out; the message says what is missing, from how many tasks, and which setting to change.
    """
    every = list(tasks)
    forms: dict[DialogueForm, list[Task]] = {}
    for task in every:
        forms.setdefault(DialogueForm.of(task), []).append(task)
    for form, alike in forms.items():
        fault = _fault(tokenizer, form, how)
        if fault is not None:
            raise ModelError(_sentence(tokenizer, form, alike, how, fault))
    for task in every[:: len(every) // MOST_RENDERED + 1]:
        prompt_text(task, tokenizer, **how)
    return _notes(tokenizer, forms, how.get("style", "native"), how.get("variables", NO_VARIABLES))


def thinking_advice(tokenizer: PreTrainedTokenizerBase, task: Task, **how: Any) -> str:
    """What to set for a template that ends the thinking itself, as the end of a sentence about it."""
    for more in THINKING_VARIABLES:
        tried = how | {"variables": {**how.get("variables", NO_VARIABLES), **more}}
        if not closes_thinking(prompt_text(task, tokenizer, **tried), how.get("tags", THINK_TAGS)):
            name = next(iter(more))
            return f"Let the model think: --set model.template={{{name}: true}}"
    return (
        "No variable of the template changes that (enable_thinking and thinking were tried): remove the empty thinking "
        "from the end of its chat_template.jinja to let the model think"
    )


def _fault(tokenizer: PreTrainedTokenizerBase, form: DialogueForm, how: dict[str, Any]) -> str | None:
    """What the template does wrong with a dialogue of this form; None when the prompt is whole."""
    probe = _probe(form)
    try:
        prompt = prompt_text(probe, tokenizer, **how)
    except ModelError as error:
        return f"refuses a prompt ({error.__cause__ or error})"
    for place, message in enumerate(probe.messages):
        for call in message.calls:
            if str(call.arguments["value"]) not in prompt:
                return f"leaves out the calls of an assistant's message (message {place + 1})"
        # Beside calls, several families' templates write no text: it is the calls that answer.
        if not message.calls and message.content not in prompt:
            return f"leaves out the text of messages with the role {message.role!r} (message {place + 1})"
    if how.get("style") != "plain" and form.tools and not all(tool["name"] in prompt for tool in probe.tools):
        return "does not show the tools that it is given, so a prompt would name no function to call"
    return None


def _probe(form: DialogueForm) -> Task:
    """A task of this form whose texts are marks that no template contains."""
    messages = tuple(
        Message(
            role,
            "" if calls else f"mark{place}text",
            calls=tuple(Call(PROBE_TOOL["name"], {"value": f"mark{place}value{i}"}) for i in range(calls)),
            name=PROBE_TOOL["name"] if role == "tool" else "",
        )
        for place, (role, calls) in enumerate(zip(form.roles, form.calls, strict=True))
    )
    second = PROBE_TOOL | {"name": "other_probe"}
    return Task("probe", messages, [PROBE_TOOL, second] if form.tools else [])


def _sentence(
    tokenizer: PreTrainedTokenizerBase, form: DialogueForm, alike: Sequence[Task], how: dict[str, Any], fault: str
) -> str:
    style = how.get("style", "native")
    name, _ = chosen_template(tokenizer, style == "native" and form.tools)
    other = "text" if style == "native" else "native"
    if style != "plain" and _fault(tokenizer, form, how | {"style": other}) is None:
        does = "writes the tools into the prompt itself" if other == "text" else "leaves the tools to the template"
        advice = f"Use the style `{other}`, which {does}: --set model.prompt={other} (in eval: --prompt {other})."
    elif {"assistant", "tool"} & set(form.roles):
        advice = "Leave such records out, or use a model whose chat template knows these roles."
    else:
        advice = "Use a model with another chat template, or change its chat_template.jinja."
    return (
        f"the chat template ({name}) of {tokenizer.name_or_path!r} {fault}. That is the {STYLES[style]} prompt of "
        f"{len(alike)} tasks with the roles {', '.join(form.roles)}, the first is {alike[0].id}. {advice}"
    )


def _notes(
    tokenizer: PreTrainedTokenizerBase, forms: Iterable[DialogueForm], style: str, variables: Mapping[str, Any]
) -> list[str]:
    notes = []
    if isinstance(tokenizer.chat_template, dict):
        used = sorted({chosen_template(tokenizer, style == "native" and form.tools)[0] for form in forms})
        notes.append(f"chat template: {' and '.join(used)} of {', '.join(sorted(tokenizer.chat_template))}")
    said = {
        place_of_system(tokenizer, style == "native" and form.tools, variables)
        for form in forms
        if style == "text" or form.roles[:1] == ("system",)
    } - {SHOWN}
    if said:
        does = " or ".join(sorted(said))
        notes.append(f"system messages are {does} by the chat template: their text begins the user's first message")
    return notes
