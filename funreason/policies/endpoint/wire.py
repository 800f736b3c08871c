r"""What OpenAI-compatible servers send: bodies, errors, and the removal of keys from both.

Servers do echo keys, and some escape them as JSON allows (`\/`, `\u002b`). A short key may be an ordinary word
(`test`, `EMPTY`: what people give a local server that needs no key). It is removed from error bodies only, and only as
a whole word, so that no answer is changed by it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.names import NO_NAMES, Names, callable_answer, to_callable
from funreason.calls.render import CallRenderError
from funreason.calls.thinking import (
    THINK_TAGS,
    THINKING_PARTS,
    Tags,
    join_thinking,
    split_thinking,
    thinking_of,
)
from funreason.policies.protocol import ChatError
from funreason.types import Call

SHORT = 8
"""A shorter key is treated as an ordinary word."""
HIDDEN = "***"


class Scrubber:
    """Hides one key; None hides nothing."""

    def __init__(self, key: str | None) -> None:
        spelled = "|".join("".join(map(_spelled, each)) for each in (key, quote(key, safe=""))) if key else ""
        self._anywhere = re.compile(spelled) if key and len(key) >= SHORT else None
        self._alone = re.compile(rf"(?<!\w)(?:{spelled})(?!\w)") if key else None

    def answer(self, text: str) -> str:
        """An answer without the key."""
        return text if self._anywhere is None else self._anywhere.sub(HIDDEN, text)

    def error(self, text: str) -> str:
        """The text of an error without the key."""
        found = self._anywhere or self._alone
        return text if found is None else found.sub(HIDDEN, text)


def _spelled(char: str) -> str:
    plain = re.escape(char)
    slashed = rf"\\{plain}" if not char.isalnum() else plain
    return rf"(?:{plain}|{slashed}|\\u(?i:{ord(char):04x}))"


# Servers split an answer in different ways; here it is joined again as the model is trained to write it: thinking in
# its tags, calls as text. Fields that a server leaves out (`usage`, `finish_reason`) are never an error. What a field
# holds that is no text and no call is left, and its place is in `unread`.

BYTES_PER_TOKEN = 4
"""For servers that do not report usage: about the average of English text."""
MOST_TOKENS = 10**12
"""A larger count of tokens is taken for none."""
_TEXTS = frozenset({"text", "output_text", "input_text"})
_CALLS = frozenset({"tool_use", "function_call", "tool_call", "function"})
_ARGUMENTS = ("arguments", "input", "args", "parameters")
"""Where a call has its arguments: OpenAI, Anthropic, others."""


class Usage(msgspec.Struct):
    """Tokens as the server counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Function(msgspec.Struct):
    """A call the server read out of the answer; `arguments` is JSON text, or what it decodes to."""

    name: str
    arguments: str | dict[str, Any] = ""


class ToolCall(msgspec.Struct):
    """A call with what surrounds it on the wire."""

    function: Function


class ApiMessage(msgspec.Struct):
    """An answer in chat form."""

    content: str | None = None
    thinking: str | None = None
    tool_calls: list[ToolCall] | None = None
    unread: tuple[str, ...] = ()
    """The places of the message that could not be read, as dotted codes."""


class Choice(msgspec.Struct):
    """One completion: `message` from chat, `text` from completions."""

    message: ApiMessage | None = None
    text: str | None = None
    finish_reason: str | None = None

    def written(self, tags: Tags = THINK_TAGS, names: Names = NO_NAMES, form: CallFormat = PYTHONIC) -> str:
        """All that the model wrote: thinking in `tags`, calls that a server has parsed in `form`, callable names."""
        return self.text or "" if self.message is None else message_text(self.message, tags, names, form)

    @property
    def truncated(self) -> bool:
        """Whether the token limit ended it."""
        return self.finish_reason in ("length", "max_tokens")

    @property
    def unread(self) -> tuple[str, ...]:
        """What could not be read, as dotted codes; `finish.content_filter` where the server withheld the rest."""
        left = self.message.unread if self.message else () if self.text is not None else ("choice.no_message",)
        return (*left, "finish.content_filter") if self.finish_reason == "content_filter" else left


