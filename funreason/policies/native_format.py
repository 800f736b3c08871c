"""The form of calls that a configuration chooses, and the recognition of the one that a chat template writes.

`native` renders a probe conversation whose assistant calls two functions, and looks for the dialect that writes what
the template wrote.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
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
from funreason.types import Call

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NATIVE = "native"
_PROBE = [Call("find_road", {"start": "Fulda", "length": 7, "toll": True}), Call("book_room", {"guests": ["Kim"]})]
_ID = re.compile(r",\s*\"id\":\s*\"probe000\d\"")
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
    text = _written_by(tokenizer)
    if text is None:
        raise ModelError(
            f"{where} writes no calls: it refuses or leaves out a message with tool_calls. Name the form instead, such "
            "as model.call_format=hermes."
        )
    plain = "".join(_ID.sub("", text).split())
    tools = _probe_tools()
    for dialect in dialects():
        try:
            written = dialect.render(_PROBE, tools)
        except CallRenderError:
            continue
        if "".join(written.split()) in plain:
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


def _written_by(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """What the template adds to a conversation for the probe's calls; None when it adds nothing of them."""
    from jinja2 import TemplateError

    user: dict[str, Any] = {"role": "user", "content": "How long is the road?"}
    for as_text in (False, True):  # some templates want the arguments as JSON text, others as an object
        message = {"role": "assistant", "content": "", "tool_calls": [_tool_call(i, as_text) for i in range(2)]}
        try:
            asked = str(tokenizer.apply_chat_template([user], tools=_offered(), tokenize=False))
            whole = str(tokenizer.apply_chat_template([user, message], tools=_offered(), tokenize=False))
        except (TypeError, ValueError, TemplateError):
            continue
        common = next((i for i, (a, b) in enumerate(zip(asked, whole, strict=False)) if a != b), len(asked))
        added = whole[common:]
        if all(call.name in added for call in _PROBE):
            return added
    return None


def _tool_call(index: int, as_text: bool) -> dict[str, Any]:
    call = _PROBE[index]
    arguments: Any = json.dumps(call.arguments) if as_text else call.arguments
    function = {"name": call.name, "arguments": arguments}
    return {"id": f"probe000{index}", "type": "function", "function": function}


def _offered() -> list[Any]:
    return [{"type": "function", "function": tool} for tool in _probe_tools()]


def _probe_tools() -> list[dict[str, Any]]:
    kinds = {str: "string", int: "integer", bool: "boolean", list: "array"}
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
