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


class OneByOne(selectors.DefaultSelector):
    """A selector that tells of the file that was ready first; of the others when it is asked again, in their order."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """At most one file that is ready."""
        found: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        return found[:1]


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, one reply after the other."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(OneByOne())) as runner:
        return runner.run(main)
