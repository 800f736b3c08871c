"""Rollout: a policy takes turns in an environment until each sample is done.

All samples that wait for a turn are generated in one batch. The first turns of a task's samples are drawn from one
request; each later turn is a request of its own, since the conversations differ by then. The one environment of the
package, `SingleTurn`, needs no later turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from funreason.policies.policy import GenerateRequest, Policy
from funreason.policies.protocol import Completion
from funreason.types import Message, Sample, Task, Turn, changed


class Environment(Protocol):
    """What a policy acts in. One environment serves many samples at once; the sample's id tells them apart."""

    def reset(self, task: Task) -> tuple[Message, ...]:
        """The messages that the model's first turn answers."""
        ...

    def step(self, sample: Sample) -> tuple[Turn, ...]:
        """The turns that follow the sample's last one, such as a tool's result. Empty when the sample is done."""
        ...


class Start(NamedTuple):
    """Samples of one task, at least one and without turns; `id` names their first request, which decides the draws."""

    id: str
    samples: Sequence[Sample]


async def rollout(
    policy: Policy,
    environment: Environment,
    starts: Sequence[Start],
    on_done: Callable[[Sample], None],
    *,
    logprobs: bool = False,
) -> dict[str, Sample]:
    """The finished samples of all `starts`, by id; turns keep token ids and log-probabilities where `logprobs` asks.

    `on_done` receives each sample when it is done. When a call fails in a way that stops the run, `on_done` receives
    what that call had completed before the error is raised, so that no answer is paid for twice. A conversation that
    outgrows the model's context ends there, and its last answer counts as truncated.
    """
    done: dict[str, Sample] = {}
    waiting: list[tuple[GenerateRequest, Sequence[Sample]]] = []
    for id, samples in starts:
        task = msgspec.structs.replace(samples[0].task, messages=environment.reset(samples[0].task))
        waiting.append((GenerateRequest(id, task, len(samples), (), logprobs), samples))
    while waiting:
        requests = [request for request, _ in waiting]
        try:
            answers = await policy.generate(requests)
        except Exception as error:
            if getattr(error, "stops_run", False):
                completed = policy.completed_before_failure(requests)
                for (request, samples), found in zip(waiting, completed, strict=True):
                    for sample in _answered(policy, request, samples[: len(found)], found):
                        if not environment.step(sample):
                            on_done(sample)
            raise
        begun, waiting = waiting, []
        for (request, samples), found in zip(begun, answers, strict=True):
            for sample in _answered(policy, request, samples, found):
                turns = (*sample.turns, *environment.step(sample))
                if len(turns) > len(sample.turns):
                    if policy.fits(request.task, turns):
                        name = f"{sample.id}@{sample.attempt}#{len(turns)}"
                        following = GenerateRequest(name, request.task, 1, turns, logprobs)
                        waiting.append((following, [changed(sample, turns=turns)]))
                        continue
                    sample = changed(sample, truncated=True)
                done[sample.id] = sample
                on_done(sample)
    return done


def _answered(
    policy: Policy, request: GenerateRequest, samples: Sequence[Sample], completions: Sequence[Completion]
) -> list[Sample]:
    """Each sample with its completion as one more turn."""
    answered = []
    for sample, completion in zip(samples, completions, strict=True):
        thinking, answer, closed = policy.split(completion.text)
        truncated, ids = completion.truncated or not closed, completion.token_ids if request.logprobs else ()
        turn = Turn("assistant", answer, thinking, truncated, completion.weights_id, ids, completion.logprobs)
        answered.append(changed(sample, turns=(*sample.turns, turn)))
    return answered


class SingleTurn:
    """An environment that is done after the model's first turn."""

    def reset(self, task: Task) -> tuple[Message, ...]:
        """The task's own messages."""
        return task.messages

    def step(self, sample: Sample) -> tuple[Turn, ...]:
        """Nothing: the sample is done."""
        return ()