class ApiResponse(msgspec.Struct):
    """The body of a 200, with at least one choice."""

    choices: list[Choice]
    usage: Usage | None = None

    @property
    def written_tokens(self) -> int:
        """Tokens of all choices together; estimated where the server does not report them."""
        return self.usage.completion_tokens if self.usage else sum(estimated(c.written()) for c in self.choices)


def read_response(url: str, text: str) -> ApiResponse:
    """The choices in the body of a 200, whatever else it holds.

    Besides the chat and completions form: one message without choices, as Ollama's and Anthropic's own interfaces send
    it. Raises UnreadableAnswer for a body without any, PromptTooLong where it is an error that says so.
    """
    data = decoded(url, text)
    if not isinstance(data, dict):
        raise UnreadableAnswer("answer.no_object", f"{url} answered with no object: {quoted(text)!r}")
    choices = data.get("choices")
    if isinstance(choices, dict):
        choices = [choices]
    if not choices and isinstance(data.get("message"), dict):
        choices = [data]
    elif not choices and data.get("role") == "assistant":
        choices = [{"message": data, "finish_reason": data.get("stop_reason")}]
    if not isinstance(choices, list) or not choices:
        if data.get("error"):
            what = f"{url} answered 200 with an error: {quoted(server_message(text))}"
            if any(word in text for word in TOO_LONG_WORDS):
                raise PromptTooLong(what)
            raise UnreadableAnswer("answer.error", what)
        raise UnreadableAnswer("answer.no_choices", f"{url} answered without choices: {quoted(text)!r}")
    return ApiResponse([_choice(each) for each in choices], _usage(data.get("usage")))


