"""The update in processes of its own: torchrun starts the workers, this process stays the one that records.

The job goes to them as files and their steps come back through one, so a worker that crashes takes nothing with it
but its own lines, which are read from its log.
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
from typing import Protocol

from funreason.srml.errors import NotFinite, OtherTrainingError, WorkersFailed
from funreason.srml.examples import Example, StepReport
from funreason.srml.job import Job, JobFolder, Outcome
from funreason.srml.lifeline import held

LOOK_S = 0.1
"""How often the steps are read and wishes passed on."""
ENDING_S = 15.0
"""How long processes may take to end when they are told to."""
LAST_LINES = 12
LINE_LENGTH = 300


class Pace(Protocol):
    """What whoever asked for the update wishes now."""

    @property
    def asked(self) -> bool:
        """Whether it should stop."""
        ...

    @property
    def paused(self) -> bool:
        """Whether it should wait."""
        ...

    def asked_after_waiting(self) -> bool:
        """Whether it should stop, once it need not wait any more: for a training in this process, which this holds."""
        ...


def launch(
    job: Job,
    examples: Sequence[Example],
    folder: JobFolder,
    *,
    on_step: Callable[[StepReport], None] = lambda step: None,
    pace: Pace | None = None,
) -> Outcome:
    """Do `job` in as many processes as it asks for; the outcome, as that of `train`.

    `on_step` hears of every step, in this process. A `pace` that asks to stop gives a report with `finished` False
    and a checkpoint. WorkersFailed when a process fails or dies; OtherTrainingError when the checkpoint is of another
    training.
    """
    folder.write(job, examples)
    with held(folder.alive), _started(job, folder) as launcher:
        seen, running = 0, True
        while running:
            running = launcher.poll() is None
            if pace is not None:
                _pass_on(pace, folder)
            steps, seen = folder.reported(seen)
            for step in steps:
                on_step(step)
            if running:
                time.sleep(LOOK_S)
    outcome = folder.outcome()
    if launcher.returncode or outcome is None:
        raise _failure(job, folder, launcher.returncode)
    return outcome


@contextmanager
def _started(job: Job, folder: JobFolder) -> Iterator[subprocess.Popen[bytes]]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    worker = ["-m", "funreason.srml.worker", str(folder.path.resolve()), "--follow"]
    with folder.launcher_log.open("wb") as log:
        process = subprocess.Popen(
            [*torchrun, str(job.launch.processes), *worker],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(job),
            start_new_session=True,  # Ctrl-C reaches this process alone, which passes the wish on
        )
    try:
        yield process
    finally:
        _end(process)


def _environment(job: Job) -> dict[str, str]:
    """This process's, with the threads of a CPU shared out: each worker would take all of them."""
    threads = max(1, (job.settings.threads or os.cpu_count() or 1) // job.launch.processes)
    return os.environ | {"OMP_NUM_THREADS": str(threads)}


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _pass_on(pace: Pace, folder: JobFolder) -> None:
    for wished, file in ((pace.paused, folder.hold), (pace.asked, folder.stop)):
        if wished and not file.exists():
            file.touch()
        elif not wished:
            file.unlink(missing_ok=True)


def _failure(job: Job, folder: JobFolder, code: int) -> Exception:
    failures = folder.failures()
    for kind in (OtherTrainingError, NotFinite):
        if failures and failures[0].kind == kind.__name__:
            return kind(failures[0].message)
    who = f"the update in {job.launch.processes} processes ({job.launch.strategy})"
    if failures:
        first = failures[0]
        why = f"failed in rank {first.rank}: {first.kind}: {first.message}"
    else:
        why = f"ended with code {code} before any process could say why (killed, or out of memory?)"
    text = f"{who} {why}. What each process said last is in {folder.path}."
    return WorkersFailed(text, {name: _last_lines(log) for name, log in folder.logs()})


def _last_lines(log: Path) -> list[str]:
    if not log.exists():
        return []
    lines = log.read_text(errors="replace").splitlines()
    return [line[:LINE_LENGTH] for line in lines if line.strip()][-LAST_LINES:]
