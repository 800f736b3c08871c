"""The update as the trainer uses it: samples in, saved weights out.

It is between the trainer, which knows samples, and `training.engine`, which knows tensors, and writes the events of
each optimizer step. `Updating` is a whole training, `PolicyStep` one step of reinforcement learning.
"""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from funreason.agents.policy_trainer import StepOutcome, StepRequest, round_to_ms
from funreason.agents.trainer import UpdateRequest
from funreason.config import Config, Update
from funreason.config.reinforcement import GrpoSettings
from funreason.errors import ModelError
from funreason.objectives.protocol import Example, Rollout
from funreason.policies.policy import Policy
from funreason.policies.prompts import closes_thinking
from funreason.record.events import Event, LogMessage, OptimizerStep, PolicyUpdated, UpdateCrashed, WeightsTrained
from funreason.record.folder import RunFolder, remove_folder
from funreason.record.log import LogReader
from funreason.record.sample_files import Credit
from funreason.stop import Interrupted, StopRequest
from funreason.training.job import Job
from funreason.training.types import (
    NotFinite,
    OtherTrainingError,
    StepReport,
    TrainingError,
    TrainReport,
    WorkersFailed,
)
from funreason.types import Sample, Weights

if TYPE_CHECKING:
    from funreason.training.scoring import TokenScores


class Updating:
    """Trains a copy of the starting weights and saves it under `weights/<id>`."""

    def __init__(
        self, policy: Policy, folder: RunFolder, write: Callable[[Event], None], stop: StopRequest, config: Config
    ) -> None:
        self.policy = policy
        self.folder = folder
        self.weights = folder.weights
        self.write = write
        self.stop = stop
        self.config = config

    def __call__(self, settings: Update, request: UpdateRequest) -> tuple[Weights, WeightsTrained, int]:
        """Train on one request. Interrupted when a stop was asked for: the checkpoint is kept and gone on from."""
        with self.policy.offloaded():
            return self._update(settings, request)

    def _update(self, settings: Update, request: UpdateRequest) -> tuple[Weights, WeightsTrained, int]:
        round = request.round
        job = update_job(settings, self.config, request.start.folder, self._out(round), self.checkpoint(round), round)
        examples = [self._example(s, round) for s in (*request.samples, *request.replay)]
        self._note_unthought(examples, round)
        weights, report = self.train(job, examples, round, lambda step: self._on_step(round, step))
        self.write(LogMessage(level="info", text=f"update: {report.how}", round=round))
        updated = WeightsTrained(
            round=round, weights=weights.id, examples=report.examples, steps=report.steps, metrics=report.metrics
        )
        replayed = {sample.id for sample in request.replay}
        return weights, updated, sum(refusal.id not in replayed for refusal in report.refused)

    def checkpoint(self, round: int) -> Path:
        """The folder for the checkpoints of a round."""
        return self.folder.checkpoint(round)

    def _out(self, round: int) -> Path:
        return self.weights / f"fresh-round-{round}"

    def train(
        self, job: Job, examples: list[Example], round: int, on_step: Callable[[StepReport], None]
    ) -> tuple[Weights, TrainReport]:
        """Run a job, from its checkpoint if there is one, and move what it saved to `weights/<id>`.

        From the start if the checkpoint was made with other samples or settings. Interrupted when a stop was asked for.
        """
        from funreason.training.launch import update

        assert job.checkpoints is not None
        work = self.weights / f"update-round-{round}"
        go = partial(update, job, examples, self.policy.tokenizer, work, on_step=on_step, stop=self.stop)
        try:
            outcome = go()
        except OtherTrainingError:  # raised before any weight was touched
            text = "the update starts again: its checkpoint was made with other samples or settings"
            self.write(LogMessage(level="warning", text=text, round=round))
            remove_folder(job.checkpoints)
            outcome = go()
        except NotFinite:  # going on from there would only repeat it
            remove_folder(job.checkpoints)
            raise
        except WorkersFailed as error:
            processes = job.update.launch.processes
            self.write(UpdateCrashed(round=round, reason=str(error), processes=processes, lines=error.lines))
            raise
        if not outcome.report.finished:
            raise Interrupted
        self._note_refused(outcome.report, round)
        folder = self.weights / outcome.weights_id
        if folder.exists():  # the same bytes, saved by a run that was interrupted just behind this line
            shutil.rmtree(job.out)
        else:
            job.out.rename(folder)
        shutil.rmtree(work, ignore_errors=True)
        return Weights(outcome.weights_id, folder), outcome.report

    def _note_unthought(self, examples: list[Example], round: int) -> None:
        tags = self.config.model.think_tags
        mute = sum(e.thinking is not None and closes_thinking(e.prompt, tags) for e in examples)
        if mute:
            text = f"of {mute} samples only the answer is learnt: the chat template ends the thinking before theirs"
            self.write(LogMessage(level="warning", text=text, round=round))

    def _note_refused(self, report: TrainReport, round: int) -> None:
        reasons = Counter(refusal.reason for refusal in report.refused)
        for reason, count in reasons.most_common():
            first = next(r.message for r in report.refused if r.reason == reason)
            text = f"{count} sample{'s' * (count > 1)} not trained on, {reason}: {first}"
            self.write(LogMessage(level="warning", text=text, round=round))

    def _example(self, sample: Sample, round: int) -> Example:
        return Example(
            id=sample.id,
            prompt=self.policy.prompt(sample.task),
            thinking=sample.thinking,
            answer=sample.answer,
            origin="replay" if sample.id.startswith("replay/") else sample.origin,
            round=round,
            attempt=sample.attempt,
        )

    def _on_step(self, round: int, step: StepReport) -> None:
        self._note_halved(round, step)
        self.write(
            OptimizerStep(
                round=round,
                step=step.step,
                steps=step.steps,
                metrics=step.metrics,
                groups=step.groups,
            )
        )

    def _note_halved(self, round: int, step: StepReport) -> None:
        if step.halved_to is not None:
            text = f"memory ran out at step {step.step}: from here on at most {step.halved_to} tokens in a forward pass"
            self.write(LogMessage(level="warning", text=text, round=round))


