"""The numbers that bound a drain."""

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
    Route,
    Step,
    ask_again,
    ask_batch,
    count_attempt,
    error_reason,
    evidence,
    read_answer,
)
from funreason.bus.source import AsyncIntake, Intake
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
    last_look: bool = False

    def only_errs(self, errors: int, answers: int, ended: int) -> bool:
        """Whether an agent's every answer was an error, and these are too many of all messages that ended."""
        return errors == answers and errors > self.error_limit * ended

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("max_attempts", self.max_attempts)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1.")
        if not 0 <= self.error_limit <= 1:
            raise ValueError(f"error_limit is {self.error_limit}; it must lie between 0 and 1 (1: never broken).")


# What a drain did: counts per node, and the totals by which nothing can have been lost.
#
# `pulled + forked == ended` for a drain that ran to its end or was stopped.


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


def node_flows(lanes: Iterable[NodeState]) -> dict[str, NodeFlow]:
    """The counts of each lane."""
    return {lane.name: _node_flow(lane) for lane in lanes}


def _node_flow(lane: NodeState) -> NodeFlow:
    answers = {outcome: route.taken for outcome, route in lane.routes.items() if route.taken}
    return NodeFlow(lane.entered, answers, lane.end.taken, lane.errors, lane.retried, lane.seconds)


# What is ready to run: a queue per lane, and two bit masks that say which lanes have work and a free place.
#
# The deepest lane is served first, so samples finish early. A lane with batches counts as full once a whole
# batch waits; a part of one yields to any full lane, and runs as soon as a worker has nothing better to do.


class Ready:
    """Messages that wait, over all lanes."""

    __slots__ = ("_by_depth", "full", "partial", "queued")

    def __init__(self, lanes: Iterable[NodeState]) -> None:
        self._by_depth = {lane.bit.bit_length(): lane for lane in lanes}
        self.full = self.partial = self.queued = 0

    def put(self, lane: NodeState, message: Any) -> None:
        """Let `message` wait at `lane`."""
        lane.waiting.append(message)
        self.queued += 1
        self._mark(lane)

    def take(self) -> tuple[NodeState, list[Any]] | None:
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

    def done(self, lane: NodeState) -> None:
        """One call of `lane` has returned."""
        lane.running -= 1
        if lane.waiting:
            self._mark(lane)

    def _mark(self, lane: NodeState) -> None:
        bit, size = lane.bit, len(lane.waiting) if lane.running < lane.limit else 0
        self.full = self.full | bit if size >= lane.max_batch else self.full & ~bit
        self.partial = self.partial | bit if 0 < size < lane.max_batch else self.partial & ~bit


# Lets the event loop breathe while agents that never wait keep the workers busy.
#
# All workers wait for one breath: were each to set the next one as it resumes, 64 of them would hold the loop for
# 64 times as long.

BREATH_S = 0.02
"""How long agents that never wait may keep the loop from its timers and signal handlers."""


class FairnessYield:
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


# One drain: a fixed number of workers carry messages through the table until nothing is in flight.
#
# A worker takes the deepest message that is ready and walks on with it from node to node, without a queue in
# between, for as long as nothing deeper is ready; only when nothing is ready at all does it pull from the source.
# That bounds what is in flight and finishes messages early, and cannot deadlock on a cycle as bounded queues can.
#
# What a worker promises: every message it holds is either in its hands, waiting at a lane, or ended.

AT_ONCE = 8
"""Workers that start in one turn of the event loop: what the first ask is on its way before the last have begun."""


