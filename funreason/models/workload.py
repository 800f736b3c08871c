"""How long work takes on a GPU whose speed is known: arithmetic for updates, memory traffic for sampling.

Estimates, from three numbers that are always said beside them: the chip's bf16 peak, the share of it an update reaches
(MFU: the model's own arithmetic over the peak; what checkpointing computes twice is extra), and the share of its memory
bandwidth that decoding reaches. Arithmetic per token: 6 per weight and 6 · layers · width · length for causal
attention (arXiv 2204.02311, appendix B, halved for the mask).
"""

from __future__ import annotations

from typing import NamedTuple

from funreason.models.architecture import Architecture
from funreason.models.footprint import UpdateShape, key_value_bytes


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


class Pace(NamedTuple):
    """What share of a chip's two speeds is reached."""

    mfu: float = 0.4
    bandwidth_share: float = 0.5


def flops_per_token(model: Architecture, length: float) -> float:
    """The model's own arithmetic per trained token, forward and backward, at a mean sequence length."""
    return 6.0 * model.multiplied + 6.0 * model.layers * model.queries * length


def update_seconds(
    model: Architecture, shape: UpdateShape, chip: Chip, pace: Pace, *, tokens: float, length: float
) -> float:
    """Seconds to train on `tokens`, padding included, with all processes."""
    # In thirds of forward-and-backward: frozen weights need no gradient of their own, checkpoints another forward.
    thirds = (2 if shape.lora is not None else 3) + shape.checkpointing
    work = flops_per_token(model, length) * tokens * thirds / 3
    return work / (shape.processes * chip.tflops * 1e12 * pace.mfu)


def decoding_rate(model: Architecture, chip: Chip, pace: Pace, *, rows: int, length: float, item: int) -> float:
    """Tokens per second of one GPU that decodes `rows` at once, each with `length` tokens behind it.

    Every step reads all weights once and every row's keys and values; it also cannot beat its own arithmetic.
    """
    read = model.multiplied * item + rows * length * key_value_bytes(model, item)
    traffic = read / (chip.bandwidth * 1e12 * pace.bandwidth_share)
    arithmetic = 2.0 * model.multiplied * rows / (chip.tflops * 1e12 * pace.mfu)
    return rows / max(traffic, arithmetic)


def reading_seconds(model: Architecture, chip: Chip, pace: Pace, *, tokens: float) -> float:
    """Seconds of one GPU to read `tokens` of prompts."""
    return 2.0 * model.multiplied * tokens / (chip.tflops * 1e12 * pace.mfu)
