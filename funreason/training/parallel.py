"""A training over processes, devices and precisions: `accelerate.Accelerator`, and what it leaves to us.

accelerate wraps the model for DDP, FSDP2 and DeepSpeed's ZeRO, runs it in bfloat16 over float32 weights, and clips
gradients. These things are ours, because accelerate cannot do them exactly or at all:

- Sums. The loss has the denominators of the whole batch, so gradients are added over ranks. The libraries average, so
  each loss is multiplied by their number first.
- The step. It is skipped on all ranks if the loss of any is not finite; accelerate's `backward` would let DeepSpeed
  step at once.
- Whole weights and moments by name, so that a training can be resumed with another number of processes or another
  strategy. `Accelerator.save_state` ties a checkpoint to both and pickles the moments; `get_state_dict` gives
  DeepSpeed's weights in half precision.
- FSDP2 and DeepSpeed on a CPU, where accelerate silently uses DDP or one process. The tests run there.
- Its state. accelerate keeps it in singletons and environment variables of the process, where it would meet that of
  the next training, or of the program that called us.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

from funreason.config.updates import Update
from funreason.training.types import Strategy, TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from funreason.training.shared_attention import Layout

Named = Iterator[tuple[str, Tensor]]
LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun and `accelerate launch` set in each process that they start."""
PROCESS_VARIABLES = (
    *LAUNCHER_VARIABLES, "LOCAL_RANK", "LOCAL_WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE",
)  # fmt: skip
"""What tells accelerate of other processes. It sets the first ones itself."""
COLLECTIVE_TIMEOUT = timedelta(days=7)
"""A paused rank makes the others wait as long as a person does; when a rank dies, the launcher ends the rest."""
MOMENTS = ("exp_avg", "exp_avg_sq")


class Ranks:
    """This process among the `size` that train together."""

    def __init__(self, device: torch.device) -> None:
        joined = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if joined else 0
        self.size = distributed.get_world_size() if joined else 1
        self.device = device

    @classmethod
    def join(cls, device: torch.device) -> Ranks:
        """Join the processes that a launcher started with this one; alone if there was no launcher."""
        launched = all(name in os.environ for name in LAUNCHER_VARIABLES)
        if launched and distributed.is_available() and not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=COLLECTIVE_TIMEOUT)
        return cls(device)

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def all_reduce_sum(self, value: Tensor) -> Tensor:
        """The sum of `value` over all ranks, on every rank, on the device that `value` is on."""
        if self.size == 1:
            return value
        total = value.detach().to(self.device, copy=True)
        distributed.all_reduce(total)
        return total.to(value.device)

    def smallest(self, number: int) -> int:
        """The smallest `number` of all ranks, on every rank."""
        if self.size == 1:
            return number
        least = torch.tensor(number, device=self.device)
        distributed.all_reduce(least, op=distributed.ReduceOp.MIN)
        return int(least)

    def any_rank(self, flag: bool) -> bool:
        """Whether `flag` is True on any rank."""
        return flag if self.size == 1 else bool(self.all_reduce_sum(torch.tensor(float(flag))) > 0)


def require_world_size(wanted: int, ranks: Ranks, environment: Mapping[str, str] | None = None) -> None:
    """Raise TrainingError unless `wanted` processes were started, joined, and answer.

    A launcher may start fewer than asked for and say nothing (`accelerate launch --cpu` did); the training would then
    learn from a part of each batch.
    """
    launched = (os.environ if environment is None else environment).get("WORLD_SIZE", "1")
    answering = int(ranks.all_reduce_sum(torch.ones(())))
    if not launched == str(wanted) == str(ranks.size) == str(answering):
        raise TrainingError(
            f"the update was to run in {wanted} processes; the launcher says {launched}, {ranks.size} joined and "
            f"{answering} answer (this is rank {ranks.rank}). Start as many as launch.processes asks for."
        )


def own_device(name: str) -> torch.device:
    """The GPU of this rank, for a device named cuda; else the device as named. TrainingError for a missing GPU."""
    if torch.device(name).type != "cuda":
        return torch.device(name)
    here, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if here >= found:
        raise TrainingError(
            f"this process needs GPU {here}, and {found} are here; ask for no more processes than there are GPUs."
        )
    torch.cuda.set_device(here)
    return torch.device("cuda", here)


