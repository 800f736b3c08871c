"""Stage 3, chain of thought: does the thinking lead to the answer?"""

from __future__ import annotations

from funreason.agents.judges.rules.cot_check import thinking_problem
from funreason.agents.judges.rules.verdicts import calls_in, failed, passed
from funreason.types import Outcome, Sample, Verdict

STAGE = "cot"


class CotJudge:
    """Drops a sample whose thinking does not lead to its calls. `require` False lets samples without thinking pass."""

    def __init__(self, *, require: bool = True) -> None:
        self.require = require

    async def __call__(self, sample: Sample) -> Verdict:
        """`pass` or `drop`, with `cot.missing`, `cot.empty` or a reason of `thinking_problem`.

        An answer that cannot be read passes, for stage 5 to send back: what its thinking leads to is unknown.
        """
        thinking = (sample.thinking or "").strip()
        if not thinking:
            if not self.require:
                return passed(STAGE)
            if sample.thinking is None:
                return failed(STAGE, Outcome.DROP, "cot.missing", "the answer comes without thinking")
            return failed(STAGE, Outcome.DROP, "cot.empty", "the thinking is empty")
        calls = calls_in(sample.answer, sample.task.tools)
        problem = thinking_problem(thinking, calls, sample.task.tools) if calls is not None else None
        if problem is None:
            return passed(STAGE)
        return failed(STAGE, Outcome.DROP, problem.code, problem.evidence)
