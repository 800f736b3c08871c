"""One update as files, for processes that share nothing else with the one that asked for it.

    job.json         what to train, how, and in how many processes
    examples.jsonl   what to learn
    steps.jsonl      what each step reported, written by the first process
    rank-<n>.log     what a process printed; launcher.log: what the launcher did
    rank-<n>.json    how a process failed
    outcome.json     the report and the id of the weights, written last
    hold, stop       there while the update is to wait, and once it is to stop
    alive            locked as long as whoever asked lives (see `lifeline`)

Steps are read while they are written, so only whole lines count.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from funreason.srml.examples import Example, StepReport, Strategy, TrainReport, TrainSettings


class Launch(msgspec.Struct, frozen=True):
    """How many processes, and how the model lies over them; one process without a strategy needs no launcher."""

    processes: int = 1
    strategy: Strategy = "none"

    @property
    def alone(self) -> bool:
        """Whether the training stays in the process that asks for it."""
        return self.processes == 1 and self.strategy == "none"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One update: `model` is the folder of the weights to start from, `out` the folder of those it makes."""

    model: Path
    out: Path
    checkpoints: Path | None
    settings: TrainSettings
    launch: Launch = Launch()
    device: str = "cpu"
    dtype: str = "float32"


def _path(kind: type, value: str) -> Path:
    return Path(value)


class Failure(msgspec.Struct, frozen=True):
    """Why a process of a job ended early; `kind` is the exception's name."""

    rank: int
    kind: str
    message: str
    at: float


class Outcome(NamedTuple):
    """What an update reported, and the weights it made; no id where it was stopped."""

    report: TrainReport
    weights_id: str = ""


class JobFolder:
    """The files of one job."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.alive = path / "alive"
        self.hold = path / "hold"
        self.stop = path / "stop"
        self.steps = path / "steps.jsonl"
        self.launcher_log = path / "launcher.log"

    def write(self, job: Job, examples: Sequence[Example]) -> None:
        """Make the folder anew for `job`."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        (self.path / "examples.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(examples))
        self.steps.touch()
        self.alive.touch()
        self._put("job.json", job)

    def job(self) -> Job:
        """The job; paths in it are absolute."""
        return msgspec.json.decode((self.path / "job.json").read_bytes(), type=Job, dec_hook=_path)

    def examples(self) -> list[Example]:
        """What to learn."""
        return msgspec.json.Decoder(Example).decode_lines((self.path / "examples.jsonl").read_bytes())

    def log(self, rank: int) -> Path:
        """Where process `rank` prints."""
        return self.path / f"rank-{rank}.log"

    def reported(self, seen: int) -> tuple[list[StepReport], int]:
        """The steps reported behind the first `seen` bytes, and how many bytes that makes."""
        with self.steps.open("rb") as file:
            file.seek(seen)
            whole = file.read().rpartition(b"\n")[0]
        steps = msgspec.json.Decoder(StepReport).decode_lines(whole) if whole else []
        return steps, seen + len(whole) + bool(whole)

    def failed(self, rank: int, error: Exception) -> None:
        """Say why process `rank` ends early."""
        self._put(f"rank-{rank}.json", Failure(rank, type(error).__name__, str(error), time.time()))

    def failures(self) -> list[Failure]:
        """Why processes ended early, the first to end first: the others may only have missed it."""
        found = [msgspec.json.decode(path.read_bytes(), type=Failure) for path in self.path.glob("rank-*.json")]
        return sorted(found, key=lambda failure: failure.at)

    def done(self, outcome: Outcome) -> None:
        """Say that the job is done."""
        self._put("outcome.json", outcome)

    def outcome(self) -> Outcome | None:
        """What came out; None when the job never came to an end."""
        path = self.path / "outcome.json"
        return msgspec.json.decode(path.read_bytes(), type=Outcome) if path.exists() else None

    def logs(self) -> Iterator[tuple[str, Path]]:
        """The log of each process, and the launcher's."""
        yield from ((path.stem, path) for path in sorted(self.path.glob("rank-*.log")))
        yield "launcher", self.launcher_log

    def _put(self, name: str, thing: Job | Failure | Outcome) -> None:
        fresh = self.path / f".{name}.new"
        fresh.write_bytes(msgspec.json.encode(thing, enc_hook=str))
        fresh.replace(self.path / name)
