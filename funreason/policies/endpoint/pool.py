"""Several servers as one: each request goes to the one with the least to do, and again when that fails.

Tries are spread by exponential waiting with jitter; a `Retry-After` keeps everybody from that server, not only the
request that was told. A request that fails while others are answered failed by itself (ChatError); when nothing was
answered since it began, the servers are gone (EndpointGone), and asking on would only blame the samples.

A pool belongs to the event loop it was opened in, what it knows of its servers does not: it may be opened again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from typing import Any, NamedTuple, TypeVar

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.stop import stop_base
from tenacity.wait import wait_exponential, wait_random_exponential

from funreason.config.address import Address
from funreason.policies.endpoint.budget import Budget, SpendMeter
from funreason.policies.endpoint.server import Server
from funreason.policies.endpoint.wire import Answer, EndpointGone, RetryableError, estimated
from funreason.policies.protocol import ChatError

LONGEST_WAIT_S = 300.0
"""A server that asks to be left alone for longer is taken at its word: the run stops and can be taken up later."""
T = TypeVar("T")


class RetryPolicy(NamedTuple):
    """How long to try: the usual eight tries wait 30 to 60 seconds in all, which outlasts a server's restart."""

    tries: int = 8
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    first_rest_s: float = 1.0


class EndpointPool:
    """Asks the servers at `addresses`; use it as `async with pool`.

    ModelError for an address or a key that cannot be used; what asking raises, `post` says.
    """

    def __init__(
        self, addresses: Sequence[Address], budget: Budget | None = None, patience: RetryPolicy | None = None
    ) -> None:
        self.patience = patience or RetryPolicy()
        self.servers = [Server(address, self.patience.first_rest_s) for address in addresses]
        self.purse = SpendMeter(budget or Budget())
        self.answered = 0
        self.name = ""
        """Which model answers; several, joined, where the servers have different ones."""
        self.constrains = False
        """Whether every server obeys a JSON schema; known once they were greeted."""
        self._take_stock()

    @property
    def lanes(self) -> int:
        """How many requests may be on their way at once."""
        return sum(server.address.concurrency for server in self.servers)

    @property
    def context(self) -> int | None:
        """The smallest context of the models, in tokens, where the servers say; known once they were greeted."""
        return min((server.context for server in self.servers if server.context), default=None)

    async def __aenter__(self) -> EndpointPool:
        self._slots, self._change = asyncio.Semaphore(self.lanes), asyncio.Event()
        for server in self.servers:
            server.in_flight = 0
        # Slots bound the connections, so aiohttp's own limit would only be a second queue.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=any(server.address.proxied for server in self.servers),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def connect(self, tries: int = 4) -> None:
        """Learn who answers at each server. The first error of one that does not, unless others do."""
        found = await asyncio.gather(*(self._greeted(server, tries) for server in self.servers), return_exceptions=True)
        faults = [each for each in found if each is not None]
        for fault in faults:
            if not isinstance(fault, EndpointGone) or len(faults) == len(found):
                raise fault

    async def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """The answer of one of the servers to `body`.

        ChatError when the request failed by itself, EndpointGone when nothing is answered any more, BudgetSpent when
        nothing may be asked.
        """
        began = self.answered
        try:
            return await self._retried(partial(self._once, path, body), self.patience.tries)
        except RetryableError as last:
            self.purse.note(failed=1)
            raise self._given_up(str(last), alone=self.answered > began) from None

    async def _once(self, path: str, body: Mapping[str, Any]) -> Answer:
        server = await self._take()
        try:
            if not server.known:
                await self._learn(server)
            self.purse.take()
            answer: Answer = await server.post(self._session, path, body, Answer)
            server.works()
        except RetryableError as mishap:
            server.fails(mishap, _now())
            raise
        finally:
            self._give_back(server)
        self._pay(answer, body)
        return answer

    def _pay(self, answer: Answer, body: Mapping[str, Any]) -> None:
        self.answered += 1
        if answer.usage:
            self.purse.pay(answer.usage.prompt_tokens + answer.usage.completion_tokens)
        else:
            asked = estimated(str(body.get("prompt") or body.get("messages")))
            self.purse.pay(asked + answer.written_tokens, estimated=True)

    async def _greeted(self, server: Server, tries: int) -> None:
        if server.known:
            return
        try:
            await self._retried(partial(self._learn, server), tries)
        except RetryableError as last:
            raise self._given_up(str(last), alone=False) from None

    async def _learn(self, server: Server) -> None:
        await server.learn(self._session)
        self._take_stock()

    def _take_stock(self) -> None:
        names = {server.name for server in self.servers if server.name}
        self.name = "+".join(sorted(names))
        self.constrains = all(server.constrains for server in self.servers)

    async def _retried(self, ask: Callable[[], Awaitable[T]], tries: int) -> T:
        try:
            return await ask()  # nearly always the end of it, without the price of the machinery below
        except RetryableError as mishap:
            turns: Iterator[Callable[[], Awaitable[T]]] = chain([partial(_failing, mishap)], repeat(ask))

        async def again() -> T:
            return await next(turns)()

        half, longest = self.patience.first_wait_s / 2, self.patience.longest_wait_s / 2
        retrying = AsyncRetrying(
            sleep=asyncio.sleep,
            stop=_Enough(tries),
            wait=wait_exponential(half, longest) + wait_random_exponential(half, longest),  # half of it is jitter
            retry=retry_if_exception_type(RetryableError),
            before_sleep=self._note_retry,
            reraise=True,
        )
        return await retrying(again)

    def _note_retry(self, _: RetryCallState) -> None:
        self.purse.note(retries=1)

    async def _take(self) -> Server:
        await self._slots.acquire()
        try:
            while (server := self._choose()) is None:
                await self._wait_for_change()
        except BaseException:
            self._slots.release()
            raise
        server.in_flight += 1
        return server

    def _give_back(self, server: Server) -> None:
        server.in_flight -= 1
        self._slots.release()
        self._change.set()

    def _choose(self) -> Server | None:
        """The server with the least to do; those that failed last only when no other is free."""
        now = _now()
        free = [server for server in self.servers if server.free(now)]
        return min(free, key=lambda s: (s.failures > 0, s.in_flight / s.address.concurrency), default=None)

    async def _wait_for_change(self) -> None:
        """Until a request comes back or a server has rested."""
        now = _now()
        if all(server.rests > self.patience.tries for server in self.servers):
            raise self._given_up("each has failed again after every rest", alone=False)
        resting = [server.rests_until - now for server in self.servers if server.rests_until > now]
        if len(resting) == len(self.servers) and min(resting) > LONGEST_WAIT_S:
            raise EndpointGone(
                f"{self._addresses}: asked to be left alone for {min(resting):.0f} s, and more than "
                f"{LONGEST_WAIT_S:.0f} s is not waited for. Take the run up again later."
            )
        self._change.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(resting, default=None)):
                await self._change.wait()

    def _given_up(self, last: str, *, alone: bool) -> ChatError:
        if alone:
            return ChatError(
                f"{last.rstrip('.')}. Tried {self.patience.tries} times, or for {LONGEST_WAIT_S:.0f} s, while other "
                "requests were answered."
            )
        return EndpointGone(
            f"{last.rstrip('.')}. Nothing was answered by {self._addresses}: is the server running, and is that its "
            "address?"
        )

    @property
    def _addresses(self) -> str:
        return ", ".join(server.address.base for server in self.servers)


class _Enough(stop_base):
    """Ends the tries of one request. Being asked to wait is no failure: there are as many of those as time allows."""

    def __init__(self, tries: int) -> None:
        self.left = tries

    def __call__(self, retry_state: RetryCallState) -> bool:
        fault = retry_state.outcome.exception() if retry_state.outcome else None
        self.left -= not (isinstance(fault, RetryableError) and fault.after_s)
        return self.left <= 0 or (retry_state.seconds_since_start or 0) > LONGEST_WAIT_S


async def _failing(fault: RetryableError) -> Any:
    raise fault


def _now() -> float:
    return asyncio.get_running_loop().time()
