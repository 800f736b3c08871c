"""The run folder: where each thing of a run is, which process writes it, and the configuration it was made with.

    runs/<name>/run.json                 pid, host, start, heartbeat, status: written by rename, so never half there
                config.yaml              the configuration as it was resolved (`refine.yaml` for a run of `refine`)
                events/*.jsonl           what happened
                round-k/*.jsonl          texts: samples, kept, text, dropped, dead
                round-k/manifest.json    hashes of the round's files, written last: if it exists, the round is whole
                weights/<id>/            safetensors

Texts are addressed by sample id and attempt; events never hold them. Nothing here checks the configuration against a
schema.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from funreason.record.log import LogReader, check_format, unwritable
from funreason.record.log import RecordError as RecordError
from funreason.record.sample_files import MANIFEST, SampleFiles
from funreason.record.state import State

LOOP = "config.yaml"
MODEL_LINK = "model"
"""A link to the weights that a run accepted last."""
RECORDS = "records.json"
"""The paths of the records that `refine` was given, and a hash of what was read."""
REFINED = "refine.yaml"
"""The configuration of a `refine` run. It has its own name because any `config.yaml` could be resumed as a loop."""
HEARTBEAT_S = 5.0
STALE_AFTER_S = 20.0
TAKE_OVER_AFTER_S = 300.0
"""Silence after which the writer of a run is taken to be dead: sixty missed heartbeats."""
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""Of file systems without locks, such as some network ones, for which nothing is promised."""


class WriterStatus(NamedTuple):
    """Whether a process is writing a run: `running`, `stale`, `crashed`, or the run's final status."""

    status: str
    pid: int
    host: str
    silent_s: float


