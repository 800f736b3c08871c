"""The texts of a round: tasks, attempts and their ends, one JSON line each, addressed by sample id and attempt.

A task is written once and samples name it by id, because tools are long and a task has many samples.
Lines are written whole and unbuffered; a torn last line is dropped and written again. Writing to a sealed round unseals
it: a manifest promises that its files do not change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from funreason.record.log import RecordError, append_line, as_line
from funreason.types import Call, Origin, Sample, Task, Turn, Verdict

ENDS = ("kept", "text", "dropped", "dead")
"""The files a sample can end in; `sampled` holds every attempt a model wrote, ended or not."""
KEPT = ("kept", "text")
"""Of these, the ones that hold what may be learnt."""
JUDGED = "judged"
"""The verdicts of samples that have not ended; there only while the round samples."""
CREDITS = "credits"
"""What the rollouts of a round were learned from, in reinforcement learning."""
CANARIES = "canaries"
"""What a round's judges were tested on, and what each answered; written again until the round has sampled."""
REPAIRS = "repairs"
"""The references that a panel has replaced, in hard-data rounds."""
MANIFEST = "manifest.json"


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A sample on disk: the fields of `Sample` in their order, with the task's id in place of the task."""

    id: str
    task: str
    turns: tuple[Turn, ...] = ()
    attempt: int = 0
    round: int = 0
    origin: Origin = "sampled"
    verdicts: tuple[Verdict, ...] = ()


assert Line.__struct_fields__ == Sample.__struct_fields__


class PendingVerdict(msgspec.Struct, frozen=True):
    """A judge's verdict on one attempt of a sample that has not ended yet."""

    id: str
    attempt: int
    node: str
    verdict: Verdict


