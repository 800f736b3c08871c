"""What is ready to run: a queue per lane, and two bit masks that say which lanes have work and a free place.

The deepest lane is served first, so samples finish early. A lane with batches counts as full once a whole
batch waits; a part of one yields to any full lane, and runs as soon as a worker has nothing better to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from funreason.bus.table import Lane


class Ready:
    """Messages that wait, over all lanes."""

    __slots__ = ("_by_depth", "full", "partial", "queued")

    def __init__(self, lanes: Iterable[Lane]) -> None:
        self._by_depth = {lane.bit.bit_length(): lane for lane in lanes}
        self.full = self.partial = self.queued = 0

    def put(self, lane: Lane, message: Any) -> None:
        """Let `message` wait at `lane`."""
        lane.waiting.append(message)
        self.queued += 1
        self._mark(lane)

    def take(self) -> tuple[Lane, list[Any]] | None:
        """The next messages to hand to an agent, up to its `max_batch`; their lane then has one call more under way."""
        mask = self.full or self.partial
        if not mask:
            return None
        lane = self._by_depth[mask.bit_length()]
        waiting = lane.waiting
        load = [waiting.popleft() for _ in range(min(len(waiting), lane.max_batch))]
        self.queued -= len(load)
        lane.running += 1
        self._mark(lane)
        return lane, load

    def done(self, lane: Lane) -> None:
        """One call of `lane` has returned."""
        lane.running -= 1
        if lane.waiting:
            self._mark(lane)

    def _mark(self, lane: Lane) -> None:
        bit, size = lane.bit, len(lane.waiting) if lane.running < lane.limit else 0
        self.full = self.full | bit if size >= lane.max_batch else self.full & ~bit
        self.partial = self.partial | bit if 0 < size < lane.max_batch else self.partial & ~bit
