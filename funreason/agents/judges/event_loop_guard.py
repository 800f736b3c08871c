"""How long an agent holds the event loop: each step between two of its pauses is timed, and one without end is cut.

A step that sleeps or computes stops every other agent of the run, and no timeout of asyncio can reach into it. Here an
alarm does, where there is one: in the main thread, and unless the step is inside C code that looks for no signals.
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
    """A step was cut because it held the event loop for too long. No `except Exception` of the agent may catch it."""


class EventLoopGuard:
    """Awaits an agent's answer; afterwards `longest_s` is its longest step in seconds, `took_s` all with waiting."""

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
            except BaseException as thrown:  # a cancellation is the agent's to answer
                fault = thrown

    def _step(self, fault: BaseException | None) -> tuple[bool, Any]:
        """Whether the agent is done, and its answer or what it waits for."""
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
    """Where this thread's clocks stand."""

    wall_s: float
    cpu_s: float
    waits: int

    @classmethod
    def now(cls) -> _Moment:
        return cls(perf_counter(), thread_time(), resource.getrusage(_THREAD).ru_nvcsw)

    def held_s(self) -> float:
        """Seconds since then: by the wall's clock where the thread waited for something, else its processor time.

        On a machine that is busy a step that only computes would otherwise be blamed for others' work.
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
