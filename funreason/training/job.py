"""One update as files, for worker processes that share nothing else with the process that asked for it.

    job.json         what to train, how, and in how many processes
    examples.jsonl   what to learn
    steps.jsonl      each step's report, written by rank 0
    rank-<n>.log     what a process printed; launcher.log: what the launcher did
    rank-<n>.json    how a process failed
    outcome.json     the report and the id of the weights, written last
    pause, stop      exist while the update should wait, and once it should stop
    alive            locked while the asking process lives

Steps are read while they are being written, so only complete lines count.

A killed process runs no code, but the kernel releases its locks. So the asking process holds the lock on `alive`, each
worker has a thread that waits for it, and getting it means that the asking process is gone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from pydantic import BaseModel, ConfigDict

from funreason.calls.thinking import THINK_TAGS, Tags
from funreason.config.reinforcement import GrpoSettings
from funreason.config.updates import Update
from funreason.objectives.protocol import Example
from funreason.training.types import StepReport, TrainReport


class Job(BaseModel):
    """One update: from the weights in folder `model` to new ones in `out`, as `update` says.

    `dtype` is the precision of weights that are read and saved, and of forward and backward passes; what the optimizer
    updates is float32 in any case. `threads` are the CPU threads of all processes together; None leaves the default.
    """

    model_config = ConfigDict(frozen=True)

    model: Path
    out: Path
    checkpoints: Path | None
    update: Update
    seed: int = 0
    think_tags: Tags = THINK_TAGS
    threads: int | None = None
    device: str = "cpu"
    dtype: str = "float32"
    loss: GrpoSettings | None = None
    """How rollouts are learned from; None for SRML."""
    continue_from: Path | None = None
    """A folder with the checkpoint of another training, whose weights and optimizer state this one begins with."""

    @property
    def in_process(self) -> bool:
        """Whether the training stays in the process that asks for it."""
        return self.update.launch.processes == 1 and self.update.launch.strategy == "none"


class Failure(msgspec.Struct, frozen=True):
    """Why a process of a job ended early; `kind` is the exception's name."""

    rank: int
    kind: str
    message: str
    at: float


class UpdateOutcome(NamedTuple):
    """What an update reported, and the id of the weights it made; no id if it was stopped."""

    report: TrainReport
    weights_id: str = ""


class JobFolder:
    """The files of one job."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.alive = path / "alive"
        self.pause = path / "pause"
        self.stop = path / "stop"
        self.steps = path / "steps.jsonl"
        self.launcher_log = path / "launcher.log"

    def write(self, job: Job, examples: Sequence[Example]) -> None:
        """Create the folder for `job`, replacing an earlier one."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        (self.path / "examples.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(examples))
        self.steps.touch()
        self.alive.touch()
        self._put("job.json", job.model_dump_json().encode())

    def job(self) -> Job:
        """The job; paths in it are absolute."""
        return Job.model_validate_json((self.path / "job.json").read_bytes())

    def examples(self) -> list[Example]:
        """What to learn."""
        return msgspec.json.Decoder(Example).decode_lines((self.path / "examples.jsonl").read_bytes())

    def log(self, rank: int) -> Path:
        """Where process `rank` prints."""
        return self.path / f"rank-{rank}.log"

    def report(self, step: StepReport) -> None:
        """Append one step."""
        with self.steps.open("ab", buffering=0) as file:
            file.write(msgspec.json.encode(step) + b"\n")

    def reported(self, seen: int) -> tuple[list[StepReport], int]:
        """The steps reported after the first `seen` bytes, and how many bytes have been read now."""
        with self.steps.open("rb") as file:
            file.seek(seen)
            whole = file.read().rpartition(b"\n")[0]
        steps = msgspec.json.Decoder(StepReport).decode_lines(whole) if whole else []
        return steps, seen + len(whole) + bool(whole)

    def failed(self, rank: int, error: Exception) -> None:
        """Record why process `rank` ends early."""
        self._put(
            f"rank-{rank}.json", msgspec.json.encode(Failure(rank, type(error).__name__, str(error), time.time()))
        )

    def failures(self) -> list[Failure]:
        """Why processes ended early, the first one first: the others may only have missed it."""
        found = [msgspec.json.decode(path.read_bytes(), type=Failure) for path in self.path.glob("rank-*.json")]
        return sorted(found, key=lambda failure: failure.at)

    def done(self, outcome: UpdateOutcome) -> None:
        """Record that the job is done."""
        self._put("outcome.json", msgspec.json.encode(outcome))

    def outcome(self) -> UpdateOutcome | None:
        """The outcome; None if the job never finished."""
        path = self.path / "outcome.json"
        return msgspec.json.decode(path.read_bytes(), type=UpdateOutcome) if path.exists() else None

    def logs(self) -> Iterator[tuple[str, Path]]:
        """The log of each process, and the launcher's."""
        yield from ((path.stem, path) for path in sorted(self.path.glob("rank-*.log")))
        yield "launcher", self.launcher_log

    def _put(self, name: str, content: bytes) -> None:
        fresh = self.path / f".{name}.new"
        fresh.write_bytes(content)
        fresh.replace(self.path / name)


EXIT_ORPHANED = 70


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock on `path` while the block runs and this process lives."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def exit_when_released(path: Path) -> None:
    """From now on, exit this process as soon as no other one holds the lock on `path`."""

    def wait() -> None:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        # Not sys.exit: that ends this thread only, and the main one may be waiting for a process that is gone.
        os._exit(EXIT_ORPHANED)

    threading.Thread(target=wait, name="parent-lock", daemon=True).start()
