"""The append-only event log: one writer per file, one line per event, unbuffered.

A line is written with a single `write`, so a killed process leaves whole lines and at most one torn one at the
end; a reader ignores the torn tail, and what it would have said is owed again. `sync` (5 ms) is for phase ends only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from funreason.record.events import AnyEvent, Event, decode_event


class EventLog:
    """Writes events to `folder/<writer>-<attempt>.jsonl`, never to a file that already exists."""

    def __init__(self, folder: Path, writer: str = "loop") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        attempt = 0
        while True:
            self.path = folder / f"{writer}-{attempt:03d}.jsonl"
            try:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
                break
            except FileExistsError:
                attempt += 1
        self._encoder = msgspec.json.Encoder()
        self._buffer = bytearray()

    def write(self, event: Event) -> None:
        """Append one event, stamped with the time unless it has one."""
        if not event.at:
            event = msgspec.structs.replace(event, at=time.time())
        self.append(event)

    def append(self, event: Event) -> None:
        """Append an event that carries its own time: the hot path."""
        buffer = self._buffer
        self._encoder.encode_into(event, buffer)
        buffer += b"\n"
        os.write(self._fd, buffer)

    def sync(self) -> None:
        """Make everything written so far survive a power loss."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Sync and close; writing afterwards is an OSError."""
        self.sync()
        os.close(self._fd)


class LogReader:
    """Reads every log file of a folder in order, and on a later call only what was added since."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unknown = 0
        self._offsets: dict[Path, int] = {}

    def events(self) -> Iterator[AnyEvent]:
        """Events not yet read. A torn last line is left for the next call; unknown kinds are counted."""
        for path in sorted(self.folder.glob("*.jsonl"), key=_age):
            start = self._offsets.get(path, 0)
            with path.open("rb") as file:
                file.seek(start)
                data = file.read()
            whole = data.rfind(b"\n") + 1
            self._offsets[path] = start + whole
            for line in data[:whole].splitlines():
                event = decode_event(line)
                if event is None:
                    self.unknown += 1
                else:
                    yield event


def _age(path: Path) -> tuple[str, str]:
    writer, _, attempt = path.stem.rpartition("-")
    return attempt, writer
