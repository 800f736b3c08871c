"""Stage 1, response: is the answer a function call or ordinary text?

Ordinary text is kept as it is and skips the other stages, as the paper has it. One exception is ours: where the
reference demands calls, prose is the model giving up, and learning from it would teach giving up; it is dropped.
What is cut off or empty is dropped too. An empty list of calls counts as text: no call.
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
    if calls_in(answer) or looks_like_calls(answer):
        return passed(STAGE)
    if sample.task.reference:
        names = ", ".join(call.name for call in sample.task.reference)
        evidence = f"the reference calls {names}; the answer is {answer[:100]!r}"
        return failed(STAGE, Outcome.DROP, "response.text_where_calls_expected", evidence)
    reason = "response.no_call" if calls_in(answer) == () else "response.text"
    return failed(STAGE, Outcome.KEEP_TEXT, reason, answer[:100])
