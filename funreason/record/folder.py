"""The run folder: where each thing of a run lies, and who is writing it.

    runs/<name>/run.json                 pid, host, start, heartbeat, status: written by rename, so never half there
                config.yaml              the configuration as it was resolved
                events/*.jsonl           what happened
                round-k/*.jsonl          texts: samples, kept, text, dropped, dead
                round-k/manifest.json    hashes of the round's files, written last: it is there when the round is whole
                weights/<id>/            safetensors

Texts are addressed by sample id and attempt; events never hold them.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from funreason.record.log import LogReader, check_format, unwritable
from funreason.record.log import RecordError as RecordError
from funreason.record.sample_files import MANIFEST, SampleFiles
from funreason.record.state import State

HEARTBEAT_S = 5.0
STALE_AFTER_S = 20.0
TAKE_OVER_AFTER_S = 300.0
"""Silence after which a run that seems to be written is taken to be dead: sixty heartbeats that did not come."""


class WriterStatus(NamedTuple):
    """Whether somebody is writing a run: `running`, `stale`, `crashed`, or its final status."""

    status: str
    pid: int
    host: str
    silent_s: float


class RunFolder:
    """A run's folder. Create or open one; reading needs no lock, writing needs `claim`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.events = path / "events"
        self.weights = path / "weights"
        self.gate_items = path / "gate-items"
        self._texts: dict[int, SampleFiles] = {}

    def round(self, k: int) -> Path:
        """The folder of round `k`."""
        return self.path / f"round-{k}"

    def checkpoint(self, k: int) -> Path:
        """Where the update of round `k` keeps what it has reached, until its weights are saved."""
        return self.weights / f"checkpoint-round-{k}"

    def claim(self, *, take_over: bool = False) -> WriterStatus | None:
        """Become the one writer; RecordError names the process that already is, the answer one that died as such.

        With `take_over`, one that said nothing for `TAKE_OVER_AFTER_S` is put aside, and is the answer then.
        A process on another host, or one whose number another process has by now, cannot be told dead otherwise.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self.alone():  # of two that look at the same time, one must see what the other wrote
            life = self.life()
            taken = life is not None and life.status in ("running", "stale") and not _mine(life)
            if life and taken and not (take_over and life.silent_s > TAKE_OVER_AFTER_S):
                raise RecordError(
                    f"{self.path} is being written by process {life.pid} on {life.host}, which was heard of "
                    f"{life.silent_s:.0f} s ago. Wait for it, stop it, or choose another --run-dir. If it is dead, "
                    f"--resume takes over after {TAKE_OVER_AFTER_S:.0f} s of silence."
                )
            self.beat("running")
        return life if life and (taken or life.status == "crashed") else None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes of this host from claiming the run or changing it until the block ends: be short."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            _lock(handle)
            yield
        finally:
            os.close(handle)  # which lets the lock go, as the death of the process does

    def sweep(self) -> None:
        """Remove what a killed writer left half made; only for the one who has claimed the run."""
        for path in (*self.path.rglob(".*.new*"), *self.weights.glob("fresh-round-*")):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for retired in self.path.rglob(".*.old-*"):  # killed while one folder took the place of another
            target = retired.with_name(retired.name.removeprefix(".").rpartition(".old-")[0])
            shutil.rmtree(retired) if target.exists() else retired.rename(target)

    def mine(self) -> bool:
        """Whether this process is the one that claimed the run last."""
        life = self.life()
        return life is not None and _mine(life)

    def beat(self, status: str) -> None:
        """Write run.json anew: still here, with this status."""
        old = self._read_life()
        write_json(
            self.path / "run.json",
            {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "started_at": old.get("started_at", time.time()),
                "heartbeat": time.time(),
                "status": status,
            },
        )

    def last_heartbeat_at(self) -> float:
        """When the run's process last said that it lives, in seconds since the epoch; 0 when none ever did."""
        return float(self._read_life().get("heartbeat", 0.0))

    def life(self) -> WriterStatus | None:
        """Who writes this run and whether they still live; None when no run.json is there."""
        found = self._read_life()
        if not found:
            return None
        silent = max(0.0, time.time() - found["heartbeat"])
        status = found["status"]
        if status == "running":
            here = found["host"] == socket.gethostname()
            if here and not alive(found["pid"]):
                status = "crashed"
            elif silent > STALE_AFTER_S:
                status = "stale"
        return WriterStatus(status, found["pid"], found["host"], silent)

    def _read_life(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        except (FileNotFoundError, ValueError):  # renamed into place, so only a loss of power can have torn it
            return {}
        return found

    def texts(self, k: int) -> SampleFiles:
        """The texts of round `k`: always the same object, so that each file has one writer."""
        found = self._texts.get(k)
        if found is None:
            found = self._texts[k] = SampleFiles(self.round(k))
        return found

    def sync(self) -> None:
        """Make every text put so far survive a power loss."""
        for texts in list(self._texts.values()):
            texts.sync()

    def close(self) -> None:
        """Sync and close the texts of every round."""
        for texts in list(self._texts.values()):
            texts.close()

    def check_format(self) -> None:
        """Raise FormatError when this version does not read the run's record."""
        check_format(self.events)

    def state(self) -> State:
        """The run's log, folded. FormatError when this version does not read it."""
        return State().fold(LogReader(self.events).events())

    def seal(self, k: int) -> None:
        """Close the texts of round `k` and write its manifest, the hash and size of each file: the round is whole."""
        texts = self._texts.pop(k, None)
        if texts is not None:
            texts.close()
        folder = self.round(k)
        folder.mkdir(parents=True, exist_ok=True)  # a round whose every task was left out has no text
        files = sorted(p for p in folder.glob("*.jsonl"))
        entries = {p.name: {"sha256": hash_file(p), "bytes": p.stat().st_size} for p in files}
        write_json(folder / MANIFEST, {"round": k, "files": entries})


def newest_run(runs: Path) -> RunFolder:
    """The run under `runs` that was written last; RecordError when there is none."""
    found = [p.parent for p in runs.glob("*/run.json")]
    if not found:
        raise RecordError(f"no run in {runs}. Start one with `funreason loop`, or name its folder.")
    return RunFolder(max(found, key=lambda p: (p / "run.json").stat().st_mtime))


def open_run(name: str | Path | None, runs: Path) -> RunFolder:
    """A run by folder or by name under `runs`, or the newest one for None.

    RecordError when there is none, FormatError when this version does not read its record.
    """
    if name is None:
        name = newest_run(runs).path
    for path in (Path(name), runs / name):
        if (path / "run.json").exists():
            folder = RunFolder(path)
            folder.check_format()
            return folder
    raise RecordError(f"no run called {name}: neither {Path(name)} nor {runs / name} holds a run.json")


def alive(pid: int) -> bool:
    """Whether this host has a process of that number, be it somebody else's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_json(path: Path, data: Any) -> None:
    """Write JSON by rename, so that a reader never sees half a file."""
    write_whole(path, json.dumps(data, indent=1))


def write_whole(path: Path, text: str) -> None:
    """Write `text` by rename: a reader, and whoever comes after a kill, finds all of it or what was there before."""
    scratch = path.with_name(f".{path.name}.new-{os.getpid()}")  # two processes may write it in one moment
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lock(handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        # A file system without locks, such as some network ones, for which nothing is promised.


def _mine(life: WriterStatus) -> bool:
    return (life.pid, life.host) == (os.getpid(), socket.gethostname())
