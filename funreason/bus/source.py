"""Where messages come from: any iterable or async iterable, pulled only when the bus asks.

A pull from an async source waits for the first message and takes more only if they are there already, because
what comes next may depend on a message that is still in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

_END: Any = object()


class SourceReader:
    """A plain iterable as a source. `over` once it gave its last message, raised, or was closed."""

    def __init__(self, source: Iterable[Any]) -> None:
        self._source: Iterator[Any] = iter(source)
        self.over = self.busy = False
        self.fault: Exception | None = None

    async def pull(self, most: int) -> list[Any]:
        """Up to `most` messages; fewer only when the source ends or raises (then `fault` says why)."""
        got: list[Any] = []
        try:
            while len(got) < most and not self.over:
                self._receive(got)
        except Exception as fault:
            self.fault, self.over = fault, True
        return got

    def close(self) -> None:
        """Pull no more."""
        self.over = True

    async def leftover(self) -> list[Any]:
        """Nothing: a plain source holds what was not pulled."""
        return []

    def _receive(self, got: list[Any]) -> None:
        message = next(self._source, _END)
        if message is _END:
            self.over = True
        else:
            got.append(message)


class AsyncSourceReader:
    """An async iterable as a source; one pull at a time, `busy` while it waits."""

    def __init__(self, source: AsyncIterable[Any]) -> None:
        self._source: AsyncIterator[Any] = aiter(source)
        self._next_message: asyncio.Future[Any] | None = None
        self._closed = False
        self.over = self.busy = False
        self.fault: Exception | None = None

    async def pull(self, most: int) -> list[Any]:
        """At least one message unless the source is over, and up to `most` if they are there now."""
        self.busy = True
        got: list[Any] = []
        try:
            while len(got) < most and not self.over:
                if got:
                    pending = self._next()
                    await asyncio.sleep(0)
                    if not pending.done():
                        break
                await self._receive(got)
        finally:
            self.busy = False
        return got

    def close(self) -> None:
        """Pull no more; a pull that waits returns what it has. A message that has come already is still handed out."""
        self._closed = True
        self.over = self._next_message is None or not self._next_message.done()
        if self._next_message is not None:
            self._next_message.cancel()

    async def leftover(self) -> list[Any]:
        """What came from the source and was not pulled when it was closed."""
        return await self.pull(1) if self._next_message is not None else []

    def _next(self) -> asyncio.Future[Any]:
        if self._next_message is None:
            self._next_message = asyncio.ensure_future(self._step())
        return self._next_message

    async def _step(self) -> Any:
        # In a task of its own, so that a source whose `__anext__` raises before it awaits is a fault of the pull too.
        return await anext(self._source, _END)

    async def _receive(self, got: list[Any]) -> None:
        pending = self._next()
        try:
            message = await pending
        except asyncio.CancelledError:
            if not (self._closed and pending.cancelled()):
                pending.cancel()
                raise
            message = _END
        except Exception as fault:
            self.fault, message = fault, _END
        self._next_message = None
        self.over = self._closed or message is _END
        if message is not _END:
            got.append(message)


def open_source(source: Iterable[Any] | AsyncIterable[Any]) -> SourceReader | AsyncSourceReader:
    """The intake that suits `source`.

    Raises:
        TypeError: it can be iterated neither way.
    """
    if isinstance(source, AsyncIterable):
        return AsyncSourceReader(source)
    if isinstance(source, Iterable):
        return SourceReader(source)
    raise TypeError(f"a source must be an iterable or an async iterable of messages; found {type(source).__name__}.")
