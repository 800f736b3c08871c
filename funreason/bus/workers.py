"""The workers of a bus: a fixed number of them carry messages from node to node until nothing is in flight.

A worker takes the deepest message that is ready and carries it on from node to node, without a queue in between, for as
long as nothing deeper is ready. Only when nothing is ready does it pull from the source. That bounds what is in flight,
finishes messages early, and cannot deadlock on a cycle as bounded queues can. Every message a worker holds is either in
its hands, waiting at a node, or ended: `pulled + forked == ended` after a drain that ran to its end or was stopped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from funreason.bus.agent import ERROR, At, BrokenAgent, Observer
from funreason.bus.routing import (
    NodeState,
    Step,
    ask_again,
    ask_batch,
    count_attempt,
    error_reason,
    evidence,
    read_answer,
)
from funreason.bus.source import AsyncSourceReader, SourceReader
from funreason.types import Verdict


@dataclass(frozen=True, slots=True)
class Limits:
    """How many workers, how many attempts, and when an agent counts as broken.

    An agent is broken once more than `error_limit` of its answers are errors, looked at from `error_floor`
    answers on, so that one early failure does not stop a run. With `last_look` it is looked at once more when all is
    done: an agent whose every answer was an error is broken, however few they were, when these errors are more than
    `error_limit` of all messages that ended.

    Raises:
        ValueError: a number out of its range.
    """

    workers: int = 64
    max_attempts: int = 3
    error_limit: float = 0.2
    error_floor: int = 20
    check_at_end: bool = False

    def only_errs(self, errors: int, answers: int, ended: int) -> bool:
        """Whether an agent's every answer was an error, and these are too many of all messages that ended."""
        return errors == answers and errors > self.error_limit * ended

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("max_attempts", self.max_attempts)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1.")
        if not 0 <= self.error_limit <= 1:
            raise ValueError(f"error_limit is {self.error_limit}; it must lie between 0 and 1 (1: never broken).")


@dataclass(frozen=True, slots=True)
class NodeFlow:
    """One node: messages that came in, answers by outcome, messages that ended, and the time of its calls.

    `seconds` sums the calls, so that calls side by side count double; `errors` are messages, `retried` calls.
    """

    entered: int
    answers: dict[str, int]
    ended: int
    errors: int
    retried: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Flow:
    """A whole drain. `forked` are messages made on the way beyond those pulled; `peak` most in flight at once."""

    nodes: dict[str, NodeFlow]
    pulled: int
    forked: int
    ended: int
    peak: int
    stopped: bool


def node_flows(states: Iterable[NodeState]) -> dict[str, NodeFlow]:
    """The counts of each node."""
    flows = {}
    for state in states:
        answers = {outcome: route.taken for outcome, route in state.routes.items() if route.taken}
        flows[state.name] = NodeFlow(
            state.entered, answers, state.end.taken, state.errors, state.retried, state.seconds
        )
    return flows


class ReadyQueue:
    """Messages that wait: a queue per node, and two bit masks of the nodes that have messages and a free call.

    The deepest node is served first, so samples finish early. A node with batches is `full` once a whole batch waits. A
    `partial` batch yields to any full node and runs when a worker has nothing better to do.
    """

    __slots__ = ("_by_depth", "full", "partial", "queued")

    def __init__(self, states: Iterable[NodeState]) -> None:
        self._by_depth = {state.bit.bit_length(): state for state in states}
        self.full = self.partial = self.queued = 0

    def put(self, state: NodeState, message: Any) -> None:
        """Let `message` wait at a node."""
        state.waiting.append(message)
        self.queued += 1
        self._mark(state)

    def take(self) -> tuple[NodeState, list[Any]] | None:
        """The next messages to hand to an agent, up to its `max_batch`. The node's calls go up by one."""
        mask = self.full or self.partial
        if not mask:
            return None
        state = self._by_depth[mask.bit_length()]
        waiting = state.waiting
        load = [waiting.popleft() for _ in range(min(len(waiting), state.max_batch))]
        self.queued -= len(load)
        state.running += 1
        self._mark(state)
        return state, load

    def done(self, state: NodeState) -> None:
        """One call of the node has returned."""
        state.running -= 1
        if state.waiting:
            self._mark(state)

    def _mark(self, state: NodeState) -> None:
        bit, size = state.bit, len(state.waiting) if state.running < state.limit else 0
        self.full = self.full | bit if size >= state.max_batch else self.full & ~bit
        self.partial = self.partial | bit if 0 < size < state.max_batch else self.partial & ~bit


