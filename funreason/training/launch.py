"""One update, from a folder of weights to another: in this process, or in worker processes started by torchrun.

Workers get the job as files and report their steps through one, so a worker that crashes takes nothing with it except
its own lines, which are read from its log.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from funreason.objectives.protocol import Example, Objective
from funreason.training.job import Job, JobFolder, UpdateOutcome, hold_lock
from funreason.training.types import NotFinite, OtherTrainingError, StepReport, WorkersFailed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

POLL_S = 0.1
"""How often steps are read and stop and pause are passed on."""
SHUTDOWN_TIMEOUT_S = 15.0
LAST_LINES = 12
LINE_LENGTH = 300


class StopSignal(Protocol):
    """Whether the process that asked for the update wants it to stop or to wait."""

    @property
    def asked(self) -> bool:
        """Whether it should stop."""
        ...

    @property
    def paused(self) -> bool:
        """Whether it should wait."""
        ...

    def asked_after_waiting(self) -> bool:
        """Block while paused, then return `asked`: for a training in this process."""
        ...


def update(
    job: Job,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    on_step: Callable[[StepReport], None] = lambda step: None,
    stop: StopSignal | None = None,
) -> UpdateOutcome:
    """Train as `job` says and save into `job.out`; raises what `train` and `launch` raise.

    `folder` is where a job for worker processes is written; it is kept when they fail. If `stop` asks to stop, the
    report has `finished` False, and there are no weights.
    """
    if not job.in_process:
        return launch(job, examples, JobFolder(folder), on_step=on_step, stop=stop)
    from funreason.policies.model_files import load_model, save_trained
    from funreason.training.engine import train

    model = load_model(job.model, job.device, job.dtype)
    report = train(
        model,
        tokenizer,
        examples,
        job.update,
        objective=objective_of(job),
        continue_from=job.continue_from,
        seed=job.seed,
        think_tags=job.think_tags,
        threads=job.threads,
        on_step=on_step,
        checkpoint_dir=job.checkpoints,
        stop=None if stop is None else stop.asked_after_waiting,
    )
    return UpdateOutcome(report, save_trained(model, tokenizer, job.out) if report.finished else "")


def objective_of(job: Job) -> Objective:
    """What a job learns: GRPO's loss where it has one, else SRML."""
    if job.loss is not None:
        from funreason.objectives.grpo import Grpo

        return Grpo(job.loss)
    from funreason.objectives.srml import Srml

    return Srml(job.update)


def launch(
    job: Job,
    examples: Sequence[Example],
    folder: JobFolder,
    *,
    on_step: Callable[[StepReport], None] = lambda step: None,
    stop: StopSignal | None = None,
) -> UpdateOutcome:
    """Run `job` in as many worker processes as it asks for.

    `on_step` is called with every step, in this process. If `stop` asks to stop, a checkpoint is left and the report
    has `finished` False. Raises WorkersFailed when a worker fails or dies, OtherTrainingError when the checkpoint
    belongs to another training, NotFinite when losses stay so.
    """
    folder.write(job, examples)
    with hold_lock(folder.alive), _started(job, folder) as launcher:
        seen, running = 0, True
        while running:
            running = launcher.poll() is None
            if stop is not None:
                for wanted, file in ((stop.paused, folder.pause), (stop.asked, folder.stop)):
                    if wanted and not file.exists():
                        file.touch()
                    elif not wanted:
                        file.unlink(missing_ok=True)
            steps, seen = folder.reported(seen)
            for step in steps:
                on_step(step)
            if running:
                time.sleep(POLL_S)
    outcome = folder.outcome()
    if launcher.returncode or outcome is None:
        raise _failure(job, folder, launcher.returncode)
    return outcome


@contextmanager
def _started(job: Job, folder: JobFolder) -> Iterator[subprocess.Popen[bytes]]:
    processes = job.update.launch.processes
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    worker = ["-m", "funreason.training.worker", str(folder.path.resolve()), "--follow"]
    # The CPU threads are shared out: each worker would take all of them.
    threads = max(1, (job.threads or os.cpu_count() or 1) // processes)
    with folder.launcher_log.open("wb") as log:
        process = subprocess.Popen(
            [*torchrun, *worker],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            start_new_session=True,  # Ctrl-C reaches this process only, which then asks the workers to stop
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(SHUTDOWN_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _failure(job: Job, folder: JobFolder, code: int) -> Exception:
    failures = folder.failures()
    for kind in (OtherTrainingError, NotFinite):
        if failures and failures[0].kind == kind.__name__:
            return kind(failures[0].message)
    where = f"the update in {job.update.launch.processes} processes ({job.update.launch.strategy})"
    if failures:
        first = failures[0]
        why = f"failed in rank {first.rank}: {first.kind}: {first.message}"
    else:
        why = f"ended with code {code} before any process could say why (killed, or out of memory?)"
    lines: dict[str, list[str]] = {}
    for name, log in folder.logs():
        printed = log.read_text(errors="replace").splitlines() if log.exists() else []
        lines[name] = [line[:LINE_LENGTH] for line in printed if line.strip()][-LAST_LINES:]
    return WorkersFailed(f"{where} {why}. The last lines of each process are in {folder.path}.", lines)