class PolicyStep(Updating):
    """One optimizer step on groups of rollouts: scores what the loss needs, trains from the last step's state, saves.

    The optimizer's state is in `checkpoint-round-<k>/step-<s>`. A round continues from its own last step, and the first
    step of a round from the round before if the gate has accepted that one's weights. All of it begins from the
    weights accepted last, which are the reference policy.
    """

    def __init__(
        self, policy: Policy, folder: RunFolder, write: Callable[[Event], None], stop: StopRequest, config: Config
    ) -> None:
        super().__init__(policy, folder, write, stop, config)
        self._made: tuple[int, set[str]] = (0, set())
        """A round, and the ids of the weights of its steps so far."""

    def __call__(self, request: StepRequest) -> StepOutcome:  # type: ignore[override]
        """Make the step. NotFinite when its loss or gradient is not finite, Interrupted when a stop was asked for."""
        with self.policy.offloaded():
            return self._learn(request)

    def _learn(self, request: StepRequest) -> StepOutcome:
        from funreason.objectives.grpo import batch_advantages
        from funreason.training.engine import learning_rate

        started, round, settings = time.perf_counter(), request.round, self.config.reinforcement
        loss = settings.loss_of(self.config.method)
        examples = [self._rollout(sample, group.id, loss) for group in request.groups for sample in group.samples]
        scores, metrics = self._scores(request, examples, loss)
        sizes = [len(group.samples) for group in request.groups]
        measured = None if loss.bonus is None else _cut([s.entropy for s in scores], sizes)
        rewards, right = [group.rewards for group in request.groups], [group.right for group in request.groups]
        seed = self.config.seed * 1_000_003 + round * 1009 + request.step
        found = batch_advantages(rewards, measured, loss, outcomes=right, seed=seed)
        plain = batch_advantages(rewards, None, loss.model_copy(update={"bonus": None}), outcomes=right)
        advantages = [advantage for group in found.advantages for advantage in group]
        before = [advantage for group in plain.advantages for advantage in group]
        examples = [
            with_advantage(example, advantage, score, loss)
            for example, advantage, score in zip(examples, advantages, scores, strict=True)
        ]
        scored = time.perf_counter()
        lr = learning_rate(request.step, settings.steps_per_round, settings.update)
        update = settings.update.model_copy(
            update={
                "lr": lr, "schedule": "constant", "lr_warmup_steps": 0, "lr_warmup_ratio": None,
                "batch_size": len(examples), "epochs": loss.updates, "checkpoint_every": 0,
            }
        )  # fmt: skip
        continue_from = self._prune(request)
        if continue_from is None and request.policy.id != request.start.id:
            raise TrainingError(
                f"step {request.step} of round {round} learns from answers of {request.policy.id}, and "
                f"{self.checkpoint(round)} holds no state of the step that made these weights. Without it the "
                f"step would begin from {request.start.id}, which answered nothing. Restore it, or begin a new run."
            )
        out, checkpoints = self._out(round), self.checkpoint(round) / f"step-{request.step}"
        job = update_job(update, self.config, request.start.folder, out, checkpoints, round).model_copy(
            update={"loss": loss, "continue_from": continue_from}
        )
        # What a kill left half known is made again: the checkpoint alone would not say what the step was like.
        remove_folder(checkpoints)
        reports: list[StepReport] = []
        weights, _ = self.train(job, examples, round, reports.append)
        self._made[1].add(weights.id)
        if any(report.refused for report in reports):
            remove_folder(checkpoints)
            raise NotFinite("its loss or gradient is not finite")
        for report in reports:
            self._note_halved(round, report)
            metrics |= report.metrics
        metrics |= found.metrics
        metrics.pop("seconds", None)
        metrics |= {
            "seconds_logp": round_to_ms(scored - started),
            "seconds_update": round_to_ms(time.perf_counter() - scored),
        }
        fates = [group.fate for group in request.groups for _ in group.samples]
        given = [reward for group in request.groups for reward in group.rewards]
        credits = [
            Credit(example.id, request.step, fate, reward, advantage, advantage - old, score.entropy)
            for example, fate, reward, advantage, old, score in zip(
                examples, fates, given, advantages, before, scores, strict=True
            )
        ]
        return StepOutcome(weights, metrics, credits)

    def _rollout(self, sample: Sample, group: str, loss: GrpoSettings) -> Example:
        turn = sample.last_turn
        if not turn.token_ids:
            raise ModelError(
                f"sample {sample.id}: the sampler gave no token ids, so the answer cannot be trained on as it was "
                "drawn. Sample with model.sampler: huggingface or vllm."
            )
        if turn.logprobs is None and loss.correction_cap is not None:
            raise ModelError(
                f"sample {sample.id}: the sampler gave no log-probabilities, and the correction between sampler and "
                "trainer needs them. Use a sampler that gives them, or go without: "
                "--set reinforcement.loss.correction_cap=null"
            )
        rollout = Rollout(turn.token_ids, 0.0, self.config.sample.temperature, group, turn.logprobs)
        return msgspec.structs.replace(self._example(sample, sample.round), rollout=rollout)

    def _scores(
        self, request: StepRequest, examples: list[Example], loss: GrpoSettings
    ) -> tuple[list[_Scores], dict[str, float]]:
        """What a forward pass must say before the step: entropies, old and reference log-probabilities, the KL.

        Nothing where neither a bonus, a second update nor a reference needs it.
        """
        found, kl = [_Scores() for _ in examples], None
        if loss.bonus is not None or loss.updates > 1:
            for at, score in enumerate(self._score(request.policy, examples)):
                if score is not None:
                    entropy = score.mean_entropy(loss.bonus.span) if loss.bonus is not None else None
                    found[at] = _Scores(score.logprobs, entropy)
                elif loss.bonus is not None:
                    found[at] = _Scores(entropy=0.0)
        moved = request.policy.id != request.start.id
        if loss.beta or (moved and self.config.reinforcement.kl_stop is not None):
            count = len(examples) if loss.beta else min(len(examples), self.config.reinforcement.kl_rollouts)
            # Spread over the batch: the first rollouts would all be of one kind of task.
            chosen = [at * len(examples) // count for at in range(count)]
            terms: list[float] = []
            rollouts = {at: examples[at].rollout for at in chosen}
            own = {at: found[at].logprobs or (rollout and rollout.logprobs) for at, rollout in rollouts.items()}
            # Where the sampler gave none they are measured: the limit holds all the same.
            if mute := [at for at in chosen if own[at] is None]:
                scores = self._score(request.policy, [examples[at] for at in mute])
                own |= {at: score.logprobs if score else None for at, score in zip(mute, scores, strict=True)}
            for at, score in zip(chosen, self._score(request.start, [examples[at] for at in chosen]), strict=True):
                if score is None:
                    continue
                found[at] = found[at]._replace(reference=score.logprobs)
                terms += map(k3, own[at] or (), score.logprobs)
            kl = sum(terms) / len(terms) if terms else None
        elif not moved:
            kl = 0.0
        return found, {} if kl is None else {"kl": kl}

    def _score(self, weights: Weights, examples: list[Example]) -> list[TokenScores | None]:
        from funreason.policies.model_files import load_model
        from funreason.training.scoring import score

        model = load_model(weights.folder, self.config.model.device, self.config.model.dtype)
        scores, _ = score(
            model,
            self.policy.tokenizer,
            examples,
            self.config.reinforcement.update,
            think_tags=self.config.model.think_tags,
            threads=self.config.model.threads,
        )
        return scores

    def _prune(self, request: StepRequest) -> Path | None:
        """The optimizer's state that the step continues from, if there is one.

        States and weights of earlier steps of the round are removed: the record continues from the last one.

        Adapters begin again with each round: those of the last one are merged into the weights that it starts from.
        """
        if self._made[0] != request.round:  # a process before this one may have made some
            events = LogReader(self.folder.events).events()
            steps = (event for event in events if isinstance(event, PolicyUpdated) and event.round == request.round)
            self._made = request.round, {event.weights for event in steps}
        for id in self._made[1] - {request.policy.id, request.start.id}:
            remove_folder(self.weights / id)
        adapters = self.config.reinforcement.update.lora is not None
        folders = {}
        for k in (request.round - (not adapters), request.round):
            for path in self.checkpoint(k).glob("step-*"):
                folders[k, int(path.name.removeprefix("step-"))] = path
        earlier = [at for at in sorted(folders) if at < (request.round, request.step)]
        for at in earlier[:-1]:
            remove_folder(folders[at])
        return folders[earlier[-1]].resolve() if earlier else None


class _Scores(NamedTuple):
    """What is known of one rollout before the step."""

    logprobs: tuple[float, ...] | None = None
    entropy: float | None = None
    reference: tuple[float, ...] | None = None


def with_advantage(example: Example, advantage: float, score: _Scores, loss: GrpoSettings) -> Example:
    """An example whose rollout knows what the loss needs."""
    assert example.rollout is not None
    rollout = msgspec.structs.replace(
        example.rollout,
        advantage=advantage,
        old_logprobs=score.logprobs if loss.updates > 1 else None,
        reference_logprobs=score.reference if loss.beta else None,
    )
    return msgspec.structs.replace(example, rollout=rollout)


def k3(logprob: float, reference: float) -> float:
    """The k3 estimate of KL(policy || reference) at one token drawn from the policy, in nats; at least 0.

    Schulman 2020, "Approximating KL divergence". The difference is clamped to 20, so that one token cannot overflow.
    """
    difference = max(-20.0, min(20.0, reference - logprob))
    return math.exp(difference) - 1.0 - difference


def _cut(values: Sequence[float | None], sizes: Sequence[int]) -> list[list[float]]:
    rest = iter(values)
    return [[value or 0.0 for value in islice(rest, size)] for size in sizes]


def update_job(
    settings: Update, config: Config, model: Path, out: Path, checkpoints: Path | None = None, round: int = 0
) -> Job:
    """The job of making weights in `out` from those in `model`, as configured."""
    # Absolute paths: the processes that may read this need not stand where this one does.
    return Job(
        model=model.resolve(),
        out=out.resolve(),
        checkpoints=None if checkpoints is None else checkpoints.resolve(),
        update=settings,
        seed=config.seed * 1000 + round,  # each round shuffles differently
        think_tags=config.model.think_tags,
        threads=config.model.threads,
        device=config.model.device,
        dtype=config.model.dtype,
    )
