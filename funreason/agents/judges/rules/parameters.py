"""Stage 4, parameters: are function names, parameters and values right?

First against the schema (names, required, types, enums); then, where the right answer is known, against it under
BFCL's rules for values. An answer that cannot be read in any format passes here: what it means is unknown, and
stage 5 is sure to send it back.
"""

from __future__ import annotations

from collections.abc import Sequence

from funreason.agents.judges.rules.verdicts import calls_in, failed, passed
from funreason.calls.compare import same_calls
from funreason.calls.schema import SchemaProblem, check_call, tool_named
from funreason.types import Call, Outcome, Sample, Task, Verdict

STAGE = "parameters"


async def judge_parameters(sample: Sample) -> Verdict:
    """`pass`, or `regenerate` with the first problem: `schema.*` (see `check_call`) or `reference.*`."""
    problem = call_problem(calls_in(sample.answer, sample.task.tools) or (), sample.task)
    if problem is None:
        return passed(STAGE)
    return failed(STAGE, Outcome.REGENERATE, problem.code, problem.evidence)


def call_problem(calls: Sequence[Call], task: Task) -> SchemaProblem | None:
    """The first problem of `calls` against the task's tools and, where known, its reference; None without calls."""
    for call in calls:
        tool = tool_named(task.tools, call.name)
        if tool is None:
            return SchemaProblem("schema.unknown_function", f"{call.name} is not offered")
        problems = check_call(call, tool)
        if problems:
            return problems[0]
    if calls and task.reference is not None:
        return same_calls(calls, task.reference, task.tools)
    return None
