"""Renders a task as the text a model is prompted with, and finds the tokens that end its turn.

There are two styles. `native` passes the tools to the tokenizer's own chat template, which an instruction-tuned model
was trained on; `text` puts the tools in a system message and works with any chat template. Training, sampling and the
gate must use the same style. A template may begin the model's turn with an opening tag, or with a whole empty thinking:
`opens_thinking` and `closes_thinking` detect that.

A tokenizer may carry several chat templates by name: `tool_use` renders dialogues that offer tools, `default` all
others. Where a template refuses or ignores a system message (Gemma's does), its text goes before the first message of
the user; `place_of_system` finds that out by a probe.

A turn ends with the token that the chat template writes, not with the tokenizer's own end token. The two differ where a
family's tokenizer names the end of a text (`<|end_of_text|>`) and its template the end of a turn (`<|eot_id|>`). A
model taught the wrong one never stops where its own prompts do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.names import original_task
from funreason.calls.render import CallRenderError
from funreason.calls.thinking import THINK_TAGS, Tags, join_thinking
from funreason.errors import ModelError
from funreason.policies.protocol import Dialogue

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from funreason.policies.protocol import Request
    from funreason.types import Call, Task, Turn

Messages = list[dict[str, Any]]
Tools = list[dict[str, Any]]
NO_VARIABLES: Mapping[str, Any] = MappingProxyType({})

TEXT_INSTRUCTION = (
    "You answer by calling functions. Think first, between {open} and {close}: which function serves the request, "
    "and where each value comes from. Then leave one blank line and write nothing but the calls, {form} "
    "If no function fits, or a required value is missing, say so in one sentence instead of calling.\n\n"
    "Functions, as JSON:\n"
)


def prompt_text(
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[Turn] = (),
    *,
    style: str = "native",
    tags: Tags = THINK_TAGS,
    variables: Mapping[str, Any] = NO_VARIABLES,
    call_format: CallFormat = PYTHONIC,
) -> str:
    """The prompt for `task` and the `turns` that followed, up to and including the opening of the assistant's turn.

    `variables` are passed to the template, such as `enable_thinking` or `date_string`. The style `text` explains
    `call_format`. Earlier calls and results are text where the template ignores calls, or refuses these (some write one
    call at a time). Raises ModelError when the tokenizer has no chat template or its template fails on these messages.
    """
    how: dict[str, Any] = {"style": style, "tags": tags, "variables": variables, "call_format": call_format}
    shapes = [style]
    if style == "native" and task.after_calls:
        shapes = ["native", "text"] if _shows_calls(tokenizer, bool(task.tools), variables) else ["text"]
    for shape in shapes:
        messages, where = conversation(task, turns, tags, shape, call_format), f"task {task.id}"
        try:
            return dialogue_text(messages, task.tools, tokenizer, where=where, **how)
        except ModelError:
            if shape == shapes[-1]:
                raise
    raise AssertionError("there is at least one shape")


def conversation(
    task: Task,
    turns: Sequence[Turn] = (),
    tags: Tags = THINK_TAGS,
    style: str = "native",
    call_format: CallFormat = PYTHONIC,
) -> Messages:
    """The messages of `task` and the `turns` that followed, as `{"role", "content"}`; thinking is in its tags.

    In the style `native` earlier calls are `tool_calls` with their arguments as an object, and results are `tool`
    messages with the id of their call: what chat templates expect. In the others a call is text as the model writes it
    and a result is something that the user says, since not every template knows either. System messages in a row
    become one.
    """
    messages: Messages = []
    ids: list[tuple[str, str]] = []
    total = 0
    for message in task.messages:
        text = join_thinking(message.thinking, message.content, tags)
        shown: dict[str, Any] = {"role": message.role, "content": text}
        if message.calls:
            # Nine letters and digits: Mistral's templates refuse any other id.
            ids = [(f"call{total + place:05d}", call.name) for place, call in enumerate(message.calls)]
            total += len(ids)
            if style == "native":
                shown["tool_calls"] = [
                    {"id": name, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                    for (name, _), call in zip(ids, message.calls, strict=True)
                ]
            else:
                said = f"{message.content}\n\n" if message.content else ""
                shown["content"] = join_thinking(message.thinking, said + _written(message.calls, call_format), tags)
        elif message.role == "tool":
            call_id, name = ids.pop(0) if ids else ("", "")
            name = message.name or name
            if style == "native":
                shown |= {key: value for key, value in (("tool_call_id", call_id), ("name", name)) if value}
            else:
                shown = {"role": "user", "content": f"{name or 'The function'} returned: {message.content}"}
                if messages and messages[-1]["role"] == "user":  # results in a row are one message
                    messages[-1] = {"role": "user", "content": f"{messages[-1]['content']}\n{shown['content']}"}
                    continue
        elif message.role == "system" and messages and messages[-1]["role"] == "system":
            messages[-1] = {"role": "system", "content": f"{messages[-1]['content']}\n\n{text}"}
            continue
        messages.append(shown)
    return messages + [{"role": t.role, "content": join_thinking(t.thinking, t.content, tags)} for t in turns]


_PROBE = "a_call_that_is_shown"


_shown: WeakKeyDictionary[Any, dict[tuple[str, str], bool]] = WeakKeyDictionary()


def _shows_calls(tokenizer: PreTrainedTokenizerBase, tools: bool, variables: Mapping[str, Any]) -> bool:
    """Whether the chat template writes the calls of earlier turns; some write the text of a message only.

    Rendered once for each tokenizer, template and set of variables, as in `place_of_system`.
    """
    known, key = _shown.setdefault(tokenizer, {}), _probe_key(tokenizer, tools, variables)
    if key not in known:
        call = {"id": "call00000", "type": "function", "function": {"name": _PROBE, "arguments": {}}}
        asked: Any = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
        try:
            known[key] = _PROBE in _render(tokenizer, asked, [_PROBE_OFFER] if tools else None, variables, prompt=False)
        except _template_errors():
            known[key] = False
    return known[key]


def _written(calls: Sequence[Call], form: CallFormat) -> str:
    """Calls as the model is trained to write them; as JSON where a call has no such form."""
    try:
        return form.render(calls)
    except CallRenderError:
        return json.dumps([{"name": call.name, "arguments": call.arguments} for call in calls], ensure_ascii=False)


def dialogue_text(
    messages: Sequence[dict[str, Any]],
    tools: Sequence[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    style: str = "native",
    where: str = "dialogue",
    tags: Tags = THINK_TAGS,
    variables: Mapping[str, Any] = NO_VARIABLES,
    call_format: CallFormat = PYTHONIC,
) -> str:
    """The prompt for a dialogue with normalised `tools`; `where` names it in errors.

    The style `plain` is for messages that say everything: the template is given no tools.
    Raises ModelError as `prompt_text` does.
    """
    require_chat_template(tokenizer)
    shown = dialogue_of(messages, tools, style=style, tags=tags, variables=variables, call_format=call_format)
    said = shown.messages
    if said and said[0]["role"] == "system" and place_of_system(tokenizer, bool(shown.tools), variables) != SHOWN:
        said = _system_in_user_turn(said)
    try:
        return _render(tokenizer, said, shown.tools, variables)
    except _template_errors() as error:
        raise ModelError(
            f"{where}: the chat template of {tokenizer.name_or_path!r} refused the {style} prompt: {error}. "
            "Use the other prompt style, or fix the template."
        ) from error


def task_dialogue(
    task: Task,
    turns: Sequence[Turn] = (),
    *,
    style: str = "native",
    tags: Tags = THINK_TAGS,
    variables: Mapping[str, Any] = NO_VARIABLES,
    call_format: CallFormat = PYTHONIC,
) -> Dialogue:
    """What the prompt for `task` and `turns` is rendered from, for a server that renders it.

    Arguments of earlier calls are JSON in a string there, as OpenAI's API has them. In the style `native` the server is
    shown the original names of tools; `names` reads its calls back.
    """
    shown = original_task(task) if style == "native" else task
    messages = conversation(shown, turns, tags, style, call_format)
    for call in (call for message in messages for call in message.get("tool_calls", ())):
        call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    how: dict[str, Any] = {"style": style, "tags": tags, "variables": variables, "call_format": call_format}
    return msgspec.structs.replace(dialogue_of(messages, shown.tools, **how), names=task.names)


def dialogue_of(
    messages: Sequence[dict[str, Any]],
    tools: Sequence[dict[str, Any]],
    *,
    style: str = "native",
    tags: Tags = THINK_TAGS,
    variables: Mapping[str, Any] = NO_VARIABLES,
    call_format: CallFormat = PYTHONIC,
) -> Dialogue:
    """A dialogue with normalised `tools` in one of the styles of `dialogue_text`."""
    shown, offered = list(messages), None
    if style == "native":
        # None where there are none, as servers do: a template may begin a list of tools for an empty one.
        offered = [{"type": "function", "function": tool} for tool in tools] or None
    elif style == "text":
        said = TEXT_INSTRUCTION.replace("{open}", tags[0]).replace("{close}", tags[1])
        said = said.replace("{form}", call_format.instruction)
        system = said + "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
        if shown and shown[0]["role"] == "system":
            system = f"{system}\n\n{shown.pop(0)['content']}"
        shown.insert(0, {"role": "system", "content": system})
    elif style != "plain":
        raise ModelError(f"prompt style is {style!r}; use 'native' (the template's own tools) or 'text'.")
    return Dialogue(shown, offered, dict(variables))


SHOWN, REFUSED, IGNORED = "shown", "refused", "ignored"
_SYSTEM_PROBE, _USER_PROBE = "systemprobe7", "userprobe7"
PROBE_TOOL: dict[str, Any] = {
    "name": "probe_function",
    "description": "A function to try the chat template with.",
    "parameters": {"type": "object", "properties": {"value": {"type": "string"}}, "required": ["value"]},
}
_PROBE_OFFER: dict[str, Any] = {"type": "function", "function": PROBE_TOOL}
_places: WeakKeyDictionary[Any, dict[tuple[str, str], str]] = WeakKeyDictionary()


def place_of_system(
    tokenizer: PreTrainedTokenizerBase, tools: bool = False, variables: Mapping[str, Any] = NO_VARIABLES
) -> str:
    """What the template does with a system message: SHOWN, REFUSED (it raises) or IGNORED (its text is missing).

    Unless it is shown, prompts have that text in the user's first message. Rendered once for each tokenizer, template
    and set of variables; `tools` says whether the dialogue offers any.
    """
    offered = [_PROBE_OFFER] if tools else None
    known, key = _places.setdefault(tokenizer, {}), _probe_key(tokenizer, tools, variables)
    if key not in known:
        user = {"role": "user", "content": _USER_PROBE}
        try:
            text = _render(tokenizer, [{"role": "system", "content": _SYSTEM_PROBE}, user], offered, variables)
            known[key] = SHOWN if _SYSTEM_PROBE in text else IGNORED
        except _template_errors():
            try:
                _render(tokenizer, [user], offered, variables)
                known[key] = REFUSED
            except _template_errors():
                known[key] = SHOWN  # it refuses everything: rendering the prompt itself will say why
    return known[key]


def _probe_key(tokenizer: PreTrainedTokenizerBase, tools: bool, variables: Mapping[str, Any]) -> tuple[str, str]:
    return chosen_template(tokenizer, tools)[1], f"{tools} {sorted(variables.items(), key=str)}"


def chosen_template(tokenizer: PreTrainedTokenizerBase, tools: bool) -> tuple[str, str]:
    """The name and text of the chat template for a dialogue with or without tools."""
    found: Any = tokenizer.chat_template
    if not isinstance(found, dict):
        return "default", str(found)
    name = next((name for name in (["tool_use"] if tools else []) + ["default"] if name in found), next(iter(found)))
    return name, str(found[name])


def _system_in_user_turn(messages: Messages) -> Messages:
    """The messages with the text of the first, the system's, before the user's first one."""
    system, rest = messages[0]["content"], list(messages[1:])
    place = next((i for i, message in enumerate(rest) if message["role"] == "user"), None)
    if place is None:
        return [{"role": "user", "content": system}, *rest]
    rest[place] = rest[place] | {
        "content": f"{system}\n\n{rest[place]['content']}" if system else rest[place]["content"]
    }
    return rest


def _render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    tools: list[dict[str, Any]] | None,
    variables: Mapping[str, Any],
    *,
    prompt: bool = True,
) -> str:
    offered: Any = tools
    template = chosen_template(tokenizer, bool(tools))[1]
    rendered = tokenizer.apply_chat_template(
        messages, tools=offered, chat_template=template, add_generation_prompt=prompt, tokenize=False, **variables
    )
    return str(rendered)


def _template_errors() -> tuple[type[Exception], ...]:
    """What a template raises for messages that it does not render, whatever they hold."""
    # jinja2 arrives with transformers; this module is free of both until a prompt is rendered.
    from jinja2 import TemplateError

    faults = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)
    return (*faults, TemplateError)


def opens_thinking(prompt: str, tags: Tags = THINK_TAGS) -> bool:
    """Whether the prompt ends with the opening tag, so that the completion starts inside the thinking."""
    return prompt.rstrip().endswith(tags[0])


def closes_thinking(prompt: str, tags: Tags = THINK_TAGS) -> bool:
    """Whether the prompt ends with an empty thinking, so that the completion is all answer."""
    head, found, tail = prompt.rpartition(tags[1])
    return bool(found) and not tail.strip() and opens_thinking(head, tags)


def whole_completion(prompt: str, text: str, tags: Tags = THINK_TAGS) -> str:
    """The completion, with the opening tag put back where its prompt wrote it, so that completions look alike."""
    return tags[0] + text if opens_thinking(prompt, tags) else text


def require_chat_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ModelError unless the tokenizer carries a chat template."""
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template, so no prompt can be made. "
            "Use an instruction-tuned model, or put a chat_template.jinja beside its tokenizer.json."
        )


