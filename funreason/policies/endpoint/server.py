"""One OpenAI-compatible server in use: who answers there, and how it has been doing.

Whatever a server sends has the key taken out before anybody reads it: servers do echo keys. A server that fails several
times in a row rests, each time twice as long, and is then tried by one request before the others follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from funreason.config.address import Address
from funreason.policies.endpoint.wire import Answered, EndpointGone, Models, RetryableError, Scrubber, quoted, refusal

MOST_BYTES = 64 << 20
"""The longest body that is read: a server that goes on and on must not fill the memory."""
FAILURES_BEFORE_REST = 3
LONGEST_REST_S = 20.0
UNLISTED = frozenset({400, 404, 405, 500, 501})
"""How servers say that they keep no list of models; one that is named is asked for all the same."""


class Server:
    """One address in use. Counts are those of the moment; times are the event loop's."""

    def __init__(self, address: Address, first_rest_s: float) -> None:
        self.address = address
        self.name = address.model
        self.context: int | None = None
        """Tokens of the model's context, where the server says."""
        self.is_vllm = False
        self.constrains = bool(address.constrains)
        """Whether it obeys a JSON schema."""
        self.known = False
        self.in_flight = 0
        self.failures = 0
        self.rests = 0
        self.rests_until = 0.0
        self._first_rest_s = first_rest_s
        key = address.key()
        self._scrub = Scrubber(key)
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}

    def free(self, now: float) -> bool:
        """Whether it may be asked now; one that has rested is asked by a single request first."""
        return now >= self.rests_until and self.in_flight < (1 if self.rests else self.address.concurrency)

    def works(self) -> None:
        """It answered."""
        self.failures = self.rests = 0

    def fails(self, mishap: RetryableError, now: float) -> None:
        """It did not answer, or asked to be left alone for a while."""
        self.failures += 1
        if mishap.after_s:
            self.rests_until = max(self.rests_until, now + mishap.after_s)
        elif self.failures >= FAILURES_BEFORE_REST and now >= self.rests_until:
            self.rests_until = now + min(LONGEST_REST_S, self._first_rest_s * 2**self.rests)
            self.rests += 1

    async def learn(self, session: aiohttp.ClientSession) -> None:
        """Who answers there: the only model of its list, unless the address names one."""
        url = f"{self.address.base}/models"
        answer = await self._exchange(session, "GET", url, None)
        if answer.status in UNLISTED and self.name:
            self.known = True
            return
        listed = _decoded(Models, url, answer).data
        if self.name is None:
            self.name = _only(url, [each.id for each in listed])
        own = next((each for each in listed if each.id == self.name), None)
        if own is not None:
            self.context, self.is_vllm = own.max_model_len, own.owned_by == "vllm"
            if self.address.constrains is None:
                self.constrains = self.is_vllm
        self.known = True

    async def post(self, session: aiohttp.ClientSession, path: str, body: Mapping[str, Any], kind: type[Any]) -> Any:
        """The answer to `body`, read as `kind`. Mishap, ChatError or EndpointGone when there is none."""
        url = f"{self.address.base}{path}"
        own = _for_vllm(body) if self.is_vllm else {}
        sent = msgspec.json.encode({"model": self.name, **own, **body, **self.address.extra})
        return _decoded(kind, url, await self._exchange(session, "POST", url, sent))

    async def _exchange(self, session: aiohttp.ClientSession, method: str, url: str, sent: bytes | None) -> Answered:
        try:
            async with asyncio.timeout(self.address.timeout_s):
                async with session.request(
                    method, url, data=sent, headers=self._headers, allow_redirects=False
                ) as response:
                    text = await _read(url, response)
                    scrub = self._scrub.answer if response.ok else self._scrub.error
                    return Answered(response.status, response.headers, scrub(text))
        except TimeoutError:
            raise RetryableError(f"{url} did not answer within {self.address.timeout_s:g} s") from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise EndpointGone(f"{url} is no address: {self._scrub.error(str(error))}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise RetryableError(f"{url}: {quoted(self._scrub.error(str(error) or type(error).__name__))}") from None


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


async def _read(url: str, response: aiohttp.ClientResponse) -> str:
    parts: list[bytes] = []
    size = 0
    while part := await response.content.readany():
        size += len(part)
        if size > MOST_BYTES:
            raise RetryableError(f"{url} answered with more than {MOST_BYTES >> 20} MB")
        parts.append(part)
    return b"".join(parts).decode(errors="replace")


def _decoded(kind: type[Any], url: str, answer: Answered) -> Any:
    if not 200 <= answer.status < 300:
        raise refusal(url, answer)
    try:
        return msgspec.json.decode(answer.text, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise RetryableError(f"{url} answered what cannot be read ({error}): {quoted(answer.text)!r}") from None


def _only(url: str, names: list[str]) -> str:
    if len(names) != 1:
        shown = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
        raise EndpointGone(f"{url} lists {len(names)} models{f' ({shown})' if names else ''}; say which one is meant.")
    return names[0]
