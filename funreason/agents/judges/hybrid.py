"""Combines a stage's rule judge with its LLM judge.

With `both`, the rule judges first and the model is asked only when the rule cannot decide. With `llm`, the model judges
alone, except for plain facts that it is not shown, such as a truncated answer or missing thinking: those stay with the
rule.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from funreason.agents.judges.llm.judge import LlmJudge
from funreason.agents.judges.rules.verdicts import calls_in
from funreason.types import Outcome, Sample, Verdict

Judge = Callable[[Sample], Awaitable[Verdict]]
Settled = Callable[[Sample, Verdict], bool]
Fact = Callable[[Sample], bool]
DECIDABLE = ("response", "format")
"""Stages that rules decide completely."""


class RulesThenModel:
    """Answers with the rule's verdict if that is `settled`, else with the model's."""

    def __init__(self, rule: Judge, model: LlmJudge, settled: Settled) -> None:
        self.rule = rule
        self.model = model
        self.settled = settled

    async def __call__(self, sample: Sample) -> Verdict:
        """The verdict. The model is not asked if the rule's is settled."""
        return await self._judged(sample, self.model)

    async def judge_uncached(self, sample: Sample) -> Verdict:
        """The same without the model's cache."""
        return await self._judged(sample, self.model.judge_uncached)

    async def _judged(self, sample: Sample, model: Judge) -> Verdict:
        verdict = await self.rule(sample)
        return verdict if self.settled(sample, verdict) else await model(sample)


class ModelUnlessTrivial(RulesThenModel):
    """Answers with the rule's verdict if `fact` holds for the sample, else with the model's."""

    def __init__(self, rule: Judge, model: LlmJudge, fact: Fact) -> None:
        super().__init__(rule, model, lambda sample, verdict: True)
        self.fact = fact

    async def _judged(self, sample: Sample, model: Judge) -> Verdict:
        return await (self.rule if self.fact(sample) else model)(sample)


def _by_rule(sample: Sample, verdict: Verdict) -> bool:
    return True


def _solvable(sample: Sample, verdict: Verdict) -> bool:
    # A reference that calls shows that the tools can answer the query.
    return verdict.outcome != Outcome.PASS or bool(sample.task.reference)


def _thought(sample: Sample, verdict: Verdict) -> bool:
    return verdict.outcome != Outcome.PASS or _nothing_thought(sample)


def _compared(sample: Sample, verdict: Verdict) -> bool:
    # What cannot be read is stage 5's business; what was compared with the reference is known to be right.
    unread = not calls_in(sample.answer)
    return verdict.outcome != Outcome.PASS or sample.task.reference is not None or unread


def _cut_off(sample: Sample) -> bool:
    return sample.truncated or not sample.answer.strip()


def _nothing_thought(sample: Sample) -> bool:
    return not (sample.thinking or "").strip()


BOTH: dict[str, Settled] = {
    "response": _by_rule,
    "query_tool": _solvable,
    "cot": _thought,
    "parameters": _compared,
    "format": _by_rule,
}
"""What the rule settles when both judge a stage."""
FACTS: dict[str, Fact] = {"response": _cut_off, "cot": _nothing_thought}
"""What the rule tells even when a stage is the model's alone."""
