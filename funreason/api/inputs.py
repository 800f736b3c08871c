"""Records from Python as the data file that the package reads, and asynchronous work run to its end from anywhere."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from funreason.data.files import write_objects
from funreason.stop import StopRequest

T = TypeVar("T")
Records = str | Path | Iterable[Mapping[str, Any]]


def as_file(records: Records, folder: Path) -> Path:
    """A data file of these records."""
    if isinstance(records, str | Path):
        return Path(records)
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(".jsonl", "records-", folder)
    os.close(handle)
    write_objects(records, Path(name))
    return Path(name)


def run_to_end(work: Coroutine[Any, Any, T], stop: StopRequest) -> T:
    """What `work` comes to; in a thread of its own where this one already runs an event loop.

    Ctrl-C there asks `stop`, which `work` heeds, and waits for it to end.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(asyncio.run, work)
        try:
            return done.result()
        except KeyboardInterrupt:
            stop.ask()
            raise
