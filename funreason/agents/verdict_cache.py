"""Rulings that were heard before: an SQLite file that several processes may use at once.

A key says who judged (prompt, settings, model, weights), what was asked and about what; change any and it is another
key. Beyond `most` rows the least recently used are dropped. A file that cannot be used only costs its benefit: the
cache closes itself and says why, and every judge is asked.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from funreason.agents.llm_reply import Ruling

EVERY = 256
"""Rows written between two looks at how many there are: by so many a process may exceed the bound."""
WAIT_S = 5.0
"""How long to wait for another process that writes."""
_TABLE = (
    "CREATE TABLE IF NOT EXISTS rulings (judge TEXT, prompt TEXT, sample TEXT, ruling BLOB, used REAL, "
    "PRIMARY KEY (judge, prompt, sample)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS by_use ON rulings (used)",
)
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
    """Rulings by key. `fault` is why it cannot be used, empty while it can."""

    def __init__(self, path: Path, most: int) -> None:
        self.path = path
        self.most = most
        self.fault = ""
        self._puts = 0
        self._file: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _opened(path)
            self._file.execute(_OLDEST, (most,))
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def get(self, key: Key) -> Ruling | None:
        """The ruling under `key`, which counts as used now; None when there is none."""
        if self._file is None:
            return None
        try:
            row = self._file.execute(_GET, key).fetchone()
            if row is None:
                return None
            self._file.execute(_USE, (time.time(), *key))
            return msgspec.json.decode(row[0], type=Ruling)
        except (sqlite3.Error, msgspec.DecodeError) as error:
            self._give_up(error)
            return None

    def put(self, key: Key, ruling: Ruling) -> None:
        """Keep a ruling."""
        if self._file is None:
            return
        try:
            self._file.execute(_PUT, (*key, msgspec.json.encode(ruling), time.time()))
            self._puts += 1
            if self._puts % EVERY == 0:
                self._file.execute(_OLDEST, (self.most,))
        except (sqlite3.Error, UnicodeEncodeError) as error:
            self._give_up(error)

    def close(self) -> None:
        """Drop what is beyond the bound and let go of the file."""
        if self._file is None:
            return
        try:
            self._file.execute(_OLDEST, (self.most,))
        except sqlite3.Error as error:
            self._give_up(error)
        else:
            self._file.close()
            self._file = None

    def _give_up(self, error: Exception) -> None:
        self.fault = f"the verdict cache {self.path} cannot be used, so every judge is asked: {error}"
        if self._file is not None:
            self._file.close()
            self._file = None


def default_path() -> Path:
    """In the user's cache folder: verdicts outlive a run, and several runs share them."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "funreason" / "verdicts.sqlite"


def _opened(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
    # A lost cache costs questions, not data: no wait for the disk.
    for line in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = OFF", *_TABLE):
        file.execute(line)
    return file
