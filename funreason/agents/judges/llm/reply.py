"""Parses a judge's reply into a ruling, or raises with the reason why it cannot.

The verdict must be the end of the reply, except for a corrected answer and a score. A reasoning model's thinking is not
searched for a verdict, and verdicts that disagree are an error. Nothing is guessed: an unreadable reply is an error of
the judge and never counts against the sample.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from funreason.agents.judges.llm.prompt import JudgeInput, sendable, unfenced
from funreason.calls.thinking import split_thinking

EVEN = 0.5
_REASONING_CHARS = 2000
_TRIMMINGS = "`*. \n\t"
_SCORE = re.compile(r"<score>\s*([01](?:\.\d{0,6})?)\s*</score>", re.IGNORECASE)


class Unreadable(ValueError):
    """A reply without a usable verdict. The message is sent back to the judge."""


class Ruling(NamedTuple):
    """One judge's decision. `score` is its probability that the statement is true, from 0 to 1."""

    true: bool
    score: float
    reasoning: str
    answer: str | None = None
    """A corrected answer; only given with a verdict of False."""


def read_tagged(text: str, case: JudgeInput) -> Ruling:
    """The ruling in a reply that ends with `<judge>True</judge>` or False.

    Raises:
        Unreadable: no verdict, verdicts that disagree, or text after the verdict.
    """
    split = split_thinking(text)
    if not split.closed:
        raise Unreadable("the thinking was never closed, so it holds no verdict")
    body, answer = _without_call(split.answer, case)
    verdict = re.compile(rf"<{case.tag}>\s*(true|false)\s*</{case.tag}>", re.IGNORECASE)
    found = list(verdict.finditer(body))
    if not found:
        raise Unreadable(f"it holds no verdict between <{case.tag}> and </{case.tag}>, True or False")
    if len({match[1].lower() for match in found}) > 1:
        raise Unreadable("it holds verdicts that disagree; write the tag once, at the end")
    if _SCORE.sub("", body[found[-1].end() :]).strip(_TRIMMINGS):
        raise Unreadable("there is more text after the verdict; the verdict must be the end of the reply")
    scores = _SCORE.findall(body)
    reasoning = "\n".join(part for part in (split.thinking, body[: found[0].start()]) if part)
    return _ruling(found[-1][1].lower() == "true", float(scores[-1]) if scores else None, reasoning, answer)


def read_json(text: str, case: JudgeInput) -> Ruling:
    """The ruling in a reply in the form of `schema`.

    Raises:
        Unreadable: it is not in that form.
    """
    try:
        found = json.loads(text if text.lstrip().startswith("{") else split_thinking(text).answer)
    except (ValueError, RecursionError):
        raise Unreadable("it is not a JSON object") from None
    if not isinstance(found, dict) or not isinstance(found.get("verdict"), bool):
        raise Unreadable("it is not a JSON object with a `verdict` of true or false")
    if case.marked and found.get("case") != case.number:
        raise Unreadable(f"its `case` is not {case.number}")
    score, answer = found.get("score"), found.get("new_call")
    if score is not None and (isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1):
        raise Unreadable("its `score` is not a number from 0 to 1")
    return _ruling(
        found["verdict"], score, str(found.get("reasoning", "")), answer if isinstance(answer, str) else None
    )


def schema(case: JudgeInput, *, scored: bool, rewrites: bool) -> dict[str, Any]:
    """The JSON schema of a reply, for servers that enforce one. The reasoning comes before the verdict."""
    fields: dict[str, Any] = {"case": {"const": case.number}} if case.marked else {}
    fields |= {"reasoning": {"type": "string"}, "verdict": {"type": "boolean"}}
    fields |= {"score": {"type": "number", "minimum": 0, "maximum": 1}} if scored else {}
    required = list(fields)
    fields |= {"new_call": {"type": "string"}} if rewrites else {}
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def _ruling(true: bool, score: float | None, reasoning: str, answer: str | None) -> Ruling:
    if score is not None and score != EVEN and (score > EVEN) != true:
        raise Unreadable(f"its score of {score:g} contradicts its verdict of {true}")
    written = sendable(unfenced(answer)).strip() if answer and not true else None
    sure = float(true) if score is None else float(score)
    return Ruling(true, sure, sendable(reasoning[-_REASONING_CHARS:]).strip(), written or None)


def _without_call(text: str, case: JudgeInput) -> tuple[str, str | None]:
    """The text without its last corrected answer, and that answer. Not by regex: a lazy pattern would be quadratic."""
    opening, closing = f"<{case.call_tag}>", f"</{case.call_tag}>"
    start, end = text.rfind(opening), text.rfind(closing)
    if start < 0 or end < start:
        return text, None
    return text[:start] + text[end + len(closing) :], text[start + len(opening) : end]
