"""An LLM judge: puts a stage's question to language models and turns their rulings into a verdict.

    judge = LlmJudge("cot", Panel([Voter(model)], settings))

The question is the text file beside the stage's rule judge, in our words after the paper's table. A judge that
cannot be heard (no answer, or none that can be read, however often it was asked) makes an `error`, never a pass and
never a drop: the bus counts it, and stops the round when there are too many.
"""

from __future__ import annotations

from msgspec import structs

from funreason.agents.llm_case import Case, case_of
from funreason.agents.llm_panel import Panel, Unheard
from funreason.agents.llm_reply import Ruling
from funreason.agents.verdicts import failed
from funreason.record.types import Outcome, Sample, Verdict

MAX_CHARS = 60_000
"""Longer inputs are not judged: a verdict on part of them would be none, and no judge's context holds more."""
SHOWN_CHARS = 240
REASONS = {
    "response": (Outcome.KEEP_TEXT, "llm.text"),
    "query_tool": (Outcome.DROP, "llm.cannot_be_solved"),
    "cot": (Outcome.DROP, "llm.does_not_lead"),
    "parameters": (Outcome.REGENERATE, "llm.wrong_call"),
    "format": (Outcome.REGENERATE, "llm.wrong_form"),
}
"""What a stage answers when its statement is false."""


class LlmJudge:
    """One stage, judged by a panel of models."""

    def __init__(self, stage: str, panel: Panel) -> None:
        self.stage = stage
        self.panel = panel

    async def __call__(self, sample: Sample) -> Verdict:
        """The stage's verdict. Reasons: those of `REASONS`, `response.text_where_calls_expected`, and for an `error`
        `judge.unreadable`, `judge.unreachable`, `judge.too_long`.
        """
        return await self._judged(sample, afresh=False)

    async def afresh(self, sample: Sample) -> Verdict:
        """The same with other seeds, nothing looked up: tells how often a judge agrees with itself."""
        return await self._judged(sample, afresh=True)

    async def _judged(self, sample: Sample, *, afresh: bool) -> Verdict:
        case = case_of(self.stage, sample, self.panel.seed)
        if case.chars > MAX_CHARS:
            evidence = f"the inputs have {case.chars} characters; a judge is shown {MAX_CHARS} at most"
            return failed(self.stage, Outcome.ERROR, "judge.too_long", evidence, self.panel.name)
        votes = await self.panel.votes(case, sample.round, afresh=afresh)
        rulings = [vote for vote in votes if isinstance(vote, Ruling)]
        true = self._decided(case, rulings, len(votes) - len(rulings))
        if true is None:
            unheard = next(vote for vote in votes if isinstance(vote, Unheard))
            return failed(self.stage, Outcome.ERROR, unheard.reason, unheard.evidence, self.panel.name)
        if true:
            return Verdict(self.stage, Outcome.PASS, judge=self.panel.name)
        return self._denied(sample, [ruling for ruling in rulings if not ruling.true] or rulings)

    def _decided(self, case: Case, rulings: list[Ruling], unheard: int) -> bool | None:
        accept = self.panel.accept
        if case.stage != "response":
            return accept.decided([ruling.score for ruling in rulings], unheard)
        # Here it is the no that lets an answer skip the other stages, so it is the no that has to be agreed on.
        text = accept.decided([1 - ruling.score for ruling in rulings], unheard)
        return None if text is None else not text

    def _denied(self, sample: Sample, against: list[Ruling]) -> Verdict:
        outcome, reason = REASONS[self.stage]
        if outcome == Outcome.KEEP_TEXT and sample.task.reference:
            outcome, reason = Outcome.DROP, "response.text_where_calls_expected"
        verdict = failed(self.stage, outcome, reason, _conclusion(against[0].reasoning), self.panel.name)
        answer = next((ruling.answer for ruling in against if ruling.answer), None)
        return structs.replace(verdict, answer=answer) if outcome == Outcome.REGENERATE else verdict


def _conclusion(reasoning: str) -> str:
    """The end of a reasoning: that is where it says what is wrong."""
    line = " ".join(reasoning.split())
    return line if len(line) <= SHOWN_CHARS else "…" + line[1 - SHOWN_CHARS :]
