"""Whether an open run's files are what its last process left: hashes of all it wrote, renewed as it grows.

`manifest.json` lists what is complete. A run that was stopped has more: the log and texts of its open round, weights
that no gate has measured, its configuration, and files outside of it that it was made from. `Marks` keeps their hashes
in `marks.json`: renewed with the record's syncs and heartbeats, so that after a kill no more than the last seconds are
unmarked. Of a file that grows, only whole lines are marked, in pieces of `PIECE` bytes, so that a change has a place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from funreason.record.folder import LOOP, RECORDS, REFINED, RecordError, RunFolder, is_within, write_json
from funreason.record.sample_files import JUDGED, MANIFEST

MARKS = "marks.json"
PIECE = 1 << 20
_GROWING = ("events/*.jsonl", "round-*/*.jsonl")
_WHOLE = (LOOP, REFINED, RECORDS, "gate-items/**/*", "gate/**/*", "weights/*/**/*")
_UNMARKED = ("checkpoint-", "update-round-", "fresh-")
"""Files that are written again from the beginning; a checkpoint has hashes of its own."""


class Mark(NamedTuple):
    """The first `bytes` of a file, as hashes of its pieces."""

    bytes: int
    pieces: tuple[str, ...]


class Marks:
    """The marks of one run while this process writes it. Any thread may take them."""

    def __init__(self, run: RunFolder, inputs: Mapping[str, Path] | None = None) -> None:
        """`inputs` are files and folders that the run is made from, by the settings that name them."""
        self._run = run
        self._known: dict[str, tuple[tuple[int, int, int], Mark]] = {}
        self._lock = RLock()  # a signal's handler may end the run while its thread takes marks
        self._inputs = {name: mark_of(path)._asdict() for name, path in _files_of(inputs or {}).items()}

    def take(self) -> None:
        """Mark what is there now. RecordError when that cannot be written."""
        with self._lock:
            found = {name: self._mark(name, grows=grows) for name, grows in _names(self._run.path)}
            files = {name: mark._asdict() for name, mark in found.items() if mark is not None and mark.bytes}
            self._known = {name: known for name, known in self._known.items() if name in files}
            write_json(
                self._run.path / MARKS,
                {"folder": str(self._run.path.resolve()), "files": files, "inputs": self._inputs},
            )

    def _mark(self, name: str, *, grows: bool) -> Mark | None:
        path = self._run.path / name
        try:
            about = path.stat()
            stamp = about.st_ino, about.st_size, about.st_mtime_ns
            known = self._known.get(name)
            if known is not None and known[0] == stamp:
                return known[1]
            same = grows and known is not None and known[0][0] == about.st_ino and known[0][1] <= about.st_size
            mark = mark_of(path, lines=grows, before=known[1] if same and known is not None else None)
        except OSError:  # removed in this moment; what cannot be read is noticed by whoever needs it
            return None
        self._known[name] = stamp, mark
        return mark


def mark_of(path: Path, *, lines: bool = False, before: Mark | None = None) -> Mark:
    """The mark of a file; of its whole `lines` alone. Pieces that were whole `before` are not read again."""
    done = before.pieces[: before.bytes // PIECE] if before is not None else ()
    pieces, size = list(done), len(done) * PIECE
    with path.open("rb") as file:
        file.seek(size)
        while piece := file.read(PIECE):
            if lines and len(piece) < PIECE:
                piece = piece[: piece.rfind(b"\n") + 1]
                if not piece:
                    break
            pieces.append(hashlib.sha256(piece).hexdigest()[:32])
            size += len(piece)
            if len(piece) < PIECE:
                break
    return Mark(size, tuple(pieces))


def is_unused(name: str, used: Collection[str] | None) -> bool:
    """Whether a file of a run belongs to weights of other ids than `used`; never for None.

    Such weights may be removed at any time, so that they are missed nowhere.
    """
    first, _, rest = name.partition("/")
    return used is not None and first == "weights" and rest.partition("/")[0] not in used


def changes(
    run: RunFolder, inputs: Mapping[str, Path], used: Collection[str] | None = None, rewritten: Collection[str] = ()
) -> list[str]:
    """What is no longer as it was marked: sentences with file and place, those about files of the run first.

    Of weights, only those of the ids in `used` are compared; all of them for None. Files named in `rewritten` are not
    compared: a resumed run writes them again. Nothing for a run without marks.
    """
    marks = _marks(run)
    if isinstance(marks, str):
        return [marks]
    files, made_from = marks
    found = [
        f"{name} {what}"
        for name, mark in files.items()
        if is_within(name)
        and name not in rewritten
        and not is_unused(name, used)
        and (what := _change(run.path / name, mark))
    ]
    now = _files_of(inputs)
    for name, mark in made_from.items():
        what = _change(now[name], mark, grows=False) if name in now else "is missing"
        if what:
            found.append(f"{name} ({now.get(name, 'a file')}), from which the run was made, {what}")
    return found


def require_settings_unchanged(run: RunFolder) -> None:
    """Raise RecordError when a run's configuration is not as it was marked: what it says now means nothing."""
    marks = _marks(run)
    known: dict[str, Mark] = {} if isinstance(marks, str) else marks[0]
    for name in (LOOP, REFINED):
        if name in known and (what := _change(run.path / name, known[name])):
            raise RecordError(f"{run.path / name} {what}. Put the file back as it was, or start a new run.")


