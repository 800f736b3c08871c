"""Times how long a judge blocks the event loop between two awaits, and interrupts it past a limit.

A step that sleeps or computes blocks every other agent of the run, and asyncio's timeouts cannot interrupt it.
SIGALRM can, but only in the main thread, and not inside C code that does not check for signals.
"""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from time import perf_counter, thread_time
from types import FrameType
from typing import Any, NamedTuple

_THREAD: int = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


class EventLoopBlocked(BaseException):
    """A step blocked the event loop for too long. A BaseException, so that no `except Exception` catches it."""


class EventLoopGuard:
    """Awaits an agent's answer. Then `longest_s` is its longest step, `took_s` the total with waiting (seconds)."""

    def __init__(self, answer: Coroutine[Any, Any, Any], limit_s: float) -> None:
        self.longest_s = 0.0
        self.took_s = 0.0
        self._began: float | None = None
        self._answer = answer
        self._limit_s = limit_s

    def __await__(self) -> Generator[Any, Any, Any]:
        fault: BaseException | None = None
        while True:
            over, found = self._step(fault)
            if over:
                return found
            try:
                fault = None
                yield found
            except BaseException as thrown:  # passed on to the agent, as is a cancellation
                fault = thrown

    def _step(self, fault: BaseException | None) -> tuple[bool, Any]:
        """Run one step. Returns whether the agent is done, and its answer or what it awaits."""
        started = _Moment.now()
        try:
            with _alarm(self._limit_s):
                return False, self._send(fault)
        except StopIteration as end:
            return True, end.value
        finally:
            self.longest_s = max(self.longest_s, started.held_s())

    def _send(self, fault: BaseException | None) -> Any:
        began = self._began = self._began if self._began is not None else perf_counter()
        try:
            return self._answer.send(None) if fault is None else self._answer.throw(fault)
        finally:
            self.took_s = perf_counter() - began


class _Moment(NamedTuple):
    """A reading of this thread's clocks."""

    wall_s: float
    cpu_s: float
    waits: int

    @classmethod
    def now(cls) -> _Moment:
        return cls(perf_counter(), thread_time(), resource.getrusage(_THREAD).ru_nvcsw)

    def held_s(self) -> float:
        """Seconds since this reading: wall time if the thread waited for something, else its CPU time.

        On a busy machine, wall time would charge a step that only computes for the work of other processes.
        """
        now = _Moment.now()
        return now.wall_s - self.wall_s if now.waits > self.waits else now.cpu_s - self.cpu_s


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _ring(number: int, frame: FrameType | None) -> None:
    raise EventLoopBlocked
