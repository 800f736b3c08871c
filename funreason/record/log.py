"""The append-only event log: one writer per file, one line per event, unbuffered.

A line is written with a single `write`, so a killed process leaves whole lines and at most one torn one at the end; a
reader ignores the torn tail, and its event is written again on resume. `sync` (5 ms) is for phase ends only. Files are
numbered across all writers of a folder: read by number, they give the events in the order they happened.

`append_line` and `as_line` serve every file of the record: all of a line is written or nothing of it, and an error
names the file. A lone surrogate (half a character, which JSON may spell but no file can hold) is written as U+FFFD, so
that a sample is not lost for it.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from funreason.record.events import AnyEvent, Event, decode_event, decode_events

FORMAT = 2
"""The format of the record, on the first line of each log file. It changes when older readers would misread a run."""
PIECE = 1 << 18
"""Bytes decoded at once: large enough to decode in one call, small enough to repaint in between."""


class RecordError(Exception):
    """A run folder that is missing, in use, damaged, or not what it should be."""

    stops_run = True
    """The bus does not retry after it: what cannot be recorded must not continue."""


class FormatError(RecordError):
    """A record in a format that this version does not read; `found` is its number."""

    def __init__(self, run: Path, found: int) -> None:
        older = found < FORMAT
        super().__init__(
            f"{run} was recorded in format {found}, and this version reads format {FORMAT}: open it with "
            f"{'the version that wrote it, or start a new run' if older else 'a newer version of funreason'}."
        )
        self.found = found


class Clock:
    """The time that events carry: it never runs backwards, so no duration between two events is negative.

    Where the system's clock is set back, this one continues from the last time it gave; at first from `last`.
    """

    def __init__(self, last: float = 0.0) -> None:
        self._last, self._ahead = last, 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        now = time.time() + self._ahead
        if now < self._last:
            self._ahead += self._last - now
            now = self._last
        self._last = now
        return now


class LogHeader(msgspec.Struct, frozen=True, tag_field="kind", tag="log"):
    """The first line of a log file."""

    format: int


def check_format(folder: Path) -> None:
    """Raise FormatError when a log file of `folder` has another format than this version reads."""
    for path in sorted(folder.glob("*.jsonl"), key=lambda path: (_number(path), path.stem)):
        with path.open("rb") as file:
            line = file.readline()
        if line.endswith(b"\n"):  # else nothing was written yet
            _require_format(path, line)


def _require_format(path: Path, line: bytes) -> None:
    try:
        found = msgspec.json.decode(line, type=LogHeader).format
    except msgspec.DecodeError:
        found = 1  # which had no header
    if found != FORMAT:
        raise FormatError(path.parent.parent, found)


class EventLog:
    """Writes events to `folder/<writer>-<attempt>.jsonl`, never to a file that already exists.

    The file's first line says the format.
    """

    def __init__(self, folder: Path, writer: str = "loop") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = sorted(folder.glob("*.jsonl"), key=_number)
        attempt = 1 + max(map(_number, earlier), default=-1)
        while True:
            self.path = folder / f"{writer}-{attempt:03d}.jsonl"
            try:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
                break
            except FileExistsError:
                attempt += 1
        # Another process may have written before the clock was set back.
        self.now = Clock(next(filter(None, map(_last_time, reversed(earlier))), 0.0)).now
        self._encoder = msgspec.json.Encoder()
        self._buffer = bytearray()
        append_line(self._fd, as_line(LogHeader(FORMAT)), self.path)

    def write(self, event: Event) -> None:
        """Append one event, stamped with the time unless it has one. Any thread, or a signal's handler, may."""
        if not event.at:
            event = msgspec.structs.replace(event, at=self.now())
        append_line(self._fd, as_line(event), self.path)

    def append(self, event: Event) -> None:
        """Append an event that carries its own time: the hot path, for one thread only, since it reuses a buffer."""
        buffer = self._buffer
        try:
            self._encoder.encode_into(event, buffer)
        except UnicodeEncodeError:
            buffer[:] = as_line(event)
        else:
            buffer += b"\n"
        append_line(self._fd, buffer, self.path)

    def sync(self) -> None:
        """Make everything written so far survive a power loss."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Sync and close; writing afterwards is an OSError."""
        self.sync()
        fd, self._fd = self._fd, -1  # a thread that still writes must not reach another file by this number
        os.close(fd)


