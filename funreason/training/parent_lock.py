"""How worker processes end when the process that started them is gone, however it ended.

A killed process runs no code, but the kernel releases its locks. So the parent holds a lock on a file, each worker has
a thread that waits for that lock, and getting it means that the parent is gone.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXIT_ORPHANED = 70


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock on `path` while the block runs and this process lives."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def exit_when_released(path: Path) -> None:
    """From now on, exit this process as soon as no other one holds the lock on `path`."""

    def wait() -> None:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        # Not sys.exit: that ends this thread only, and the main one may be waiting for a process that is gone.
        os._exit(EXIT_ORPHANED)

    threading.Thread(target=wait, name="parent-lock", daemon=True).start()
