"""How the CPU is used: threads of one tensor operation, parts of the work side by side, freed memory.

Threads that spin while they wait cost a loaded machine most of its speed: set OMP_WAIT_POLICY=passive and
KMP_BLOCKTIME=0 before Python starts, which no setting inside the process can do.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Part = TypeVar("Part")
Done = TypeVar("Done")

MAX_WORKERS = 4

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BYTES = 2**29
"""Freed memory that the process keeps instead of giving it back at once."""
LARGEST_KEPT = 2**25
"""The largest block that it keeps: what glibc takes as a bound on every machine."""


def use_threads(count: int | None) -> None:
    """Let torch use `count` threads from now on; None keeps its default."""
    if count is None:
        return
    import torch

    torch.set_num_threads(count)


def keep_freed_memory() -> None:
    """Keep up to KEPT_BYTES of freed memory for the next tensors. Does nothing without glibc.

    By default glibc returns a large block to the system when it is freed, and the next tensor of that size has all its
    pages made and zeroed again: 8,000 page faults a step when the embedded model is trained.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return
    mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def num_workers(device: torch.device) -> int:
    """How many parts may run at once: on a CPU one per thread, at most MAX_WORKERS; elsewhere one.

    More do not help: each worker needs Python's global lock between its operations.
    """
    import torch

    return min(torch.get_num_threads(), MAX_WORKERS) if device.type == "cpu" else 1


def side_by_side(work: Callable[[Part], Done], parts: Sequence[Part], device: torch.device) -> list[Done]:
    """`[work(part) for part in parts]`, `num_workers` at a time, which divide torch's threads among them.

    Small operations gain little from a second thread and much from a second batch (benchmarks/README.md).
    """
    import torch

    threads = torch.get_num_threads()
    count = min(num_workers(device), len(parts))
    if count <= 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(count, initializer=lambda: torch.set_num_threads(threads // count)) as pool:
        try:
            return list(pool.map(work, parts))
        finally:
            torch.set_num_threads(threads)  # new threads elsewhere take the count that was set last
