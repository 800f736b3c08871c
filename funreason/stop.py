"""Stopping and pausing a run: the first request finishes what is in flight and saves, the second stops now.

The second one ends the process from the signal handler: a thread that samples or trains cannot be interrupted in any
other way, and the person does not want to wait for it. The record survives that as it survives a kill.

A paused run draws no more samples, takes no more steps and begins no phase; what is in flight is finished. A request to
stop lets a paused run go, so that it can end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

EXIT_INTERRUPTED = 130
LOOK_S = 0.1
"""Seconds between two checks of a paused run whether it may resume."""
T = TypeVar("T")


class Interrupted(Exception):
    """The run was asked to stop; what is done is saved, and `--resume` continues from there."""


STOPPED = (Interrupted, KeyboardInterrupt, asyncio.CancelledError)
"""What ends a run that a person stopped; all else is a failure."""


class StopRequest:
    """Set by Ctrl-C, SIGTERM or the end of the terminal. `on_stop` callbacks run once, at the first request."""

    def __init__(self) -> None:
        self.asked = False
        self.after_round = False
        """Whether the run was asked to stop when its round is over."""
        self._may_go = threading.Event()
        self._may_go.set()
        self._callbacks: list[Callable[[], None]] = []
        self._last_acts: list[Callable[[], None]] = []
        self._hangups: list[Callable[[], None]] = []

    def listen(self) -> None:
        """Take SIGINT and SIGTERM from now on; a second one leaves the process with exit code 130.

        SIGHUP, the closing of the terminal, is a first request however often it comes; `nohup` keeps it away.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._on_hangup)

    def ignore_signals(self) -> None:
        """Ignore signals from now on: the end is written, and a late one would kill the interpreter on its way out."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Run `callback` at the first request, or at once when it has come already."""
        if self.asked:
            callback()
        else:
            self._callbacks.append(callback)

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """`on_stop` for as long as the block runs."""
        self.on_stop(callback)
        try:
            yield
        finally:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    def on_leave(self, callback: Callable[[], None]) -> None:
        """Run `callback` at the second request, before those given earlier, and then leave: it must be short."""
        self._last_acts.append(callback)

    def on_hangup(self, callback: Callable[[], None]) -> None:
        """Run `callback` when the terminal is closed, before anything is said to it."""
        self._hangups.append(callback)

    def ask(self) -> None:
        """Ask to stop, as a first Ctrl-C does."""
        if not self.asked:
            self.asked = True
            self._may_go.set()
            for callback in self._callbacks:
                callback()

    def check(self) -> None:
        """Raise Interrupted when a stop was asked for."""
        if self.asked:
            raise Interrupted

    @property
    def paused(self) -> bool:
        """Whether the run was asked to wait."""
        return not self._may_go.is_set()

    def pause(self) -> None:
        """Ask the run to wait; it does so before its next draw, step or phase."""
        if not self.asked:
            self._may_go.clear()

    def resume(self) -> None:
        """Let a paused run resume."""
        self._may_go.set()

    async def wait(self) -> None:
        """Wait while the run is paused."""
        while self.paused:
            await asyncio.sleep(LOOK_S)

    async def round_over(self, round: int) -> None:
        """Called when a round is over, before the next one begins. A run that is played round by round waits here."""

    def asked_after_waiting(self) -> bool:
        """Whether a stop was asked for, once the run is not paused: for a thread, which this holds up."""
        self._may_go.wait()
        return self.asked

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            acts, self._last_acts = self._last_acts, []  # a third request finds none left to wait for
            try:
                for act in reversed(acts):
                    act()
                sys.stdout.flush()
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(EXIT_INTERRUPTED)
        self.ask()

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        for callback in self._hangups:
            callback()
        self.ask()


async def cancelled_by_stop(waiting: Coroutine[Any, Any, T], stop: StopRequest) -> T:
    """What `waiting` comes to; it is broken off by a request to stop, which raises Interrupted."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(waiting)

    def break_off() -> None:
        loop.call_soon_threadsafe(task.cancel)  # a signal's handler does not wake the loop by itself

    with stop.calling(break_off):
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
    if task.cancelled():
        raise Interrupted
    return task.result()


async def pausable(things: Iterable[T], stop: StopRequest) -> AsyncIterator[T]:
    """`things` one by one, none while the run is paused."""
    for thing in things:
        await stop.wait()
        yield thing
