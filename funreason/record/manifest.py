"""Hashes of what a run has written for good, whether the files still are what they were, and what can be removed.

`manifest.json` in the run's folder lists files that never change once they are listed: configuration, gate items and
answers, weights, and, from the run's end on, its log. A round's texts have their own manifest in the round's folder.
Both are written last, by rename, so that what they list was whole.

`prune` removes weights that no gate accepted, checkpoints, and what a kill left half made. It keeps the weights that
any round continued with, those that an unfinished round has trained, and every text and event: the record is the same
before and after, and the run can still be resumed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from funreason.record.events import LogMessage
from funreason.record.folder import (
    LOOP,
    RECORDS,
    REFINED,
    RunFolder,
    hash_file,
    is_within,
    links_outside,
    remove_folder,
    write_json,
)
from funreason.record.integrity import changes, is_unused
from funreason.record.log import EventLog, RecordError, unreadable
from funreason.record.sample_files import CANARIES, MANIFEST
from funreason.record.state import State

LASTING = (
    LOOP,
    REFINED,
    RECORDS,
    "refined-*.json",
    "refined-*.jsonl",
    "gate-items/**/*",
    "gate/**/*",
    "weights/*/**/*",
)
LOG = ("events/*.jsonl",)
"""A log is listed when the run has ended: until then its last file grows."""
WHOLE = ("finished", "refused")
"""The final states in which all of a run's files are listed."""
TORN = "it is written in one piece, so a loss of power or another program has changed it"


class Verified(NamedTuple):
    """The result of checking all hashes: how many files were right, what is wrong, what no manifest lists."""

    files: int
    wrong: list[str]
    unlisted: list[str]


def seal_run(run: RunFolder, *, ended: bool = False) -> None:
    """List what the run has written for good; what was listed before is not read again."""
    known = _files(run.path / MANIFEST) or {}
    patterns = (*LASTING, *LOG) if ended else LASTING
    listed = {name: known.get(name) or _entry(run.path / name) for name in _found(run.path, patterns)}
    write_json(run.path / MANIFEST, {"files": listed})


def unlist(run: RunFolder, *names: str) -> None:
    """Drop files, and those of folders, from the list: they were removed on purpose, or are written again."""
    known = _files(run.path / MANIFEST) or {}
    folders = tuple(f"{name}/" for name in names)
    left = {name: entry for name, entry in known.items() if name not in names and not name.startswith(folders)}
    if left != known:
        write_json(run.path / MANIFEST, {"files": left})


def require_unchanged(run: RunFolder, inputs: Mapping[str, Path]) -> None:
    """Raise RecordError when a run that is resumed is not what its last process left, or its `inputs` are not.

    Weights that no round continues with are not read.
    """
    wrong = [f"{where} cannot be read as an event" for where in unreadable(run.events)]
    if not wrong:
        state = run.state()
        used = {r.weights for r in state.rounds.values()} | _untested(state)
        open_rounds = {k for k, r in state.rounds.items() if "sample" not in r.whole}  # which show canaries again
        wrong = changes(run, inputs, used, {f"{run.round(k).name}/{CANARIES}.jsonl" for k in open_rounds})
        wrong += verify(run, used, state).wrong
    if wrong:
        more = f" ({len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise RecordError(
            f"{run.path}: {wrong[0]}{more}. Nothing was done with it. Put the file back as it was, or start a new run; "
            f"`funreason runs verify {run.path}` compares the complete files."
        )