def decoded(url: str, text: str) -> Any:
    """What a body of JSON holds. Raises UnreadableAnswer for anything else, such as a page of HTML."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        pass
    try:
        return json.loads(text)  # it reads NaN and Infinity, which some servers write
    except (ValueError, RecursionError) as error:
        message = f"{url} answered what cannot be read ({error}): {quoted(text)!r}"
        raise UnreadableAnswer("answer.not_json", message, speaks_api=False) from None


def _choice(raw: Any) -> Choice:
    if not isinstance(raw, dict):
        return Choice(ApiMessage(unread=("choice.no_object",)))
    why = raw.get("finish_reason", raw.get("done_reason"))
    finish = why if isinstance(why, str) else None
    message = next((raw[key] for key in ("message", "delta") if raw.get(key) is not None), None)
    if message is None:
        text = raw.get("text")
        if text is None or isinstance(text, str):
            return Choice(None, text, finish)
        message = {"content": text}
    if isinstance(message, str):
        message = {"content": message}
    if not isinstance(message, dict):
        return Choice(ApiMessage(unread=("choice.no_message",)), None, finish)
    return Choice(read_message(message), None, finish)


def read_message(raw: dict[str, Any]) -> ApiMessage:
    """The text, thinking and calls of a message in any of the forms that servers use."""
    parts = raw.get("content")
    thought = [_flat(part) for part in parts if _kind(part) in THINKING_PARTS] if isinstance(parts, list) else None
    thinking, unread = thinking_of({**raw, "content": thought})  # without the text, which keeps its own tags
    content, calls, left = _content(parts)
    more = raw.get("tool_calls")
    for each in more if isinstance(more, list) else [more] if more else []:
        call = _call(each)
        if call is None:
            left.append("tool_calls.no_call")
        else:
            calls.append(call)
    older = raw.get("function_call")
    if older and not calls:
        call = _call(older)
        if call is None:
            left.append("function_call.no_call")
        else:
            calls.append(call)
    refusal_text = raw.get("refusal")
    if isinstance(refusal_text, str) and refusal_text.strip():
        content = content or refusal_text
        left.append("refusal")
    return ApiMessage(content or None, thinking, calls or None, (*unread, *left))


def _content(raw: Any) -> tuple[str, list[ToolCall], list[str]]:
    """The text of a content in parts, the calls in it, and the kinds of parts that are neither."""
    texts: list[str] = []
    calls: list[ToolCall] = []
    left: list[str] = []
    for part in raw if isinstance(raw, list) else [raw]:
        if part is None:
            continue
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = _kind(part)
        text = part.get("text", part.get("content")) if isinstance(part, dict) else None
        if isinstance(text, dict):
            text = text.get("value")
        if kind in THINKING_PARTS:
            continue
        if kind in _CALLS and (call := _call(part)) is not None:
            calls.append(call)
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            texts.append(part["refusal"])
            left.append("refusal")
        elif isinstance(text, str) and (kind in _TEXTS or kind is None):
            texts.append(text)
        else:
            left.append(f"content.{kind or 'no_text'}")
    return "".join(texts), calls, left


def _flat(part: dict[str, Any]) -> dict[str, Any]:
    """A part of thinking whose own parts are joined, as Mistral sends them."""
    return {key: _content(value)[0] if isinstance(value, list) else value for key, value in part.items()}


def _kind(part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else None
    return kind if isinstance(kind, str) and kind.isidentifier() else None


def _call(raw: Any) -> ToolCall | None:
    """A call, with its function nested or not; arguments that are null, "null" or empty are none."""
    if not isinstance(raw, dict):
        return None
    inner = next((raw[key] for key in ("function", "custom") if isinstance(raw.get(key), dict)), raw)
    name = inner.get("name")
    if not isinstance(name, str) or not name.strip():
        return None
    arguments: Any = next((inner[key] for key in _ARGUMENTS if inner.get(key) is not None), {})
    if isinstance(arguments, str):
        return ToolCall(Function(name, {} if arguments.strip() in ("", "null") else arguments))
    return ToolCall(Function(name, arguments if isinstance(arguments, dict) else json.dumps(arguments)))


def _usage(raw: Any) -> Usage | None:
    counts = [raw.get(key) for key in ("prompt_tokens", "completion_tokens")] if isinstance(raw, dict) else []
    whole = [count for count in counts if type(count) is int and 0 <= count < MOST_TOKENS]
    return Usage(*whole) if len(whole) == 2 else None


class Listed(msgspec.Struct):
    """A model in the server's list; `max_model_len` is vLLM's."""

    id: str
    owned_by: str = ""
    max_model_len: int | None = None


def read_models(url: str, text: str) -> list[Listed]:
    """The models that a server lists, under `data` or `models`. Raises UnreadableAnswer for what is no list."""
    data = decoded(url, text)
    listed = data.get("data", data.get("models")) if isinstance(data, dict) else data
    if not isinstance(listed, list):
        raise UnreadableAnswer("models.no_list", f"{url} answered what is no list of models: {quoted(text)!r}")
    found = []
    for each in listed:
        name = each.get("id", each.get("name")) if isinstance(each, dict) else each
        if isinstance(name, str):
            more = each if isinstance(each, dict) else {}
            owner, context = more.get("owned_by"), more.get("max_model_len")
            found.append(
                Listed(name, owner if isinstance(owner, str) else "", context if type(context) is int else None)
            )
    return found


def message_text(
    message: ApiMessage, tags: Tags = THINK_TAGS, names: Names = NO_NAMES, form: CallFormat = PYTHONIC
) -> str:
    """An answer in chat form as one text, its calls in `form`; the originals of `names` become callable names.

    What it says before its calls is thinking: the calls are the answer.
    """
    answer, thinking = message.content or "", message.thinking
    if names:
        thought, closing, said = answer.rpartition(tags[1])
        answer = thought + closing + callable_answer(said, names)
    if message.tool_calls:
        said_before = [part.strip() for part in (thinking, *split_thinking(answer, tags)[:2]) if part and part.strip()]
        thinking = "\n\n".join(said_before) or None
        answer = calls_text([call.function for call in message.tool_calls], names, form)
    return join_thinking(thinking, answer, tags)


def calls_text(functions: list[Function], names: Names = NO_NAMES, form: CallFormat = PYTHONIC) -> str:
    """Calls in `form`; unchanged where they have no such form, so that a judge sees the fault."""
    try:
        return form.render(to_callable([Call(each.name, _arguments(each)) for each in functions], names))
    except (CallRenderError, msgspec.DecodeError, RecursionError):
        return "[" + ", ".join(f"{each.name}({each.arguments})" for each in functions) + "]"


def estimated(text: str) -> int:
    """An estimate of the tokens of `text`."""
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)


def _arguments(function: Function) -> dict[str, Any]:
    if isinstance(function.arguments, dict):
        return function.arguments
    found = msgspec.json.decode(function.arguments or "{}")
    if isinstance(found, str):  # encoded twice
        found = msgspec.json.decode(found or "{}")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise msgspec.DecodeError(f"arguments must be an object, found {type(found).__name__}")
    return found


# Errors, by what to do about them: a RetryableError is worth another try, a ChatError concerns one request,
# EndpointGone means that every request would fail. A server's message is quoted, shortened, and without the key.

PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 that another try may cure."""
REFUSED_ALL = frozenset({401, 402, 403, 404, 405})
"""Statuses that every request would meet: the key, the account, the address or the model's name is wrong."""
TOO_LONG_WORDS = ("context_length_exceeded", "maximum context length", "context length is only", "max_model_len")
MOST_QUOTED = 300


