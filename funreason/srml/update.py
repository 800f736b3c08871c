"""One update, from a folder of weights to another: in this process, or in as many as the job asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from funreason.srml.examples import Example, StepReport
from funreason.srml.job import Job, JobFolder, Outcome
from funreason.srml.launch import Pace, launch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def update(
    job: Job,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    on_step: Callable[[StepReport], None] = lambda step: None,
    pace: Pace | None = None,
) -> Outcome:
    """Train as `job` says and save into `job.out`; see `train` and `launch` for what may go wrong.

    `folder` is where a job for other processes is laid down; it is kept when they fail. A `pace` that asks to stop
    gives a report with `finished` False, and no weights.
    """
    if not job.launch.alone:
        return launch(job, examples, JobFolder(folder), on_step=on_step, pace=pace)
    return _here(job, examples, tokenizer, on_step, pace)


def _here(
    job: Job,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    on_step: Callable[[StepReport], None],
    pace: Pace | None,
) -> Outcome:
    from funreason.policies.model_files import load_model, save_model
    from funreason.srml.training import train

    model = load_model(job.model, job.device, job.dtype)
    stop = None if pace is None else pace.asked_after_waiting
    report = train(model, tokenizer, examples, job.settings, on_step=on_step, checkpoint_dir=job.checkpoints, stop=stop)
    return Outcome(report, save_model(model, tokenizer, job.out) if report.finished else "")
