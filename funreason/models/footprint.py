"""How many bytes of one GPU's memory an update and sampling need, part by part.

Activations are counted tensor by tensor, as autograd keeps them for these families with SDPA or flash attention: what
the formula gives is what a hook over saved tensors counts, to the byte. What the formula cannot know (fragments, the
CUDA context, kernels' own workspace) is a stated allowance.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from funreason.models.architecture import Architecture

Strategy = Literal["none", "ddp", "fsdp2", "zero2", "zero3"]
Parts = dict[str, float]
"""Bytes by what they are for."""
PARTS = (
    "weights", "gradients", "optimiser", "gathered", "activations", "backward", "head", "keys and values", "logits",
    "engine", "allowance",
)  # fmt: skip

MOST_ROWS = 640  # that the in-process sampler decodes at once, unless it is told otherwise
ALLOWANCE = 1.5 * 2**30  # CUDA context, fragments and workspace: 1 to 2 GiB on the cards people report
BACKWARD = 0.5  # of a layer's activations: the gradients that are alive while that layer is gone back through
DRAWING = 16 * 2**24  # the block that `models.draws` works in: float32 twice and float64 once per element
HEAD_ALIVE = 2  # copies of the logits in the model's own type: the logits and their trained rows, or their gradients
HEAD_PRECISE = 8  # bytes beside them in float32: log-probabilities and their gradient; half of it in chunks


class Lora(NamedTuple):
    """Adapters of `rank` on the linear modules named; none named: all."""

    rank: int
    targets: tuple[str, ...] = ()


class UpdateShape(NamedTuple):
    """What decides an update's memory. `tokens` is one forward pass; `head_chunk` None keeps all its logits."""

    tokens: int
    item: int
    """Bytes of a weight."""
    checkpointing: bool = False
    lora: Lora | None = None
    strategy: Strategy = "none"
    processes: int = 1
    head_chunk: int | None = None


class SamplingShape(NamedTuple):
    """What decides sampling's memory: tokens held at once, rows decoded at once, the longest prompt of a batch."""

    tokens: int
    rows: int
    item: int


def adapter_parameters(model: Architecture, lora: Lora) -> int:
    """Parameters of the adapters in all layers. ValueError for a target that no layer has."""
    linears = model.linears()
    unknown = set(lora.targets) - set(linears)
    if unknown:
        raise ValueError(f"no linear module is named {', '.join(sorted(unknown))}; there are {', '.join(linears)}")
    chosen = lora.targets or tuple(linears)
    return model.layers * sum(lora.rank * sum(linears[name]) for name in chosen)


def layer_activations(model: Architecture, item: int) -> int:
    """Bytes that one layer keeps per token for its backward pass."""
    norm = model.hidden * (4 + 2 * item) + 4  # input in float32, normed, scaled; and its root mean square
    attention = item * (2 * model.queries + 2 * model.keys) + 4 * model.heads
    if model.qk_norm:
        attention += (4 + item) * (model.queries + model.keys) + 4 * (model.heads + model.key_heads)
    return 2 * norm + attention + 4 * item * model.feed_forward


def kept_activations(model: Architecture, item: int, *, checkpointing: bool) -> int:
    """Bytes that all layers and the last norm keep per token until the backward pass."""
    per_layer = item * model.hidden if checkpointing else layer_activations(model, item)
    return model.layers * per_layer + model.hidden * (4 + 2 * item) + 4


def key_value_bytes(model: Architecture, item: int) -> int:
    """Bytes of keys and values per token."""
    return 2 * model.layers * model.keys * item


def update_memory(model: Architecture, shape: UpdateShape) -> Parts:
    """Bytes on each GPU at the height of one backward pass, or of the optimiser's step where that is higher."""
    learning = model.parameters if shape.lora is None else adapter_parameters(model, shape.lora)
    shards = shape.processes if shape.strategy in ("fsdp2", "zero2", "zero3") else 1
    weights_shards = shards if shape.strategy in ("fsdp2", "zero3") else 1
    frozen = 0 if shape.lora is None else model.parameters * shape.item
    weight, gradient, state = _precision(shape)
    working = layer_activations(model, shape.item) * (BACKWARD + shape.checkpointing) * shape.tokens
    parts = {
        "weights": (frozen + learning * weight) / weights_shards,
        "gradients": learning * gradient / shards,
        "optimiser": learning * state / shards,
        "gathered": _gathered(model, shape),
        "activations": float(kept_activations(model, shape.item, checkpointing=shape.checkpointing) * shape.tokens),
        "backward": working,
        "head": _head(model, shape),
        "allowance": ALLOWANCE,
    }
    return {name: size for name, size in parts.items() if size}


def sampling_memory(model: Architecture, shape: SamplingShape) -> Parts:
    """Bytes on the sampling GPU while a full batch is decoded."""
    return {
        "weights": float(model.parameters * shape.item),
        "keys and values": float(key_value_bytes(model, shape.item) * shape.tokens),
        "logits": float(shape.rows * model.vocabulary * shape.item + DRAWING),
        "allowance": ALLOWANCE,
    }


def _precision(shape: UpdateShape) -> tuple[int, int, int]:
    """Bytes per learning weight, of its gradient and of its optimiser state.

    What the optimizer keeps is float32; DeepSpeed holds weights in the computing type beside its float32 ones.
    """
    if shape.strategy in ("zero2", "zero3") and shape.item < 4 and shape.lora is None:
        return shape.item, shape.item, 12
    return 4, 4, 8


def _gathered(model: Architecture, shape: UpdateShape) -> float:
    # The layer at work and the next one are held whole, and so are embedding and head while they are used; replicas
    # that add up gradients hold a second copy of those in buckets.
    if shape.processes > 1 and shape.strategy in ("fsdp2", "zero3"):
        return float(shape.item * (2 * model.layer + model.embedding))
    learning = model.parameters if shape.lora is None else adapter_parameters(model, shape.lora)
    return float(_precision(shape)[1] * learning) if shape.processes > 1 and shape.strategy == "ddp" else 0.0


def _head(model: Architecture, shape: UpdateShape) -> float:
    hidden = shape.tokens * model.hidden * shape.item
    if shape.head_chunk is None:
        return float(hidden + shape.tokens * model.vocabulary * (HEAD_ALIVE * shape.item + HEAD_PRECISE))
    rows = min(shape.tokens, shape.head_chunk)
    chunk = rows * model.vocabulary * (HEAD_ALIVE * shape.item + HEAD_PRECISE / 2)
    # The head's own gradient is summed in float32 over the chunks, unless it stays as it was loaded.
    return hidden + chunk + (0 if shape.lora is not None else 4 * model.embedding)
