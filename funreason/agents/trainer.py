"""The trainer: takes what passed, and learns from it when nothing of the round is in flight any more.

While samples flow it only writes them down. On `drained` it reads them back from the round's texts (so a restarted
run sees the same), chooses, adds replay, runs the SRML update from the configured start and saves the weights.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from funreason.agents.messages import Accepted, Candidate
from funreason.agents.selection import Selection, select
from funreason.record.events import Chosen, Event, Noted, Updated
from funreason.record.texts import Texts
from funreason.record.types import Sample


@dataclass(frozen=True, slots=True)
class Diet:
    """What a round learns from, and how it is chosen."""

    learn_from: str
    per_task: int
    quotas: dict[str, float]
    count: int | None
    seed: int


@dataclass(frozen=True, slots=True)
class Lesson:
    """Samples to train on, and the weights to start from."""

    round: int
    samples: list[Sample]
    replay: list[Sample]
    start: Accepted


Update = Callable[[Lesson], tuple[Accepted, Updated, int]]
"""Trains and saves: new weights, what to log, and how many samples could not be encoded."""


class Trainer:
    """Keeps samples, answers `drained` with `updated`."""

    def __init__(
        self,
        keep: Callable[[Sample], Awaitable[None]],
        texts: Texts,
        diet: Diet,
        replay: Sequence[Sample],
        start: Accepted,
        accepted: Accepted,
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
        chosen = select(
            kept, per_task=self.diet.per_task, quotas=self.diet.quotas, count=self.diet.count, seed=self.diet.seed
        )
        if not chosen.samples:
            self.write(_chosen(round, len(kept), chosen, 0, []))
            self.write(Noted(level="warning", text="no sample was kept, so nothing was trained", round=round))
            return "updated", Candidate(round, self.accepted.weights_id, self.accepted.folder)
        lesson = Lesson(round, chosen.samples, self.replay, self.start)
        weights, updated, refused = await asyncio.to_thread(self.update, lesson)
        self.write(_chosen(round, len(kept), chosen, refused, self.replay))
        self.write(updated)
        return "updated", Candidate(round, weights.weights_id, weights.folder)

    def _kept(self) -> list[Sample]:
        """Once each, whatever an interrupted run wrote twice."""
        if self.diet.learn_from == "unfiltered":
            return list({s.id: s for s in self.texts.get("sampled") if s.attempt == 0}.values())
        return list({s.id: s for kind in ("kept", "text") for s in self.texts.get(kind)}.values())


def _chosen(round: int, kept: int, chosen: Selection, refused: int, replay: list[Sample]) -> Chosen:
    return Chosen(
        round=round,
        kept=kept,
        trained=len(chosen.samples) - refused,
        over_quota=chosen.over_quota,
        over_per_task=chosen.over_per_task,
        duplicates=chosen.duplicates,
        over_count=chosen.over_count,
        refused=refused,
        replay=len(replay),
        by_category=dict(Counter(s.task.category for s in chosen.samples)),
        by_origin=dict(Counter(s.origin for s in chosen.samples)),
    )
