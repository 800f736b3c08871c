"""Reads what an agent answered into (outcome, message that travels on) pairs; refuses what has no route."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

from funreason.bus.agent import ERROR, Emit, Failed
from funreason.bus.errors import AnswerError
from funreason.bus.reading import nearest
from funreason.bus.table import Lane, Route
from funreason.record.types import Verdict

EVIDENCE_LINES = 8
EVIDENCE_CHARS = 2000

Step = tuple[Route, Any]
"""A route and what travels along it; the message is None on the route by which messages end."""


def read_answer(lane: Lane, message: Any, answer: object) -> list[Step]:
    """The steps that `answer` to `message` asks for.

    Raises:
        AnswerError: not one of the answers an agent may give here, an outcome the node does not declare, or a
            message whose attempts were set back.
    """
    if isinstance(answer, list | tuple) and not isinstance(answer, Emit):
        return [_emitted(lane, message, each) for each in answer] or [(lane.end, None)]
    if answer is None and lane.sink:
        return [(lane.end, None)]
    if isinstance(answer, Verdict):
        return [(_route(lane, answer.outcome, message), _judged(lane, message, answer))]
    if isinstance(answer, str):
        return [(_route(lane, answer, message), message)]
    return [_emitted(lane, message, answer)]


def read_batch(lane: Lane, load: list[Any], answers: object) -> Sequence[object]:
    """The answers to a batch, one per message.

    Raises:
        AnswerError: no list, or one of another length.
    """
    if answers is None and lane.sink:
        return [None] * len(load)
    if isinstance(answers, list | tuple) and not isinstance(answers, Emit) and len(answers) == len(load):
        return answers
    found = f"a list of {len(answers)}" if isinstance(answers, list | tuple) else type(answers).__name__
    raise AnswerError(
        f"agent {lane.name!r} got a batch of {len(load)} and must answer a list of as many; found {found}."
    )


def read_fault(lane: Lane, message: Any, fault: Exception) -> list[Step]:
    """The one step of a message whose agent failed: out by `error`, with a verdict that holds the traceback's end.

    Empty for a node without an edge for errors: a sink.
    """
    route = lane.routes.get(ERROR)
    if route is None:
        return []
    verdict = Verdict(lane.name, ERROR, f"agent.{type(fault).__name__}", evidence(fault), judge="bus")
    if hasattr(message, "judged"):
        return [(route, message.judged(verdict))]
    return [(route, Failed(message, verdict))]


def count_attempt(lane: Lane, route: Route, message: Any, max_attempts: int) -> Step:
    """The step of a message on a counted edge: on to its next attempt, or out by `spent` when it had them all."""
    if lane.spent is not None and message.attempt + 1 >= max_attempts:
        return lane.spent, message
    return route, message.next_attempt()


def told_reason(message: object) -> str:
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


def _emitted(lane: Lane, message: Any, emit: object) -> Step:
    if not isinstance(emit, Emit):
        wanted = "a Verdict, an outcome's name, an Emit or a list of Emit" + " or None" * lane.sink
        raise AnswerError(f"agent {lane.name!r} must answer {wanted}; found {type(emit).__name__}.")
    before, after = getattr(message, "attempt", 0), getattr(emit.message, "attempt", 0)
    if after < before:
        raise AnswerError(f"agent {lane.name!r} set a message back from attempt {before} to {after}; keep the count.")
    return _route(lane, emit.outcome, emit.message), emit.message


def _route(lane: Lane, outcome: str, message: Any) -> Route:
    route = lane.routes.get(outcome)
    if route is None:
        hint = nearest(str(outcome), tuple(lane.routes))
        raise AnswerError(f"agent {lane.name!r} answered {str(outcome)!r}, which its node does not declare; {hint}")
    if route.counted and not hasattr(message, "next_attempt"):
        raise AnswerError(
            f"agent {lane.name!r} sent a {type(message).__name__} by {route.outcome!r}, whose edge counts attempts, "
            "but it has none; give the message `attempt` and `next_attempt()`, or drop `counted`."
        )
    return route


def _judged(lane: Lane, message: Any, verdict: Verdict) -> Any:
    if hasattr(message, "judged"):
        return message.judged(verdict)
    raise AnswerError(
        f"agent {lane.name!r} answered a {type(message).__name__} with a Verdict, which only a message with a method "
        "`judged` can carry; answer an outcome's name or an Emit."
    )
