"""Helpers of the rule judges: making verdicts, reading calls leniently, reading a judge's answer."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from funreason.bus.agent import ERROR, Emit
from funreason.calls.lenient import parse_any
from funreason.calls.literal import CallSyntaxError
from funreason.types import Call, Outcome, Verdict

RULES = "rules"
_LIMIT = 240


def passed(stage: str) -> Verdict:
    """The verdict `pass`."""
    return Verdict(stage, Outcome.PASS, judge=RULES)


def failed(stage: str, outcome: Outcome, reason: str, evidence: str = "", judge: str = RULES) -> Verdict:
    """Any other verdict. The evidence is shortened to fit a table."""
    return Verdict(stage, outcome, reason, evidence if len(evidence) <= _LIMIT else evidence[: _LIMIT - 1] + "…", judge)


_CACHED_CHARS = 5_000
"""Longest cached answer: the cache then holds a few megabytes at most."""


def calls_in(answer: str) -> tuple[Call, ...] | None:
    """The calls of an answer in any format, () if there are none, None if it cannot be parsed. Do not mutate them.

    Short answers are cached, because four stages in a row read the same one.
    """
    return _remembered(answer) if len(answer) <= _CACHED_CHARS else _read(answer)


def _read(answer: str) -> tuple[Call, ...] | None:
    try:
        return tuple(parse_any(answer))
    except CallSyntaxError:
        return None


_remembered = lru_cache(maxsize=1024)(_read)


def outcomes_of(answer: Any) -> list[Any] | None:
    """The outcomes in a judge's answer; None if the bus cannot read it."""
    if isinstance(answer, str):
        return [answer]
    if isinstance(answer, Verdict | Emit):
        return [answer.outcome]
    if isinstance(answer, list | tuple) and all(isinstance(each, Emit) for each in answer):
        return [each.outcome for each in answer]
    return None


def word_of(answer: Any) -> str:
    """An answer's outcome, several joined by `+`; `error` if the bus cannot read it."""
    outcomes = outcomes_of(answer)
    return "+".join(str(outcome) for outcome in outcomes) if outcomes else ERROR