def _marks(run: RunFolder) -> tuple[dict[str, Mark], dict[str, Mark]] | str:
    """The marks of a run's files and of its inputs, none where none were taken; what is wrong with them otherwise."""
    try:
        marks = json.loads((run.path / MARKS).read_text())
        files, made_from = (
            {name: Mark(int(entry["bytes"]), tuple(entry["pieces"])) for name, entry in marks[part].items()}
            for part in ("files", "inputs")
        )
    except FileNotFoundError:
        return {}, {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MARKS} cannot be read: it is written in one piece, so another program or a loss of power changed it"
    return files, made_from


def was_moved(run: RunFolder) -> str:
    """The folder that the run was written in, where it is another one now; "" where it is the same."""
    try:
        folder = json.loads((run.path / MARKS).read_text())["folder"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return folder if isinstance(folder, str) and folder != str(run.path.resolve()) else ""


def _change(path: Path, mark: Mark, *, grows: bool = True) -> str:
    try:
        size = path.stat().st_size
        if size < mark.bytes or (size > mark.bytes and not grows):
            return f"has {size:,} bytes, and had {mark.bytes:,}"
        with path.open("rb") as file:
            lines = 1
            for number, was in enumerate(mark.pieces):
                start = number * PIECE
                piece = file.read(min(PIECE, mark.bytes - start))
                if hashlib.sha256(piece).hexdigest()[:32] != was:
                    last = lines + piece.count(b"\n") - piece.endswith(b"\n")
                    place = f", lines {lines} to {last}" if path.suffix == ".jsonl" else ""
                    return f"has other bytes than written, between byte {start:,} and {start + len(piece):,}{place}"
                lines += piece.count(b"\n")
    except FileNotFoundError:
        return "" if path.name == f"{JUDGED}.jsonl" else "is missing"  # verdicts go when every sample has ended
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def _names(root: Path) -> Iterator[tuple[str, bool]]:
    """Files to mark, each with whether it grows. A complete round is in its manifest."""
    for patterns, grows in ((_GROWING, True), (_WHOLE, False)):
        for pattern in patterns:
            for path in sorted(root.glob(pattern)):
                name = path.relative_to(root).as_posix()
                parts = name.split("/")
                left = any(part.startswith((".", *_UNMARKED)) for part in parts)
                if left or path.is_symlink() or not path.is_file():
                    continue
                if not (parts[0].startswith("round-") and (path.parent / MANIFEST).exists()):
                    yield name, grows


def _files_of(inputs: Mapping[str, Path]) -> dict[str, Path]:
    """The files of inputs by setting, those of a folder by their path in it too."""
    found = {}
    for name, path in inputs.items():
        if path.is_file():
            found[name] = path
        for inner in sorted(path.rglob("*")) if path.is_dir() else ():
            # Weights are known by an id made from their bytes; the rest of a model's folder is small.
            if inner.is_file() and inner.suffix not in (".safetensors", ".gguf"):
                found[f"{name}/{inner.relative_to(path)}"] = inner
    return found
