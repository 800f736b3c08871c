"""Adds whole lines to a file: all of a line or nothing of it, and an error that names the file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

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


def unwritable(path: Path, error: OSError) -> RecordError:
    """What to tell of a file that cannot be written."""
    return RecordError(f"{path} cannot be written: {error.strerror}. What stood there before can still be read.")
