"""How many bytes of one GPU's memory an update and sampling need, part by part, and how long their work takes.

Activations are counted tensor by tensor, as autograd keeps them for these families with SDPA or flash attention: what
the formula gives is what a hook over saved tensors counts, to the byte. What the formula cannot know (fragments, the
CUDA context, kernels' own workspace) is a stated allowance.

Times are estimates: arithmetic for updates, memory traffic for sampling. They follow from numbers that are always
reported beside them: the chip's bf16 peak, the share of it an update reaches (MFU: the model's own arithmetic over the
peak; what checkpointing computes twice is extra), and the share of its memory bandwidth that decoding reaches. Small
models reach less of both, since a GPU waits for its next kernel: `usual_mfu` and `LAYER_LAUNCH_S` are measurements.
Arithmetic per token: 6 per weight and 6 · layers · width · length for causal attention (arXiv 2204.02311, appendix B,
halved for the mask).
"""

from __future__ import annotations

from bisect import bisect_right
from math import log
from typing import Literal, NamedTuple

from funreason.plan.architecture import Architecture

Strategy = Literal["none", "ddp", "fsdp2", "zero2", "zero3"]
Parts = dict[str, float]
"""Bytes by what they are for."""
PARTS = (
    "weights", "gradients", "optimiser", "gathered", "casts", "activations", "backward", "head", "keys and values",
    "logits", "engine", "allowance",
)  # fmt: skip

ALLOWANCE = 1.5 * 2**30  # CUDA context, fragments and workspace: 1 to 2 GiB on the cards people report
BACKWARD = 0.5  # of a layer's activations: the gradients alive during that layer's backward pass
DRAWING = 16 * 2**24  # the block that drawing tokens works in: float32 twice and float64 once per element
HEAD_ALIVE = 2  # copies of the logits in the model's own type: the logits and their trained rows, or their gradients
HEAD_PRECISE = 8  # bytes beside them in float32: log-probabilities and their gradient; half of it in chunks

CPU_PASS_TOKENS = 4096
"""Tokens of a forward pass on a CPU: its caches are full long before its memory is."""
MOST_PASS_TOKENS = 32_768
"""A GPU is busy by then: a model of 0.5B trained 82,598 tokens/s with so many, 70,715 with half, on an H200."""
PASS_STEP = 256
PASS_SHARE = 0.9
"""Of the free memory, what a pass may be sized to: fragments, and passes whose padding differs, need the rest."""


class LoraShape(NamedTuple):
    """Adapters of `rank` on the linear modules named; none named: all."""

    rank: int
    targets: tuple[str, ...] = ()


class UpdateShape(NamedTuple):
    """What decides an update's memory. `tokens` is one forward pass; `head_chunk` None keeps all its logits."""

    tokens: int
    item: int
    """Bytes of a weight."""
    checkpointing: bool = False
    lora: LoraShape | None = None
    strategy: Strategy = "none"
    processes: int = 1
    head_chunk: int | None = None


class SamplingShape(NamedTuple):
    """What decides sampling's memory: tokens held at once, rows decoded at once, the longest prompt of a batch."""

    tokens: int
    rows: int
    item: int
    split: int = 1
    """GPUs that share weights, keys and values."""


class Chip(NamedTuple):
    """A GPU from its data sheet: GiB of memory, dense bf16 TFLOP/s, TB/s of memory bandwidth."""

    memory: float
    tflops: float
    bandwidth: float


CHIPS = {
    "a100-80": Chip(80, 312, 2.04),
    "a100-40": Chip(40, 312, 1.56),
    "h100": Chip(80, 989, 3.35),
    "h200": Chip(141, 989, 4.8),
    "l40s": Chip(48, 362, 0.86),
    "a10": Chip(24, 125, 0.6),
    "l4": Chip(24, 121, 0.3),
    "rtx4090": Chip(24, 165, 1.01),
    "rtx3090": Chip(24, 71, 0.94),
}


class ReachedSpeed(NamedTuple):
    """What share of a chip's two speeds is reached."""

    mfu: float = 0.4
    bandwidth_share: float = 0.5


MEASURED_MFU = ((134_515_008, 0.115), (494_032_768, 0.25), (7_615_616_512, 0.458))
"""The MFU of an update by parameters, in bf16 on one H200: small models are bound by launches, not by arithmetic."""
LAYER_LAUNCH_S = 0.042 / 24
"""Seconds that one layer takes at least in a decoding step of the in-process sampler: 42 ms a step were measured on an
H200 for 24 layers and 256 rows, of which the GPU worked 6.5. An engine that captures its steps does not pay this."""


