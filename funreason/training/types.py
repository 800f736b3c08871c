"""What a training reports and what it refuses. Data only: importing this imports no torch."""

from __future__ import annotations

from typing import Literal

import msgspec

Strategy = Literal["none", "ddp", "fsdp2", "zero2", "zero3"]
Groups = dict[str, dict[str, dict[str, float]]]
"""Metrics of parts of the data: `groups["origin"]["repaired"]["loss_think"]`. The splits are origin, round, attempt."""


class StepReport(msgspec.Struct, frozen=True):
    """One optimizer step.

    Attributes:
        metrics: loss, lr, grad_norm, seconds, tokens_per_s, and whatever the objective reports, by name. A metric
            without data, or whose value is not finite, is left out.
        groups: the objective's metrics for each origin, round and attempt of the step's samples.
        refused: ids of the batch, if its loss or gradient was not finite and the step was not taken.
        halved_to: padded tokens per forward pass from here on, if memory ran out in this step.
    """

    step: int
    steps: int
    metrics: dict[str, float]
    groups: Groups = {}
    refused: tuple[str, ...] = ()
    halved_to: int | None = None


class RefusedExample(msgspec.Struct, frozen=True):
    """An example that was not trained on; `reason` is a dotted code."""

    id: str
    reason: str
    message: str


class TrainReport(msgspec.Struct, frozen=True):
    """A whole training.

    Attributes:
        metrics: the loss and its parts as means over the steps this call took, counts as sums over them, and the
            objective's state at the end (alpha).
        groups: as in `StepReport`, over all steps this call took.
        resumed_from: the step of the checkpoint that it started from; 0 without one.
        finished: False if it was stopped early.
        how: in words, how the LM head was computed and how samples were batched, on how many threads.
    """

    steps: int
    examples: int
    refused: list[RefusedExample]
    refused_steps: int
    metrics: dict[str, float]
    groups: Groups
    seconds: float
    resumed_from: int = 0
    finished: bool = True
    how: str = ""


class TrainingError(Exception):
    """Training cannot start or continue; the message says what was found and what to do."""


class OtherTrainingError(TrainingError):
    """The checkpoint belongs to a training on other examples or with other settings."""


class NotFinite(TrainingError):
    """Several steps in a row had a loss or gradient that is not finite: the weights or the learning rate are broken."""


class WorkersFailed(TrainingError):
    """A process of an update failed or died; `lines` are the last lines of each log, by the log's name."""

    def __init__(self, message: str, lines: dict[str, list[str]]) -> None:
        super().__init__(message)
        self.lines = lines


class UnusableSample(TrainingError):
    """One sample cannot be trained on. `sample_id` names it, `reason` is a dotted code."""

    reason = "train.unusable"

    def __init__(self, sample_id: str, message: str) -> None:
        super().__init__(f"sample {sample_id or '(no id)'}: {message}")
        self.sample_id = sample_id


class NoTrainableTokens(UnusableSample):
    """Neither thinking nor answer gives a token to learn from."""

    reason = "train.no_tokens"


class SampleTooLong(UnusableSample):
    """Prompt and completion exceed the length limit. Nothing is cut: half a call would be learned."""

    reason = "train.too_long"