SAID = "what the assistant said"


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id of the first special token after an assistant's message; else the tokenizer's own end; else None."""
    written = _after_a_message(tokenizer)
    specials = [token for token in tokenizer.all_special_tokens if token]
    added = [str(token) for token in tokenizer.get_added_vocab()]
    known = sorted({*specials, *added}, key=len, reverse=True)
    found = re.search("|".join(map(re.escape, known)), written) if known else None
    if found is not None:
        written_id = tokenizer.convert_tokens_to_ids(found.group())
        assert isinstance(written_id, int)  # one token asked for, one id given
        return written_id
    end = tokenizer.eos_token_id
    return end if isinstance(end, int) else None


def _after_a_message(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the template writes after an assistant's message; empty where it cannot render one."""
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": SAID}]
    try:
        text = _render(tokenizer, messages, None, NO_VARIABLES, prompt=False)
    except _template_errors():
        return ""  # a template for prompts alone: its model ends as the tokenizer says
    return text.rpartition(SAID)[2] if SAID in text else ""


# Facts about tokens that every sampler in this process shares: which end a turn, which exist, how many fit.


class Context(NamedTuple):
    """A model's context of `tokens`, of which `max_new_tokens` are kept for the completion."""

    tokenizer: PreTrainedTokenizerBase
    tokens: int
    max_new_tokens: int

    @property
    def longest_prompt(self) -> int:
        """The most tokens a prompt may have."""
        return self.tokens - self.max_new_tokens

    def too_long(self, request: Request) -> bool:
        """Whether the prompt leaves less than `max_new_tokens` of the context."""
        return len(self._ids([request.prompt])[0]) > self.longest_prompt

    def encode(self, requests: Sequence[Request]) -> list[list[int]]:
        """The prompts' token ids. ModelError names the first request that cannot be used."""
        encoded = self._ids([request.prompt for request in requests])
        for request, ids in zip(requests, encoded, strict=True):
            if not ids or request.n < 0:
                raise ModelError(
                    f"request {request.id}: {len(ids)} prompt tokens, n = {request.n}; neither may be that."
                )
            if len(ids) > self.longest_prompt:
                raise ModelError(
                    f"request {request.id}: the prompt has {len(ids)} tokens; at most {self.longest_prompt} leave room "
                    f"for {self.max_new_tokens} new ones. Ask too_long() first, or lower max_new_tokens."
                )
        return encoded

    def _ids(self, prompts: list[str]) -> list[list[int]]:
        if not prompts:
            return []
        # Not verbose: its warning about long prompts would contradict what `too_long` makes of them.
        ids: list[list[int]] = self.tokenizer(prompts, add_special_tokens=False, verbose=False)["input_ids"]
        return ids


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The tokens that end a turn, by generation config, tokenizer or chat template. ModelError without any."""
    stated = getattr(model.generation_config, "eos_token_id", None)
    ends = set(stated if isinstance(stated, list) else [stated]) | {tokenizer.eos_token_id, end_of_turn(tokenizer)}
    found = tuple(sorted(end for end in ends if end is not None))
    if not found:
        raise ModelError(f"{tokenizer.name_or_path!r}: neither tokenizer nor generation config names an end token.")
    return found


def known_ids(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many ids decode to something; embeddings are often padded beyond that."""
    return max(tokenizer.get_vocab().values()) + 1


def require_distribution(temperature: float, top_p: float) -> None:
    """Raise ModelError for a temperature or a top-p that is out of range."""
    if temperature <= 0 or not 0 < top_p <= 1:
        raise ModelError(
            f"temperature is {temperature}, top_p {top_p}; they must lie above 0 and in (0, 1]. "
            "For greedy decoding set `greedy` on the request."
        )