def usual_mfu(model: Architecture) -> float:
    """What an update of a model of this size reaches: between the measured ones on a log scale, never beyond them."""
    sizes = [log(parameters) for parameters, _ in MEASURED_MFU]
    reached = [mfu for _, mfu in MEASURED_MFU]
    size = min(max(log(model.parameters), sizes[0]), sizes[-1])
    place = max(i for i, known in enumerate(sizes[:-1]) if known <= size)
    share = (size - sizes[place]) / (sizes[place + 1] - sizes[place])
    return reached[place] + share * (reached[place + 1] - reached[place])


def adapter_parameters(model: Architecture, lora: LoraShape) -> int:
    """Parameters of the adapters in all layers. ValueError for a target that no layer has."""
    linears = model.linears()
    unknown = set(lora.targets) - set(linears)
    if unknown:
        raise ValueError(f"no linear module is named {', '.join(sorted(unknown))}; there are {', '.join(linears)}")
    chosen = lora.targets or tuple(linears)
    return model.layers * sum(lora.rank * sum(linears[name]) for name in chosen)


def layer_activations(model: Architecture, item: int, *, mixed: bool = False) -> int:
    """Bytes that one layer keeps per token for its backward pass.

    `mixed`: it computes in numbers of `item` bytes over float32 weights, as autocast does.
    """
    normed = 4 if model.gemma_norm or mixed else item  # bytes of a normed number, before its scale
    norms = model.norms * (model.hidden * (4 + normed) + 4)  # input in float32, normed; and its root mean square
    # Scaled: what the products read, once for each norm before them. In mixed precision every product keeps a cast.
    norms += item * model.hidden * ((2 if model.fused else 5) if mixed else 2)
    attention = item * (2 * model.queries + 2 * model.keys) + 4 * model.heads
    if model.fused:  # values are a view of the one projection, so all of it is kept; and queries are copied
        attention += item * (2 * model.queries + model.keys)
    if model.qk_norm:
        normed = 4 if model.gemma_norm else item
        attention += (4 + normed) * (model.queries + model.keys) + 4 * (model.heads + model.key_heads)
    return norms + attention + 4 * item * model.feed_forward


def kept_activations(model: Architecture, item: int, *, checkpointing: bool, mixed: bool = False) -> int:
    """Bytes that all layers and the last norm keep per token until the backward pass."""
    between = 4 if mixed else item  # bytes of a number in what one layer passes to the next
    per_layer = between * model.hidden if checkpointing else layer_activations(model, item, mixed=mixed)
    last = 4 + (4 if model.gemma_norm else between) + item
    return model.layers * per_layer + model.hidden * last + 4


def key_value_bytes(model: Architecture, item: int, length: float) -> float:
    """Bytes of keys and values of a sequence of `length` tokens. Layers with a window keep no more than it holds."""
    return 2 * model.layers * model.keys * item * model.attended(length)


def update_memory(model: Architecture, shape: UpdateShape) -> Parts:
    """Bytes on each GPU at the peak of one backward pass, or of the optimiser's step where that is higher."""
    learning = model.parameters if shape.lora is None else adapter_parameters(model, shape.lora)
    shards = shape.processes if shape.strategy in ("fsdp2", "zero2", "zero3") else 1
    weights_shards = shards if shape.strategy in ("fsdp2", "zero3") else 1
    frozen = 0 if shape.lora is None else model.parameters * shape.item
    # What the optimizer keeps is float32; DeepSpeed holds weights in the computing type beside its float32 ones.
    if shape.strategy in ("zero2", "zero3") and shape.item < 4 and shape.lora is None:
        weight, gradient, state = shape.item, shape.item, 12
    else:
        weight, gradient, state = 4, 4, 8
    # Half precision over float32 weights casts each weight where it is used, and keeps the cast for the backward pass.
    mixed = shape.item < 4 and shape.lora is None and shape.strategy in ("none", "ddp")
    casts = shape.item * (model.layer * (1 if shape.checkpointing else model.layers) + model.embedding) if mixed else 0
    # The layer at work and the next one are held whole, and so are embedding and head while they are used; replicas
    # that add up gradients hold a second copy of those in buckets.
    gathered = 0
    if shape.processes > 1 and shape.strategy in ("fsdp2", "zero3"):
        gathered = shape.item * (2 * model.layer + model.embedding)
    elif shape.processes > 1 and shape.strategy == "ddp":
        gathered = gradient * learning
    head = float(shape.tokens * model.hidden * shape.item)
    if shape.head_chunk is None:
        head += shape.tokens * model.vocabulary * (HEAD_ALIVE * shape.item + HEAD_PRECISE)
    else:
        head += min(shape.tokens, shape.head_chunk) * model.vocabulary * (HEAD_ALIVE * shape.item + HEAD_PRECISE / 2)
        # The head's own gradient is summed in float32 over the chunks, unless it stays as it was loaded.
        head += 0 if shape.lora is not None else 4 * model.embedding
    kept = kept_activations(model, shape.item, checkpointing=shape.checkpointing, mixed=mixed)
    parts = {
        "weights": (frozen + learning * weight) / weights_shards,
        "gradients": learning * gradient / shards,
        "optimiser": learning * state / shards,
        "gathered": float(gathered),
        "casts": float(casts),
        "activations": float(kept * shape.tokens),
        "backward": layer_activations(model, shape.item, mixed=mixed) * (BACKWARD + shape.checkpointing) * shape.tokens,
        "head": head,
        "allowance": ALLOWANCE,
    }
    return {name: size for name, size in parts.items() if size}


