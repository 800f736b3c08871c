"""DeepSpeed's ZeRO: stage 2 cuts gradients and moments into slices, stage 3 the parameters too.

DeepSpeed averages, hence the scale: the number of processes. Its optimiser clips, and skips a step whose
gradient is not finite, all by itself; it keeps moments in flat pieces that exist only behind the first step, so that
restoring them means making them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from funreason.srml.errors import TrainingError
from funreason.srml.examples import TrainSettings
from funreason.srml.layout import Named
from funreason.srml.optimizer import learning, optimizer_for
from funreason.srml.processes import Processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOMENTS = ("exp_avg", "exp_avg_sq")


class Zero:
    """The model inside a DeepSpeed engine."""

    lockstep = True

    def __init__(
        self, model: PreTrainedModel, settings: TrainSettings, processes: Processes, compute: str, *, stage: int
    ) -> None:
        self.model = model
        self.processes = processes
        self.stage = stage
        self.scale = float(processes.size)
        self.engine = _engine(model, settings, compute, stage)

    def logits(self, ids: Tensor, keep: int, positions: Tensor | None = None) -> Tensor:
        """See `Layout`."""
        said = self.engine(input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=keep)
        logits: Tensor = said.logits
        return logits

    @contextmanager
    def piece(self, last: bool) -> Iterator[None]:
        """The optimiser puts its gradients together behind the last micro-batch."""
        self.engine.set_gradient_accumulation_boundary(last)
        yield

    def backward(self, loss: Tensor) -> None:
        """See `Layout`."""
        self.engine.backward(loss)

    def step(self, rate: float, sound: bool) -> float:
        """See `Layout`."""
        if not sound:
            self._spoil()
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self.engine.step()
        norm = float(self.engine.get_global_grad_norm())
        return norm if sound else math.nan

    def names(self) -> set[str]:
        """See `Layout`."""
        return set(learning(self.model))

    def weights(self) -> Named:
        """See `Layout`."""
        from deepspeed.utils import safe_get_full_fp32_param

        for name, parameter in learning(self.model).items():
            yield name, safe_get_full_fp32_param(parameter).detach()

    def moments(self) -> Named:
        """See `Layout`."""
        from deepspeed.utils import safe_get_full_optimizer_state

        taken = self._steps_taken()
        if taken is None:
            return
        self._link()
        for name, parameter in learning(self.model).items():
            yield f"{name}/step", taken.clone()
            for kind in MOMENTS:
                yield f"{name}/{kind}", safe_get_full_optimizer_state(parameter, kind).detach()

    def load(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
        """See `Layout`."""
        self._make_moments(next((value for key, value in moments.items() if key.endswith("/step")), None))
        for name, parameter in learning(self.model).items():
            self._put(parameter, weights[name], None)
            for kind in MOMENTS:
                if f"{name}/{kind}" in moments:
                    self._put(parameter, moments[f"{name}/{kind}"], kind)
        self._refresh()

    @property
    def _optimizer(self) -> Any:
        return self.engine.optimizer.optimizer

    @property
    def _flat(self) -> list[Tensor]:
        """This process's slices of the parameters, in float32: what the optimiser sees."""
        held = self.engine.optimizer
        pieces = held.fp32_partitioned_groups_flat if self.stage == 3 else held.single_partition_of_fp32_groups
        return list(pieces)

    def _steps_taken(self) -> Tensor | None:
        state = self._optimizer.state.get(self._flat[0], {})
        taken: Tensor | None = state.get("step")
        return taken

    def _make_moments(self, taken: Tensor | None) -> None:
        if taken is None:
            return
        for flat in self._flat:
            zeros = {kind: torch.zeros_like(flat) for kind in MOMENTS}
            self._optimizer.state[flat] = {"step": taken.to(flat.device, copy=True), **zeros}
        self._link()

    def _link(self) -> None:
        # DeepSpeed (0.19.8) links parameters to their moments when the first of several groups has moved, and those of
        # the others do not exist yet.
        if self.stage == 2:
            self.engine.optimizer._hp_optimizer_states_linked = False
            self.engine.optimizer._lazy_init_hp_params_optimizer_state()

    def _put(self, parameter: Any, value: Tensor, kind: str | None) -> None:
        """Set this process's part of a weight (`kind` None) or of a moment."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        value = value.to(self.processes.device)
        if self.stage == 3:
            self.engine.optimizer.set_local_hp_param(self._slice(parameter, value), parameter, kind)
        elif kind is None:
            safe_set_full_fp32_param(parameter, value)
        else:
            safe_set_full_optimizer_state(parameter, value, kind)

    def _slice(self, parameter: Any, value: Tensor) -> Tensor:
        # The last slices are filled up with zeros: all must be of one length.
        length = parameter.ds_tensor.numel()
        flat = value.flatten()[self.processes.rank * length :][:length]
        return torch.nn.functional.pad(flat, (0, length - flat.numel()))

    def _refresh(self) -> None:
        """Let the weights that compute follow those that the optimiser keeps, as behind a step."""
        held = self.engine.optimizer
        if self.stage == 2:
            held.update_lp_params()
            return
        held._partition_all_parameters()
        for group in range(len(held.fp16_groups)):
            held._reassign_or_swap_out_partitioned_parameters(group)
        held._post_step(set())

    def _spoil(self) -> None:
        # A loss that is not finite has as a rule no finite gradient; where it has, the optimiser is made to see none.
        for pieces in self.engine.optimizer.averaged_gradients.values():
            for piece in pieces or ():
                piece.fill_(math.nan)


def _engine(model: PreTrainedModel, settings: TrainSettings, compute: str, stage: int) -> Any:
    os.environ.setdefault("DS_ACCELERATOR", model.device.type)  # it would take a GPU that it finds
    try:
        import deepspeed
    except ImportError as error:
        raise TrainingError(
            f"strategy zero{stage} needs DeepSpeed, which is not installed ({error}). "
            "Install it: DS_BUILD_OPS=0 pip install 'funreason[deepspeed]'; or use fsdp2, which needs nothing more."
        ) from error
    # On a CPU it would compile a kernel for its messages at the first start, which takes a compiler and a minute.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    config = {
        "train_micro_batch_size_per_gpu": 1,  # the engine is told where a batch ends; it need not count
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings.grad_clip,
        "zero_optimization": {"stage": stage},
        "bf16": {"enabled": compute == "bfloat16"},
        "steps_per_print": 1_000_000_000,
    }
    optimizer = optimizer_for(model, settings)
    optimizer.param_groups = [group for group in optimizer.param_groups if group["params"]]
    return deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)[0]
