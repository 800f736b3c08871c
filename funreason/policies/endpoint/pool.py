"""Several servers as one: each request goes to the least busy server, and is retried when it fails.

Retries wait exponentially with jitter; a `Retry-After` applies to all requests to that server. A request that fails
while others are answered fails alone (ChatError). When nothing was answered since it was sent, the servers are gone
(EndpointGone): to continue would only blame the samples.

An open pool belongs to its event loop. It may be opened again and keeps what it learned about its servers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from typing import Any, NamedTuple, TypeVar

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.stop import stop_base
from tenacity.wait import wait_exponential, wait_random_exponential

from funreason.config.models import Address
from funreason.policies.endpoint.budget import SharedBudget, SpendMeter
from funreason.policies.endpoint.server import Server
from funreason.policies.endpoint.wire import (
    ApiResponse,
    EndpointGone,
    Redirected,
    RetryableError,
    UnreadableAnswer,
    estimated,
)
from funreason.policies.protocol import ChatError

LONGEST_WAIT_S = 300.0
"""When a server asks for a longer pause than this, the run stops; it can be resumed later."""
MOST_UNREADABLE = 3
"""How often one request is sent when an API's object comes back that has no answer in it."""
MOST_UNREAD_IN_A_ROW = 20
"""When so many requests in a row had no answer that can be read, it is not the requests."""
T = TypeVar("T")


class RetryPolicy(NamedTuple):
    """How often and how long to retry. The default waits 30 to 60 s in all, longer than a server's restart."""

    tries: int = 8
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    first_cooldown_s: float = 1.0


