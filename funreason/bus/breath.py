"""Lets the event loop breathe while agents that never wait keep the workers busy.

All workers wait for one breath: were each to set the next one as it resumes, 64 of them would hold the loop for
64 times as long.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

BREATH_S = 0.02
"""How long agents that never wait may keep the loop from its timers and signal handlers."""


class Breath:
    """When the next breath is due (on the clock of `perf_counter`), and the breath itself."""

    __slots__ = ("_air", "due")

    def __init__(self) -> None:
        self.due = perf_counter() + BREATH_S
        self._air: asyncio.Future[None] | None = None

    async def take(self) -> None:
        """Come back on the loop's next turn."""
        if self._air is None:
            loop = asyncio.get_running_loop()
            self._air = loop.create_future()
            loop.call_soon(self._let_in, self._air)
        await self._air

    def _let_in(self, air: asyncio.Future[None]) -> None:
        self._air = None
        self.due = perf_counter() + BREATH_S
        if not air.done():
            air.set_result(None)