def pass_tokens(model: Architecture, shape: UpdateShape, room: float, *, weights_placed: bool = False) -> int:
    """The most tokens of a forward pass that `room` bytes hold, a multiple of PASS_STEP up to MOST_PASS_TOKENS.

    `shape.tokens` is not read. `weights_placed`: the weights are in memory already, and `room` is what they left.
    PASS_STEP where not even so many fit.
    """

    def needed(steps: int) -> float:
        parts = update_memory(model, shape._replace(tokens=steps * PASS_STEP))
        return sum(parts.values()) - (parts["weights"] if weights_placed else 0)

    return PASS_STEP * max(1, bisect_right(range(1, MOST_PASS_TOKENS // PASS_STEP + 1), room, key=needed))


def sampling_memory(model: Architecture, shape: SamplingShape) -> Parts:
    """Bytes on the sampling GPU while a full batch is decoded."""
    return {
        "weights": model.parameters * shape.item / shape.split,
        "keys and values": shape.rows * key_value_bytes(model, shape.item, shape.tokens / shape.rows) / shape.split,
        "logits": float(shape.rows * model.vocabulary * shape.item + DRAWING),
        "allowance": ALLOWANCE,
    }


def flops_per_token(model: Architecture, length: float) -> float:
    """The model's own arithmetic per trained token, forward and backward, at a mean sequence length."""
    return 6.0 * model.multiplied + 6.0 * model.layers * model.queries * model.attended(length)


def update_seconds(
    model: Architecture, shape: UpdateShape, chip: Chip, pace: ReachedSpeed, *, tokens: float, length: float
) -> float:
    """Seconds to train on `tokens`, padding included, with all processes."""
    # In thirds of forward-and-backward: frozen weights need no gradient of their own, checkpoints another forward.
    thirds = (2 if shape.lora is not None else 3) + shape.checkpointing
    work = flops_per_token(model, length) * tokens * thirds / 3
    return work / (shape.processes * chip.tflops * 1e12 * pace.mfu)


def decoding_rate(
    model: Architecture,
    chip: Chip,
    pace: ReachedSpeed,
    *,
    rows: int,
    length: float,
    item: int,
    launched: bool = False,
) -> float:
    """Tokens per second of one GPU that decodes `rows` at once, each with `length` tokens before it.

    Every step reads all weights once and every row's keys and values; it also cannot beat its own arithmetic, nor,
    where each kernel is `launched` from Python, the launches.
    """
    read = model.multiplied * item + rows * key_value_bytes(model, item, length)
    traffic = read / (chip.bandwidth * 1e12 * pace.bandwidth_share)
    arithmetic = 2.0 * model.multiplied * rows / (chip.tflops * 1e12 * pace.mfu)
    return rows / max(traffic, arithmetic, LAYER_LAUNCH_S * model.layers * launched)


def reading_seconds(model: Architecture, chip: Chip, pace: ReachedSpeed, *, tokens: float) -> float:
    """Seconds of one GPU to read `tokens` of prompts."""
    return 2.0 * model.multiplied * tokens / (chip.tflops * 1e12 * pace.mfu)
