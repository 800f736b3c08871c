"""What OpenAI-compatible servers send, as far as it is read, and the text in it.

Servers take an answer apart in different ways; here it is put together again as the model is trained to write it:
thinking in its tags, calls as text. What a server leaves out (`usage`, `finish_reason`) is never an error.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from funreason.calls.render import CallRenderError, render_calls
from funreason.calls.thinking import THINK_TAGS, Tags, join_thinking
from funreason.record.types import Call

BYTES_PER_TOKEN = 4
"""For servers that do not say what they used: about what English text has."""


class Usage(msgspec.Struct):
    """Tokens as the server counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Function(msgspec.Struct):
    """A call the server read out of the answer; `arguments` is JSON text."""

    name: str
    arguments: str | dict[str, Any] = ""


class ToolCall(msgspec.Struct):
    """A call with what surrounds it on the wire."""

    function: Function


class Message(msgspec.Struct):
    """An answer in chat form; servers name the thinking in two ways."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(msgspec.Struct):
    """One completion: `message` from chat, `text` from completions."""

    message: Message | None = None
    text: str | None = None
    finish_reason: str | None = None

    def written(self, tags: Tags = THINK_TAGS) -> str:
        """All that the model wrote, with its thinking in `tags`."""
        return self.text or "" if self.message is None else message_text(self.message, tags)

    @property
    def truncated(self) -> bool:
        """Whether the token limit ended it."""
        return self.finish_reason == "length"


class Answer(msgspec.Struct):
    """The body of a 200."""

    choices: Annotated[list[Choice], msgspec.Meta(min_length=1)]
    usage: Usage | None = None

    @property
    def written_tokens(self) -> int:
        """Tokens of all choices together; estimated where the server does not say."""
        return self.usage.completion_tokens if self.usage else sum(estimated(c.written()) for c in self.choices)


class Listed(msgspec.Struct):
    """A model in the server's list; `max_model_len` is vLLM's."""

    id: str
    owned_by: str = ""
    max_model_len: int | None = None


class Models(msgspec.Struct):
    """The body of /models."""

    data: list[Listed]


def message_text(message: Message, tags: Tags = THINK_TAGS) -> str:
    """An answer in chat form as one text."""
    answer = message.content or ""
    if message.tool_calls:
        calls = calls_text([call.function for call in message.tool_calls])
        answer = f"{answer.strip()}\n{calls}" if answer.strip() else calls
    return join_thinking(message.reasoning_content or message.reasoning, answer, tags)


def calls_text(functions: list[Function]) -> str:
    """Calls in the strict form; as they came where they have none, so that a judge sees the fault."""
    try:
        return render_calls([Call(each.name, _arguments(each)) for each in functions])
    except (CallRenderError, msgspec.DecodeError, RecursionError):
        return "[" + ", ".join(f"{each.name}({each.arguments})" for each in functions) + "]"


def estimated(text: str) -> int:
    """A guess at the tokens of `text`."""
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)


def _arguments(function: Function) -> dict[str, Any]:
    if isinstance(function.arguments, dict):
        return function.arguments
    return msgspec.json.decode(function.arguments or "{}", type=dict[str, Any])