class RunFolder:
    """A run's folder. Create or open one; reading needs no lock, writing needs `acquire`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.events = path / "events"
        self.weights = path / "weights"
        self.gate_items = path / "gate-items"
        self._texts: dict[int, SampleFiles] = {}
        self._held: int | None = None

    def round(self, k: int) -> Path:
        """The folder of round `k`."""
        return self.path / f"round-{k}"

    def checkpoint(self, k: int) -> Path:
        """The folder for the checkpoint of round `k`'s update, until its weights are saved."""
        return self.weights / f"checkpoint-round-{k}"

    def acquire(self, *, take_over: bool = False, begin: Callable[[], None] = lambda: None) -> WriterStatus | None:
        """Become the one writer. Returns the previous writer if it died while writing, else None.

        RecordError names the process that is writing already. With `take_over`, a writer that was silent for
        `TAKE_OVER_AFTER_S` is replaced and returned: nothing else can tell that a process on another host is dead, or
        one whose process id another process has by now. A writer on this host that holds its lock is alive, however
        long it was silent: it may have been suspended, or the clock was set.

        `begin` writes what a resumed run needs; it is called before run.json says that there is a run.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self.locked():  # of two that look at the same time, one must see what the other wrote
            writer = self.writer_status()
            active = writer is not None and writer.status in ("running", "stale") and not self._is_this_process(writer)
            held = not self._hold()
            if writer and active and (held or not (take_over and writer.silent_s > TAKE_OVER_AFTER_S)):
                self.release()
                raise RecordError(
                    f"{self.path} is being written by process {writer.pid} on {writer.host}, whose last heartbeat was "
                    f"{writer.silent_s:.0f} s ago. Wait for it, stop it, or choose another --run-dir. "
                    + (
                        "It is alive: if it is suspended, let it continue (`kill -CONT`) or end it."
                        if held
                        else f"If it is dead, --resume takes over after {TAKE_OVER_AFTER_S:.0f} s of silence."
                    )
                )
            begin()
            self.heartbeat("running")
        return writer if writer and (active or writer.status == "crashed") else None

    def _hold(self) -> bool:
        """Lock the folder of events until this process ends; False when another process holds it.

        The kernel releases the lock of a dead process, so it says who is alive where clocks and process ids cannot.
        True on file systems without locks.
        """
        if self._held is None:
            try:
                self.events.mkdir(exist_ok=True)
                handle = os.open(self.events, os.O_RDONLY)
            except OSError as error:
                raise unwritable(self.events, error) from error
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return False
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    os.close(handle)
                    raise
            self._held = handle
        return True

    def release(self) -> None:
        """Give up the lock that says that the run's writer lives."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes of this host from acquiring or changing the run until the block ends: be short."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
            yield
        finally:
            os.close(handle)  # which releases the lock, as the death of the process does

    def clean_up(self) -> None:
        """Remove what a killed writer left half made; only the process that acquired the run may."""
        for path in (*self.path.rglob(".*.new*"), *self.path.rglob(".*.gone-*"), *self.weights.glob("fresh-round-*")):
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.is_dir():  # else it was in a folder that is removed by now
                shutil.rmtree(path)
        for retired in self.path.rglob(".*.old-*"):  # killed while one folder took the place of another
            target = retired.with_name(retired.name.removeprefix(".").rpartition(".old-")[0])
            shutil.rmtree(retired) if target.exists() else retired.rename(target)

    def is_owner(self) -> bool:
        """Whether this process is the one that acquired the run last."""
        writer = self.writer_status()
        return writer is not None and self._is_this_process(writer)

    def heartbeat(self, status: str) -> None:
        """Rewrite run.json with the time and this status."""
        old = self._run_json()
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

    def last_heartbeat(self) -> float:
        """When the run's process last wrote run.json, in seconds since the epoch; 0 when none ever did."""
        return float(self._run_json().get("heartbeat", 0.0))

    def writer_status(self) -> WriterStatus | None:
        """Which process writes this run and whether it is alive; None without a run.json."""
        found = self._run_json()
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

    def _run_json(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        except (FileNotFoundError, ValueError):  # renamed into place, so only a loss of power can have torn it
            return {}
        return found

    @staticmethod
    def _is_this_process(writer: WriterStatus) -> bool:
        return (writer.pid, writer.host) == (os.getpid(), socket.gethostname())

    def texts(self, k: int) -> SampleFiles:
        """The files of round `k`: always the same object, so that each file has one writer."""
        found = self._texts.get(k)
        if found is None:
            found = self._texts[k] = SampleFiles(self.round(k))
        return found

    def sync(self) -> None:
        """Make every line appended so far survive a power loss."""
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
        folder.mkdir(parents=True, exist_ok=True)  # a round that skipped every task has no text
        files = sorted(p for p in folder.glob("*.jsonl"))
        entries = {p.name: {"sha256": hash_file(p), "bytes": p.stat().st_size} for p in files}
        write_json(folder / MANIFEST, {"round": k, "files": entries})


def begin_run(folder: RunFolder, settings: str) -> None:
    """Make the folder of a new loop with its configuration and run.json: all of it or, after a kill, nothing.

    FileExistsError when there is something under its name; nothing is touched then.
    """
    target = folder.path
    remove_drafts(target)  # first: a kill right after the rename would leave them beside a run that is whole
    draft = RunFolder(target.with_name(f".{target.name}.new-{os.getpid()}"))
    shutil.rmtree(draft.path, ignore_errors=True)
    draft.path.mkdir(parents=True)
    try:
        (draft.path / LOOP).write_text(settings, encoding="utf-8")
        draft.heartbeat("running")
        if target.exists():  # a rename would replace an empty folder
            raise FileExistsError(target)
        draft.path.rename(target)
    except OSError as error:
        shutil.rmtree(draft.path, ignore_errors=True)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(target) from error
        raise


def runs_in(runs: Path) -> list[RunFolder]:
    """The runs in a folder, the last written one last."""
    found = [path for path in runs.glob("*/run.json") if not path.parent.match(".*.new-*")]
    return [RunFolder(path.parent) for path in sorted(found, key=lambda path: path.stat().st_mtime)]


def newest_run(runs: Path) -> RunFolder:
    """The run under `runs` that was written last; RecordError when there is none."""
    found = runs_in(runs)
    if not found:
        raise RecordError(f"no run in {runs}. Start one with `funreason loop`, or name its folder.")
    return found[-1]


def open_run(name: str | Path | None, runs: Path) -> RunFolder:
    """A run by folder or by name under `runs`, or the newest one for None.

    RecordError when there is none, or when a symbolic link in it leads out of it. FormatError when this version does
    not read its record.
    """
    if name is None:
        name = newest_run(runs).path
    for path in (Path(name), runs / name):
        if (path / "run.json").exists():
            folder = RunFolder(path)
            if (link := next(links_outside(path), None)) is not None:
                raise RecordError(
                    f"{path / link} is a symbolic link that leads out of the run's folder, and such links are not "
                    "followed. Put the files in its place, or remove it."
                )
            folder.check_format()
            return folder
    raise RecordError(f"no run called {name}: neither {Path(name)} nor {runs / name} holds a run.json")


def is_within(name: str) -> bool:
    """Whether a relative path from a record stays in its folder: no part of it leads up, and it has no root."""
    return bool(name) and "\0" not in name and not name.startswith("/") and ".." not in name.split("/")


def links_outside(folder: Path) -> Iterator[str]:
    """Symbolic links below a folder that lead out of it, relative to it. Linked folders are not entered.

    The loop links `model` to the weights it began with until others are accepted, so this one, and its draft that a
    kill has left, may lead to a model, or to where one was (a cache that was emptied).
    """
    root = folder.resolve()
    for where, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(where, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                links = (root / MODEL_LINK, root / f".{MODEL_LINK}.new")
                if path in links and ((path / "config.json").is_file() or not path.exists()):
                    continue
                yield str(path.relative_to(root))


def settings_file(run: RunFolder) -> Path | None:
    """The file with a run's configuration, of a loop or of `refine`; None when it has none."""
    files = (run.path / name for name in (LOOP, REFINED))
    return next((file for file in files if file.exists()), None)


def is_refining(run: RunFolder) -> bool:
    """Whether `refine` wrote the run, and not a loop."""
    return (run.path / REFINED).exists()


def command_to_resume(run: RunFolder) -> str:
    """The command that resumes a run."""
    return f"funreason {'refine' if is_refining(run) else 'loop'} --resume {run.path}"


def resume_hint(run: RunFolder) -> str:
    """How to resume a run that was stopped, as its record says it."""
    return f"resume with: {command_to_resume(run)}"


def read_settings(run: RunFolder) -> dict[str, Any]:
    """A run's configuration as plain data; empty when it has none, or one that holds no keys."""
    import yaml  # here: most readers of a record do without

    file = settings_file(run)
    found = yaml.safe_load(file.read_text()) if file is not None else {}
    return found if isinstance(found, dict) else {}


def readable_settings(run: RunFolder) -> dict[str, Any]:
    """As `read_settings`, and empty where the file cannot be read: for views, which must show the rest."""
    import yaml

    try:
        return read_settings(run)
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def alive(pid: int) -> bool:
    """Whether this host has a process with that id, whichever user owns it."""
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
    """Write `text` by rename: a reader, also after a kill, finds all of it or what was there before."""
    scratch = path.with_name(f".{path.name}.new-{os.getpid()}")  # two processes may write it at the same time
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
        remove_drafts(path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def remove_folder(path: Path) -> None:
    """Remove a folder, of which, after a kill, either all is there under its name or nothing."""
    gone = path.with_name(f".{path.name}.gone-{os.getpid()}")
    with suppress(FileNotFoundError):
        path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def remove_drafts(path: Path) -> None:
    """Remove what processes that were killed before a rename to `path` have left beside it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.new-*"):
        pid = left.name.rpartition("-")[2]
        if pid.isdigit() and not alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
