"""The generator: answers each task with k samples of the model's own.

A seed carries only its task; the generator emits k samples with ids `<seed id>/<i>`. Samples that an interrupted run
had drawn are read from its files instead of being drawn again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

from funreason.agents.references import reference_sample
from funreason.bus.agent import Emit
from funreason.calls.call_format import CallFormat
from funreason.calls.render import CallRenderError
from funreason.environments.rollout import Environment, SingleTurn, Start, rollout
from funreason.policies.policy import Policy
from funreason.record.sample_files import SampleFiles
from funreason.types import Decision, MorePrompts, Sample, Stepped, Verdict, changed

RoundReply = Decision | Stepped | MorePrompts
"""What comes back to the generator along the round edges."""
Drawn = Mapping[tuple[str, int], Sample]
"""Samples drawn earlier, by id and attempt."""


class Generator:
    """Lets the policy answer each task `k` times in an environment."""

    def __init__(
        self,
        policy: Policy,
        texts: SampleFiles,
        k: int,
        drawn: Drawn | None = None,
        ended: Collection[str] = (),
        requeued: Mapping[str, int] | None = None,
        environment: Environment | None = None,
        *,
        rollouts: bool = False,
    ) -> None:
        self.policy = policy
        self.texts = texts
        self.k = k
        self.drawn = drawn or {}
        self.ended = ended
        self.requeued = requeued or {}
        self.environment = environment or SingleTurn()
        self.rollouts = rollouts
        """Whether samples keep their token ids and log-probabilities, for a policy gradient."""

    async def __call__(self, messages: list[Sample] | list[RoundReply]) -> list[list[Emit]]:
        """k samples for each seed, without those that have ended; a task that does not fit is dropped.

        A `Decision` closes the round, and `Stepped` a step of it: their weights answer from then on.
        """
        if (taken := await take_weights(self.policy, messages)) is not None:
            return taken
        seeds = cast("list[Sample]", messages)
        pending = [seed for seed in seeds if seed.id not in self.ended and not self._all_drawn(seed)]
        starts = [
            Start(seed.id, [changed(seed, id=id) for id in self._ids(seed)])
            for seed in pending
            if self.policy.fits(seed.task)
        ]
        made = await self._roll_out(starts)
        again = await self._draw_again(seeds)
        return [self._emit(seed, made, again) for seed in seeds]

    async def resample(self, samples: list[Sample]) -> list[Sample]:
        """A new answer for each sample, at its present attempt."""
        pending = [sample for sample in samples if (sample.id, sample.attempt) not in self.drawn]
        made = await self._roll_out(
            [Start(f"{s.id}@{s.attempt}", [changed(s, origin="resampled", turns=())]) for s in pending]
        )
        return [made.get(s.id) or changed(self.drawn[s.id, s.attempt], verdicts=s.verdicts) for s in samples]

    async def _roll_out(self, starts: list[Start]) -> dict[str, Sample]:
        def write(sample: Sample) -> None:
            if (sample.id, sample.attempt) not in self.drawn:  # an interrupted run has written that one
                self.texts.append("sampled", sample)

        return await rollout(self.policy, self.environment, starts, write, logprobs=self.rollouts)

    def _ids(self, seed: Sample) -> list[str]:
        return [f"{seed.id}/{i}" for i in range(self.k)]

    def _all_drawn(self, seed: Sample) -> bool:
        return all((id, 0) in self.drawn for id in self._ids(seed))

    async def _draw_again(self, seeds: list[Sample]) -> dict[str, Sample]:
        """A new answer for each requeued sample, at an attempt it never had: it may fail only once more."""
        ids = [id for seed in seeds for id in self._ids(seed) if id in self.requeued and (id, 0) in self.drawn]
        old = [changed(self.drawn[id, 0], attempt=self.requeued[id], verdicts=()) for id in ids]
        return {sample.id: sample for sample in await self.resample(old)}

    def _emit(self, seed: Sample, made: Mapping[str, Sample], again: Mapping[str, Sample]) -> list[Emit]:
        if seed.id in self.ended:
            return []
        samples = [self.drawn.get((id, 0)) or made.get(id) for id in self._ids(seed)]
        if None in samples:
            return [_too_long(seed)]
        return [Emit("sampled", again.get(s.id, s)) for s in samples if s is not None and s.id not in self.ended]


class ReferenceGenerator:
    """Answers each task with its reference: the control that learns from references alone."""

    def __init__(self, policy: Policy, ended: Collection[str] = ()) -> None:
        self.policy = policy
        self.ended = ended

    async def __call__(self, messages: list[Sample] | list[RoundReply]) -> list[list[Emit]]:
        """One sample per seed that has not ended; a task without a usable reference is dropped with its reason."""
        if (taken := await take_weights(self.policy, messages)) is not None:
            return taken
        seeds = cast("list[Sample]", messages)
        found = [_reference(seed, self.policy.call_format) for seed in seeds]
        return [[] if emit.message.id in self.ended else [emit] for emit in found]


async def take_weights(policy: Policy, messages: list[Sample] | list[RoundReply]) -> list[list[Emit]] | None:
    """Load the weights that came back with a round's message, if it has any; None where the messages are samples."""
    match messages[0]:
        case Decision() as decision:
            await policy.load(decision.accepted)
        case Stepped() as step:
            await policy.load(step.weights)
        case MorePrompts():
            """The same weights answer them."""
        case _:
            return None
    return [[]]


def _reference(seed: Sample, form: CallFormat) -> Emit:
    try:
        return Emit("sampled", reference_sample(seed.task, f"{seed.id}/0", round=seed.round, form=form))
    except (ValueError, CallRenderError) as error:
        return Emit("drop", seed.judged(Verdict("generator", "drop", "reference.unusable", str(error))))


def _too_long(seed: Sample) -> Emit:
    verdict = Verdict("generator", "drop", "prompt.too_long", "the prompt leaves no room for an answer in the context")
    return Emit("drop", seed.judged(verdict))
