"""An event loop that handles one ready socket per iteration.

asyncio reads all ready sockets before it resumes the tasks that wait for them. With 64 requests in flight, replies that
arrive together are then all read before the first task sends its next request, so requests keep arriving in bursts.
With one socket per iteration, a task that has its reply sends the next request at once, and the bursts dissolve.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
Ready = tuple[selectors.SelectorKey, int]


class SingleReadySelector(selectors.DefaultSelector):
    """A selector that reports one ready socket per poll, round-robin."""

    _last = -1

    def select(self, timeout: float | None = None) -> list[Ready]:
        """At most one ready file."""
        found = super().select(timeout)
        if not found:
            return []
        turn = min(found, key=lambda ready: (ready[0].fd <= self._last, ready[0].fd))  # those after the last one first
        self._last = turn[0].fd
        return [turn]


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on this event loop."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(SingleReadySelector())) as runner:
        return runner.run(main)
