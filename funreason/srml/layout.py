"""How a model, its gradient and its moments lie over the processes, as the training sees it.

Whatever the layout, gradients are added up over the processes and never averaged: the loss has its denominators
already. Weights and moments go in and out whole and by name, so that a checkpoint does not know under which layout,
or by how many processes, it was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from funreason.srml.examples import Strategy, TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from funreason.srml.processes import Processes

Named = Iterator[tuple[str, Tensor]]


class Layout(Protocol):
    """Every method is called in every process, in the same order."""

    lockstep: bool
    """Whether all processes must make as many forward passes: they exchange weights or gradients within them."""

    scale: float
    """What a loss is multiplied by before `backward`: the number of processes, where the library averages."""

    def logits(self, ids: Tensor, keep: int, positions: Tensor | None = None) -> Tensor:
        """Logits [B, keep, V] of the last `keep` places of `ids` [B, T], whose positions in their samples [B, T]."""
        ...

    def piece(self, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of one micro-batch; `last` is the last of its batch."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a share of the batch's loss, times `scale`."""
        ...

    def step(self, rate: float, sound: bool) -> float:
        """Move by the whole gradient, clipped, at this rate; gives the norm it had, and forgets it.

        Nothing moves where the norm is not finite, or the loss was not `sound`.
        """
        ...

    def names(self) -> set[str]:
        """The names of the parameters that learn: the others stay as they were read."""
        ...

    def weights(self) -> Named:
        """Each parameter that learns, whole, in the precision that the optimiser keeps."""
        ...

    def moments(self) -> Named:
        """What the optimiser keeps of each parameter, as `name/kind`, whole."""
        ...

    def load(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
        """Take whole weights and moments, as `weights` and `moments` gave them."""
        ...


def layout_for(
    strategy: Strategy, model: PreTrainedModel, settings: TrainSettings, processes: Processes, compute: str = "float32"
) -> Layout:
    """The layout that `strategy` names; it takes the model over.

    `compute` is the precision of forward and backward passes under a strategy ("float32" or "bfloat16"); what the
    optimiser keeps is float32 then. Without one, the model trains in the precision it has. TrainingError where
    DeepSpeed is needed and absent.
    """
    if strategy == "none":
        from funreason.srml.whole import Whole

        return Whole(model, settings, processes)
    if strategy == "ddp":
        from funreason.srml.replicated import Replicated

        return Replicated(model, settings, processes, compute)
    if strategy == "fsdp2":
        from funreason.srml.sharded import Sharded

        return Sharded(model, settings, processes, compute)
    from funreason.srml.zero import Zero

    return Zero(model, settings, processes, compute, stage=3 if strategy == "zero3" else 2)
