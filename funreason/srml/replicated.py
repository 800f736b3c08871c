"""DDP: each process holds the whole model, and gradients travel while the backward pass still goes on.

DDP averages, hence the scale: the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parallel import DistributedDataParallel

from funreason.srml.examples import TrainSettings
from funreason.srml.processes import Processes
from funreason.srml.whole import Whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Replicated(Whole):
    """The model behind torch's DistributedDataParallel."""

    lockstep = True

    def __init__(self, model: PreTrainedModel, settings: TrainSettings, processes: Processes, compute: str) -> None:
        self.half = compute == "bfloat16"
        self.scale = float(processes.size)
        super().__init__(model, settings, processes)

    @contextmanager
    def piece(self, last: bool) -> Iterator[None]:
        """Gradients travel with the last micro-batch only."""
        device = self.processes.device.type
        with nullcontext() if last else self.wrapped.no_sync(), torch.autocast(device, torch.bfloat16, self.half):
            yield

    def _wrap(self) -> Any:
        # Buffers are the same everywhere and never change: rotary frequencies.
        return DistributedDataParallel(self.model, broadcast_buffers=False, gradient_as_bucket_view=True)

    def _add_up(self) -> None:
        """DDP has done it."""
