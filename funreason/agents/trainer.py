"""The trainer: takes what passed, and learns from it when nothing of the round is in flight any more.

While samples flow it only writes them down. On `drained` it reads them back from the round's texts (so a restarted
run sees the same), chooses, adds replay, runs the SRML update from the configured start and saves the weights.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from funreason.agents.selection import Selection, select, solved_tasks
from funreason.agents.staleness import StaleError, fresh_only, staleness
from funreason.record.events import Event, LogMessage, TrainingSetSelected, WeightsTrained
from funreason.record.sample_files import KEPT, SampleFiles
from funreason.types import Candidate, Sample, Weights


@dataclass(frozen=True, slots=True)
class SelectionSettings:
    """What a round learns from, and how it is chosen."""

    learn_from: str
    per_task: int
    quotas: dict[str, float]
    counts: dict[str, int] | None
    most_solved: float
    seed: int
    weights: frozenset[str] | None = None
    """Only samples that these weights made are trained on (references are nobody's); None: those of any weights."""


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """Samples to train on, and the weights to start from."""

    round: int
    samples: list[Sample]
    replay: list[Sample]
    start: Weights


Update = Callable[[UpdateRequest], tuple[Weights, WeightsTrained, int]]
"""Trains and saves: new weights, what to log, and how many samples could not be encoded."""


class Trainer:
    """Keeps samples, answers `drained` with `updated`."""

    def __init__(
        self,
        keep: Callable[[Sample], Awaitable[None]],
        texts: SampleFiles,
        diet: SelectionSettings,
        replay: Sequence[Sample],
        start: Weights,
        accepted: Weights,
        update: Update,
        write: Callable[[Event], None],
    ) -> None:
        self.keep = keep
        self.texts = texts
        self.diet = diet
        self.replay = list(replay)
        self.start = start
        self.accepted = accepted
        self.update = update
        self.write = write

    async def __call__(self, sample: Sample) -> None:
        """Take one sample that passed."""
        await self.keep(sample)

    async def on_signal(self, name: str, round: int) -> tuple[str, Candidate]:
        """Choose, train, save. With nothing to train on, the candidate is the accepted weights themselves."""
        kept = await asyncio.to_thread(self._kept)
        fresh, stale = fresh_only(kept, self.diet.weights)
        self._note_stale(round, fresh, stale)
        chosen = await asyncio.to_thread(self._choose, fresh)
        self._note_missing(round, chosen)
        if not chosen.samples:
            self.write(_chosen(round, len(kept), len(stale), chosen, 0, []))
            self.write(LogMessage(level="warning", text="no sample was kept, so nothing was trained", round=round))
            return "updated", Candidate(round, self.accepted.id, self.accepted.folder)
        lesson = UpdateRequest(round, chosen.samples, self.replay, self.start)
        weights, updated, refused = await asyncio.to_thread(self.update, lesson)
        self.write(_chosen(round, len(kept), len(stale), chosen, refused, self.replay))
        self.write(updated)
        return "updated", Candidate(round, weights.id, weights.folder)

    def _choose(self, kept: list[Sample]) -> Selection:
        diet = self.diet
        judged = diet.learn_from == "judged" and diet.most_solved < 1
        solved = solved_tasks(self.texts.get("sampled"), kept, diet.most_solved) if judged else ()
        return select(
            kept, per_task=diet.per_task, quotas=diet.quotas, solved=solved, counts=diet.counts, seed=diet.seed
        )

    def _note_stale(self, round: int, fresh: list[Sample], stale: list[Sample]) -> None:
        """Say which samples are refused; StaleError when that leaves nothing, since no later round would have more."""
        if not stale:
            return
        text = staleness(stale, self.diet.weights or ())
        if not fresh:
            raise StaleError(text)
        self.write(LogMessage(level="warning", text=text, round=round))

    def _note_missing(self, round: int, chosen: Selection) -> None:
        """A control that cannot have as many samples as asked is no fair control: say so."""
        have = Counter(s.task.category for s in chosen.samples)
        short = {c: n - have[c] for c, n in (self.diet.counts or {}).items() if have[c] < n}
        if short:
            text = (
                f"fewer samples than train.counts asks for: {', '.join(f'{n} {c}' for c, n in short.items())} missing"
            )
            self.write(LogMessage(level="warning", text=text, round=round))

    def _kept(self) -> list[Sample]:
        """Once each, whatever an interrupted run wrote twice.

        The unfiltered control takes first attempts as they came, but none that was cut off: it has no end to learn.
        """
        if self.diet.learn_from == "unfiltered":
            drawn = self.texts.get("sampled")
            return list({s.id: s for s in drawn if s.attempt == 0 and not s.truncated}.values())
        return list({s.id: s for kind in KEPT for s in self.texts.get(kind)}.values())


def _chosen(
    round: int, kept: int, stale: int, chosen: Selection, refused: int, replay: list[Sample]
) -> TrainingSetSelected:
    return TrainingSetSelected(
        round=round,
        kept=kept,
        trained=len(chosen.samples) - refused,
        over_quota=chosen.over_quota,
        over_per_task=chosen.over_per_task,
        solved=chosen.solved,
        duplicates=chosen.duplicates,
        over_count=chosen.over_count,
        refused=refused,
        stale=stale,
        replay=len(replay),
        by_category=dict(Counter(s.task.category for s in chosen.samples)),
        by_origin=dict(Counter(s.origin for s in chosen.samples)),
    )