class Credit(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one rollout was learned from: its reward against those of its group.

    `fate` is the group's: "mixed" groups are learned from, "all_right", "all_wrong" and "incomplete" ones are not.
    `advantage` includes the `bonus`; `entropy` is E, the mean entropy of the thinking in nats, where it was measured.
    """

    id: str
    step: int
    fate: str
    reward: float
    advantage: float = 0.0
    bonus: float = 0.0
    entropy: float | None = None


class RepairedLabel(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task's reference before and after the panel ruled for the model's majority answer, and what each seat said."""

    task: str
    old: tuple[Call, ...]
    new: tuple[Call, ...]
    votes: tuple[float | None, ...] = ()
    reasons: str = ""


RECENT_TASKS = 256
"""Tasks held while samples are read: those of one task follow each other closely."""


class _TaskId(msgspec.Struct):
    """The id of a task; the rest of its line is not decoded."""

    id: str


class SampleFiles:
    """The text files of one round's folder. Reading needs no writer; writing appends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, tuple[int, Path]] = {}
        self._places: dict[str, int] = {}
        """Where each task begins in `tasks.jsonl`: memory must not grow with the tasks themselves."""

    def append(self, kind: str, sample: Sample) -> None:
        """Append a sample to `<kind>.jsonl`, and its task to `tasks.jsonl` when it is new."""
        task = sample.task
        self._places = self._places or self._find_tasks()
        if task.id not in self._places:
            self._places[task.id] = os.fstat(self._open("tasks")[0]).st_size
            self._write("tasks", task)
        id, _, *more = msgspec.structs.astuple(sample)
        self._write(kind, Line(id, task.id, *more))

    def append_verdict(self, verdict: PendingVerdict) -> None:
        """Append a verdict to `judged.jsonl`."""
        self._write(JUDGED, verdict)

    def verdicts(self) -> Iterator[PendingVerdict]:
        """The verdicts of `judged.jsonl`."""
        return self._lines(JUDGED, msgspec.json.Decoder(PendingVerdict))

    def append_credit(self, credit: Credit) -> None:
        """Append what a rollout was learned from. Where a step was made twice, after a kill, the last line counts."""
        self._write(CREDITS, credit)

    def credits(self, sample_id: str = "") -> dict[str, Credit]:
        """What rollouts were learned from, by sample id; with `sample_id`, of that one alone."""
        mark = msgspec.json.encode(sample_id) if sample_id else b""
        found = {credit.id: credit for credit in self._lines(CREDITS, msgspec.json.Decoder(Credit), mark)}
        return {id: credit for id, credit in found.items() if sample_id in ("", id)}

    def append_repair(self, repair: RepairedLabel) -> None:
        """Append a repaired reference."""
        self._write(REPAIRS, repair)

    def repairs(self) -> dict[str, RepairedLabel]:
        """The repaired references by task id."""
        return {repair.task: repair for repair in self._lines(REPAIRS, msgspec.json.Decoder(RepairedLabel))}

    def delete_verdicts(self) -> None:
        """Remove `judged.jsonl`: every sample has ended, and its end holds all its verdicts."""
        self.delete(JUDGED)

    def delete(self, kind: str) -> None:
        """Remove `<kind>.jsonl`, so that it can be written again."""
        if kind in self._files:
            os.close(self._files.pop(kind)[0])
        (self.folder / f"{kind}.jsonl").unlink(missing_ok=True)

    def get(self, kind: str) -> Iterator[Sample]:
        """The samples of `<kind>.jsonl` in the order they were written."""
        if not (self.folder / f"{kind}.jsonl").exists():
            return
        places, recent = self._places or self._find_tasks(), dict[str, Task]()  # a writer knows them all
        with ExitStack() as stack:
            file = stack.enter_context((self.folder / "tasks.jsonl").open("rb")) if places else None
            for line in self._lines(kind, msgspec.json.Decoder(Line)):
                if line.task not in recent and file is not None and line.task in places:
                    file.seek(places[line.task])
                    if len(recent) >= RECENT_TASKS:
                        del recent[next(iter(recent))]
                    recent[line.task] = msgspec.json.decode(file.readline(), type=Task)
                yield self._sample(line, recent)

    def find(self, sample_id: str) -> list[tuple[str, Sample]]:
        """Everything written about one sample, as (kind, sample): its drawn attempts first, then its end.

        Lines that do not hold the id are not decoded, so looking one up costs reading the files and little more.
        """
        mark = msgspec.json.encode(sample_id)
        found: list[tuple[str, Line]] = []
        for kind in ("sampled", *ENDS):
            lines = self._lines(kind, msgspec.json.Decoder(Line), mark)
            found += [(kind, line) for line in lines if line.id == sample_id]
        wanted = {line.task for _, line in found}
        tasks = {id: task for id, task in self.tasks().items() if id in wanted} if wanted else {}
        return [(kind, self._sample(line, tasks)) for kind, line in found]

    def tasks(self) -> dict[str, Task]:
        """The tasks of the round by id."""
        return {task.id: task for task in self._lines("tasks", msgspec.json.Decoder(Task))}

    def _find_tasks(self) -> dict[str, int]:
        places, at = dict[str, int](), 0
        decoder = msgspec.json.Decoder(_TaskId)
        for number, line in enumerate(self._raw("tasks"), start=1):
            try:
                places[decoder.decode(line).id] = at
            except msgspec.DecodeError as error:
                raise self._unreadable("tasks", number, error) from error
            at += len(line)
        return places

    def sync(self) -> None:
        """Make everything appended so far survive a power loss."""
        for file, _ in list(self._files.values()):
            os.fsync(file)

    def close(self) -> None:
        """Sync and close every file; the next `append` opens them again."""
        self.sync()
        while self._files:
            os.close(self._files.popitem()[1][0])

    def _write(self, kind: str, thing: msgspec.Struct) -> None:
        file, path = self._open(kind)
        append_line(file, as_line(thing), path)

    def _open(self, kind: str) -> tuple[int, Path]:
        if kind not in self._files:
            path = self.folder / f"{kind}.jsonl"
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / MANIFEST).unlink(missing_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":  # torn by a kill: drop the half line, it is written again
                os.ftruncate(file, path.read_bytes().rfind(b"\n") + 1)
            self._files[kind] = file, path
        return self._files[kind]

    def _lines(self, kind: str, decoder: msgspec.json.Decoder[Any], mark: bytes = b"") -> Iterator[Any]:
        """What the lines that contain `mark` hold. RecordError names a line that cannot be decoded."""
        for number, line in enumerate(self._raw(kind), start=1):
            if mark not in line:
                continue
            try:
                yield decoder.decode(line)
            except msgspec.DecodeError as error:
                raise self._unreadable(kind, number, error) from error

    def _unreadable(self, kind: str, number: int, error: Exception) -> RecordError:
        return RecordError(
            f"{self.folder / kind}.jsonl, line {number}: {error}. No run writes that, so the file was changed: "
            "`funreason runs verify` says which were. Without that line, all the others can be read."
        )

    def _raw(self, kind: str) -> Iterator[bytes]:
        path = self.folder / f"{kind}.jsonl"
        if not path.exists():
            return
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line

    def _sample(self, line: Line, tasks: dict[str, Task]) -> Sample:
        if line.task not in tasks:
            raise RecordError(
                f"{self.folder / 'tasks.jsonl'} has no task {line.task!r}, which sample {line.id!r} names"
            )
        id, task, *more = msgspec.structs.astuple(line)
        return Sample(id, tasks[task], *more)
