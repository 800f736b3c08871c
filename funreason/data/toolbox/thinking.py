"""Thinking: the short reasoning the references show.

It first says what is wanted, in the words of a tool's description, then looks for a tool of that description
and names it with each value of its call; or it finds none. A value that must be rewritten is first quoted, then
rewritten (`seats seven is 7`). Naming comes before calling, so that the call is a copy of what was thought, and so
that a judge can hold the one against the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from funreason.data.toolbox.phrasing import Request
from funreason.data.toolbox.values import Drawn

__all__ = ["refusal", "thinking"]


def thinking(requests: Sequence[Request], *, offered: bool = True) -> str:
    """The reasoning that leads from the requests to their calls, or, when no tool is `offered` for them, to none."""
    wanted = " and ".join(dict.fromkeys(request.tool.does for request in requests))
    if not offered:
        return f"Need to {wanted}. None of the tools fits."
    return f"Need to {wanted}. {_plan(requests)}."


def refusal(requests: Sequence[Request]) -> str:
    """What is answered when no tool fits."""
    return f"No tool here can {requests[0].tool.does}."


def _plan(requests: Sequence[Request]) -> str:
    parts, last = [], ""
    for request in requests:
        values = ", ".join(f"{name} {_spoken(one)}" for name, one in request.drawn.items())
        parts.append(f"and {values}" if request.tool.name == last else f"{request.tool.name} fits: {values}")
        last = request.tool.name
    return "; ".join(parts)


def _spoken(one: Drawn) -> str:
    if isinstance(one.value, list):
        return " and ".join(str(item) for item in one.value)
    if isinstance(one.value, bool) or one.said == str(one.value):
        return str(one.value)
    return f"{one.said} is {one.value}"
