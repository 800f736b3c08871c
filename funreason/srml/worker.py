"""One process of an update: `python -m funreason.srml.worker FOLDER`, started by a launcher, once for each rank.

torchrun starts it for the loop; `accelerate launch` does as well. Each process reads the job, joins the others and
checks that they are as many as were asked for. The first one writes: steps, checkpoints, weights, the outcome. With
`--follow` it ends with the process that asked for the job.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path

import msgspec
import torch
from transformers import PreTrainedTokenizerBase

from funreason.policies.model_files import load_model, load_tokenizer, save_model
from funreason.srml.adapters import adapted
from funreason.srml.errors import TrainingError
from funreason.srml.examples import StepReport
from funreason.srml.job import Job, JobFolder, Outcome
from funreason.srml.layout import Layout
from funreason.srml.lifeline import end_with_the_holder
from funreason.srml.optimizer import learning
from funreason.srml.processes import Processes, join, leave, require_size
from funreason.srml.training import train

LOOK_S = 0.1
"""How often an update that is held looks whether it may go on."""


def main(arguments: list[str]) -> int:
    """Do this process's part of the job in the folder named first; the exit code."""
    folder, rank = JobFolder(Path(arguments[0])), int(os.environ.get("RANK", "0"))
    if "--follow" in arguments:
        end_with_the_holder(folder.alive)
    _print_into(folder.log(rank))
    # One line for each collective of each step: DeepSpeed and FSDP2 still use names that torch renamed.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed\.c10d_logger")
    try:
        work(folder)
    except Exception as error:
        folder.failed(rank, error)
        raise
    return 0


def work(folder: JobFolder) -> None:
    """Train as the job says; the first process leaves weights and outcome."""
    job = folder.job()
    processes = join(_own_device(job.device))
    require_size(job.launch.processes, processes)
    tokenizer = load_tokenizer(job.model)
    saved: list[str] = []
    report = train(
        load_model(job.model, str(processes.device), _kept_dtype(job)),
        tokenizer,
        folder.examples(),
        msgspec.structs.replace(job.settings, threads=None),  # the launcher has shared them out
        on_step=lambda step: _tell(folder, step) if processes.first else None,
        checkpoint_dir=job.checkpoints,
        stop=lambda: processes.first and _asked_to_stop(folder),
        strategy=job.launch.strategy,
        compute=job.dtype,
        keep=lambda layout, processes: saved.extend(_save(job, tokenizer, layout, processes)),
    )
    if processes.first:
        folder.done(Outcome(report, *saved))
    leave()


def _save(job: Job, tokenizer: PreTrainedTokenizerBase, layout: Layout, processes: Processes) -> list[str]:
    """Put the weights together, one parameter at a time, into a model as it was read; its id, in the first process."""
    if not processes.first:
        for _ in layout.weights():
            """Put together for the first process alone."""
        return []
    plain = load_model(job.model, "cpu", job.dtype)
    with adapted(plain, job.settings), torch.no_grad():
        parameters = learning(plain)
        for name, value in layout.weights():
            parameters[name].copy_(value)
    return [save_model(plain, tokenizer, job.out)]


def _own_device(name: str) -> torch.device:
    """The GPU that belongs to this process, or the device as it is called."""
    if torch.device(name).type != "cuda":
        return torch.device(name)
    here, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if here >= found:
        raise TrainingError(
            f"this process needs GPU {here}, and {found} are here; ask for no more processes than there are GPUs."
        )
    torch.cuda.set_device(here)
    return torch.device("cuda", here)


def _kept_dtype(job: Job) -> str:
    """In what precision weights are read: what learns is kept in float32; DeepSpeed and adapters see to that alone."""
    own = job.launch.strategy in ("zero2", "zero3") or job.settings.lora is not None
    return job.dtype if own else "float32"


def _tell(folder: JobFolder, step: StepReport) -> None:
    with folder.steps.open("ab", buffering=0) as file:
        file.write(msgspec.json.encode(step) + b"\n")


def _asked_to_stop(folder: JobFolder) -> bool:
    while folder.hold.exists() and not folder.stop.exists():
        time.sleep(LOOK_S)
    return folder.stop.exists()


def _print_into(log: Path) -> None:
    # Descriptors, not sys.stdout: what C libraries print is what one wants to read after a crash.
    with log.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
