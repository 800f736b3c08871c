"""The update as the trainer uses it: samples in, saved weights out.

It is between the trainer, which knows samples, and `training.engine`, which knows tensors, and writes the events of
each optimizer step.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from funreason.agents.trainer import UpdateRequest
from funreason.config import Config, Update
from funreason.objectives.protocol import Example
from funreason.policies.policy import Policy
from funreason.policies.prompts import closes_thinking
from funreason.record.events import Event, LogMessage, OptimizerStep, UpdateCrashed, WeightsTrained
from funreason.record.folder import RunFolder
from funreason.stop import Interrupted, StopRequest
from funreason.training.job import Job, UpdateOutcome
from funreason.training.types import NotFinite, OtherTrainingError, StepReport, TrainReport, WorkersFailed
from funreason.types import Sample, Weights


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
        job, work = self._job(settings, request), self.weights / f"update-round-{request.round}"
        outcome = self._train(job, request, work)
        report, weights_id = outcome.report, outcome.weights_id
        if not report.finished:
            raise Interrupted
        self.write(LogMessage(level="info", text=f"update: {report.how}", round=request.round))
        self._note_refused(report, request.round)
        folder = self.weights / weights_id
        if folder.exists():  # the same bytes, saved by a run that was interrupted just behind this line
            shutil.rmtree(job.out)
        else:
            job.out.rename(folder)
        shutil.rmtree(work, ignore_errors=True)
        updated = WeightsTrained(
            round=request.round,
            weights=weights_id,
            examples=report.examples,
            steps=report.steps,
            metrics=report.metrics,
        )
        return Weights(weights_id, folder), updated, len(report.refused)

    def _job(self, settings: Update, request: UpdateRequest) -> Job:
        out, checkpoints = self.weights / f"fresh-round-{request.round}", self.folder.checkpoint(request.round)
        return update_job(settings, self.config, request.start.folder, out, checkpoints, request.round)

    def _train(self, job: Job, request: UpdateRequest, work: Path) -> UpdateOutcome:
        """Train from the checkpoint, if there is one; from the start if it was made with other samples or settings."""
        from funreason.training.launch import update

        examples = [self._example(s, request.round) for s in (*request.samples, *request.replay)]
        self._note_unthought(examples, request.round)
        go = partial(
            update,
            job,
            examples,
            self.policy.tokenizer,
            work,
            on_step=lambda step: self._on_step(request.round, step),
            stop=self.stop,
        )
        try:
            return go()
        except OtherTrainingError:  # raised before any weight was touched
            text = "the update starts again: its checkpoint was made with other samples or settings"
            self.write(LogMessage(level="warning", text=text, round=request.round))
            shutil.rmtree(self.folder.checkpoint(request.round))
            return go()
        except NotFinite:  # going on from there would only repeat it
            shutil.rmtree(self.folder.checkpoint(request.round), ignore_errors=True)
            raise
        except WorkersFailed as error:
            processes = job.update.launch.processes
            self.write(UpdateCrashed(round=request.round, reason=str(error), processes=processes, lines=error.lines))
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
                metrics=step.metrics,
                groups=step.groups,
            )
        )


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
