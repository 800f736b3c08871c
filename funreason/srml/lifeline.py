"""How processes end with the one that started them, however it ended.

A killed process runs no code, but the kernel lets go of its locks. So the parent holds a lock on a file, each child
has a thread that waits for that lock, and whoever is given it knows that the parent is gone.
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
def held(path: Path) -> Iterator[None]:
    """Hold the file `path` while this process lives and the block runs."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def end_with_the_holder(path: Path) -> None:
    """From now on this process ends at once when nobody holds `path` any more."""

    def wait() -> None:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        # Not sys.exit: that ends this thread only, and the main one may be waiting for a process that is gone.
        os._exit(EXIT_ORPHANED)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