def verify(run: RunFolder, used: Collection[str] | None = None, state: State | None = None) -> Verified:
    """Compare every listed file with its hash. Ended rounds and runs must be listed; unlisted files are named.

    Of weights, only those of the ids in `used` are compared; all of them for None. `state` is the run's, where it is
    known already.
    """
    state = state or run.state()
    life = run.writer_status()
    listed, wrong = dict[str, tuple[dict[str, Any], str]](), list[str]()
    expected = [(run.path, "", life is not None and life.status in WHOLE)]
    expected += [(run.round(k), f"{run.round(k).name}/", bool(k and r.ended)) for k, r in sorted(state.rounds.items())]
    for folder, prefix, ended in expected:
        files = _files(folder / MANIFEST)
        if files is None:
            wrong.append(f"{prefix}{MANIFEST} cannot be read: {TORN}")
        elif ended and not (folder / MANIFEST).exists():
            wrong.append(f"{prefix}{MANIFEST} is missing, though the {'round' if prefix else 'run'} has ended")
        listed |= {f"{prefix}{name}": (entry, f"{prefix}{MANIFEST}") for name, entry in (files or {}).items()}
    for name, (entry, by) in listed.items():
        path = run.path / name
        if is_unused(name, used):
            continue
        if not is_within(name):
            wrong.append(f"{name!r} is outside the run's folder, but {by} lists it")
            continue
        found = _entry(path) if path.is_file() else None
        if found is None:
            wrong.append(f"{name} is missing, but {by} lists it")
        elif found["bytes"] != entry.get("bytes"):
            wrong.append(f"{name} has {found['bytes']} bytes, but {by} says {entry.get('bytes')}")
        elif found != entry:
            wrong.append(f"{name} has other bytes than {by} says: sha256 {found['sha256'][:12]}")
    wrong += [f"{link} is a symbolic link that leads out of the run's folder" for link in links_outside(run.path)]
    present = set(_found(run.path, (*LASTING, *LOG, "round-*/*.jsonl")))
    return Verified(len(listed) - len(wrong), wrong, sorted(present - listed.keys()))


def _entry(path: Path) -> dict[str, Any]:
    return {"sha256": hash_file(path), "bytes": path.stat().st_size}


def _files(manifest: Path) -> dict[str, dict[str, Any]] | None:
    """What a manifest lists, nothing when there is none; None for one that cannot be read."""
    try:
        found: dict[str, dict[str, Any]] = json.loads(manifest.read_text())["files"]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError):
        return None
    return found


def _found(root: Path, patterns: tuple[str, ...]) -> Iterator[str]:
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            name = path.relative_to(root).as_posix()
            if path.is_file() and not any(part.startswith((".", "checkpoint-", "fresh-")) for part in name.split("/")):
                yield name


class Prunable(NamedTuple):
    """Something that can be removed: its path, its size, and why it is not needed."""

    path: Path
    bytes: int
    why: str


def prunable(run: RunFolder) -> list[Prunable]:
    """What `prune` would remove."""
    state = run.state()
    rounds = state.rounds
    accepted = {r.weights for r in rounds.values()} | {(run.path / "model").resolve().name}
    untested = _untested(state)
    over = {run.checkpoint(k): k for k, r in rounds.items() if r.ended}
    if over and (last := max(over.values())) < state.rounds_planned and any(run.checkpoint(last).glob("step-*")):
        del over[run.checkpoint(last)]  # the next round continues from this optimizer's state
    found = []
    for path in sorted(p for p in run.weights.glob("*") if p.is_dir()):
        if path in over or path.name.startswith((".", "fresh-")):
            found.append(Prunable(path, size_of(path), "left by an update that is over"))
        elif not path.name.startswith("checkpoint-") and path.name not in accepted | untested:
            found.append(Prunable(path, size_of(path), "weights that the gate did not let through"))
    return found


def _untested(state: State) -> set[str]:
    """The ids of weights that a round has trained and no gate has decided on."""
    rounds = state.rounds.values()
    return {u.weights for r in rounds if not r.ended for u in (r.update, r.policy) if u is not None}


def prune(run: RunFolder) -> list[Prunable]:
    """Remove what can go, and log it. RecordError while a process writes the run."""
    with run.locked():
        writer = run.writer_status()
        if writer and writer.status in ("running", "stale"):
            raise RecordError(f"{run.path} is being written by process {writer.pid}; stop it before pruning")
        gone = prunable(run)
        if gone:  # said before it is done: a kill leaves nothing that is gone and unsaid
            names = ", ".join(thing.path.name for thing in gone)
            log = EventLog(run.events, "prune")
            log.write(LogMessage(level="info", text=f"pruned {sum(t.bytes for t in gone)} bytes of weights: {names}"))
            log.close()
        for thing in gone:
            unlist(run, thing.path.relative_to(run.path).as_posix())
            if thing.path.is_symlink():
                thing.path.unlink()  # what it leads to is not this run's
            else:
                remove_folder(thing.path)
    return gone


def size_of(path: Path) -> int:
    """The bytes of all files below `path`, links not followed."""
    return sum(p.lstat().st_size for p in path.rglob("*") if p.is_symlink() or p.is_file())
