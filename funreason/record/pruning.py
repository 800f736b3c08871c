"""What of a run can go without loss: weights that no gate let through, checkpoints, what a kill left half made.

Kept are the weights that any round went on with, those that a round still open has trained, and every text and event:
the record tells the same before and after, and the run can still be taken up again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from funreason.record.events import Noted
from funreason.record.folder import RecordError, RunFolder
from funreason.record.log import EventLog
from funreason.record.manifest import unlist


class Spare(NamedTuple):
    """Something that can go: where it lies, its size, and why nobody needs it."""

    path: Path
    bytes: int
    why: str


def spare(run: RunFolder) -> list[Spare]:
    """What `prune` would remove."""
    rounds = run.state().rounds
    accepted = {r.weights for r in rounds.values()} | {(run.path / "model").resolve().name}
    owed = {r.update.weights for r in rounds.values() if r.update is not None and not r.ended}
    over = {run.checkpoint(k) for k, r in rounds.items() if r.ended}
    found = []
    for path in sorted(p for p in run.weights.glob("*") if p.is_dir()):
        if path in over or path.name.startswith((".", "fresh-")):
            found.append(Spare(path, size_of(path), "left by an update that is over"))
        elif not path.name.startswith("checkpoint-") and path.name not in accepted | owed:
            found.append(Spare(path, size_of(path), "weights that the gate did not let through"))
    return found


def prune(run: RunFolder) -> list[Spare]:
    """Remove what can go, and say so in the log. RecordError while a process writes the run."""
    with run.alone():
        life = run.life()
        if life and life.status in ("running", "stale"):
            raise RecordError(f"{run.path} is being written by process {life.pid}; stop it before pruning")
        gone = spare(run)
        for thing in gone:
            unlist(run, thing.path.relative_to(run.path).as_posix())
            shutil.rmtree(thing.path)
        if gone:
            names = ", ".join(thing.path.name for thing in gone)
            log = EventLog(run.events, "prune")
            log.write(Noted(level="info", text=f"pruned {sum(t.bytes for t in gone)} bytes of weights: {names}"))
            log.close()
    return gone


def size_of(path: Path) -> int:
    """The bytes of all files below `path`, links not followed."""
    return sum(p.lstat().st_size for p in path.rglob("*") if p.is_symlink() or p.is_file())
