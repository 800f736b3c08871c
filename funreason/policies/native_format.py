"""The form of calls that a configuration chooses, and the recognition of the one that a chat template writes.

`native` renders a probe conversation whose assistant calls two functions, and looks for the dialect that writes what
the template wrote.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any

from funreason.calls.call_format import CallFormat
from funreason.calls.dialects.catalogue import dialect_named, dialects
from funreason.calls.lenient import parse_any
from funreason.calls.parse import CallSyntaxError
from funreason.calls.render import CallRenderError
from funreason.config import ConfigError
from funreason.config.models import Model
from funreason.errors import ModelError
from funreason.plugins import PluginError
from funreason.policies.prompts import SAID
from funreason.types import Call

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NATIVE = "native"
# In the order of their names, and without a boolean: some templates sort arguments, and Qwen3-Coder's writes `True`.
_PROBE = [Call("find_road", {"length": 7, "start": "Fulda"}), Call("book_room", {"guests": ["Kim"]})]
_IDS = re.compile(r",\s*\"id\":\s*\"probe000\d\"|\"tool_call_id\":\s*\"[^\"]*\",\s*|\[CALL_ID\]probe000\d")
"""Ids that a template writes beside a call. A model is not taught them: they are made up by the server."""


def call_format_of(model: Model) -> CallFormat:
    """The form that `model.call_format` names. ConfigError when it cannot be taught, ModelError for `native` alone."""
    try:
        for name in model.dialects:
            dialect_named(name)
        if model.call_format == NATIVE:
            return _native_of_folder(model.path)
        found = dialect_named(model.call_format)
    except PluginError as error:
        raise ConfigError(f"model.call_format or model.dialects: {error}") from error
    if found.write is None:
        written = ", ".join(sorted(dialect.name for dialect in dialects() if dialect.write is not None))
        raise ConfigError(
            f"model.call_format is {found.name!r}, which can be read but not written. Choose one of {written}, or "
            f"{NATIVE} for what the model's chat template writes."
        )
    return CallFormat(found)


def native_format(tokenizer: PreTrainedTokenizerBase) -> CallFormat:
    """The form in which the tokenizer's chat template writes calls. ModelError when it is not recognised."""
    where = f"model.call_format is native, and the chat template of {tokenizer.name_or_path!r}"
    probe, text = _written_by(tokenizer)
    if not probe:
        raise ModelError(
            f"{where} writes no calls: it refuses or leaves out a message with tool_calls. Name the form instead, such "
            "as model.call_format=hermes."
        )
    ends = sorted({*tokenizer.all_special_tokens, *map(str, tokenizer.get_added_vocab())}, key=len, reverse=True)
    plain, tools = _squeezed(_IDS.sub("", text)), _probe_tools()
    for dialect in dialects():
        try:
            written = _squeezed(dialect.render(probe, tools))
        except CallRenderError:
            continue
        after = plain.removeprefix(written)
        if plain.startswith(written) and not re.sub("|".join(map(re.escape, ends)) or "$", "", after):
            return CallFormat(dialect)
    try:
        read = f"they can be read as {len(parse_any(text, tools))} calls, but no dialect writes them so"
    except CallSyntaxError:
        read = "no known dialect reads them"
    raise ModelError(
        f"{where} writes calls as {text.strip()[:200]!r}; {read}. Name another form, or add a dialect "
        "(model.call_format=module:NAME)."
    )


@lru_cache(maxsize=8)
def _native_of_folder(path: str) -> CallFormat:
    from funreason.policies.factory import model_path
    from funreason.policies.model_files import load_tokenizer

    return native_format(load_tokenizer(model_path(path)))


def _written_by(tokenizer: PreTrainedTokenizerBase) -> tuple[list[Call], str]:
    """The calls of the probe that the template writes, and how; no calls where it writes none."""
    from jinja2 import TemplateError

    def rendered(assistant: dict[str, Any]) -> str:
        user = {"role": "user", "content": "How long is the road?"}
        return str(tokenizer.apply_chat_template([user, assistant], tools=_offered(), tokenize=False))

    # Templates differ in what they take: Llama 3's takes one call; some want the arguments as JSON text, others as an
    # object; some refuse a message without content; Kimi's has a call's name in its id, and Mistral's checks the id.
    for count, as_text, content, id in product((2, 1), (False, True), ("", None), ("probe000{1}", "functions.{0}:{1}")):
        probe = _PROBE[:count]
        calls = [_tool_call(call, id.format(call.name, index), as_text) for index, call in enumerate(probe)]
        try:
            whole = rendered({"role": "assistant", "content": content, "tool_calls": calls})
            before = rendered({"role": "assistant", "content": SAID}).partition(SAID)[0]
        except (TypeError, ValueError, TemplateError):
            continue
        # The header of the assistant's message, thinking included, is what both have in common at their beginning.
        same = next((i for i, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b), len(before))
        added = whole[same:].removeprefix("None")
        if all(call.name in added for call in probe):
            return probe, added
    return [], ""


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _tool_call(call: Call, id: str, as_text: bool) -> dict[str, Any]:
    arguments: Any = json.dumps(call.arguments) if as_text else call.arguments
    return {"id": id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _offered() -> list[Any]:
    return [{"type": "function", "function": tool} for tool in _probe_tools()]


def _probe_tools() -> list[dict[str, Any]]:
    kinds = {str: "string", int: "integer", list: "array"}
    return [
        {
            "name": call.name,
            "description": "A probe.",
            "parameters": {
                "type": "object",
                "properties": {key: {"type": kinds[type(value)]} for key, value in call.arguments.items()},
                "required": list(call.arguments),
            },
        }
        for call in _PROBE
    ]
