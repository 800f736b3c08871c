"""What asking cost: requests, tokens, cache hits and unreadable replies, by round and stage.

Told as events that hold what came on top since the last one, so that a run that is taken up again adds to what it had.
"""

from __future__ import annotations

from collections.abc import Callable

from funreason.record.events import Asked

EVERY = 50
"""Requests between two events: what a kill may leave uncounted."""


class Tally:
    """Counts, and writes an event now and then and when told to, once it was given a `write`."""

    def __init__(self, write: Callable[[Asked], object] | None = None) -> None:
        self.write = write
        self._counts: dict[tuple[int, str], list[int]] = {}

    def asked(self, round: int, stage: str, tokens: int, *, unreadable: bool = False) -> None:
        """One request was made, and cost `tokens`."""
        self._add(round, stage, 1, tokens, 0, int(unreadable))

    def hit(self, round: int, stage: str) -> None:
        """One ruling was found in the cache instead."""
        self._add(round, stage, 0, 0, 1, 0)

    def flush(self) -> None:
        """Write what was counted and not yet written."""
        for key in list(self._counts):
            self._tell(key)

    def _add(self, round: int, stage: str, *more: int) -> None:
        counts = self._counts.setdefault((round, stage), [0, 0, 0, 0])
        counts[:] = [have + new for have, new in zip(counts, more, strict=True)]
        if counts[0] + counts[2] >= EVERY:
            self._tell((round, stage))

    def _tell(self, key: tuple[int, str]) -> None:
        if self.write is None:
            return
        requests, tokens, hits, unreadable = self._counts.pop(key)
        self.write(Asked(round=key[0], node=key[1], requests=requests, tokens=tokens, hits=hits, unreadable=unreadable))
