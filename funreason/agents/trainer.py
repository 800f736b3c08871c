"""The trainer: keeps the samples that passed, and learns from them once every sample of the round has ended.

It answers two messages. A sample is written down. `Drained` starts the update: the training set is chosen from what
was written (so a resumed run chooses the same), the weights are trained and saved, and a `Candidate` goes on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from funreason.agents.selection import TrainingSet
from funreason.bus.agent import Emit
from funreason.record.events import Event, LogMessage, WeightsTrained
from funreason.training.types import NotFinite
from funreason.types import Candidate, Drained, Sample, Weights
from funreason.weights import START, WeightStore


class UpdateRequest(NamedTuple):
    """Samples to train on, and the weights to start from."""

    round: int
    samples: list[Sample]
    replay: list[Sample]
    start: Weights


Update = Callable[[UpdateRequest], tuple[Weights, WeightsTrained, int]]
"""Trains and saves: the new weights, what to log, and how many samples could not be encoded, not counting replay."""


class Trainer:
    """Keeps samples; answers `Drained` with a `Candidate`.

    Args:
        keep: takes each sample that passed.
        training_set: what to learn from in a round; called in a thread, after the last sample has ended.
        update: trains and saves; called in a thread.
        weights: says which weights are accepted, and what an interrupted run had trained already.
        init_from: `accepted` starts each update from the weights accepted last, `base` from those of the start.
        write: takes events.
    """

    def __init__(
        self,
        keep: Callable[[Sample], Awaitable[None]],
        training_set: Callable[[int], TrainingSet],
        update: Update,
        weights: WeightStore,
        write: Callable[[Event], None],
        *,
        init_from: str = "accepted",
    ) -> None:
        self.keep = keep
        self.training_set = training_set
        self.update = update
        self.weights = weights
        self.write = write
        self.init_from = init_from

    async def __call__(self, message: Sample | Drained) -> Any:
        """Take one sample that passed, or train when the round has drained."""
        if not isinstance(message, Drained):
            await self.keep(message)
            return None
        return Emit("candidate", await self._train(message.round))

    async def _train(self, round: int) -> Candidate:
        """Choose, train, save. With nothing to train on, the candidate is the accepted weights themselves."""
        accepted, done = self.weights.accepted, self.weights.trained(round)
        if done is not None:
            return Candidate(round, done)
        chosen = await asyncio.to_thread(self.training_set, round)
        for text in chosen.warnings:
            self.write(LogMessage(level="warning", text=text, round=round))
        for event in chosen.tasks:
            self.write(event)
        if not chosen.samples and round != START:
            self.write(chosen.event(refused=0, replay=0))
            self.write(
                LogMessage(level="warning", text="no sample was left to train on, so nothing was trained", round=round)
            )
            return Candidate(round, accepted)
        start = accepted if self.init_from == "accepted" else self.weights.base
        request = UpdateRequest(round, chosen.samples, chosen.replay, start)
        try:
            weights, trained, refused = await asyncio.to_thread(self.update, request)
        except NotFinite as error:
            if round == START:  # wrong settings or weights: no later round would repair them
                raise
            return Candidate(round, accepted, failure=f"the update failed: {error}")
        self.write(chosen.event(refused=refused, replay=trained.examples - (len(chosen.samples) - refused)))
        self.write(trained)
        return Candidate(round, weights)