def leave() -> None:
    """Leave the process group once all ranks are done."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def trainable(model: PreTrainedModel) -> dict[str, torch.nn.Parameter]:
    """The parameters that learn, by name; with adapters the others stay as they were loaded."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@contextmanager
def parallelized(
    model: PreTrainedModel, update: Update, ranks: Ranks, strategy: Strategy = "none"
) -> Iterator[Parallel]:
    """`model` prepared for training. A model in bfloat16 is computed in bfloat16 and learns in float32.

    Without sharding `model` is trained in place and has its own precision again after the block; a sharded one is of
    no use afterwards. Raises TrainingError where DeepSpeed is needed and not installed.
    """
    half = torch.bfloat16 in {parameter.dtype for parameter in model.parameters()}
    own_forward = vars(model).get("forward")
    # DeepSpeed makes the float32 copies of a bfloat16 model itself.
    masters = [] if strategy.startswith("zero") else [p for p in trainable(model).values() if p.dtype == torch.bfloat16]
    for parameter in masters:
        parameter.data = parameter.data.float()
    try:
        with _separate_accelerate_state(model.device, alone=ranks.size == 1 and strategy in ("none", "ddp")):
            yield Parallel(model, update, ranks, strategy, half)
    finally:
        for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
            vars(model).pop(name, None)
        if own_forward is not None:
            model.forward = own_forward
        if strategy != "fsdp2":
            for parameter in masters:
                parameter.data = parameter.data.bfloat16()


