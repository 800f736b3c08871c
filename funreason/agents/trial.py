"""One sample put to a judge outside any run: what it answers, or the fault in its place."""

from __future__ import annotations

import asyncio
import copy
import traceback
from typing import Any, NamedTuple

from funreason.agents.answers import outcomes_of
from funreason.agents.holding import HeldTooLong, Timed
from funreason.agents.own import is_broken_off
from funreason.record.types import Sample


class Trial(NamedTuple):
    """What one judgement came to: an answer, or the fault in its place; `took_s` with its waiting, `held_s` without."""

    sample: Sample
    answer: Any
    fault: str
    took_s: float
    held_s: float
    changed: bool
    late: bool


async def put(agent: Any, sample: Sample, limit_s: float) -> Trial:
    """Put `sample` to `agent`, which has `limit_s` seconds. Whatever the agent raises is its fault, Ctrl-C is not."""
    before, answer, fault, cut, timed = copy.deepcopy(sample), None, "", False, None
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            timed = Timed(agent(sample), limit_s)
            answer = await timed
    except KeyboardInterrupt:
        raise
    except HeldTooLong:
        fault, cut = f"held the event loop for {limit_s:.0f} s", True
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and is_broken_off():
            raise
        fault = _end_of(error)
    if limit.expired():  # whatever it made of being told so
        fault, cut = f"no answer within {limit_s:.0f} s", True
    took_s, held_s = (timed.took_s, timed.longest_s) if timed is not None else (0.0, 0.0)
    return Trial(sample, answer, fault or _unreadable(answer), took_s, held_s, sample != before, cut)


def _end_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)[-2:]).strip()


def _unreadable(answer: Any) -> str:
    words = outcomes_of(answer)
    if words is None:
        return f"answered with {type(answer).__name__}; expected a Verdict, a word, an Emit or a list of Emit"
    wrong = [word for word in words if not isinstance(word, str)]
    return f"answered with the outcome {wrong[0]!r}, which is no word" if wrong else ""
