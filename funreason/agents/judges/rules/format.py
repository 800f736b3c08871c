"""Stage 5, format: is the answer exactly `[f(a=v), g(b=w)]`, and nothing else?

The strict parser decides. What it refuses goes to the regenerator, which can often render the same calls in the right
form.
"""

from __future__ import annotations

from funreason.agents.judges.rules.verdicts import failed, passed
from funreason.calls.parse import CallSyntaxError, parse_calls
from funreason.types import Outcome, Sample, Verdict

STAGE = "format"


async def judge_format(sample: Sample) -> Verdict:
    """`pass`, or `regenerate` with the reason of the strict parser (`form.*`, `value.*`)."""
    try:
        parse_calls(sample.answer)
    except CallSyntaxError as error:
        return failed(STAGE, Outcome.REGENERATE, error.reason, str(error))
    return passed(STAGE)
