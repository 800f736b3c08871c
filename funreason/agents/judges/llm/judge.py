"""An LLM judge: asks language models a stage's question and turns their rulings into a verdict.

    judge = LlmJudge("cot", Panel([model], settings))

The question is the stage's text file in this folder, written after the paper's table. If no readable ruling
can be had, the outcome is `error`, never `pass` or `drop`. The bus counts errors and stops the round at too many.

A stage may have a rule judge too. With `both`, the rule judges first and the model is asked only when the rule cannot
decide. With `llm`, the model judges alone, except for plain facts that it is not shown, such as a truncated answer or
missing thinking: those stay with the rule.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import structs

from funreason.agents.judges.llm.panel import NoRuling, Panel, VoteRule
from funreason.agents.judges.llm.prompt import Ruling, case_of
from funreason.agents.judges.rules.stages import has_undecided_value
from funreason.agents.judges.rules.verdicts import calls_in, failed
from funreason.calls.names import callable_answer
from funreason.types import Outcome, Sample, Verdict

MAX_CHARS = 60_000
"""Longer inputs are not judged: they exceed a judge's context, and a verdict on a part would be worthless."""
SHOWN_CHARS = 240
Votes = tuple[float | None, ...]
"""The score of each vote, None for one without a ruling."""
REASONS = {
    "response": (Outcome.KEEP_TEXT, "llm.text"),
    "query_tool": (Outcome.DROP, "llm.cannot_be_solved"),
    "cot": (Outcome.DROP, "llm.does_not_lead"),
    "parameters": (Outcome.REGENERATE, "llm.wrong_call"),
    "format": (Outcome.REGENERATE, "llm.wrong_form"),
}
"""Outcome and reason of a stage whose statement is false."""


class LlmJudge:
    """One stage, judged by a panel of models."""

    def __init__(self, stage: str, panel: Panel) -> None:
        self.stage = stage
        self.panel = panel

    async def __call__(self, sample: Sample) -> Verdict:
        """The stage's verdict. Reasons: those of `REASONS`, `response.text_where_calls_expected`, and for an `error`
        `judge.unreadable`, `judge.unreachable`, `judge.too_long`.
        """
        return await self._judged(sample, judge_uncached=False)

    async def judge_uncached(self, sample: Sample) -> Verdict:
        """The same with other seeds and without the cache, to measure self-agreement."""
        return await self._judged(sample, judge_uncached=True)

    async def _judged(self, sample: Sample, *, judge_uncached: bool) -> Verdict:
        case = case_of(self.stage, sample, self.panel.seed)
        if case.chars > MAX_CHARS:
            evidence = f"the inputs have {case.chars} characters; at most {MAX_CHARS} are judged"
            return failed(self.stage, Outcome.ERROR, "judge.too_long", evidence, self.panel.name)
        votes = await self.panel.votes(case, sample.round, judge_uncached=judge_uncached)
        scores = tuple(vote.score if isinstance(vote, Ruling) else None for vote in votes)
        return structs.replace(self._counted(sample, votes, scores), votes=scores)

    def _counted(self, sample: Sample, votes: list[Ruling | NoRuling], scores: Votes) -> Verdict:
        rulings = [vote for vote in votes if isinstance(vote, Ruling)]
        true = agreed(self.stage, scores, self.panel.vote)
        if true is None:
            unheard = next(vote for vote in votes if isinstance(vote, NoRuling))
            return failed(self.stage, Outcome.ERROR, unheard.reason, unheard.evidence, self.panel.name)
        if true:
            return Verdict(self.stage, Outcome.PASS, judge=self.panel.name)
        against = [ruling for ruling in rulings if not ruling.true] or rulings
        outcome, reason = refusal(self.stage, sample)
        line = " ".join(against[0].reasoning.split())
        evidence = line if len(line) <= SHOWN_CHARS else "…" + line[1 - SHOWN_CHARS :]  # its end says what is wrong
        verdict = failed(self.stage, outcome, reason, evidence, self.panel.name)
        answer = next((ruling.answer for ruling in against if ruling.answer), None)
        if answer is None or outcome != Outcome.REGENERATE:
            return verdict
        return structs.replace(verdict, answer=callable_answer(answer, sample.task.names))


def agreed(stage: str, votes: Votes, accept: VoteRule) -> bool | None:
    """Whether `votes` make the stage's statement true by `accept`; None if that depends on missing votes."""
    scores = [vote for vote in votes if vote is not None]
    unheard = len(votes) - len(scores)
    if stage != "response":
        return accept.decided(scores, unheard)
    # A no lets an answer skip the other stages, so here the no needs the agreement.
    text = accept.decided([1 - score for score in scores], unheard)
    return None if text is None else not text


def refusal(stage: str, sample: Sample) -> tuple[Outcome, str]:
    """Outcome and reason for a sample for which the stage's statement is false."""
    outcome, reason = REASONS[stage]
    if outcome == Outcome.KEEP_TEXT and sample.task.reference:
        return Outcome.DROP, "response.text_where_calls_expected"
    return outcome, reason


def recounted(verdict: Verdict, sample: Sample, accept: VoteRule) -> Verdict:
    """`verdict` with its votes counted by `accept` instead. A new refusal has no evidence and no corrected answer."""
    true = agreed(verdict.stage, verdict.votes, accept)
    if true is False and verdict.outcome in (Outcome.PASS, Outcome.ERROR):
        return Verdict(verdict.stage, *refusal(verdict.stage, sample), judge=verdict.judge, votes=verdict.votes)
    if true:
        return Verdict(verdict.stage, Outcome.PASS, judge=verdict.judge, votes=verdict.votes)
    if true is None and verdict.outcome != Outcome.ERROR:
        return Verdict(verdict.stage, Outcome.ERROR, "judge.unheard", judge=verdict.judge, votes=verdict.votes)
    return verdict


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


def _nothing_thought(sample: Sample) -> bool:
    return not (sample.thinking or "").strip()


BOTH: dict[str, Settled] = {
    "response": lambda sample, verdict: True,
    # A reference that calls shows that the tools can answer the query. No rule compares a name in another script.
    "query_tool": lambda sample, verdict: (
        verdict.outcome != Outcome.PASS or (bool(sample.task.reference) and not has_undecided_value(sample))
    ),
    "cot": lambda sample, verdict: verdict.outcome != Outcome.PASS or _nothing_thought(sample),
    # What cannot be read is stage 5's business; what was compared with the reference is known to be right.
    "parameters": lambda sample, verdict: (
        verdict.outcome != Outcome.PASS
        or sample.task.reference is not None
        or not calls_in(sample.answer, sample.task.tools)
    ),
    "format": lambda sample, verdict: True,
}
"""What the rule settles when both judge a stage."""
FACTS: dict[str, Fact] = {
    "response": lambda sample: sample.truncated or not sample.answer.strip(),
    "cot": _nothing_thought,
}
"""What the rule decides even when a stage is the model's alone."""
