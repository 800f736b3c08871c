"""A cache of rulings: an SQLite file that several processes may use at once.

The key covers the judge (prompt, settings, model, weights), the prompt and the sample's inputs. Beyond `most` rows (up
to a twentieth more while in use) the least recently used are removed. If the file cannot be used, the cache closes
itself with a warning and every judge is asked.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from funreason.agents.judges.llm.prompt import Ruling
from funreason.wheels import user_cache

EVERY = 64
"""Rulings added or used between two writes."""
PRUNED_AFTER = 1 / 20
"""Rulings added between two prunings, as a share of the bound: each pruning counts all rows."""
_SEAL = 16
WAIT_S = 5.0
"""Seconds to wait for another process that writes."""
# A lost cache costs requests, not data, so nothing waits for the disk.
_OPENING = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = OFF",
    "CREATE TABLE IF NOT EXISTS rulings (judge TEXT, prompt TEXT, sample TEXT, ruling BLOB, used REAL, "
    "PRIMARY KEY (judge, prompt, sample))",
    "CREATE INDEX IF NOT EXISTS by_use ON rulings (used)",
)
_ANY = "SELECT 1 FROM rulings WHERE judge = ? LIMIT 1"
_GET = "SELECT ruling FROM rulings WHERE judge = ? AND prompt = ? AND sample = ?"
_USE = "UPDATE rulings SET used = ? WHERE judge = ? AND prompt = ? AND sample = ?"
_PUT = "INSERT OR REPLACE INTO rulings VALUES (?, ?, ?, ?, ?)"
_OLDEST = (
    "DELETE FROM rulings WHERE (judge, prompt, sample) IN (SELECT judge, prompt, sample FROM rulings ORDER BY used "
    "LIMIT max(0, (SELECT count(*) FROM rulings) - ?))"
)


class Key(NamedTuple):
    """Hashes of the judge's version, of the prompt, and of the sample's inputs."""

    judge: str
    prompt: str
    sample: str


class VerdictCache:
    """Rulings by key. `fault` says why the cache, or a part of it, cannot be used; "" while all of it can.

    Additions and uses are written in batches of `EVERY` and on close, so a kill loses at most one batch.
    """

    def __init__(self, path: Path, most: int) -> None:
        self.path = path
        self.most = most
        self.fault = ""
        self._damaged = 0
        self._fresh: dict[Key, Ruling] = {}
        self._used: dict[Key, float] = {}
        self._own: dict[str, set[int] | None] = {}
        """By judge, hashes of the keys added here if the file had none of that judge: all that it holds. Else None."""
        self._changes = 0
        self._grown = 0
        self._file: sqlite3.Connection | None = None
        with self._trying():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
            for line in _OPENING:
                self._file.execute(line)
            self._notice_others(self._file)

    def get(self, key: Key) -> Ruling | None:
        """The ruling under `key`, marked as used now, or None."""
        found = self._fresh.get(key)
        own = self._own.get(key.judge)
        if found is None and self._file is not None and (own is None or hash(key) in own):
            with self._trying():
                if key.judge not in self._own:
                    there = self._file.execute(_ANY, key[:1]).fetchone()
                    self._own[key.judge] = None if there else {hash(k) for k in self._fresh if k.judge == key.judge}
                row = self._file.execute(_GET, key).fetchone()
                found = _unsealed(row[0]) if row is not None else None
                if row is not None and found is None:
                    self._damaged += 1
                    self.fault = f"the verdict cache {self.path} holds damaged rulings; asked again: {self._damaged}"
        if found is not None:
            self._used[key] = time.time()
            self._write_lot()
        return found

    def put(self, key: Key, ruling: Ruling) -> None:
        """Add a ruling."""
        if self._file is not None:
            self._fresh[key] = ruling
            self._used[key] = time.time()
            if (own := self._own.get(key.judge)) is not None:
                own.add(hash(key))
            self._write_lot()

    def close(self) -> None:
        """Write pending rulings, prune the file and close it."""
        self._grown = self.most  # prune in any case: another process may have filled the file
        self._write()
        self._let_go()

    def _notice_others(self, file: sqlite3.Connection) -> None:
        """If another process has written, look its rulings up from now on."""
        (changes,) = file.execute("PRAGMA data_version").fetchone()
        if changes != self._changes:
            self._own.clear()
            self._changes = changes

    def _write_lot(self) -> None:
        if len(self._used) >= EVERY:
            self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        with self._trying():
            for judge, own in self._own.items():
                if own is not None and len(own) > self.most:
                    self._own[judge] = None
            self._file.execute("BEGIN IMMEDIATE")
            used = self._used
            self._file.executemany(_PUT, [(*k, _sealed(r), used[k]) for k, r in self._fresh.items()])
            self._file.executemany(_USE, [(at, *key) for key, at in used.items() if key not in self._fresh])
            self._grown += len(self._fresh)
            if self._grown > self.most * PRUNED_AFTER:
                self._file.execute(_OLDEST, (self.most,))
                self._grown = 0
            self._file.execute("COMMIT")
            self._notice_others(self._file)
        self._fresh.clear()
        self._used.clear()

    @contextmanager
    def _trying(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, msgspec.DecodeError) as error:
            self.fault = f"the verdict cache {self.path} cannot be used, so every judge is asked: {error}"
            self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _sealed(ruling: Ruling) -> bytes:
    """A ruling as it is kept, after a hash: a flipped byte must not turn one verdict into another."""
    text = msgspec.json.encode(ruling)
    return hashlib.blake2b(text, digest_size=_SEAL // 2).hexdigest().encode() + text


def _unsealed(kept: bytes) -> Ruling | None:
    """The ruling, or None for one that is damaged, so that its judge is asked again."""
    text = kept if kept[:1] == b"[" else kept[_SEAL:]  # earlier versions kept no hash
    if text is not kept and hashlib.blake2b(text, digest_size=_SEAL // 2).hexdigest().encode() != kept[:_SEAL]:
        return None
    return msgspec.json.decode(text, type=Ruling)


def default_path() -> Path:
    """The file in the user's cache folder, shared by all runs."""
    return user_cache() / "verdicts.sqlite"
