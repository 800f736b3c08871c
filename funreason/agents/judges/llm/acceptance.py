"""The panel of hard-data rounds: several models score each answer to a hard task, and a rule says what they accept.

Each seat gives a score from 0 to 1 and its reason. A seat whose reply cannot be read, or that does not answer, has no
vote. Without models, references stand in: an answer passes if it means what its task's reference means.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from funreason.agents.judges.llm.judge import MAX_CHARS
from funreason.agents.judges.llm.panel import NoRuling, Panel
from funreason.agents.judges.llm.prompt import JudgeInput, Ruling, case_of
from funreason.agents.judges.rules.verdicts import calls_in, failed, passed
from funreason.calls.compare import same_calls
from funreason.calls.lenient import looks_like_calls
from funreason.config import HardData
from funreason.record.hard_tasks import FIRST
from funreason.types import Call, Outcome, Sample, Verdict

PANEL = "panel"
"""The node of the panel, and the name of its question."""
REASON_CHARS = 160
Scores = tuple[float | None, ...]
"""The score of each seat, None for one without a vote."""


def accepted(scores: Sequence[float | None], rule: str, threshold: float) -> bool:
    """Whether a panel with these scores accepts.

    `unanimous`: every seat votes at least `threshold`. `majority`: more than half of the seats do. `mean`: more than
    half of the seats vote, and the mean of their scores is at least `threshold`. Three seats of which one has no vote
    are thus never unanimous, and need two yes for a majority.
    """
    votes = [score for score in scores if score is not None]
    yes = sum(score >= threshold for score in votes)
    if rule == "unanimous":
        return yes == len(scores) > 0
    if rule == "majority":
        return 2 * yes > len(scores)
    return 2 * len(votes) > len(scores) and sum(votes) >= threshold * len(votes)


class AcceptancePanel:
    """Judges answers to hard tasks.

    Args:
        panel: the models; None where references decide.
        settings: how they are asked, and what is accepted.
    """

    def __init__(self, panel: Panel | None, settings: HardData) -> None:
        self.panel = None if panel is None else panel.scoring(settings.panel_temperature)
        self.settings = settings
        self._seated: dict[int, Panel] = {}

    async def __call__(self, sample: Sample) -> Verdict:
        """`pass`, or `drop` with `panel.refused`, `panel.no_vote`, `panel.no_reference` or a reason `reference.*`.

        `error` where no seat has a vote. In round 1 every answer passes: it sorts the tasks by the five stages alone.
        """
        return await self._judged(sample, judge_uncached=False)

    async def judge_uncached(self, sample: Sample) -> Verdict:
        """The same with other seeds and without the cache, to measure self-agreement."""
        return await self._judged(sample, judge_uncached=True)

    def seat(self, round: int, bad: Sequence[Verdict]) -> tuple[dict[str, float], list[str]]:
        """Suspend in a round the models that accepted too many known bad answers, of which these are the verdicts.

        Returns the share that each model accepted, of those it scored, and the names of the suspended ones. When no
        model is left, none is suspended: the caller has to stop the round.
        """
        self._seated.pop(round, None)
        if self.panel is None:
            return {}, []
        names, each = [model.name for model in self.panel.models], self.panel.settings.samples_per_model
        rows = [verdict.votes for verdict in bad if len(verdict.votes) == each * len(names)]
        shares = []
        for i in range(len(names)):
            given = [score for row in rows for score in row[i * each : (i + 1) * each] if score is not None]
            shares.append(sum(score >= self.settings.threshold for score in given) / len(given) if given else 0.0)
        most = self.settings.max_seat_false_pass
        suspended = [i for i, share in enumerate(shares) if most is not None and share > most]
        if 0 < len(suspended) < len(names):
            self._seated[round] = self.panel.without(suspended)
        return dict(zip(names, shares, strict=True)), [names[i] for i in suspended]

    async def _judged(self, sample: Sample, *, judge_uncached: bool) -> Verdict:
        if sample.round <= FIRST:
            return passed(PANEL)
        if self.panel is None:
            return _by_reference(sample)
        panel = self._seated.get(sample.round, self.panel)
        case = case_of(PANEL, sample, panel.seed)
        if case.chars > MAX_CHARS:
            evidence = f"the inputs have {case.chars} characters; at most {MAX_CHARS} are judged"
            return failed(PANEL, Outcome.ERROR, "judge.too_long", evidence, panel.name)
        scores, said, first_fault = await scored(panel, case, sample.round, judge_uncached=judge_uncached)
        verdict = Verdict(PANEL, Outcome.PASS, "", said, panel.name, votes=scores)
        if accepted(scores, self.settings.accept, self.settings.threshold):
            return verdict
        unheard = scores.count(None)
        if unheard == len(scores):
            return msgspec.structs.replace(verdict, outcome=Outcome.ERROR, reason=first_fault)
        # What the votes that are missing could have changed is said to be so: the answer is not blamed for it.
        full = tuple(1.0 if score is None else score for score in scores)
        lacking = unheard and accepted(full, self.settings.accept, self.settings.threshold)
        return msgspec.structs.replace(
            verdict, outcome=Outcome.DROP, reason="panel.no_vote" if lacking else "panel.refused"
        )


async def scored(
    panel: Panel, case: JudgeInput, round: int, *, judge_uncached: bool = False
) -> tuple[Scores, str, str]:
    """The seats' scores, a line for each with its reason, and why the first seat without a vote has none."""
    votes = await panel.votes(case, round, judge_uncached=judge_uncached)
    scores = tuple(vote.score if isinstance(vote, Ruling) else None for vote in votes)
    lines = []
    for seat, vote in zip(panel.seats, votes, strict=True):
        score = f"{vote.score:.2f}" if isinstance(vote, Ruling) else "no vote"
        reason = " ".join((vote.reasoning if isinstance(vote, Ruling) else vote.evidence).split())
        lines.append(f"{seat} {score}: {reason if len(reason) <= REASON_CHARS else '…' + reason[1 - REASON_CHARS :]}")
    fault = next((vote.reason for vote in votes if isinstance(vote, NoRuling)), "")
    return scores, "\n".join(lines), fault


def meaning(sample: Sample) -> tuple[Call, ...] | None:
    """The calls of an answer, () for ordinary text and for none; None for calls that cannot be read."""
    calls = calls_in(sample.answer, sample.task.tools)
    return () if calls is None and not looks_like_calls(sample.answer) else calls


def _by_reference(sample: Sample) -> Verdict:
    task = sample.task
    if task.reference is None:
        return failed(PANEL, Outcome.DROP, "panel.no_reference", "no model judges, and the task has no reference")
    calls = meaning(sample)
    if calls is None:
        return failed(PANEL, Outcome.DROP, "reference.unreadable", "the answer cannot be read as calls")
    difference = same_calls(calls, task.reference, task.tools)
    return passed(PANEL) if difference is None else failed(PANEL, Outcome.DROP, difference.code, difference.evidence)
