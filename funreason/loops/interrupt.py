"""How a run is stopped: the first request finishes what is in flight and saves, the second stops now.

The second one ends the process from the signal's handler: a thread that samples or trains cannot be broken off in any
other way, and waiting for it is what the person no longer wants. The record allows it, since a kill does too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

EXIT_INTERRUPTED = 130


class Interrupted(Exception):
    """The run was asked to stop; what is done is saved and `--resume` goes on from there."""


STOPPED = (Interrupted, KeyboardInterrupt, asyncio.CancelledError)
"""What ends a run that a person stopped; all else is a failure."""


class StopRequest:
    """Set by Ctrl-C or SIGTERM. `on_stop` callbacks run once, in the main thread, at the first request."""

    def __init__(self) -> None:
        self.asked = False
        self._callbacks: list[Callable[[], None]] = []
        self._last_acts: list[Callable[[], None]] = []

    def listen(self) -> None:
        """Take SIGINT and SIGTERM from now on; a second one leaves the process with exit code 130."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def deafen(self) -> None:
        """Ignore signals from now on: the end is written, and a late one would kill the interpreter on its way out."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Run `callback` at the first request, or at once when it has come already."""
        if self.asked:
            callback()
        else:
            self._callbacks.append(callback)

    def on_leave(self, callback: Callable[[], None]) -> None:
        """Run `callback` at the second request, before those given earlier, and then leave: it must be short."""
        self._last_acts.append(callback)

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
            self._leave()
        self.ask()

    def _leave(self) -> None:
        acts, self._last_acts = self._last_acts, []  # a third request finds none left to wait for
        try:
            for act in reversed(acts):
                act()
            sys.stdout.flush()
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(EXIT_INTERRUPTED)