class LogReader:
    """Reads every log file of a folder in order, and on a later call only what was added since.

    It holds one piece of `PIECE` bytes at a time, however long the log is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unknown = 0
        self._offsets: dict[Path, int] = {}

    @property
    def behind(self) -> int:
        """Bytes written and not read yet, a torn last line included."""
        return sum(path.stat().st_size - self._offsets.get(path, 0) for path in self.folder.glob("*.jsonl"))

    def events(self) -> Iterator[AnyEvent]:
        """Events not yet read. A torn last line is left for the next call; unknown kinds are counted.

        FormatError when a file was written in another format.
        """
        for path in sorted(self.folder.glob("*.jsonl"), key=lambda path: (_number(path), path.stem)):
            with path.open("rb") as file:
                while True:
                    start = self._offsets.get(path, 0)
                    file.seek(start)
                    data = file.read(PIECE)
                    while data and b"\n" not in data:  # a line longer than a piece, or a torn one
                        more = file.read(PIECE)
                        if not more:
                            data = b""
                        data += more
                    lines = data[: data.rfind(b"\n") + 1]
                    if not lines:
                        break
                    self._offsets[path] = start + len(lines)
                    if not start:
                        header, _, lines = lines.partition(b"\n")
                        _require_format(path, header)
                    found: Sequence[AnyEvent | None]
                    try:
                        found = decode_events(lines)
                    except msgspec.DecodeError:  # one line that this version cannot read: find it
                        found = [decode_event(line) for line in lines.splitlines()]
                    known = [event for event in found if event is not None]
                    self.unknown += len(found) - len(known)
                    yield from known


def unreadable(folder: Path) -> Iterator[str]:
    """The whole lines of log files that hold no event of this version: `events/loop-000.jsonl, line 7`."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number > 1 and line.endswith(b"\n") and decode_event(line) is None:
                    yield f"{folder.name}/{path.name}, line {number},"


def append_line(file: int, line: bytes | bytearray, path: Path) -> None:
    """Write `line` to the open `file`, which is `path`, in one call.

    RecordError when it cannot be written, on a full disk say; then the file ends with the line before.
    """
    try:
        written = os.write(file, line)
        if written != len(line):  # the disk filled up half-way, or the file reached its largest size
            os.ftruncate(file, os.fstat(file).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        if error.errno == errno.EBADF:
            raise
        raise unwritable(path, error) from error


def as_line(thing: msgspec.Struct) -> bytes:
    """`thing` as one line of JSON."""
    try:
        return msgspec.json.encode(thing) + b"\n"
    except UnicodeEncodeError:
        return msgspec.json.encode(_whole_characters(msgspec.to_builtins(thing))) + b"\n"


def whole_characters(text: str) -> str:
    """`text` with U+FFFD for each lone surrogate."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _whole_characters(data: Any) -> Any:
    if isinstance(data, str):
        return whole_characters(data)
    if isinstance(data, dict):
        return {_whole_characters(key): _whole_characters(value) for key, value in data.items()}
    return [_whole_characters(each) for each in data] if isinstance(data, list | tuple) else data


def unwritable(path: Path, error: OSError) -> RecordError:
    """The error for a file that cannot be written."""
    return RecordError(f"{path} cannot be written: {error.strerror}. What it held before can still be read.")


def _last_time(path: Path) -> float:
    """The time of the last event in a log file; 0 where it holds none that can be read."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - PIECE))
        lines = file.read().split(b"\n")[:-1]
    events = filter(None, map(decode_event, reversed(lines)))
    return next((event.at for event in events), 0.0)


def _number(path: Path) -> int:
    """The number in a log file's name; a file without one was not made here and is read first."""
    number = path.stem.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1
