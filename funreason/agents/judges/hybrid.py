"""Rules before models: a stage's rule judge speaks first, and the model is asked only where rules cannot tell.

Facts are for a stage that is judged by the model alone: what no judgement is needed for (an answer that was cut off,
a thinking that is not there) stays with the rule, since the model is not even shown it. The rule is asked only then.
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
"""Stages of which a rule can tell everything."""


class RulesThenModel:
    """Answers with the rule's verdict where it is `settled` by it, else with the model's."""

    def __init__(self, rule: Judge, model: LlmJudge, settled: Settled) -> None:
        self.rule = rule
        self.model = model
        self.settled = settled

    async def __call__(self, sample: Sample) -> Verdict:
        """One verdict; the model is not asked where the rule settles it."""
        return await self._judged(sample, self.model)

    async def judge_uncached(self, sample: Sample) -> Verdict:
        """The same from a model that looks nothing up."""
        return await self._judged(sample, self.model.judge_uncached)

    async def _judged(self, sample: Sample, model: Judge) -> Verdict:
        verdict = await self.rule(sample)
        return verdict if self.settled(sample, verdict) else await model(sample)


class ModelUnlessTrivial(RulesThenModel):
    """Answers with the rule's verdict where the sample leaves nothing to judge, else with the model's."""

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
