"""One process of an update: `python -m funreason.training.worker FOLDER`, started by a launcher, once per rank.

The loop starts it with torchrun; `accelerate launch` works as well. Each process reads the job, joins the others and
checks that there are as many as were asked for. Rank 0 writes: steps, checkpoints, weights, the outcome. With
`--follow` it exits with the process that asked for the job.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from funreason.policies.model_files import load_model, load_tokenizer, save_trained
from funreason.training.engine import train
from funreason.training.job import Job, JobFolder, UpdateOutcome, exit_when_released
from funreason.training.launch import objective_of
from funreason.training.lora import adapted
from funreason.training.parallel import Parallel, Ranks, leave, own_device, require_world_size, trainable

POLL_S = 0.1
"""How often a paused update checks whether it may continue."""


def main(arguments: list[str]) -> int:
    """Do this process's part of the job in the folder named first; returns the exit code."""
    folder, rank = JobFolder(Path(arguments[0])), int(os.environ.get("RANK", "0"))
    if "--follow" in arguments:
        exit_when_released(folder.alive)
    # Descriptors, not sys.stdout: what C libraries print is what one wants to read after a crash.
    with folder.log(rank).open("wb") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    # One line for each collective of each step: DeepSpeed and FSDP2 still use names that torch renamed.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed\.c10d_logger")
    try:
        work(folder)
    except Exception as error:
        folder.failed(rank, error)
        raise
    return 0


def work(folder: JobFolder) -> None:
    """Train as the job says; rank 0 leaves weights and outcome."""
    job = folder.job()
    device = own_device(job.device)
    ranks = Ranks.join(device)
    require_world_size(job.update.launch.processes, ranks)
    tokenizer = load_tokenizer(job.model)
    saved: list[str] = []

    def stop() -> bool:
        while folder.pause.exists() and not folder.stop.exists():
            time.sleep(POLL_S)
        return folder.stop.exists()

    report = train(
        load_model(job.model, str(device), job.dtype),
        tokenizer,
        folder.examples(),
        job.update,
        objective=objective_of(job),
        continue_from=job.continue_from,
        seed=job.seed,
        think_tags=job.think_tags,
        on_step=lambda step: folder.report(step) if ranks.is_main else None,
        checkpoint_dir=job.checkpoints,
        stop=lambda: ranks.is_main and stop(),
        strategy=job.update.launch.strategy,
        on_finish=lambda parallel: saved.extend(_save(job, tokenizer, parallel)),
    )
    if ranks.is_main:
        folder.done(UpdateOutcome(report, *saved))
    leave()


def _save(job: Job, tokenizer: PreTrainedTokenizerBase, parallel: Parallel) -> list[str]:
    """Gather the weights, one parameter at a time, into a model as it was read; its id, on rank 0."""
    if not parallel.ranks.is_main:
        for _ in parallel.weights():
            """Gathered for rank 0, which takes every rank."""
        return []
    plain = load_model(job.model, "cpu", job.dtype)
    with adapted(plain, job.update.lora, job.seed), torch.no_grad():
        parameters = trainable(plain)
        for name, value in parallel.weights():
            parameters[name].copy_(value)
    return [save_trained(plain, tokenizer, job.out)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
