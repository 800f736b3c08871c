"""What goes wrong with a record, whoever reads or writes it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from funreason.record.events import AnyEvent, Event, decode_event, decode_events


class RecordError(Exception):
    """A run folder that is missing, in use, damaged, or not what it should be."""

    stops_run = True
    """Whoever meets it on the bus is not asked again: what cannot be recorded must not go on."""


class FormatError(RecordError):
    """A record in a format that this version does not read; `found` is its number."""

    def __init__(self, run: Path, found: int) -> None:
        older = found < FORMAT
        super().__init__(
            f"{run} was recorded in format {found}, and this version reads format {FORMAT}: open it with "
            f"{'the version that wrote it, or start a new run' if older else 'a newer version of funreason'}."
        )
        self.found = found


# Adds whole lines to a file: all of a line or nothing of it, and an error that names the file.
#
# A lone surrogate (half a character, which JSON may spell but no file can hold) is written as U+FFFD: a sample must not
# be lost for it.


def append(file: int, line: bytes | bytearray, path: Path) -> None:
    """Write `line` to the open `file`, which is `path`, in one call.

    RecordError when it cannot be written, on a full disk say; then the file ends with the line before.
    """
    try:
        written = os.write(file, line)
        if written != len(line):  # the disk was full in the midst of it, or the file as large as it may be
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
    """What to tell of a file that cannot be written."""
    return RecordError(f"{path} cannot be written: {error.strerror}. What stood there before can still be read.")


# The append-only event log: one writer per file, one line per event, unbuffered.
#
# A line is written with a single `write`, so a killed process leaves whole lines and at most one torn one at the
# end; a reader ignores the torn tail, and what it would have said is owed again. `sync` (5 ms) is for phase ends only.
# Files are numbered across all writers of a folder: read by number, they tell what happened in the order it happened.

FORMAT = 2
"""The format of the record, on the first line of each log file. It changes when older readers would misread a run."""

PIECE = 1 << 18
"""Bytes decoded at once: large enough to decode in one call, small enough to repaint in between."""


class Clock:
    """The time as events tell it: it never goes back, so that no duration between two events is negative.

    Where the system's clock is set back, this one goes on from the last time it told.
    """

    def __init__(self) -> None:
        self._last = self._ahead = 0.0

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
    for path in sorted(folder.glob("*.jsonl"), key=_age):
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
        attempt = 1 + max((_number(path) for path in folder.glob("*.jsonl")), default=-1)
        while True:
            self.path = folder / f"{writer}-{attempt:03d}.jsonl"
            try:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
                break
            except FileExistsError:
                attempt += 1
        self.now = Clock().now
        self._encoder = msgspec.json.Encoder()
        self._buffer = bytearray()
        append(self._fd, as_line(LogHeader(FORMAT)), self.path)

    def write(self, event: Event) -> None:
        """Append one event, stamped with the time unless it has one. Any thread, or a signal's handler, may."""
        if not event.at:
            event = msgspec.structs.replace(event, at=self.now())
        append(self._fd, as_line(event), self.path)

    def append(self, event: Event) -> None:
        """Append an event that carries its own time: the hot path, for one thread only, since it reuses a buffer."""
        buffer = self._buffer
        try:
            self._encoder.encode_into(event, buffer)
        except UnicodeEncodeError:
            buffer[:] = as_line(event)
        else:
            buffer += b"\n"
        append(self._fd, buffer, self.path)

    def sync(self) -> None:
        """Make everything written so far survive a power loss."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Sync and close; writing afterwards is an OSError."""
        self.sync()
        fd, self._fd = self._fd, -1  # a thread that still writes must not meet the number in another file's hands
        os.close(fd)


class LogReader:
    """Reads every log file of a folder in order, and on a later call only what was added since.

    It holds one piece of `PIECE` bytes at a time, however long the log is. `behind` is how many bytes are left.
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
        for path in sorted(self.folder.glob("*.jsonl"), key=_age):
            yield from self._of_file(path)

    def _of_file(self, path: Path) -> Iterator[AnyEvent]:
        with path.open("rb") as file:
            while whole := self._next_lines(file, start := self._offsets.get(path, 0)):
                if not start:
                    header, _, whole = whole.partition(b"\n")
                    _require_format(path, header)
                    start = len(header) + 1
                self._offsets[path] = start + len(whole)
                yield from self._decoded(whole)

    def _next_lines(self, file: BinaryIO, start: int) -> bytes:
        """Whole lines from `start` on, about a piece of them; empty at the end of what was written."""
        file.seek(start)
        data = file.read(PIECE)
        while data and b"\n" not in data:  # a line longer than a piece, or a torn one
            more = file.read(PIECE)
            if not more:
                return b""
            data += more
        return data[: data.rfind(b"\n") + 1]

    def _decoded(self, lines: bytes) -> list[AnyEvent]:
        try:
            return decode_events(lines)
        except msgspec.DecodeError:  # one line that this version cannot read: find it
            found = [decode_event(line) for line in lines.splitlines()]
        known = [event for event in found if event is not None]
        self.unknown += len(found) - len(known)
        return known


def _age(path: Path) -> tuple[int, str]:
    return _number(path), path.stem


def _number(path: Path) -> int:
    """The number in a log file's name; a file that has none was not made here and is read first."""
    number = path.stem.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1
