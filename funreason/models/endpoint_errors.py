"""What can go wrong at a server, sorted by what to do about it.

A `Mishap` is worth another try; a ChatError is the one request's own fault; an `EndpointGone` would meet every request
alike. What a server says is quoted, bounded, and only after the key was taken out of it: servers do echo keys.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from funreason.models.chat import ChatError

PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 that another try may cure."""
REFUSED_ALL = frozenset({401, 402, 403, 404, 405})
"""Statuses that every request would meet: the key, the account, the address or the model's name is wrong."""
TOO_LONG_WORDS = ("context_length_exceeded", "maximum context length", "context length is only", "max_model_len")
MOST_QUOTED = 300


class Mishap(Exception):
    """A try that failed and may be repeated; `after_s` is how long the server asked to be left alone."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class EndpointGone(ChatError):
    """No server can answer anything as things stand."""

    stops_run = True


class PromptTooLong(ChatError):
    """The server says that prompt and answer do not fit the model's context."""


class Answered(NamedTuple):
    """An HTTP answer: status, headers that are found in lower case, and the text with secrets taken out."""

    status: int
    headers: Mapping[str, str]
    text: str


def refusal(url: str, answer: Answered) -> Exception:
    """What an answer that is not 2xx means."""
    status, said = answer.status, quoted(server_message(answer.text))
    what = f"{url} answered {status} {_phrase(status)}{f': {said}' if said else ''}".rstrip(".")
    if status in PASSING or status >= 500:
        return Mishap(what, retry_after(answer.headers))
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
