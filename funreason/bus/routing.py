"""Routing: the graph compiled for the hot path, answers read into routes, and agents asked again after a fault.

Each node has a `NodeState` with one `Route` per outcome, so that routing a message is one dict look-up. A table belongs
to one drain: its states hold the messages that wait and the counts of what happened.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from sys import maxsize
from typing import Any

from funreason.bus.agent import ENDED, ERROR, EXHAUSTED, Agent, AnswerError, Emit, Failed, nearest
from funreason.bus.topology import Node, Topology
from funreason.types import Verdict


class Route:
    """Where an outcome leads. `ends` marks the route by which messages end; its target is the node itself."""

    __slots__ = ("ends", "outcome", "retry", "taken", "target")

    def __init__(self, outcome: str, target: NodeState, retry: bool = False, ends: bool = False) -> None:
        self.outcome = outcome
        self.target = target
        self.retry = retry
        self.ends = ends
        self.taken = 0


class NodeState:
    """A node at work: its agent, its routes, who waits and how much is under way.

    `plain` are the routes that cost nothing but the move: neither `retry` nor for errors.
    `failed` is the message that left by `error` last.
    `bit` is the node's bit in the masks of `ReadyQueue`; a deeper node has a higher bit.
    """

    __slots__ = (
        "agent",
        "bit",
        "end",
        "errors",
        "exhausted",
        "failed",
        "forked",
        "last_fault",
        "limit",
        "max_batch",
        "name",
        "plain",
        "retried",
        "retries",
        "routes",
        "running",
        "seconds",
        "sink",
        "waiting",
    )

    def __init__(self, node: Node, bit: int, agent: Agent, sink: bool) -> None:
        self.name, self.agent, self.bit, self.sink = node.name, agent, bit, sink
        self.max_batch, self.retries = node.max_batch, node.retries
        self.limit = maxsize if node.concurrency is None else node.concurrency
        self.routes: dict[str, Route] = {}
        self.plain: dict[str, Route] = {}
        self.end = Route(ENDED, self, ends=True)
        self.exhausted: Route | None = None
        self.waiting: deque[Any] = deque()
        self.running = self.errors = self.retried = self.forked = 0
        self.seconds = 0.0
        self.last_fault: Exception | None = None
        self.failed: Any = None

    @property
    def entered(self) -> int:
        """How many messages have been answered here; a message that forked into many counts once."""
        return self.end.taken + sum(route.taken for route in self.routes.values()) - self.forked


def compile_table(graph: Topology, agents: Mapping[str, Agent]) -> dict[str, NodeState]:
    """The states of a checked graph's nodes, by name, in depth order."""
    ends = graph.sinks
    served = [name for name in graph.order if name in agents]
    states = {
        name: NodeState(graph.node(name), 1 << depth, agents[name], name in ends) for depth, name in enumerate(served)
    }
    for edge in graph.edges:
        if edge.per_round:
            continue
        state = states[edge.source]
        route = state.routes[edge.outcome] = Route(edge.outcome, states[edge.target], edge.retry)
        if not edge.retry and edge.outcome != ERROR:
            state.plain[edge.outcome] = route
        if edge.outcome == EXHAUSTED:
            state.exhausted = route
    return states


# Reads what an agent answered into (outcome, message that travels on) pairs; refuses what has no route.

EVIDENCE_LINES = 8
EVIDENCE_CHARS = 2000

Step = tuple[Route, Any]
"""A route and what travels along it; the message is None on the route by which messages end."""


def read_answer(state: NodeState, message: Any, answer: object) -> list[Step]:
    """The steps that `answer` to `message` asks for.

    Raises:
        AnswerError: not one of the answers an agent may give here, an outcome the node does not declare, or a
            message whose attempts were set back.
    """
    if isinstance(answer, list | tuple) and not isinstance(answer, Emit):
        return [_read_emit(state, message, each) for each in answer] or [(state.end, None)]
    if answer is None and state.sink:
        return [(state.end, None)]
    if isinstance(answer, Verdict):
        route = _route(state, answer.outcome, message)
        if not hasattr(message, "judged"):
            raise AnswerError(
                f"agent {state.name!r} answered a {type(message).__name__} with a Verdict, which only a message with a "
                "method `judged` can carry; answer an outcome's name or an Emit."
            )
        return [(route, message.judged(answer))]
    if isinstance(answer, str):
        return [(_route(state, answer, message), message)]
    return [_read_emit(state, message, answer)]


def read_batch(state: NodeState, load: list[Any], answers: object) -> Sequence[object]:
    """The answers to a batch, one per message.

    Raises:
        AnswerError: no list, or one of another length.
    """
    if answers is None and state.sink:
        return [None] * len(load)
    if isinstance(answers, list | tuple) and not isinstance(answers, Emit) and len(answers) == len(load):
        return answers
    found = f"a list of {len(answers)}" if isinstance(answers, list | tuple) else type(answers).__name__
    raise AnswerError(
        f"agent {state.name!r} got a batch of {len(load)} and must answer a list of as many; found {found}."
    )


