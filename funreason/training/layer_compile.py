"""The decoder layers of a model, compiled with `torch.compile` where that is faster and computes the same.

A layer of a small model spends most of its time on norms, rotary embeddings, activations and casts, each a kernel of
its own; compiled, they are a few. Only layers are compiled, not the model, so that hooks, checkpointing and the LM head
work as they did, and all layers share one compilation. A layer that cannot be compiled, at once or at a later shape,
runs as it is from then on, and the report says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BACKEND = "inductor"
WORTH_S = 120.0
"""Shorter trainings would spend more time on compiling (half a minute to a minute) than they could gain."""
FASTER = 0.97
"""Compiled layers are kept where they take at most this share of the time."""
ALLOWED_DIFFERENCE = {4: 5e-3, 2: 5e-2}
"""Between the gradients of both ways, over their norm, by bytes of a number: rounding stays within it."""
SAMPLED_ENTRIES = 64


class FirstBatch(NamedTuple):
    """Forward and backward of the first batch: its seconds, its losses, and some entries of every gradient."""

    seconds: float
    losses: list[float]
    gradient: Tensor


class Layers:
    """The decoder layers of a model, compiled or not; `description` says which and why."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.modules = [each for each in model.modules() if isinstance(each, GradientCheckpointingLayer)]
        self.description = "layers not compiled"

    def compile(self) -> None:
        """Compile each at its next call."""
        for layer in self.modules:
            # What nn.Module.compile sets, with a way back: parameter names and hooks stay.
            layer._compiled_call_impl = self._guarded(layer)

    def restore(self, why: str) -> None:
        """Run each as it is from now on."""
        for layer in self.modules:
            layer._compiled_call_impl = None
        self.description = f"layers not compiled: {why}"

    def _guarded(self, layer: nn.Module) -> Callable[..., Any]:
        from torch._dynamo.exc import TorchDynamoException

        plain: Callable[..., Any] = layer._call_impl
        compiled = torch.compile(plain, dynamic=True, backend=BACKEND)

        def call(*given: Any, **named: Any) -> Any:
            try:
                return compiled(*given, **named)
            except TorchDynamoException as error:
                self.restore(f"torch.compile failed with {_line(error)}")
            return plain(*given, **named)

        return call

    @property
    def compiled(self) -> bool:
        """Whether they are."""
        return any(layer._compiled_call_impl is not None for layer in self.modules)


@contextmanager
def compiled_layers(
    model: PreTrainedModel, mode: str, first_batch: Callable[[], FirstBatch], *, steps: int, item: int, alone: bool
) -> Iterator[Layers]:
    """Inside the block the layers are compiled, where `mode` (`update.compile`) asks for it and the first batch agrees.

    Args:
        first_batch: runs the first batch and learns nothing from it.
        steps: batches of about this cost that the training takes.
        item: bytes of a number in forward and backward passes.
        alone: whether this process trains without others, and holds the whole model.
    """
    layers = Layers(model)
    on_gpu = model.device.type == "cuda"
    if mode == "never":
        layers.restore("as configured")
    elif not alone:
        layers.restore("the model is trained in several processes")
    elif not layers.modules:
        layers.restore(f"{type(model).__name__} has none that are known as such")
    elif mode == "always":
        layers.description = "layers compiled"
        layers.compile()
        try:
            first_batch()  # a backward pass that cannot be compiled fails here, not in a step
        except Exception as error:
            layers.restore(f"the first batch failed with {_line(error)}")
    elif not on_gpu:
        layers.restore(f"on a {model.device.type.upper()} it takes longer than it saves")
    else:
        _try(layers, first_batch, steps, item)
    said = layers.description
    try:
        yield layers
    finally:
        if layers.compiled:
            layers.restore("the training is over")
            layers.description = said


def _try(layers: Layers, first_batch: Callable[[], FirstBatch], steps: int, item: int) -> None:
    """Compile, and keep it only where the first batch is faster and the same."""
    try:
        first_batch()  # the first use of a kernel is slow
        plain = first_batch()
        expected = steps * plain.seconds
        if expected < WORTH_S:
            layers.restore(f"the steps take {expected:.0f} s without, and compiling about as long")
            return
        layers.compile()
        first_batch()
        fused = first_batch()
    except Exception as error:  # compilers and kernels have no common error, and a trial may not stop a training
        layers.restore(f"the first batch failed with {_line(error)}")
        return
    if not layers.compiled:  # it failed, and said so
        return
    # Apart, because a loss is many times as large as a gradient and would hide it.
    off = max(
        _difference(fused.gradient, plain.gradient), _difference(*map(torch.tensor, (fused.losses, plain.losses)))
    )
    times = f"{fused.seconds * 1e3:.0f} ms against {plain.seconds * 1e3:.0f} ms for the first batch"
    if off > ALLOWED_DIFFERENCE.get(item, 1e-5):
        layers.restore(f"losses and gradients differ by {off:.1%}")
    elif fused.seconds > FASTER * plain.seconds:
        layers.restore(f"no faster, {times}")
    else:
        layers.description = f"layers compiled ({times})"


def sampled_gradient(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Up to SAMPLED_ENTRIES entries of each gradient, evenly spaced, in float32 on the CPU."""
    flat = [parameter.grad.detach().flatten() for parameter in parameters if parameter.grad is not None]
    few = [each[:: max(1, len(each) // SAMPLED_ENTRIES)][:SAMPLED_ENTRIES].float() for each in flat]
    return torch.cat(few).cpu() if few else torch.zeros(0)


def _difference(found: Tensor, wanted: Tensor) -> float:
    off = float((found - wanted).norm() / wanted.norm().clamp(min=1e-30))
    return off if math.isfinite(off) else math.inf


def _line(error: Exception) -> str:
    said = " ".join(str(error).strip().partition("\n\n")[0].split())  # torch's advice follows after an empty line
    return f"{type(error).__name__}: {said[:160]}"
