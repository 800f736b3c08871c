"""What a drain did: counts per node, and the totals by which nothing can have been lost.

`pulled + forked == ended` for a drain that ran to its end or was stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from funreason.bus.table import Lane


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


class Signalled(NamedTuple):
    """An agent's answer to a signal, and the node that its edge leads to."""

    outcome: str
    target: str
    payload: Any


def node_flows(lanes: Iterable[Lane]) -> dict[str, NodeFlow]:
    """The counts of each lane."""
    return {lane.name: _node_flow(lane) for lane in lanes}


def _node_flow(lane: Lane) -> NodeFlow:
    answers = {outcome: route.taken for outcome, route in lane.routes.items() if route.taken}
    return NodeFlow(lane.entered, answers, lane.end.taken, lane.errors, lane.retried, lane.seconds)
