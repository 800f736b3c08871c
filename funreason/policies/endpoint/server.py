"""One OpenAI-compatible server: which model it has, and how it has been doing.

The key is removed from everything a server sends, since servers do echo keys. A server that fails several times in a
row gets a cooldown, each time twice as long; one request then tries it before the others follow.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from funreason.config.models import Address
from funreason.policies.endpoint.wire import (
    ApiResponse,
    EndpointGone,
    HttpResponse,
    RetryableError,
    Scrubber,
    UnreadableAnswer,
    quoted,
    read_models,
    read_response,
    refusal,
)

MOST_BYTES = 32 << 20
"""The longest body that is read, as it comes and as it unpacks: an endless one must not fill the memory."""
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
"""The only encodings that are asked for and read: how far others expand depends on what is installed."""
FAILURES_BEFORE_COOLDOWN = 3
LONGEST_COOLDOWN_S = 20.0
UNLISTED = frozenset({400, 404, 405, 500, 501})
"""Statuses of servers without a list of models; a model that is named in the settings is used all the same."""


class Server:
    """One address in use. Times are the event loop's."""

    def __init__(self, address: Address, first_cooldown_s: float) -> None:
        self.address = address
        self.name = address.model
        self.context: int | None = None
        """Tokens of the model's context, where the server reports it."""
        self.is_vllm = False
        self.supports_json_schema = bool(address.supports_json_schema)
        """Whether its replies follow a JSON schema."""
        self.known = False
        self.in_flight = 0
        self.failures = 0
        self.cooldowns = 0
        self.cooldown_until = 0.0
        self._first_cooldown_s = first_cooldown_s
        key = address.key()
        self._scrub = Scrubber(key)
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"}
        self._headers |= {"Authorization": f"Bearer {key}"} if key else {}

    def free(self, now: float) -> bool:
        """Whether it may be asked now; after a cooldown, a single request goes first."""
        return now >= self.cooldown_until and self.in_flight < (1 if self.cooldowns else self.address.concurrency)

    def record_success(self) -> None:
        """It answered."""
        self.failures = self.cooldowns = 0

    def record_failure(self, error: RetryableError, now: float) -> None:
        """It did not answer, or asked for a pause."""
        self.failures += 1
        if error.after_s:
            self.cooldown_until = max(self.cooldown_until, now + error.after_s)
        elif self.failures >= FAILURES_BEFORE_COOLDOWN and now >= self.cooldown_until:
            self.cooldown_until = now + min(LONGEST_COOLDOWN_S, self._first_cooldown_s * 2**self.cooldowns)
            self.cooldowns += 1

    async def discover(self, session: aiohttp.ClientSession) -> None:
        """Find out its model: the only one of its list, unless the address names one."""
        url = f"{self.address.base}/models"
        answer = await self._exchange(session, "GET", url, None)
        if answer.status in UNLISTED and self.name:
            self.known = True
            return
        if not 200 <= answer.status < 300:
            raise refusal(url, answer)
        try:
            listed = read_models(url, answer.text)
        except UnreadableAnswer:
            if not self.name:
                raise
            listed = []  # the settings name the model
        if self.name is None:
            names = [each.id for each in listed]
            if len(names) != 1:
                shown = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
                raise EndpointGone(
                    f"{url} lists {len(names)} models{f' ({shown})' if names else ''}; say which one is meant."
                )
            self.name = names[0]
        own = next((each for each in listed if each.id == self.name), None)
        if own is not None:
            self.context, self.is_vllm = own.max_model_len, own.owned_by == "vllm"
            if self.address.supports_json_schema is None:
                self.supports_json_schema = self.is_vllm
        self.known = True

    async def post(self, session: aiohttp.ClientSession, path: str, body: Mapping[str, Any]) -> ApiResponse:
        """The answer to `body`. Raises RetryableError, ChatError or EndpointGone."""
        url = f"{self.address.base}{path}"
        own = _for_vllm(body) if self.is_vllm else {}
        sent = msgspec.json.encode({"model": self.name, **own, **body, **self.address.extra})
        answer = await self._exchange(session, "POST", url, sent)
        if not 200 <= answer.status < 300:
            raise refusal(url, answer)
        return read_response(url, answer.text)

    async def _exchange(
        self, session: aiohttp.ClientSession, method: str, url: str, sent: bytes | None
    ) -> HttpResponse:
        begun = False
        try:
            async with asyncio.timeout(self.address.timeout_s):
                async with session.request(
                    method, url, data=sent, headers=self._headers, allow_redirects=False
                ) as response:
                    begun = True
                    text = (await _body(url, response)).decode(errors="replace")
                    scrub = self._scrub.answer if response.ok else self._scrub.error
                    return HttpResponse(response.status, response.headers, scrub(text))
        except TimeoutError:
            what = "began to answer and was not done" if begun else "did not answer"
            raise RetryableError(f"{url} {what} within {self.address.timeout_s:g} s", replied=begun) from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise EndpointGone(f"{url} is no address: {self._scrub.error(str(error))}") from None
        except (aiohttp.ClientError, OSError) as error:
            said = quoted(self._scrub.error(str(error) or type(error).__name__))
            # Whatever came that is no HTTP, or stops halfway, came from a server that is there.
            spoke = begun or isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError)
            raise RetryableError(f"{url}: {said}", replied=spoke) from None


async def _body(url: str, response: aiohttp.ClientResponse) -> bytes:
    """The whole body, unpacked. UnreadableAnswer when it is too long or packed in a way that is not read.

    The session unpacks nothing: a kilobyte can become a gigabyte before its length is known.
    """
    packed = response.headers.get("Content-Encoding", "").strip().lower()
    if packed not in ("", "identity", *_PACKED):
        message = f"{url} answered in the encoding {packed[:40]!r}; only gzip and deflate are read, and were asked for"
        raise UnreadableAnswer("answer.encoding", message)
    unpack = zlib.decompressobj(wbits=47) if packed in _PACKED else None  # 47: gzip or zlib, as their header says
    parts, came, size = list[bytes](), 0, 0
    try:
        while part := await response.content.readany():
            came += len(part)
            if unpack is not None:
                part = unpack.decompress(part, MOST_BYTES + 1 - size)
            size += len(part)
            if max(came, size) > MOST_BYTES:
                raise UnreadableAnswer("answer.too_long", f"{url} answered with more than {MOST_BYTES >> 20} MB")
            parts.append(part)
    except zlib.error as error:
        raise UnreadableAnswer("answer.encoding", f"{url} answered what is no {packed}: {error}") from None
    return b"".join(parts)


def _for_vllm(body: Mapping[str, Any]) -> dict[str, Any]:
    """A special token inside an answer is a fault that judges must see; a finished prompt has its own first token;
    and tools are for the model to read: whether it calls one is read from its text.
    """
    more: dict[str, Any] = {"skip_special_tokens": False}
    if "prompt" in body:
        more["add_special_tokens"] = False
    if body.get("tools"):
        more["tool_choice"] = "none"
    return more
