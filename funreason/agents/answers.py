"""What a judge's answer says, whichever of the forms it has that the bus can read."""

from __future__ import annotations

from typing import Any

from funreason.bus.agent import ERROR, Emit
from funreason.record.types import Verdict


def outcomes_of(answer: Any) -> list[Any] | None:
    """The outcomes in a judge's answer; None when it is none that the bus can read."""
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
