"""From a task to the text a model is prompted with.

Two styles. `native` hands the tools to the tokenizer's own chat template, which is what an instruction-tuned
model was trained on; `text` says everything in a system message of ours and works with any chat template.
Training and sampling must use the same style: the benchmark measures the model on the prompt it was trained with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from funreason.calls.thinking import THINK_TAGS
from funreason.models.errors import ModelError
from funreason.models.protocol import Dialogue

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from funreason.record.types import Task

Messages = list[dict[str, str]]
Tools = list[dict[str, Any]]

TEXT_INSTRUCTION = (
    "You answer by calling functions. Think first, between <think> and </think>: which function serves the request, "
    "and where each value comes from. Then leave one blank line and write nothing but the calls, as a Python list: "
    "[name(parameter=value), other(parameter=value)]. Use keyword arguments and plain literals only. "
    "If no function fits, or a required value is missing, say so in one sentence instead of calling.\n\n"
    "Functions, as JSON:\n"
)


def prompt_text(task: Task, tokenizer: PreTrainedTokenizerBase, *, style: str = "native") -> str:
    """The prompt for `task`, up to and including the opening of the assistant's turn.

    Raises ModelError when the tokenizer has no chat template or its template fails on these messages.
    """
    if style not in ("native", "text"):
        raise ModelError(f"prompt style is {style!r}; use 'native' (the template's own tools) or 'text'.")
    messages = [{"role": "user", "content": task.query}]
    return dialogue_text(messages, task.tools, tokenizer, style=style, where=f"task {task.id}")


def dialogue_text(
    messages: Sequence[dict[str, str]],
    tools: Sequence[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    style: str = "native",
    where: str = "dialogue",
) -> str:
    """The prompt for a dialogue with normalised `tools`; `where` names it in errors.

    Beside the styles of a task there is `plain`: the messages say everything, the template is given no tools.
    Raises ModelError as `prompt_text` does.
    """
    require_chat_template(tokenizer)
    shown = dialogue_of(messages, tools, style=style)
    offered: Any = shown.tools
    try:
        rendered = tokenizer.apply_chat_template(
            shown.messages, tools=offered, add_generation_prompt=True, tokenize=False
        )
    except (TypeError, ValueError, _template_error()) as error:
        raise ModelError(
            f"{where}: the chat template of {tokenizer.name_or_path!r} refused the {style} prompt: {error}. "
            "Use the other prompt style, or mend the template."
        ) from error
    return str(rendered)


def task_dialogue(task: Task, *, style: str = "native") -> Dialogue:
    """What the prompt for `task` is rendered from, for a server that renders it."""
    return dialogue_of([{"role": "user", "content": task.query}], task.tools, style=style)


def dialogue_of(
    messages: Sequence[dict[str, str]], tools: Sequence[dict[str, Any]], *, style: str = "native"
) -> Dialogue:
    """A dialogue with normalised `tools` in one of the styles of `dialogue_text`."""
    return Dialogue(*_STYLES[style](list(messages), tools))


def opens_thinking(prompt: str, tags: tuple[str, str] = THINK_TAGS) -> bool:
    """Whether the prompt itself ends with the opening tag, so that the completion starts inside the thinking."""
    return prompt.rstrip().endswith(tags[0])


def require_chat_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ModelError unless the tokenizer carries a chat template."""
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template, so no prompt can be made. "
            "Use an instruction-tuned model, or put a chat_template.jinja beside its tokenizer.json."
        )


def _native(messages: Messages, tools: Sequence[dict[str, Any]]) -> tuple[Messages, Tools | None]:
    return messages, [{"type": "function", "function": tool} for tool in tools]


def _text(messages: Messages, tools: Sequence[dict[str, Any]]) -> tuple[Messages, Tools | None]:
    system = TEXT_INSTRUCTION + "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    if messages and messages[0]["role"] == "system":
        system, messages = f"{system}\n\n{messages[0]['content']}", messages[1:]
    return [{"role": "system", "content": system}, *messages], None


def _plain(messages: Messages, tools: Sequence[dict[str, Any]]) -> tuple[Messages, Tools | None]:
    return messages, None


_STYLES = {"native": _native, "text": _text, "plain": _plain}


def _template_error() -> type[Exception]:
    # jinja2 arrives with transformers; asking here keeps this module free of both until a prompt is rendered.
    from jinja2 import TemplateError

    return TemplateError