class Parallel:
    """A model, its gradient and its optimizer over the ranks. Call every method on every rank, in the same order.

    `lockstep` is True if all ranks must run as many micro-batches as each other, because they exchange weights or
    gradients within them.
    """

    def __init__(
        self, model: PreTrainedModel, update: Update, ranks: Ranks, strategy: Strategy = "none", half: bool = False
    ) -> None:
        from accelerate import Accelerator
        from accelerate.utils import AutocastKwargs, DistributedDataParallelKwargs, DistributedType

        self.model, self.ranks, self.max_grad_norm = model, ranks, update.max_grad_norm
        self.zero_stage = {"zero2": 2, "zero3": 3}.get(strategy, 0)
        self.lockstep = ranks.size > 1
        self.replicated = self.lockstep and strategy in ("none", "ddp")
        on_cpu = model.device.type == "cpu"
        # Buffers are rotary frequencies: the same everywhere, and constant. The autocast cache is shared by threads.
        handlers: list[Any] = [
            DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
            AutocastKwargs(cache_enabled=False),
        ]
        plugins: dict[str, Any] = {}
        if strategy == "fsdp2":
            plugins["fsdp_plugin"] = _fsdp_plugin(half)
        elif self.zero_stage:
            plugins["deepspeed_plugin"] = _deepspeed_plugin(
                self.zero_stage, update.max_grad_norm, model.device, handlers
            )
        self.accelerator = Accelerator(
            mixed_precision="bf16" if half else "no",
            cpu=on_cpu and not self.zero_stage,
            device_placement=False,
            kwargs_handlers=handlers,
            **plugins,
        )
        if strategy == "fsdp2" and on_cpu:
            self.accelerator.state.distributed_type = DistributedType.FSDP
            self.accelerator.state.fsdp_plugin = plugins["fsdp_plugin"]
        # Norms and biases are not decayed: they set scales, and pulling them to zero shrinks the signal.
        parameters = trainable(model).values()
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": update.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=update.lr, betas=update.adam_betas, fused=True
        )
        self.wrapped, self.optimizer = self.accelerator.prepare(model, adamw)
        if strategy == "fsdp2" and on_cpu:
            for module in model.modules():  # gloo can only add up, and FSDP would ask it for a mean
                force_sum: Any = getattr(module, "set_force_sum_reduction_for_comms", lambda enabled: None)
                force_sum(True)
        if self.zero_stage:
            from transformers.integrations.deepspeed import unset_hf_deepspeed_config

            # Models that are loaded from now on are whole again.
            unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]
        self.loss = torch.zeros((), dtype=torch.float64, device=model.device)

    def logits(
        self,
        ids: Tensor,
        keep: int,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        layout: Layout | None = None,
    ) -> Tensor:
        """Logits [B, keep, V] of the last `keep` positions of `ids` [B, T]; the others are those of a `MicroBatch`."""
        more = {} if layout is None else {"shared_prompts": layout}
        output = self.wrapped(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=keep, **more
        )
        logits: Tensor = output.logits
        return logits

    def microbatch(self, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of one micro-batch: DDP exchanges gradients with the `last` one of a batch.

        Sharding strategies exchange them with each, or every rank would hold the whole gradient in between.
        """
        return nullcontext() if last or not self.replicated else self.accelerator.no_sync(self.wrapped)

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradient of a share of the batch's loss."""
        scaled = loss * self.ranks.size
        if not self.zero_stage:
            self.accelerator.backward(scaled)
            return
        # DeepSpeed skips a step whose gradient is not finite. A loss may be infinite and its gradient finite.
        self.loss += loss.detach()
        if last and self.ranks.any_rank(not bool(torch.isfinite(self.loss))):
            scaled = scaled * math.nan
        self.wrapped.set_gradient_accumulation_boundary(last)
        self.wrapped.backward(scaled)

    def step(self, lr: float, finite: bool) -> float:
        """One optimizer step at rate `lr` with the clipped gradient, which is then dropped; returns its norm before.

        Nothing moves if the norm is not finite or the loss was not (`finite`).
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if self.zero_stage:
            self.loss.zero_()
            self.wrapped.step()
            return float(self.wrapped.get_global_grad_norm()) if finite else math.nan
        norm = float(_full(self.accelerator.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)))
        if finite and math.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def weights(self) -> Named:
        """Each parameter that learns, whole, in the precision that the optimizer keeps (float32)."""
        for name, parameter in trainable(self.model).items():
            if self.zero_stage:
                from deepspeed.utils import safe_get_full_fp32_param

                yield name, safe_get_full_fp32_param(parameter).detach()
            else:
                yield name, _full(parameter.detach())

    def moments(self) -> Named:
        """The optimizer's state of each parameter, as `name/kind`, whole; nothing before the first step."""
        if not self.zero_stage:
            for name, parameter in trainable(self.model).items():
                for kind, value in self.optimizer.state.get(parameter, {}).items():
                    yield f"{name}/{kind}", _full(value.detach())
            return
        from deepspeed.utils import safe_get_full_optimizer_state

        taken = self._deepspeed_optimizer.state.get(self._deepspeed_slices[0], {}).get("step")
        if taken is None:
            return
        self._link_deepspeed_moments()
        for name, parameter in trainable(self.model).items():
            yield f"{name}/step", taken.clone()
            for kind in MOMENTS:
                yield f"{name}/{kind}", safe_get_full_optimizer_state(parameter, kind).detach()

    def load(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
        """Load whole weights and moments, as `weights` and `moments` gave them, on every rank."""
        if self.zero_stage:
            self._load_deepspeed(weights, moments)
            return
        parameters = trainable(self.model)
        with torch.no_grad():
            for name, value in weights.items():
                parameters[name].copy_(_shard(value, parameters[name]))
        for key, value in moments.items():
            name, _, kind = key.rpartition("/")
            parameter = parameters[name]
            self.optimizer.state[parameter][kind] = (
                value.to(parameter.device) if kind == "step" else _shard(value, parameter)
            )

    # DeepSpeed (0.19.8) has no loading that is independent of the number of ranks. It keeps this rank's slices in flat
    # float32 tensors, and moments for them only after the first step, so restoring them means creating them.

    @property
    def _deepspeed_optimizer(self) -> Any:
        return self.wrapped.optimizer.optimizer

    @property
    def _deepspeed_slices(self) -> list[Tensor]:
        zero = self.wrapped.optimizer
        return list(zero.fp32_partitioned_groups_flat if self.zero_stage == 3 else zero.single_partition_of_fp32_groups)

    def _link_deepspeed_moments(self) -> None:
        # It links parameters to their moments when the first of several groups has moved; those of the other groups do
        # not exist yet.
        if self.zero_stage == 2:
            self.wrapped.optimizer._hp_optimizer_states_linked = False
            self.wrapped.optimizer._lazy_init_hp_params_optimizer_state()

    def _load_deepspeed(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
        from deepspeed import utils

        taken = next((value for key, value in moments.items() if key.endswith("/step")), None)
        if taken is not None:
            for flat in self._deepspeed_slices:
                zeros = {kind: torch.zeros_like(flat) for kind in MOMENTS}
                self._deepspeed_optimizer.state[flat] = {"step": taken.to(flat.device, copy=True), **zeros}
            self._link_deepspeed_moments()
        for name, parameter in trainable(self.model).items():
            values = {None: weights[name]} | {k: moments[f"{name}/{k}"] for k in MOMENTS if f"{name}/{k}" in moments}
            for kind, whole in values.items():
                value = whole.to(self.ranks.device)
                if self.zero_stage == 3:  # the setters of whole values fail where slices are padded to one length
                    length = parameter.ds_tensor.numel()  # type: ignore[attr-defined]
                    value = value.flatten()[self.ranks.rank * length :][:length]
                    value = torch.nn.functional.pad(value, (0, length - value.numel()))
                    set_weight, set_moment = utils.safe_set_local_fp32_param, utils.safe_set_local_optimizer_state
                else:
                    set_weight, set_moment = utils.safe_set_full_fp32_param, utils.safe_set_full_optimizer_state
                if kind is None:
                    set_weight(parameter, value)
                else:
                    set_moment(parameter, value, kind)
        zero = self.wrapped.optimizer  # the weights that compute follow those that learn, as after a step
        if self.zero_stage == 2:
            zero.update_lp_params()
            return
        zero._partition_all_parameters()
        for group in range(len(zero.fp16_groups)):
            zero._reassign_or_swap_out_partitioned_parameters(group)
        zero._post_step(set())


def _fsdp_plugin(half: bool) -> Any:
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import MixedPrecisionPolicy

    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        cpu_ram_efficient_loading=False,  # every rank has read the same file
        mixed_precision_policy=MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if half else None, reduce_dtype=torch.float32
        ),
    )


def _deepspeed_plugin(stage: int, max_grad_norm: float, device: torch.device, handlers: list[Any]) -> Any:
    if find_spec("deepspeed") is None:
        raise TrainingError(
            f"strategy zero{stage} needs DeepSpeed, which is not installed. "
            "Install it: DS_BUILD_OPS=0 pip install 'funreason[deepspeed]'; or use fsdp2, which needs nothing more."
        )
    os.environ.setdefault("DS_ACCELERATOR", device.type)  # it would take a GPU that it finds
    import deepspeed
    from accelerate.utils import DeepSpeedPlugin, InitProcessGroupKwargs

    if device.type == "cpu":
        # It would compile a kernel for its messages at the first start, which takes a compiler and a minute.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        handlers.append(InitProcessGroupKwargs(backend="gloo"))
    config = {
        "train_micro_batch_size_per_gpu": 1,  # `Parallel.backward` says where a batch ends; DeepSpeed need not count
        "gradient_accumulation_steps": 1,
        "gradient_clipping": max_grad_norm,
        "zero_optimization": {"stage": stage},
    }
    return DeepSpeedPlugin(hf_ds_config=config, zero3_init_flag=False)


def _full(value: Tensor) -> Tensor:
    """The whole of a sharded tensor."""
    full: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full


def _shard(value: Tensor, parameter: Any) -> Tensor:
    """This rank's part of a whole tensor, as `parameter` is sharded. Nothing is sent: every rank has `value`."""
    placed: Tensor = value.to(parameter.device)
    if not hasattr(parameter, "device_mesh"):
        return placed
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(placed, parameter.device_mesh, parameter.placements, src_data_rank=None)


@contextmanager
def _separate_accelerate_state(device: torch.device, alone: bool) -> Iterator[None]:
    """Run the block with accelerate as if it had never been used in this process, on `device`.

    `alone`: this process trains without others, even where it is in a process group, as it is beside a vLLM engine.
    """
    from accelerate.state import AcceleratorState, GradientState, PartialState

    holders = (AcceleratorState, GradientState, PartialState)
    states = [dict(holder._shared_state) for holder in holders]
    environment = _take_variables()
    if not alone:
        os.environ.update({name: value for name, value in environment.items() if name in PROCESS_VARIABLES})
        if distributed.is_available() and distributed.is_initialized():
            os.environ.setdefault("LOCAL_RANK", "0")
    os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    for holder in holders:
        holder._shared_state.clear()
    try:
        yield
    finally:
        for holder, state in zip(holders, states, strict=True):
            holder._shared_state.clear()
            holder._shared_state.update(state)
        _take_variables()
        os.environ.update(environment)


def _take_variables() -> dict[str, str]:
    # `accelerate launch` sets its own configuration here; the strategy is the job's.
    prefixes = ("ACCELERATE_", "FSDP_")
    return {n: os.environ.pop(n) for n in list(os.environ) if n.startswith(prefixes) or n in PROCESS_VARIABLES}
