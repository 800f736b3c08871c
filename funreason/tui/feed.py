"""Where the dashboard's state comes from: a log read as it grows, or one replayed against a clock.

Both fold through `State.apply` alone, keep no event longer than the state does, and work in slices of a given length,
so that the screen stays responsive while a long log is opened.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Protocol

from funreason.record.events import AnyEvent
from funreason.record.folder import RunFolder, WriterStatus
from funreason.record.log import LogReader
from funreason.record.state import State

LIFE_S = 1.0
RATE_S = 10.0
Clock = Callable[[], float]


class Feed(Protocol):
    """What the dashboard reads."""

    folder: RunFolder
    state: State
    life: WriterStatus | None

    @property
    def unknown(self) -> int:
        """Lines of kinds this version does not know."""

    @property
    def opening(self) -> float | None:
        """How much of the log is read, while it is first opened; None afterwards."""

    @property
    def per_s(self) -> float | None:
        """Samples ended per second lately."""

    def poll(self, budget_s: float) -> bool:
        """Fold what is due, for about `budget_s`; whether anything changed."""


class Rate:
    """How fast a growing number grew over the last `RATE_S` seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def note(self, now: float, number: int) -> None:
        """Add the current number; a smaller one than before starts over."""
        points = self._points
        if points and number < points[-1][1]:
            points.clear()
        points.append((now, number))
        while points[-1][0] - points[0][0] > RATE_S:
            points.popleft()

    @property
    def per_s(self) -> float | None:
        """None until a second has passed."""
        if len(self._points) < 2:
            return None
        (then, before), (now, number) = self._points[0], self._points[-1]
        return (number - before) / (now - then) if now - then >= 1 else None


class LiveFeed:
    """Follows a run's log, whether it is still written or not."""

    def __init__(self, folder: RunFolder, clock: Clock) -> None:
        self.folder = folder
        self.state = State()
        self.life = folder.writer_status()
        self._clock = clock
        self._reader = LogReader(folder.events)
        self._events: Iterator[AnyEvent] | None = None
        self._rate = Rate()
        self._whole = self._reader.behind
        self._open = False
        self._life_at = clock()

    @property
    def unknown(self) -> int:
        """Lines of kinds this version does not know."""
        return self._reader.unknown

    @property
    def opening(self) -> float | None:
        """How much of the log is read, while it is first opened."""
        return None if self._open else 1 - self._reader.behind / max(1, self._whole)

    @property
    def per_s(self) -> float | None:
        """Samples ended per second lately."""
        return self._rate.per_s

    def poll(self, budget_s: float) -> bool:
        """Fold what was written since the last call, for about `budget_s`."""
        before = self.state.events
        if not self._open:
            gc.disable()  # millions of events leave no cycles, and looking for some costs a fifth of opening
        try:
            if not self._fold(perf_counter() + budget_s):
                return True
        finally:
            gc.enable()
        self._open = True
        self._rate.note(self._clock(), len(self.state.ended))
        read, now = self.state.events != before, self._clock()
        if now - self._life_at < LIFE_S:
            return read
        was, self._life_at = self.life, now
        self.life = self.folder.writer_status()
        return read or self.life != was

    def _fold(self, until: float) -> bool:
        """Fold until that time; whether everything written is folded."""
        if self._events is None:
            self._events = self._reader.events()
        for event in self._events:
            self.state.apply(event)
            if not self.state.events & 1023 and perf_counter() > until:
                return False
        self._events = None
        return True


class ReplayFeed:
    """Plays a log at `speed` times the pace it was written in. Going back folds it again from the start."""

    SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)

    def __init__(self, folder: RunFolder, clock: Clock, speed: float = 1.0) -> None:
        self.folder = folder
        self.life: WriterStatus | None = None
        self.speed = speed
        self.playing = True
        self.start, self.end = span(folder.events)
        self._clock = clock
        self._rewind()
        self._last = clock()

    def _rewind(self) -> None:
        self.state = State()
        self.at = self.start
        self._reader = LogReader(self.folder.events)
        self._events = self._reader.events()
        self._pending = next(self._events, None)
        self._rate = Rate()

    @property
    def unknown(self) -> int:
        """Lines of kinds this version does not know, among those played."""
        return self._reader.unknown

    @property
    def opening(self) -> float | None:
        """A replay has nothing to wait for."""
        return None

    @property
    def per_s(self) -> float | None:
        """Samples ended per second of the run's own time."""
        return self._rate.per_s

    @property
    def over(self) -> bool:
        """Whether everything was played."""
        return self._pending is None

    def poll(self, budget_s: float) -> bool:
        """Move the clock on and fold what has come due."""
        now = self._clock()
        passed, self._last = now - self._last, now
        if not self.playing or self.over:
            return False
        self.at = min(self.end, self.at + passed * self.speed)
        self._apply_until(self.at, budget_s)
        self._rate.note(self.at, len(self.state.ended))
        return True

    def toggle(self) -> None:
        """Play or pause; at the end, play again from the start."""
        self.playing = not self.playing
        if self.over:
            self._rewind()
            self.playing = True

    def change_speed(self, by: int) -> None:
        """The next speed up or down."""
        near = min(range(len(self.SPEEDS)), key=lambda i: abs(self.SPEEDS[i] - self.speed))
        self.speed = self.SPEEDS[min(max(near + by, 0), len(self.SPEEDS) - 1)]

    def step(self, by: int) -> None:
        """Move by this many events; the replay pauses."""
        self.playing = False
        wanted = max(0, self.state.events + by)
        if by < 0:
            self._rewind()
        while self._pending is not None and self.state.events < wanted:
            self._apply_next()
        self.at = self.state.last_at or self.start

    def seek(self, seconds: float) -> None:
        """Go to this many seconds after the start."""
        at = min(max(self.start + seconds, self.start), self.end)
        if at < self.at:
            self._rewind()
        self.at = at
        self._apply_until(at, float("inf"))

    def _apply_until(self, at: float, budget_s: float) -> None:
        until = perf_counter() + budget_s
        while self._pending is not None and self._pending.at <= at:
            self._apply_next()
            if not self.state.events & 1023 and perf_counter() > until:
                return

    def _apply_next(self) -> None:
        if self._pending is not None:
            self.state.apply(self._pending)
            self._pending = next(self._events, None)


def span(folder: Path) -> tuple[float, float]:
    """When the first and the last readable event of a log was written; (0, 0) for an empty one."""
    first, last = 0.0, 0.0
    for event in LogReader(folder).events():
        first, last = first or event.at, max(last, event.at)
    return first, last
