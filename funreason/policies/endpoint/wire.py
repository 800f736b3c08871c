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
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import msgspec

from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.names import NO_NAMES, Names, callable_answer, to_callable
from funreason.calls.render import CallRenderError
from funreason.calls.thinking import THINK_TAGS, Tags, join_thinking
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
# its tags, calls as text. Fields that a server leaves out (`usage`, `finish_reason`) are never an error.

BYTES_PER_TOKEN = 4
"""For servers that do not report usage: about the average of English text."""


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


class ApiMessage(msgspec.Struct):
    """An answer in chat form; servers use two names for the thinking."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None


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
        return self.finish_reason == "length"


class ApiResponse(msgspec.Struct):
    """The body of a 200."""

    choices: Annotated[list[Choice], msgspec.Meta(min_length=1)]
    usage: Usage | None = None

    @property
    def written_tokens(self) -> int:
        """Tokens of all choices together; estimated where the server does not report them."""
        return self.usage.completion_tokens if self.usage else sum(estimated(c.written()) for c in self.choices)


class Listed(msgspec.Struct):
    """A model in the server's list; `max_model_len` is vLLM's."""

    id: str
    owned_by: str = ""
    max_model_len: int | None = None


class Models(msgspec.Struct):
    """The body of /models."""

    data: list[Listed]


def message_text(
    message: ApiMessage, tags: Tags = THINK_TAGS, names: Names = NO_NAMES, form: CallFormat = PYTHONIC
) -> str:
    """An answer in chat form as one text, its calls in `form`; the originals of `names` become callable names."""
    answer = message.content or ""
    if names:
        thought, closing, said = answer.rpartition(tags[1])
        answer = thought + closing + callable_answer(said, names)
    if message.tool_calls:
        calls = calls_text([call.function for call in message.tool_calls], names, form)
        answer = f"{answer.strip()}\n{calls}" if answer.strip() else calls
    return join_thinking(message.reasoning_content or message.reasoning, answer, tags)


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
    return msgspec.json.decode(function.arguments or "{}", type=dict[str, Any])


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

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class EndpointGone(ChatError):
    """No server answers, and none will until something is changed."""

    stops_run = True


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
        return RetryableError(what, retry_after(answer.headers))
    if status in REFUSED_ALL:
        return EndpointGone(f"{what}. {_ADVICE.get(status, _ADVICE[404])}")
    if 300 <= status < 400:
        return EndpointGone(f"{what}. Redirects are not followed, a key could go astray: give the final address.")
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
