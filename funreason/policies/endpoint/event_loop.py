"""Runs the event loop so that a reply is used before the next one is read.

asyncio takes in all sockets that are ready, then wakes whoever waits for them, then lets each go on: where 64 lanes ask
servers, replies that come together are all read before the first lane asks again, and what was asked together is
answered together. With one socket a turn, a lane that has its reply asks again at once, and the lanes drift apart.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
Ready = tuple[selectors.SelectorKey, int]


class SingleReadySelector(selectors.DefaultSelector):
    """A selector that tells of one file that is ready, and in turn: none waits longer than all others take."""

    _last = -1

    def select(self, timeout: float | None = None) -> list[Ready]:
        """At most one file that is ready."""
        found = super().select(timeout)
        if not found:
            return []
        turn = min(found, key=self._distance)
        self._last = turn[0].fd
        return [turn]

    def _distance(self, ready: Ready) -> tuple[bool, int]:
        """How long after the last one a file has its turn."""
        fd = ready[0].fd
        return fd <= self._last, fd


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, one reply after the other."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(SingleReadySelector())) as runner:
        return runner.run(main)
