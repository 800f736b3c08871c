"""Asks an agent again when it raised or answered what cannot be routed, and gives up in the end.

A fault that says `stops_run` is one that every message would meet: nobody is asked again, and the drain ends with it.
A batch that raised is asked one by one, so that only the guilty message fails.
"""

from __future__ import annotations

from typing import Any

from funreason.bus.answers import Step, read_answer, read_batch, read_fault
from funreason.bus.table import Lane


async def ask_batch(lane: Lane, load: list[Any]) -> list[list[Step]]:
    """The steps of each message of `load`, in its order."""
    try:
        answers = read_batch(lane, load, await lane.agent(load))
    except Exception as fault:
        _require_hope(fault)
        return [await ask_again(lane, message, fault, max(1, lane.retries)) for message in load]
    return [await _read(lane, message, answer) for message, answer in zip(load, answers, strict=True)]


async def ask_again(lane: Lane, message: Any, fault: Exception, tries: int) -> list[Step]:
    """The steps of a message whose agent failed with `fault`, after up to `tries` calls more.

    When those fail too: out by `error`, or no step at all from a sink.
    """
    _require_hope(fault)
    for _ in range(tries):
        lane.retried += 1
        try:
            return await _ask(lane, message)
        except Exception as again:
            _require_hope(again)
            fault = again
    lane.last_fault = fault
    return read_fault(lane, message, fault)


def _require_hope(fault: Exception) -> None:
    if getattr(fault, "stops_run", False):
        raise fault


async def _ask(lane: Lane, message: Any) -> list[Step]:
    if lane.max_batch == 1:
        return read_answer(lane, message, await lane.agent(message))
    (answer,) = read_batch(lane, [message], await lane.agent([message]))
    return read_answer(lane, message, answer)


async def _read(lane: Lane, message: Any, answer: object) -> list[Step]:
    try:
        return read_answer(lane, message, answer)
    except Exception as fault:
        return await ask_again(lane, message, fault, lane.retries)
