"""The update as the trainer uses it: samples in, saved weights out.

Sits between the trainer (which knows samples) and `srml.training` (which knows tensors), and is where a run's
events for each optimiser step come from.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from funreason.agents.trainer import UpdateRequest
from funreason.config import Config, Lora, Update
from funreason.policies.policy import Policy
from funreason.policies.prompts import closes_thinking
from funreason.record.events import Event, LogMessage, OptimizerStep, UpdateCrashed, WeightsTrained
from funreason.record.folder import RunFolder
from funreason.record.state import State
from funreason.srml.errors import NotFinite, OtherTrainingError, WorkersFailed
from funreason.srml.examples import Example, LoraSettings, PartLoss, StepReport, TrainReport, TrainSettings
from funreason.srml.job import Job, Launch, Outcome
from funreason.stop import Interrupted, StopRequest
from funreason.types import Candidate, Sample, Weights


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

    def __call__(self, settings: Update, lesson: UpdateRequest) -> tuple[Weights, WeightsTrained, int]:
        """Train on one lesson. Interrupted when a stop was asked for: the checkpoint is kept and gone on from."""
        with self.policy.offloaded():
            return self._update(settings, lesson)

    def _update(self, settings: Update, lesson: UpdateRequest) -> tuple[Weights, WeightsTrained, int]:
        job, work = self._job(settings, lesson), self.weights / f"update-round-{lesson.round}"
        outcome = self._train(job, lesson, work)
        report, weights_id = outcome.report, outcome.weights_id
        if not report.finished:
            raise Interrupted
        self.write(LogMessage(level="info", text=f"update: {report.how}", round=lesson.round))
        self._note_refused(report, lesson.round)
        folder = self.weights / weights_id
        if folder.exists():  # the same bytes, saved by a run that was interrupted just behind this line
            shutil.rmtree(job.out)
        else:
            job.out.rename(folder)
        shutil.rmtree(work, ignore_errors=True)
        updated = WeightsTrained(
            round=lesson.round,
            weights=weights_id,
            examples=report.examples,
            steps=report.steps,
            metrics=_metrics(report),
        )
        return Weights(weights_id, folder), updated, len(report.refused)

    def _job(self, settings: Update, lesson: UpdateRequest) -> Job:
        out, checkpoints = self.weights / f"fresh-round-{lesson.round}", self.folder.checkpoint(lesson.round)
        return update_job(settings, self.config, lesson.start.folder, out, checkpoints, lesson.round)

    def _train(self, job: Job, lesson: UpdateRequest, work: Path) -> Outcome:
        """Train from the checkpoint, if any; anew where it is of another lesson, as after a requeue or an upgrade."""
        from funreason.srml.update import update

        examples = [self._example(s, lesson.round) for s in (*lesson.samples, *lesson.replay)]
        self._note_unthought(examples, lesson.round)
        go = partial(
            update,
            job,
            examples,
            self.policy.tokenizer,
            work,
            on_step=lambda step: self._on_step(lesson.round, step),
            pace=self.stop,
        )
        try:
            return go()
        except OtherTrainingError:  # raised before any weight was touched
            text = "the update begins anew: its checkpoint was made with other samples or settings"
            self.write(LogMessage(level="warning", text=text, round=lesson.round))
            shutil.rmtree(self.folder.checkpoint(lesson.round))
            return go()
        except NotFinite:  # going on from there would only repeat it
            shutil.rmtree(self.folder.checkpoint(lesson.round), ignore_errors=True)
            raise
        except WorkersFailed as error:
            processes = job.launch.processes
            self.write(UpdateCrashed(round=lesson.round, reason=str(error), processes=processes, lines=error.lines))
            raise

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
            text = f"{count} samples not trained on, {reason}: {first}"
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
        if step.halved_to is not None:
            text = f"memory ran out at step {step.step}: from here on at most {step.halved_to} tokens in a forward pass"
            self.write(LogMessage(level="warning", text=text, round=round))
        self.write(
            OptimizerStep(
                round=round,
                step=step.step,
                steps=step.steps,
                metrics=_metrics(step) | {"lr": step.lr, "grad_norm": step.grad_norm},
                groups={"origin": _groups(step.by_origin), "attempt": _groups(step.by_attempt)},
            )
        )


def _metrics(report: StepReport | TrainReport) -> dict[str, float]:
    named = {
        "loss": report.loss,
        "loss_think": report.think,
        "loss_result": report.result,
        "alpha": report.alpha,
        "tokens_per_s": (report.think_tokens + report.result_tokens) / max(report.seconds, 1e-9),
        "think_tokens": report.think_tokens,
        "result_tokens": report.result_tokens,
    }
    return {name: value for name, value in named.items() if value is not None}


def _groups(split: Mapping[Any, PartLoss]) -> dict[str, dict[str, float]]:
    fields = {"loss_think": "think", "loss_result": "result"}
    fields |= {"think_tokens": "think_tokens", "result_tokens": "result_tokens"}
    return {
        str(key): {name: value for name, field in fields.items() if (value := getattr(part, field)) is not None}
        for key, part in split.items()
    }


def trained_before(past: State, k: int, weights: Path) -> Candidate | None:
    """What round `k` had trained before the run was interrupted; None when that is still owed."""
    done = past.rounds.get(k)
    if done is None or done.update is None or not (weights / done.update.weights).is_dir():
        return None
    return Candidate(k, done.update.weights, weights / done.update.weights)


def update_job(
    settings: Update, config: Config, model: Path, out: Path, checkpoints: Path | None = None, round: int = 0
) -> Job:
    """The job of making weights in `out` from those in `model`, as configured."""
    # Absolute paths: the processes that may read this need not stand where this one does.
    return Job(
        model=model.resolve(),
        out=out.resolve(),
        checkpoints=None if checkpoints is None else checkpoints.resolve(),
        settings=training_settings(settings, config, round),
        launch=Launch(settings.launch.processes, settings.launch.strategy),
        device=config.model.device,
        dtype=config.model.dtype,
    )


def training_settings(settings: Update, config: Config, round: int) -> TrainSettings:
    """The configuration in the trainer's terms; each round shuffles anew."""
    return TrainSettings(
        epochs=settings.epochs,
        batch_size=settings.batch,
        lr=settings.lr,
        warmup_steps=settings.warmup_steps if settings.warmup_ratio is None else None,
        warmup_ratio=settings.warmup_ratio or 0.0,
        schedule=settings.schedule,
        alpha_mode=settings.alpha_mode,
        alpha=settings.alpha,
        average=settings.average,
        max_length=settings.max_length,
        micro_tokens=settings.micro_tokens,
        head=settings.head,
        head_chunk=settings.head_chunk,
        pack=settings.pack,
        think_tags=config.model.think_tags,
        gradient_checkpointing=settings.gradient_checkpointing,
        lora=_lora(settings.lora),
        seed=config.seed * 1000 + round,
        threads=config.model.threads,
        checkpoint_every=settings.checkpoint_every,
    )


def _lora(settings: Lora | None) -> LoraSettings | None:
    if settings is None:
        return None
    return LoraSettings(settings.rank, settings.alpha, settings.dropout, tuple(settings.targets))