class EndpointPool:
    """A pool of the servers at `addresses`; use it as `async with pool`.

    Raises ModelError for an address or a key that cannot be used.
    """

    def __init__(
        self, addresses: Sequence[Address], budget: SharedBudget | None = None, retry_policy: RetryPolicy | None = None
    ) -> None:
        self.retry_policy = retry_policy or RetryPolicy()
        self.servers = [Server(address, self.retry_policy.first_cooldown_s) for address in addresses]
        self.meter = SpendMeter(budget or SharedBudget())
        self.answered = 0
        self.unread: Counter[str] = Counter()
        """Parts of answers, and whole answers (`answer.…`), that could not be read, by code."""
        self._asking = self._unread_in_a_row = 0
        self.name = ""
        """Which model answers; names joined by "+" where the servers have different models."""
        self.supports_json_schema = False
        """Whether every server supports JSON schemas; known once connected."""
        self._update_common()

    @property
    def max_concurrency(self) -> int:
        """How many requests may be in flight."""
        return sum(server.address.concurrency for server in self.servers)

    @property
    def context(self) -> int | None:
        """The smallest context of the models, in tokens, where the servers report it; known once connected."""
        return min((server.context for server in self.servers if server.context), default=None)

    async def __aenter__(self) -> EndpointPool:
        self._slots, self._change = asyncio.Semaphore(self.max_concurrency), asyncio.Event()
        for server in self.servers:
            server.in_flight = 0
        # Slots bound the connections, so aiohttp's own limit would only be a second queue.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=any(server.address.proxied for server in self.servers),
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def connect(self, tries: int = 4) -> None:
        """Find out which model each server has. Raises the first error when no server answers."""
        found = await asyncio.gather(*(self._connect(server, tries) for server in self.servers), return_exceptions=True)
        faults = [each for each in found if each is not None]
        for fault in faults:
            if not isinstance(fault, EndpointGone) or len(faults) == len(found):
                raise fault

    async def post(self, path: str, body: Mapping[str, Any]) -> ApiResponse:
        """The answer of one of the servers to `body`.

        Raises ChatError when the request failed alone, EndpointGone when no server answers, BudgetSpent when the budget
        is spent.
        """
        began = self.answered
        self._asking += 1
        try:
            return await self._retried(partial(self._once, path, body), self.retry_policy.tries)
        except Redirected as last:
            self._note_unread("answer.redirect")
            if self.answered and self._unread_in_a_row < MOST_UNREAD_IN_A_ROW:  # one request's trouble
                raise ChatError(str(last)) from None
            raise
        except UnreadableAnswer as last:
            self._note_unread(last.code)
            if (self.answered or last.speaks_api) and self._unread_in_a_row < MOST_UNREAD_IN_A_ROW:
                meanwhile = ", while other requests were answered" if self.answered > began else ""
                raise ChatError(f"{str(last).rstrip('.')}. It was sent again without success{meanwhile}.") from None
            raise self._given_up(str(last), alone=self.answered > began) from None
        except RetryableError as last:
            self.meter.note(failed=1)
            # The last request of all has no others that could be answered meanwhile.
            alone = self.answered > began or (last.replied and self.answered > 0 and self._asking == 1)
            raise self._given_up(str(last), alone=alone) from None
        finally:
            self._asking -= 1

    def _note_unread(self, code: str) -> None:
        self.meter.note(failed=1)
        self.unread[code] += 1
        self._unread_in_a_row += 1

    async def _once(self, path: str, body: Mapping[str, Any]) -> ApiResponse:
        server = await self._take()
        try:
            if not server.known:
                await self._discover(server)
            self.meter.take()
            answer = await server.post(self._session, path, body)
            server.record_success()
        except RetryableError as error:
            if not (isinstance(error, UnreadableAnswer) and error.speaks_api):  # which is one request's trouble
                server.record_failure(error, _now())
            raise
        finally:
            server.in_flight -= 1
            self._slots.release()
            self._change.set()
        self.answered += 1
        self._unread_in_a_row = 0
        self.unread.update(code for choice in answer.choices for code in choice.unread)
        if answer.usage:
            self.meter.pay(answer.usage.prompt_tokens + answer.usage.completion_tokens)
        else:
            asked = estimated(str(body.get("prompt") or body.get("messages")))
            self.meter.pay(asked + answer.written_tokens, estimated=True)
        return answer

    async def _connect(self, server: Server, tries: int) -> None:
        if server.known:
            return
        try:
            await self._retried(partial(self._discover, server), tries)
        except RetryableError as last:
            raise self._given_up(str(last), alone=False) from None

    async def _discover(self, server: Server) -> None:
        await server.discover(self._session)
        self._update_common()

    def _update_common(self) -> None:
        names = {server.name for server in self.servers if server.name}
        self.name = "+".join(sorted(names))
        self.supports_json_schema = all(server.supports_json_schema for server in self.servers)

    async def _retried(self, ask: Callable[[], Awaitable[T]], tries: int) -> T:
        try:
            return await ask()  # nearly always succeeds, without the cost of the machinery below
        except RetryableError as error:
            turns: Iterator[Callable[[], Awaitable[T]]] = chain([partial(_failing, error)], repeat(ask))

        async def again() -> T:
            return await next(turns)()

        half, longest = self.retry_policy.first_wait_s / 2, self.retry_policy.longest_wait_s / 2
        retrying = AsyncRetrying(
            sleep=asyncio.sleep,
            stop=_Enough(tries),
            wait=wait_exponential(half, longest) + wait_random_exponential(half, longest),  # half of it is jitter
            retry=retry_if_exception_type(RetryableError),
            before_sleep=lambda _: self.meter.note(retries=1),
            reraise=True,
        )
        return await retrying(again)

    async def _take(self) -> Server:
        await self._slots.acquire()
        try:
            while not (free := [server for server in self.servers if server.free(_now())]):
                await self._wait_for_change()
        except BaseException:
            self._slots.release()
            raise
        # The least busy server; one that failed last only when no other is free.
        server = min(free, key=lambda s: (s.failures > 0, s.in_flight / s.address.concurrency))
        server.in_flight += 1
        return server

    async def _wait_for_change(self) -> None:
        """Wait until a request returns or a server's cooldown ends."""
        now = _now()
        if all(server.cooldowns > self.retry_policy.tries for server in self.servers):
            raise self._given_up("each has failed again after every cooldown", alone=False)
        cooling = [server.cooldown_until - now for server in self.servers if server.cooldown_until > now]
        if len(cooling) == len(self.servers) and min(cooling) > LONGEST_WAIT_S:
            raise EndpointGone(
                f"{self._addresses}: asked to be left alone for {min(cooling):.0f} s, and more than "
                f"{LONGEST_WAIT_S:.0f} s is not waited for. Resume the run later."
            )
        self._change.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(cooling, default=None)):
                await self._change.wait()

    def _given_up(self, last: str, *, alone: bool) -> ChatError:
        if alone:
            return ChatError(
                f"{last.rstrip('.')}. Tried up to {self.retry_policy.tries} times, or for {LONGEST_WAIT_S:.0f} s, "
                "while other requests were answered."
            )
        if self.answered:
            return EndpointGone(
                f"{last.rstrip('.')}. {self._addresses} answered {self.answered} requests before, and none since: "
                "continue when the server answers again."
            )
        return EndpointGone(
            f"{last.rstrip('.')}. Nothing was answered by {self._addresses}: is the server running, and is that its "
            "address?"
        )

    @property
    def _addresses(self) -> str:
        return ", ".join(server.address.base for server in self.servers)


class _Enough(stop_base):
    """Ends the tries of one request. A try that the server asked to repeat later does not count."""

    def __init__(self, tries: int) -> None:
        self.left = tries
        self.unread = MOST_UNREADABLE

    def __call__(self, retry_state: RetryCallState) -> bool:
        fault = retry_state.outcome.exception() if retry_state.outcome else None
        self.left -= not (isinstance(fault, RetryableError) and fault.after_s)
        self.unread -= isinstance(fault, UnreadableAnswer) and fault.speaks_api
        return self.left <= 0 or self.unread <= 0 or (retry_state.seconds_since_start or 0) > LONGEST_WAIT_S


async def _failing(fault: RetryableError) -> Any:
    raise fault


def _now() -> float:
    return asyncio.get_running_loop().time()
