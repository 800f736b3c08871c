"""Micro-batches in parallel threads on a CPU, where a small model's operations gain little from a second thread.

Each thread runs forward and backward of its own micro-batch on its share of torch's threads; gradients are added in a
fixed order, so the sum is the same whichever thread is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from funreason.objectives.protocol import LossShare
from funreason.policies import cpu_threads
from funreason.policies.cpu_threads import side_by_side

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GRADIENT_BYTES = 2**28
"""What the workers' gradients may take in all. A model too large for two workers has operations large enough to use
all threads."""


def num_workers(model: PreTrainedModel) -> int:
    """How many micro-batches `model` may run in parallel; 1 off the CPU, and with dropout."""
    # Dropout draws from one stream for all threads, so its draws would depend on which thread came first.
    config = model.config.get_text_config().to_dict()
    if any(value for key, value in config.items() if "drop" in key and isinstance(value, float)):
        return 1
    if any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules()):
        return 1
    size = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    return max(1, min(cpu_threads.num_workers(model.device), GRADIENT_BYTES // max(1, size)))


def run_parallel(
    shards: Sequence[Sequence[Sequence[int]]],
    forward: Callable[[Sequence[int]], LossShare],
    learned: Sequence[Tensor],
    device: torch.device,
) -> Iterator[tuple[Sequence[int], LossShare]]:
    """Forward and backward of every micro-batch of every shard, one of each shard at a time, into `learned`."""

    def both(piece: Sequence[int]) -> tuple[LossShare, tuple[Tensor | None, ...]]:
        with torch.enable_grad():
            share = forward(piece)
            return share, torch.autograd.grad(share.total, list(learned), allow_unused=True)

    for row in zip_longest(*shards):
        pieces = [piece for piece in row if piece]
        for piece, (share, gradients) in zip(pieces, side_by_side(both, pieces, device), strict=True):
            for tensor, gradient in zip(learned, gradients, strict=True):
                if gradient is not None:
                    tensor.grad = gradient if tensor.grad is None else tensor.grad.add_(gradient)
            yield piece, share
