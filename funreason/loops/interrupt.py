"""How a run is stopped: the first request finishes what is in flight and saves, the second stops now."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType


class Interrupted(Exception):
    """The run was asked to stop; what is done is saved and `--resume` goes on from there."""


class StopRequest:
    """Set by Ctrl-C or SIGTERM. `on_stop` callbacks run once, in the main thread, at the first request."""

    def __init__(self) -> None:
        self.asked = False
        self._callbacks: list[Callable[[], None]] = []

    def listen(self) -> None:
        """Take SIGINT and SIGTERM from now on; a second one raises KeyboardInterrupt where the program stands."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Run `callback` at the first request, or at once when it has come already."""
        if self.asked:
            callback()
        else:
            self._callbacks.append(callback)

    def ask(self) -> None:
        """Ask to stop, as a first Ctrl-C does."""
        if not self.asked:
            self.asked = True
            for callback in self._callbacks:
                callback()

    def check(self) -> None:
        """Raise Interrupted when a stop was asked for."""
        if self.asked:
            raise Interrupted

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.ask()
