"""Pieces of a batch side by side on a CPU, where a small model's operations gain little from a second thread.

Each lane runs forward and backward of its own piece, on its share of torch's threads, and its gradient waits until
those of the lanes before it have been added. So the sum is the same whichever lane was faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from funreason.policies.cpu_threads import num_workers, side_by_side
from funreason.srml.loss import PartSums, SrmlLoss

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LANE_BYTES = 2**28
"""What the lanes' gradients may hold in all. A model too large for two lanes has operations large enough for all
threads."""


class Forward(NamedTuple):
    """What a forward pass over one piece gives: its share of the loss, and the sums it was made of."""

    loss: SrmlLoss
    sums: PartSums


Passed = tuple[Sequence[int], Forward]


class Lanes:
    """`count` pieces at once; `learning` are the tensors that get gradients, and `device` is the model's."""

    def __init__(self, count: int, learning: Sequence[Tensor], device: torch.device) -> None:
        self.count, self.learning, self.device = count, list(learning), device

    def passes(
        self, pieces: Sequence[Sequence[Sequence[int]]], forward: Callable[[Sequence[int]], Forward]
    ) -> Iterator[Passed]:
        """Forward and backward of every piece, the lanes' first ones together, then their second ones, and so on."""

        def both(piece: Sequence[int]) -> tuple[Forward, tuple[Tensor | None, ...]]:
            with torch.enable_grad():
                passed = forward(piece)
                return passed, torch.autograd.grad(passed.loss.total, self.learning, allow_unused=True)

        for row in zip_longest(*pieces):
            together = [piece for piece in row if piece]
            for piece, (passed, gradients) in zip(together, side_by_side(both, together, self.device), strict=True):
                self._add(gradients)
                yield piece, passed

    def _add(self, gradients: Sequence[Tensor | None]) -> None:
        for tensor, gradient in zip(self.learning, gradients, strict=True):
            if gradient is not None:
                tensor.grad = gradient if tensor.grad is None else tensor.grad.add_(gradient)


def lanes_for(model: PreTrainedModel) -> int:
    """How many pieces of a batch `model` may take at once; one where chance would make the lanes' order matter."""
    if _drops(model):
        return 1
    size = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    return max(1, min(num_workers(model.device), LANE_BYTES // max(1, size)))


def _drops(model: PreTrainedModel) -> bool:
    # Dropout draws from one stream for all threads, so its draws would depend on which lane came first.
    config = model.config.get_text_config().to_dict()
    asked = (value for key, value in config.items() if "drop" in key and isinstance(value, float))
    return any(asked) or any(isinstance(part, nn.Dropout) and part.p > 0 for part in model.modules())
