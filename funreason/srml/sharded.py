"""FSDP2: each process holds a slice of every parameter, gradient and moment; layers are put together as they are used.

Each decoder layer is a unit of its own. What is left (embedding, last norm, head) is the unit of the model itself:
embedding and head may be one tensor, which two units must not share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from funreason.srml.examples import TrainSettings
from funreason.srml.processes import Processes
from funreason.srml.whole import Whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Sharded(Whole):
    """The model under torch's `fully_shard`."""

    lockstep = True

    def __init__(self, model: PreTrainedModel, settings: TrainSettings, processes: Processes, compute: str) -> None:
        self.precision = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if compute == "bfloat16" else None, reduce_dtype=torch.float32
        )
        super().__init__(model, settings, processes)

    def _wrap(self) -> Any:
        mesh = init_device_mesh(self.processes.device.type, (self.processes.size,))
        layers = set(self.model._no_split_modules or ())
        units = [module for module in self.model.modules() if type(module).__name__ in layers]
        for module in [*units, self.model]:
            unit = fully_shard(module, mesh=mesh, mp_policy=self.precision)
            assert isinstance(unit, FSDPModule)
            unit.set_gradient_divide_factor(1.0)
            unit.set_force_sum_reduction_for_comms(True)  # Gloo knows no other
        return self.model

    def _add_up(self) -> None:
        """Each unit has done it behind its backward pass."""

    def _whole(self, value: Tensor) -> Tensor:
        return value.full_tensor() if isinstance(value, DTensor) else value

    def _part(self, value: Tensor, parameter: Tensor) -> Tensor:
        assert isinstance(parameter, DTensor)
        # Every process has read the same file, so each cuts out its own slice and nothing is sent.
        placed = value.to(self.processes.device)
        return distribute_tensor(placed, parameter.device_mesh, parameter.placements, src_data_rank=None)
