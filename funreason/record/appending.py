"""Adds whole lines to a file: all of a line or nothing of it, and an error that names the file.

A lone surrogate (half a character, which JSON may spell but no file can hold) is written as U+FFFD: a sample must not
be lost for it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import msgspec

from funreason.record.errors import RecordError


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