class Drain:
    """The state of one `Bus.drain`; used once."""

    def __init__(
        self, lanes: dict[str, NodeState], start: str, intake: Intake | AsyncIntake, observe: Observer, limits: Limits
    ) -> None:
        self._lanes, self._start, self._intake, self._observe = lanes, lanes[start], intake, observe
        self._limits = limits
        self._ready = Ready(lanes.values())
        self._idle: deque[asyncio.Future[None]] = deque()
        self._rousing = False
        self._fault: Exception | None = None
        self._broken: tuple[NodeState, str] | None = None
        self._stopped = self._halted = False
        self._live = self._pulled = self._forked = self._peak = 0
        self._breath = FairnessYield()

    def stop(self) -> None:
        """Pull no more; what is in flight is finished."""
        self._stopped = True
        self._intake.close()
        self._rouse_all()

    async def run(self) -> Flow:
        """Carry everything to its end."""
        tasks: list[asyncio.Task[None]] = []
        try:
            while len(tasks) < self._limits.workers:
                tasks.append(asyncio.create_task(self._work()))
                if len(tasks) % AT_ONCE == 0:
                    await asyncio.sleep(0)
            # `wait` and not `gather`: a KeyboardInterrupt leaves the loop by itself, and raised here a second time it
            # would break the loop's own closing.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._intake.close()
        for task in done:
            task.result()
        for message in await self._intake.leftover():
            self._place(message)
        if self._limits.last_look and not self._stopped:
            self._look_back()
        self._raise_what_went_wrong()
        flows = node_flows(self._lanes.values())
        return Flow(flows, self._pulled, self._forked, self._ended(), self._peak, stopped=self._stopped)

    def _ended(self) -> int:
        return sum(lane.end.taken for lane in self._lanes.values())

    def _look_back(self) -> None:
        ended = self._ended()
        for lane in self._lanes.values():
            if self._limits.only_errs(lane.errors, lane.entered, ended):
                self._broken = self._broken or (lane, self._last_error(lane))

    def _raise_what_went_wrong(self) -> None:
        if self._broken is not None:
            raise self._broken_agent(*self._broken)
        if self._fault is not None:
            raise self._fault
        if self._intake.fault is not None:
            raise self._intake.fault

    def _broken_agent(self, lane: NodeState, told: str) -> BrokenAgent:
        unfinished = [At(each.name, message) for each in self._lanes.values() for message in each.waiting]
        answers = lane.entered + lane.errors * lane.sink
        return BrokenAgent(lane.name, lane.errors, answers, told, unfinished)

    # -- workers ----------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            while not self._over():
                if (job := None if self._halted else self._ready.take()) is not None:
                    if self._idle:
                        self._rouse()
                    lane, load = job
                    await (self._batch(lane, load) if lane.max_batch > 1 else self._walk(lane, load[0]))
                elif self._may_pull():
                    await self._pull()
                else:
                    await self._rest()
        except Exception as fault:
            self._halt()
            self._fault = self._fault or fault
        except BaseException:
            self._halt()
            raise
        finally:
            self._rouse_all()

    def _over(self) -> bool:
        return self._halted or (self._intake.over and not self._intake.busy and not self._live)

    def _may_pull(self) -> bool:
        intake, start = self._intake, self._start
        free = start.running < start.limit and self._ready.queued < self._limits.workers
        return free and not (intake.over or intake.busy or self._halted)

    async def _pull(self) -> None:
        messages = await self._intake.pull(self._start.max_batch)
        for message in messages:
            self._place(message)
        self._pulled += len(messages)
        self._grow(len(messages))

    def _place(self, message: Any) -> None:
        if not isinstance(message, At):
            self._ready.put(self._start, message)
        elif message.node in self._lanes:
            self._ready.put(self._lanes[message.node], message.message)
        else:
            raise KeyError(f"the source placed a message at {message.node!r}, to which no messages can come.")

    def _grow(self, by: int) -> None:
        self._live += by
        self._peak = max(self._peak, self._live)

    async def _rest(self) -> None:
        bed = asyncio.get_running_loop().create_future()
        self._idle.append(bed)
        await bed
        self._rousing = False

    def _rouse(self) -> None:
        # One at a time: whoever wakes takes a job and then looks whether another worker is worth waking.
        if not self._rousing and (self._ready.full or self._ready.partial or self._may_pull()):
            self._rousing = True
            self._wake()

    def _wake(self) -> None:
        while self._idle:
            bed = self._idle.popleft()
            if not bed.done():
                bed.set_result(None)
                return

    def _rouse_all(self) -> None:
        for _ in range(len(self._idle)):
            self._wake()

    def _halt(self) -> None:
        self._halted = True
        self._intake.close()

    # -- the hot path -----------------------------------------------------------------------------------------

    async def _walk(self, lane: NodeState, message: Any) -> None:
        """Carry one message from node to node until it ends or has to wait.

        The common answer, a verdict that leads on by a plain edge, is handled here and not in `_deliver`: it is
        nine of ten judgements, and each call saved counts.
        """
        ready, observe, breath, clock = self._ready, self._observe, self._breath, perf_counter
        while True:
            started = clock()
            try:
                answer = await lane.agent(message)
                now = clock()
                route = lane.plain.get(answer.outcome) if answer.__class__ is Verdict else None
                if route is not None:
                    after = message.judged(answer)
                else:
                    steps = read_answer(lane, message, answer)
            except Exception as fault:
                route, steps = None, await ask_again(lane, message, fault, lane.retries)
                now = clock()
            lane.seconds += now - started
            ready.done(lane)
            if route is None:
                self._deliver(lane, message, steps, now - started)
                break
            route.taken += 1
            observe(lane.name, message, route.outcome, after, now - started)
            lane, message = route.target, after
            if ready.full >= lane.bit or lane.max_batch > 1 or lane.running >= lane.limit or self._halted:
                ready.put(lane, message)
                break
            lane.running += 1
            if self._idle:
                self._rouse()
            if now > breath.due:
                await breath.take()
        if now > breath.due:
            await breath.take()

    async def _batch(self, lane: NodeState, load: list[Any]) -> None:
        """Hand a batch to its agent and send on what it answered."""
        started = perf_counter()
        steps = await ask_batch(lane, load)
        now = perf_counter()
        lane.seconds += now - started
        self._ready.done(lane)
        for message, taken in zip(load, steps, strict=True):
            self._deliver(lane, message, taken, (now - started) / len(load))
        if now > self._breath.due:
            await self._breath.take()

    # -- answers ----------------------------------------------------------------------------------------------

    def _deliver(self, lane: NodeState, message: Any, steps: list[Step], seconds: float) -> None:
        """Send on everything that one message became."""
        if not steps:
            self._give_up(lane, message)
            return
        lane.forked += len(steps) - 1
        self._forked += len(steps) - 1
        self._grow(len(steps) - 1)
        for route, after in steps:
            self._send(lane, message, route, after, seconds / len(steps))

    def _send(self, lane: NodeState, before: Any, route: Route, after: Any, seconds: float) -> None:
        if route.retry:
            route, after = count_attempt(lane, route, after, self._limits.max_attempts)
        route.taken += 1
        self._observe(lane.name, before, route.outcome, after, seconds)
        if route.ends:
            self._live -= 1
        else:
            self._ready.put(route.target, after)
        if route.outcome == ERROR:
            self._note_error(lane, after)

    def _note_error(self, lane: NodeState, after: Any) -> None:
        lane.errors += 1
        lane.failed = after
        entered, limits = lane.entered, self._limits
        if entered >= limits.error_floor and lane.errors > limits.error_limit * entered:
            self._break(lane, self._last_error(lane))

    @staticmethod
    def _last_error(lane: NodeState) -> str:
        """What the lane's last error was."""
        return error_reason(lane.failed) or evidence(lane.last_fault)

    def _give_up(self, lane: NodeState, message: Any) -> None:
        # A sink has no edge for errors: the message goes back to it, and is among the unfinished.
        lane.errors += 1
        self._ready.put(lane, message)
        self._break(lane, evidence(lane.last_fault))

    def _break(self, lane: NodeState, told: str) -> None:
        self._broken = self._broken or (lane, told)
        self._halt()
