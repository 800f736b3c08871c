"""How many CPU threads one tensor operation may use.

Threads that spin while they wait cost a loaded machine most of its speed: set OMP_WAIT_POLICY=passive and
KMP_BLOCKTIME=0 before Python starts, which no setting inside the process can do.
"""

from __future__ import annotations


def use_threads(count: int | None) -> None:
    """Let torch use `count` threads from now on; None leaves its own choice."""
    if count is None:
        return
    import torch

    torch.set_num_threads(count)
