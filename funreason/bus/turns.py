"""Runs the event loop in short turns, so that a reply is used before the next one is read.

asyncio takes in all sockets that are ready, then wakes whoever waits for them, then lets each go on: where 64 lanes ask
servers, replies that come together are all read before the first lane asks again, and what was sent together comes back
together. With few sockets a turn, a lane that has its reply asks again at once, and the lanes drift apart.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

A_TURN = 1
"""Ready sockets that one turn of the loop takes in."""
T = TypeVar("T")


class ShortTurns(selectors.DefaultSelector):
    """A selector that tells of `A_TURN` ready files at a time; of the others when it is asked again, in their order."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """The files that were ready first."""
        found: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        return found[:A_TURN]


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in short turns."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(ShortTurns())) as runner:
        return runner.run(main)
