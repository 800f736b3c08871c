"""Which recorded verdicts are valid under another configuration: those that asking again could only repeat.

No judge is asked to find out. Where the record cannot tell what a judge would say now, the answer is why, in words that
end the sentence "its verdicts cannot be used: …".
"""

from __future__ import annotations

from typing import Any

from funreason.agents.judges.llm.judge import DECIDABLE, recounted
from funreason.agents.judges.llm.panel import VoteRule
from funreason.agents.judges.rules.verdicts import passed
from funreason.agents.regenerator import resampling_yields
from funreason.config import Config, LlmJudges
from funreason.replay.recorded import Regeneration
from funreason.runtime.graph import STAGES
from funreason.types import Outcome, Sample, Verdict

UNTHOUGHT = ("cot.missing", "cot.empty")
COUNTING = {"vote", "threshold", "concurrency", "cache", "cache_entries"}
"""Settings of the LLM judges that do not affect what a model answers."""


class VerdictValidity:
    """The verdicts of a run that was made with `old`, seen from `new`."""

    def __init__(self, old: Config, new: Config) -> None:
        self.old, self.new = old, new
        self._by = old.fcdr.stages.model_dump(), new.fcdr.stages.model_dump()
        self._accept = _accept(new.fcdr.llm)
        self._recount = _accept(old.fcdr.llm) != self._accept
        self._unscored = new.fcdr.llm.vote == "mean" != old.fcdr.llm.vote
        self._asked_else = _asking(old) != _asking(new)
        self._own = _own(old), _own(new)
        self._form = old.model.call_format, new.model.call_format

    def verdict(self, sample: Sample, node: str, verdict: Verdict) -> Verdict | str:
        """The verdict of `node`'s judge on this attempt under the new configuration, or why it is unknown."""
        if node not in STAGES:
            same = self._own[0].get(node) == self._own[1].get(node)
            return verdict if same else "another agent judges there now"
        if node == "format" and self._form[0] != self._form[1]:
            return f"model.call_format was {self._form[0]} and is {self._form[1]}"
        before, now = (by[node] for by in self._by)
        if before == now or ({before, now} == {"rules", "both"} and node in DECIDABLE):
            return self._same(sample, verdict)
        if (before, now) == ("both", "rules"):  # a model was only asked where the rule had found nothing
            ruled = passed(node) if _by_model(verdict) else verdict
            return self._same(sample, ruled)
        if (before, now) == ("rules", "both") and verdict.outcome != Outcome.PASS:
            return self._same(sample, verdict)
        return f"fcdr.stages.{node} was {before} and is {now}"

    def regenerated(self, sample: Sample, again: Regeneration) -> str:
        """Why a recorded regeneration is not valid for this attempt; empty when it is."""
        old, new = self.old.fcdr, self.new.fcdr
        asker = sample.verdicts[-1].stage if sample.verdicts else ""
        if asker != again.asker:
            return f"{asker} asks for another answer where {again.asker} did"
        if old.regenerate != new.regenerate:
            return "fcdr.regenerate is another"
        if self._form[0] != self._form[1]:
            return "model.call_format is another"
        if bool(self.old.sample.endpoints) != bool(self.new.sample.endpoints):
            return "sample.endpoints are others"
        yields = {resampling_yields(new.regenerate, sample.attempt, fcdr.max_attempts) for fcdr in (old, new)}
        if len(yields) > 1:
            return "with another fcdr.max_attempts it is another turn that waits for the repair"
        return ""

    def _same(self, sample: Sample, verdict: Verdict) -> Verdict | str:
        """The verdict of a stage that is judged as before."""
        if _by_model(verdict):
            if verdict.reason == "judge.too_long":  # no model was asked
                return verdict
            if self._asked_else:
                return "other models, or other settings of fcdr.llm, judge there now"
            if not self._recount:
                return verdict
            if not verdict.votes:
                return "the votes were not recorded, so they cannot be counted again"
            if self._unscored:
                return "its votes were given without a score, which fcdr.llm.accept: mean asks for"
            return recounted(verdict, sample, self._accept)
        required = self.old.fcdr.require_thinking, self.new.fcdr.require_thinking
        if verdict.stage == "cot" and required == (True, False) and verdict.reason in UNTHOUGHT:
            return passed("cot")
        if verdict.stage == "cot" and required == (False, True) and verdict.outcome == Outcome.PASS:
            return "fcdr.require_thinking asks for thinking that may not be there"
        return verdict


def _by_model(verdict: Verdict) -> bool:
    return verdict.judge.startswith("llm:")


def _accept(llm: LlmJudges) -> VoteRule:
    return VoteRule(llm.vote, llm.threshold if llm.vote == "mean" else 0.5)


def _asking(config: Config) -> dict[str, Any]:
    llm = config.fcdr.llm
    own = {"path": config.model.path} if llm.model == "self" else {}
    return llm.model_dump(exclude=COUNTING) | own | {"seed": config.seed}


def _own(config: Config) -> dict[str, str]:
    return {entry.name: entry.agent for entry in config.agents}
