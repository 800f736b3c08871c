"""What training refuses: a whole training, or one sample, which is always named by its id."""

from __future__ import annotations


class TrainingError(Exception):
    """Training cannot go on, or cannot begin; the message says what was found and what to do."""


class OtherTrainingError(TrainingError):
    """The checkpoint found is of a training on other examples, or with other settings."""


class NotFinite(TrainingError):
    """Several steps in a row had a loss or gradient that is not finite: the weights or the rate are broken."""


class WorkersFailed(TrainingError):
    """A process of an update failed or died; `lines` are the last ones of each log, by the log's name."""

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
    """Prompt and target exceed the length limit; cutting would train on half a call, so nothing is cut."""

    reason = "train.too_long"