def read_fault(state: NodeState, message: Any, fault: Exception) -> list[Step]:
    """The one step of a message whose agent failed: out by `error`, with a verdict that holds the traceback's end.

    Empty for a node without an edge for errors: a sink.
    """
    route = state.routes.get(ERROR)
    if route is None:
        return []
    verdict = Verdict(state.name, ERROR, f"agent.{type(fault).__name__}", evidence(fault), judge="bus")
    if hasattr(message, "judged"):
        return [(route, message.judged(verdict))]
    return [(route, Failed(message, verdict))]


def read_round_answer(node: str, message: Any, answer: object) -> tuple[str, Any]:
    """The outcome of an agent's answer to a round's message, and the message that travels on.

    Raises:
        AnswerError: neither a verdict, an outcome's name nor an `Emit`.
    """
    if isinstance(answer, Emit):
        return answer.outcome, answer.message
    if isinstance(answer, Verdict):
        return answer.outcome, message.judged(answer)
    if isinstance(answer, str):
        return answer, message
    raise AnswerError(
        f"agent {node!r} must answer a round's message with a Verdict, an outcome's name or an Emit; found "
        f"{type(answer).__name__}."
    )


def count_attempt(state: NodeState, route: Route, message: Any, max_attempts: int) -> Step:
    """The step of a message on a retry edge: on to its next attempt, or out by `exhausted` when it had them all."""
    if state.exhausted is not None and message.attempt + 1 >= max_attempts:
        return state.exhausted, message
    return route, message.next_attempt()


def error_reason(message: object) -> str:
    """What the last verdict on a failed message says; empty when there is none."""
    verdict = (
        message.verdict if isinstance(message, Failed) else next(iter(getattr(message, "verdicts", ())[-1:]), None)
    )
    return f"{verdict.reason} {verdict.evidence}".strip() if isinstance(verdict, Verdict) else ""


def evidence(fault: Exception | None) -> str:
    """The last lines of the traceback, bounded; empty without a fault."""
    if fault is None:
        return ""
    lines = "".join(traceback.format_exception(fault)).rstrip().splitlines()[-EVIDENCE_LINES:]
    return "\n".join(lines)[-EVIDENCE_CHARS:]


def _read_emit(state: NodeState, message: Any, emit: object) -> Step:
    if not isinstance(emit, Emit):
        wanted = "a Verdict, an outcome's name, an Emit or a list of Emit" + " or None" * state.sink
        raise AnswerError(f"agent {state.name!r} must answer {wanted}; found {type(emit).__name__}.")
    before, after = getattr(message, "attempt", 0), getattr(emit.message, "attempt", 0)
    if after < before:
        raise AnswerError(f"agent {state.name!r} set a message back from attempt {before} to {after}; keep the count.")
    return _route(state, emit.outcome, emit.message), emit.message


def _route(state: NodeState, outcome: str, message: Any) -> Route:
    route = state.routes.get(outcome)
    if route is None:
        hint = nearest(str(outcome), tuple(state.routes))
        raise AnswerError(f"agent {state.name!r} answered {str(outcome)!r}, which its node does not declare; {hint}")
    if route.retry and not hasattr(message, "next_attempt"):
        raise AnswerError(
            f"agent {state.name!r} sent a {type(message).__name__} by {route.outcome!r}, a retry edge, which counts "
            "attempts, but the message has none; give it `attempt` and `next_attempt()`, or drop `retry`."
        )
    return route


async def ask_batch(state: NodeState, load: list[Any]) -> list[list[Step]]:
    """The steps of each message of `load`, in its order. A batch that raised is asked one by one, so that only the
    message at fault fails.
    """
    try:
        answers = read_batch(state, load, await state.agent(load))
    except Exception as fault:
        _require_hope(fault)
        return [await ask_again(state, message, fault, max(1, state.retries)) for message in load]
    steps = []
    for message, answer in zip(load, answers, strict=True):
        try:
            steps.append(read_answer(state, message, answer))
        except Exception as fault:
            steps.append(await ask_again(state, message, fault, state.retries))
    return steps


async def ask_again(state: NodeState, message: Any, fault: Exception, tries: int) -> list[Step]:
    """The steps of a message whose agent failed with `fault`, after up to `tries` calls more.

    When those fail too: out by `error`, or no step at all from a sink.
    """
    _require_hope(fault)
    for _ in range(tries):
        state.retried += 1
        try:
            if state.max_batch == 1:
                return read_answer(state, message, await state.agent(message))
            (answer,) = read_batch(state, [message], await state.agent([message]))
            return read_answer(state, message, answer)
        except Exception as again:
            _require_hope(again)
            fault = again
    state.last_fault = fault
    return read_fault(state, message, fault)


def _require_hope(fault: Exception) -> None:
    if getattr(fault, "stops_run", False):
        raise fault
