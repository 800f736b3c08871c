"""What the judges share: how they write a verdict, the calls in an answer, and the outcomes in what a judge returns.

A verdict names who judged, a dotted reason and short evidence. `calls_in` reads an answer leniently, for the judges
that judge meaning and leave form to stage 5.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from funreason.bus.agent import ERROR, Emit
from funreason.calls.dialects.dialect import Tools
from funreason.calls.lenient import needs_tools, parse_any
from funreason.calls.parse import CallSyntaxError
from funreason.types import Call, Outcome, Verdict

RULES = "rules"
_LIMIT = 240
_CACHED_CHARS = 5_000
"""So that the cache holds a few megabytes at most."""


def passed(stage: str) -> Verdict:
    """The verdict `pass`."""
    return Verdict(stage, Outcome.PASS, judge=RULES)


def failed(stage: str, outcome: Outcome, reason: str, evidence: str = "", judge: str = RULES) -> Verdict:
    """Any other verdict; the evidence is cut to what a table can show."""
    return Verdict(stage, outcome, reason, evidence if len(evidence) <= _LIMIT else evidence[: _LIMIT - 1] + "…", judge)


def calls_in(answer: str, tools: Tools = ()) -> tuple[Call, ...] | None:
    """The calls of an answer in any format, () for none, None when it cannot be read. Do not change what it returns.

    The offered `tools` say how values are meant that are written without their types. Short answers are cached, because
    four stages in a row ask it of the same one; not those whose meaning depends on the tools.
    """
    if tools and needs_tools(answer):
        return _read(answer, tools)
    return _remembered(answer) if len(answer) <= _CACHED_CHARS else _read(answer)


def _read(answer: str, tools: Tools = ()) -> tuple[Call, ...] | None:
    try:
        return tuple(parse_any(answer, tools))
    except CallSyntaxError:
        return None


_remembered = lru_cache(maxsize=1024)(_read)


def outcomes_of(answer: Any) -> list[Any] | None:
    """The outcomes in a judge's answer; None when the bus could not read it."""
    if isinstance(answer, str):
        return [answer]
    if isinstance(answer, Verdict | Emit):
        return [answer.outcome]
    if isinstance(answer, list | tuple) and all(isinstance(each, Emit) for each in answer):
        return [each.outcome for each in answer]
    return None


def word_of(answer: Any) -> str:
    """An answer's outcome in a word, those of several joined by `+`; `error` for what cannot be read."""
    outcomes = outcomes_of(answer)
    return "+".join(str(outcome) for outcome in outcomes) if outcomes else ERROR