YIELD_EVERY_S = 0.02
"""Seconds that agents which never await may keep the event loop from its timers and signal handlers."""


class FairnessYield:
    """Yields to the event loop while agents that never wait keep the workers busy.

    `due` is when the next yield is due, in seconds of `perf_counter`. All workers share one: if each set its own on
    resuming, 64 of them would hold the loop 64 times as long.
    """

    __slots__ = ("_turn", "due")

    def __init__(self) -> None:
        self.due = perf_counter() + YIELD_EVERY_S
        self._turn: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Resume on the loop's next turn."""
        if self._turn is None:
            loop = asyncio.get_running_loop()
            self._turn = loop.create_future()
            loop.call_soon(self._resume, self._turn)
        await self._turn

    def _resume(self, turn: asyncio.Future[None]) -> None:
        self._turn = None
        self.due = perf_counter() + YIELD_EVERY_S
        if not turn.done():
            turn.set_result(None)


STARTED_PER_TURN = 8
"""Workers started in one turn of the event loop, so that the first requests are sent before the last workers start."""


class Drain:
    """The state of one `Bus.drain`; used once."""

    def __init__(
        self,
        states: dict[str, NodeState],
        start: str,
        reader: SourceReader | AsyncSourceReader,
        observe: Observer,
        limits: Limits,
    ) -> None:
        self._states, self._start, self._reader, self._observe = states, states[start], reader, observe
        self._limits = limits
        self._ready = ReadyQueue(states.values())
        self._idle: deque[asyncio.Future[None]] = deque()
        self._waking = False
        self._fault: Exception | None = None
        self._broken: tuple[NodeState, str] | None = None
        self._stopped = self._halted = False
        self._live = self._pulled = self._forked = self._peak = 0
        self._fairness = FairnessYield()

    def stop(self) -> None:
        """Pull no more; what is in flight is finished."""
        self._stopped = True
        self._reader.close()
        self._wake_all()

    async def run(self) -> Flow:
        """Carry everything to its end."""
        tasks: list[asyncio.Task[None]] = []
        try:
            while len(tasks) < self._limits.workers:
                tasks.append(asyncio.create_task(self._work()))
                if len(tasks) % STARTED_PER_TURN == 0:
                    await asyncio.sleep(0)
            # `wait` and not `gather`: a KeyboardInterrupt leaves the loop by itself, and raised here a second time it
            # would break the loop's own closing.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._reader.close()
        for task in done:
            task.result()
        for message in await self._reader.leftover():
            self._place(message)
        if self._limits.check_at_end and not self._stopped:
            ended = self._ended()
            for state in self._states.values():
                if self._limits.only_errs(state.errors, state.entered, ended):
                    self._broken = self._broken or (state, self._last_error(state))
        if self._broken is not None:
            state, reason = self._broken
            unfinished = [At(each.name, message) for each in self._states.values() for message in each.waiting]
            answers = state.entered + state.errors * state.sink
            raise BrokenAgent(state.name, state.errors, answers, reason, unfinished)
        for fault in (self._fault, self._reader.fault):
            if fault is not None:
                raise fault
        flows = node_flows(self._states.values())
        return Flow(flows, self._pulled, self._forked, self._ended(), self._peak, stopped=self._stopped)

    def _ended(self) -> int:
        return sum(state.end.taken for state in self._states.values())

    # -- workers ----------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            while not (self._halted or (self._reader.over and not self._reader.busy and not self._live)):
                if (job := None if self._halted else self._ready.take()) is not None:
                    if self._idle:
                        self._wake_one()
                    state, load = job
                    await (self._batch(state, load) if state.max_batch > 1 else self._walk(state, load[0]))
                elif self._may_pull():
                    messages = await self._reader.pull(self._start.max_batch)
                    for message in messages:
                        self._place(message)
                    self._pulled += len(messages)
                    self._count_live(len(messages))
                else:
                    waiter = asyncio.get_running_loop().create_future()
                    self._idle.append(waiter)
                    await waiter
                    self._waking = False
        except Exception as fault:
            self._halt()
            self._fault = self._fault or fault
        except BaseException:
            self._halt()
            raise
        finally:
            self._wake_all()

    def _may_pull(self) -> bool:
        reader, start = self._reader, self._start
        free = start.running < start.limit and self._ready.queued < self._limits.workers
        return free and not (reader.over or reader.busy or self._halted)

    def _place(self, message: Any) -> None:
        if not isinstance(message, At):
            self._ready.put(self._start, message)
        elif message.node in self._states:
            self._ready.put(self._states[message.node], message.message)
        else:
            raise KeyError(f"the source placed a message at {message.node!r}, to which no messages can come.")

    def _count_live(self, by: int) -> None:
        self._live += by
        self._peak = max(self._peak, self._live)

    def _wake_one(self) -> None:
        # One at a time: whoever wakes takes a job and then looks whether another worker is worth waking.
        if not self._waking and (self._ready.full or self._ready.partial or self._may_pull()):
            self._waking = True
            self._release_one()

    def _release_one(self) -> None:
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _wake_all(self) -> None:
        for _ in range(len(self._idle)):
            self._release_one()

    def _halt(self) -> None:
        self._halted = True
        self._reader.close()

    # -- the hot path -----------------------------------------------------------------------------------------

    async def _walk(self, state: NodeState, message: Any) -> None:
        """Carry one message from node to node until it ends or has to wait.

        The common answer, a verdict that leads on by a plain edge, is handled here and not in `_deliver`: it is
        nine of ten judgements, and each call saved counts.
        """
        ready, observe, fairness, clock = self._ready, self._observe, self._fairness, perf_counter
        while True:
            started = clock()
            try:
                answer = await state.agent(message)
                now = clock()
                route = state.plain.get(answer.outcome) if answer.__class__ is Verdict else None
                if route is not None:
                    after = message.judged(answer)
                else:
                    steps = read_answer(state, message, answer)
            except Exception as fault:
                route, steps = None, await ask_again(state, message, fault, state.retries)
                now = clock()
            state.seconds += now - started
            ready.done(state)
            if route is None:
                self._deliver(state, message, steps, now - started)
                break
            route.taken += 1
            observe(state.name, message, route.outcome, after, now - started)
            state, message = route.target, after
            if ready.full >= state.bit or state.max_batch > 1 or state.running >= state.limit or self._halted:
                ready.put(state, message)
                break
            state.running += 1
            if self._idle:
                self._wake_one()
            if now > fairness.due:
                await fairness.wait()
        if now > fairness.due:
            await fairness.wait()

    async def _batch(self, state: NodeState, load: list[Any]) -> None:
        """Hand a batch to its agent and send on what it answered."""
        started = perf_counter()
        steps = await ask_batch(state, load)
        now = perf_counter()
        state.seconds += now - started
        self._ready.done(state)
        for message, taken in zip(load, steps, strict=True):
            self._deliver(state, message, taken, (now - started) / len(load))
        if now > self._fairness.due:
            await self._fairness.wait()

    # -- answers ----------------------------------------------------------------------------------------------

    def _deliver(self, state: NodeState, message: Any, steps: list[Step], seconds: float) -> None:
        """Send on everything that one message became."""
        if not steps:
            # A sink has no edge for errors: the message goes back to it, and is among the unfinished.
            state.errors += 1
            self._ready.put(state, message)
            self._stop_for(state, evidence(state.last_fault))
            return
        state.forked += len(steps) - 1
        self._forked += len(steps) - 1
        self._count_live(len(steps) - 1)
        for route, after in steps:
            if route.retry:
                route, after = count_attempt(state, route, after, self._limits.max_attempts)
            route.taken += 1
            self._observe(state.name, message, route.outcome, after, seconds / len(steps))
            if route.ends:
                self._live -= 1
            else:
                self._ready.put(route.target, after)
            if route.outcome == ERROR:
                state.errors += 1
                state.failed = after
                entered, limits = state.entered, self._limits
                if entered >= limits.error_floor and state.errors > limits.error_limit * entered:
                    self._stop_for(state, self._last_error(state))

    @staticmethod
    def _last_error(state: NodeState) -> str:
        """The node's last error."""
        return error_reason(state.failed) or evidence(state.last_fault)

    def _stop_for(self, state: NodeState, reason: str) -> None:
        self._broken = self._broken or (state, reason)
        self._halt()
