"""Stage 4, parameters: are function names, parameters and values right?

First against the schema (names, required, types, enums); then, where the right answer is known, against it under
BFCL's rules for values. An answer that cannot be read in any format passes here: what it means is unknown, and
stage 5 is sure to send it back.
"""

from __future__ import annotations

from funreason.agents.judges.rules.verdicts import calls_in, failed, passed
from funreason.calls.compare import call_problem
from funreason.types import Outcome, Sample, Verdict

STAGE = "parameters"


async def judge_parameters(sample: Sample) -> Verdict:
    """`pass`, or `regenerate` with the first problem: `schema.*` (see `check_call`) or `reference.*`."""
    problem = call_problem(calls_in(sample.answer, sample.task.tools) or (), sample.task)
    if problem is None:
        return passed(STAGE)
    return failed(STAGE, Outcome.REGENERATE, problem.code, problem.evidence)
