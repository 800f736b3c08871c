"""The generator: answers a task with k samples of the model's own.

A seed message carries only its task; what comes out are k samples with ids `<seed id>/<i>`. Samples that an
interrupted run had already drawn are taken from its texts instead of being drawn again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from funreason.agents.references import reference_sample
from funreason.bus.agent import Emit
from funreason.calls.render import CallRenderError
from funreason.policies.policy import GenerateRequest, Policy
from funreason.policies.protocol import Completion
from funreason.record.sample_files import SampleFiles
from funreason.types import Sample, Verdict, Weights, changed

Drawn = Mapping[tuple[str, int], Sample]
"""Samples drawn earlier, by id and attempt."""


class Generator:
    """Draws k completions per task and splits each into thinking and answer."""

    def __init__(
        self,
        policy: Policy,
        texts: SampleFiles,
        k: int,
        drawn: Drawn | None = None,
        ended: Collection[str] = (),
        requeued: Mapping[str, int] | None = None,
    ) -> None:
        self.policy = policy
        self.texts = texts
        self.k = k
        self.drawn = drawn or {}
        self.ended = ended
        self.requeued = requeued or {}

    async def __call__(self, seeds: list[Sample]) -> list[list[Emit]]:
        """k samples for each seed, without those that have ended; a task that does not fit is dropped."""
        owed = [seed for seed in seeds if seed.id not in self.ended and not self._all_drawn(seed)]
        fitting = [seed for seed in owed if self.policy.fits(seed.task)]
        found = await self._ask(fitting)
        made = {seed.id: self._read_all(seed, answers) for seed, answers in zip(fitting, found, strict=True)}
        again = await self._draw_again(seeds)
        return [self._emit(seed, made.get(seed.id), again) for seed in seeds]

    async def _ask(self, seeds: list[Sample]) -> list[list[Completion]]:
        asks = [GenerateRequest(seed.id, seed.task, self.k) for seed in seeds]
        try:
            return await self.policy.generate(asks)
        except Exception as fault:
            if getattr(fault, "stops_run", False):  # the run ends here: what was paid for is for whoever takes it up
                for seed, answers in zip(seeds, self.policy.completed_before_failure(asks), strict=True):
                    if answers:
                        self._read_all(seed, answers)
            raise

    async def resample(self, samples: list[Sample]) -> list[Sample]:
        """A new answer for each sample, at the attempt it now stands at."""
        owed = [sample for sample in samples if (sample.id, sample.attempt) not in self.drawn]
        found = await self.policy.generate([GenerateRequest(f"{s.id}@{s.attempt}", s.task) for s in owed])
        fresh = {
            s.id: self._read(changed(s, origin="resampled"), answers[0]) for s, answers in zip(owed, found, strict=True)
        }
        for sample in fresh.values():
            self.texts.put("sampled", sample)
        return [fresh.get(s.id) or changed(self.drawn[s.id, s.attempt], verdicts=s.verdicts) for s in samples]

    async def on_signal(self, name: str, accepted: Weights) -> tuple[str, Weights]:
        """After the gate: answer with the accepted weights."""
        await self.policy.load(accepted)
        return "ready", accepted

    def _ids(self, seed: Sample) -> list[str]:
        return [f"{seed.id}/{i}" for i in range(self.k)]

    def _all_drawn(self, seed: Sample) -> bool:
        return all((i, 0) in self.drawn for i in self._ids(seed))

    def _read_all(self, seed: Sample, completions: list[Completion]) -> list[Sample]:
        """The samples of one seed; texts get only those an interrupted run had not written yet."""
        samples = []
        for i, completion in zip(self._ids(seed), completions, strict=True):
            sample = self.drawn.get((i, 0))
            if sample is None:
                sample = self._read(changed(seed, id=i), completion)
                self.texts.put("sampled", sample)
            samples.append(sample)
        return samples

    def _read(self, sample: Sample, completion: Completion) -> Sample:
        thinking, answer, closed = self.policy.split(completion.text)
        return changed(
            sample,
            thinking=thinking,
            answer=answer,
            truncated=completion.truncated or not closed,
            weights_id=completion.weights_id,
        )

    async def _draw_again(self, seeds: list[Sample]) -> dict[str, Sample]:
        """A new answer for each requeued sample, at an attempt it never had: it may fail only once more."""
        ids = [i for seed in seeds for i in self._ids(seed) if i in self.requeued and (i, 0) in self.drawn]
        old = [changed(self.drawn[i, 0], attempt=self.requeued[i], verdicts=()) for i in ids]
        return {sample.id: sample for sample in await self.resample(old)} if old else {}

    def _emit(self, seed: Sample, made: list[Sample] | None, again: Mapping[str, Sample]) -> list[Emit]:
        if seed.id in self.ended:
            return []
        if made is None and not self._all_drawn(seed):
            return [_too_long(seed)]
        samples = made or [self.drawn[i, 0] for i in self._ids(seed)]
        return [Emit("sampled", again.get(s.id, s)) for s in samples if s.id not in self.ended]


class ReferenceGenerator:
    """Answers each task with its reference: the control that learns from references alone."""

    def __init__(self, policy: Policy, ended: Collection[str] = ()) -> None:
        self.policy = policy
        self.ended = ended

    async def __call__(self, seeds: list[Sample]) -> list[list[Emit]]:
        """One sample per seed that has not ended; a task without a usable reference is dropped with its reason."""
        found = [_reference(seed) for seed in seeds]
        return [[] if emit.message.id in self.ended else [emit] for emit in found]

    async def on_signal(self, name: str, accepted: Weights) -> tuple[str, Weights]:
        """After the gate: the accepted weights, as any generator would hold them."""
        await self.policy.load(accepted)
        return "ready", accepted


def _reference(seed: Sample) -> Emit:
    try:
        return Emit("sampled", reference_sample(seed.task, f"{seed.id}/0", round=seed.round))
    except (ValueError, CallRenderError) as error:
        return Emit("drop", seed.judged(Verdict("generator", "drop", "reference.unusable", str(error))))


def _too_long(seed: Sample) -> Emit:
    verdict = Verdict("generator", "drop", "prompt.too_long", "the prompt leaves no room for an answer in the context")
    return Emit("drop", seed.judged(verdict))
