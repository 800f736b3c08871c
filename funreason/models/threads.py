"""How many CPU threads one tensor operation may use.

Threads that spin while they wait cost a loaded machine most of its speed: set OMP_WAIT_POLICY=passive and
KMP_BLOCKTIME=0 before Python starts, which no setting inside the process can do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Part = TypeVar("Part")
Done = TypeVar("Done")


def use_threads(count: int | None) -> None:
    """Let torch use `count` threads from now on; None leaves its own choice."""
    if count is None:
        return
    import torch

    torch.set_num_threads(count)


def side_by_side(work: Callable[[Part], Done], parts: Sequence[Part], device: torch.device) -> list[Done]:
    """`work` of each part, in order. On a CPU torch's threads are shared out among parts that run at once.

    Small operations gain little from a second thread and much from a second batch: two batches of 512 rows of the
    embedded model, one thread each, took 0.75 of the wall time of one after the other with two (the numbers stand in
    benchmarks/README.md).
    """
    import torch

    threads = torch.get_num_threads()
    lanes = min(threads, len(parts)) if device.type == "cpu" else 1
    if lanes <= 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(lanes, initializer=lambda: torch.set_num_threads(threads // lanes)) as pool:
        try:
            return list(pool.map(work, parts))
        finally:
            torch.set_num_threads(threads)  # new threads elsewhere take the count that was set last