class RetryableError(Exception):
    """A try that failed and may be repeated; `after_s` is the pause that the server asked for."""

    def __init__(self, message: str, after_s: float | None = None, *, replied: bool = False) -> None:
        super().__init__(message)
        self.after_s = after_s
        self.replied = replied
        """Whether a server was reached."""


class UnreadableAnswer(RetryableError):
    """A 200 without an answer in it; `code` says what is wrong, `speaks_api` whether it was an API's object at all."""

    def __init__(self, code: str, message: str, *, speaks_api: bool = True) -> None:
        super().__init__(message, replied=True)
        self.code = code
        self.speaks_api = speaks_api


class EndpointGone(ChatError):
    """No server answers, and none will until something is changed."""

    stops_run = True


class Redirected(EndpointGone):
    """The server sends elsewhere. Never followed: a key would go astray, and so would every prompt."""


class PromptTooLong(ChatError):
    """The server says that prompt and answer do not fit the model's context."""


class HttpResponse(NamedTuple):
    """An HTTP answer: status, headers that are found in lower case, and the text with secrets taken out."""

    status: int
    headers: Mapping[str, str]
    text: str


def refusal(url: str, answer: HttpResponse) -> Exception:
    """What an answer that is not 2xx means."""
    status, said = answer.status, quoted(server_message(answer.text))
    what = f"{url} answered {status} {_phrase(status)}{f': {said}' if said else ''}".rstrip(".")
    if status in PASSING or status >= 500:
        return RetryableError(what, retry_after(answer.headers), replied=True)
    if status in REFUSED_ALL:
        return EndpointGone(f"{what}. {_ADVICE.get(status, _ADVICE[404])}")
    if 300 <= status < 400:
        return Redirected(f"{what}. Redirects are not followed, a key could go astray: give the final address.")
    if any(word in answer.text for word in TOO_LONG_WORDS):
        return PromptTooLong(f"{what}. Shorten the prompt, or lower max_new_tokens.")
    return ChatError(f"{what}. The server will not have this request; it was not sent again.")


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """The seconds a `Retry-After` asks for, given as seconds or as an HTTP date (RFC 9110, 10.2.3); None without."""
    said = headers.get("retry-after", "").strip()
    if not said:
        return None
    if said.isascii() and said.isdigit():
        return float(said[:9])
    try:
        moment = parsedate_to_datetime(said).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None  # neither form: the usual waiting applies
    return max(0.0, moment - (time.time() if now is None else now))


def server_message(text: str) -> str:
    """The sentence in an error body: OpenAI's `error.message`, FastAPI's `detail`, or the body itself."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("error", "detail", "message"):
        found = data.get(key) if isinstance(data, dict) else None
        if isinstance(found, dict):
            found = found.get("message")
        if found:
            return found if isinstance(found, str) else json.dumps(found)
    return text


def quoted(text: str) -> str:
    """`text` on one line, cut after 300 characters."""
    line = " ".join(text[: 4 * MOST_QUOTED].split())
    return line if len(line) <= MOST_QUOTED else line[:MOST_QUOTED] + " …"


_ADVICE: dict[int, Any] = {
    401: "The key is missing, wrong or expired: check the variable that key_env names.",
    402: "The account cannot pay.",
    403: "The key may not use this model: check the variable that key_env names.",
    404: "Check the address (it usually ends with /v1) and the model's name.",
}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
