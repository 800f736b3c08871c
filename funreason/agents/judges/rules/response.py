"""Stage 1, response: is the answer a function call or ordinary text?

As in the paper, ordinary text is kept and skips the other stages. Unlike the paper, text is dropped if the reference
has calls: training on it would teach the model to give up. Truncated and empty answers are dropped too. An empty list
of calls counts as text.
"""

from __future__ import annotations

from funreason.agents.judges.rules.verdicts import calls_in, failed, passed
from funreason.calls.lenient import looks_like_calls
from funreason.types import Outcome, Sample, Verdict

STAGE = "response"


async def judge_response(sample: Sample) -> Verdict:
    """`pass` for an attempt at calls, `keep_text` for ordinary text, `drop` for what is neither or out of place.

    Reasons: `response.unclosed_thinking`, `response.truncated`, `response.empty`, `response.text_where_calls_expected`,
    `response.text`, `response.no_call`.
    """
    answer = sample.answer.strip()
    if not answer and sample.truncated and sample.thinking is not None:
        return failed(STAGE, Outcome.DROP, "response.unclosed_thinking", "the thinking never ended")
    if sample.truncated:
        return failed(STAGE, Outcome.DROP, "response.truncated", f"cut off after {answer[-60:]!r}")
    if not answer:
        return failed(STAGE, Outcome.DROP, "response.empty", "no answer after the thinking")
    if calls_in(answer, sample.task.tools) or looks_like_calls(answer):
        return passed(STAGE)
    if sample.task.reference:
        names = ", ".join(call.name for call in sample.task.reference)
        evidence = f"the reference calls {names}; the answer is {answer[:100]!r}"
        return failed(STAGE, Outcome.DROP, "response.text_where_calls_expected", evidence)
    reason = "response.no_call" if calls_in(answer, sample.task.tools) == () else "response.text"
    return failed(STAGE, Outcome.KEEP_TEXT, reason, answer[:100])
