"""Stage 5, format: is the answer exactly in the form the model is taught, and nothing else?

That form is `[f(a=v), g(b=w)]` unless `model.call_format` names another one. The form's strict parser decides. What it
refuses goes to the regenerator, which can often render the same calls in the right form.
"""

from __future__ import annotations

from funreason.agents.judges.rules.verdicts import failed, passed
from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.parse import CallSyntaxError
from funreason.types import Outcome, Sample, Verdict

STAGE = "format"


class FormatJudge:
    """Judges the form of an answer by the strict parser of `form`."""

    def __init__(self, form: CallFormat = PYTHONIC) -> None:
        self.form = form

    async def __call__(self, sample: Sample) -> Verdict:
        """`pass`, or `regenerate` with the reason of the strict parser (`form.*`, `value.*`, `json.*`)."""
        try:
            self.form.parse(sample.answer, sample.task.tools)
        except CallSyntaxError as error:
            return failed(STAGE, Outcome.REGENERATE, error.reason, str(error))
        return passed(STAGE)


_PYTHONIC = FormatJudge()


async def judge_format(sample: Sample) -> Verdict:
    """Stage 5 for the papers' form."""
    return await _PYTHONIC(sample)
