"""How many tokens one forward pass holds, where the settings leave it open: as many as fit the memory that is free.

The arithmetic is the plan's (`plan.cost_model.pass_tokens`), so that a run does what `funreason plan` counted with.
What the formula gets wrong, out-of-memory halving corrects.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from funreason.config.updates import Update
from funreason.errors import ModelError
from funreason.plan.architecture import architecture_of
from funreason.plan.cost_model import (
    CPU_PASS_TOKENS,
    MOST_PASS_TOKENS,
    PASS_SHARE,
    LoraShape,
    UpdateShape,
    pass_tokens,
)
from funreason.training.parallel import Ranks, trainable
from funreason.training.types import Strategy

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GIB = 2**30
LEARNED_BYTES = 16
"""Of each number that learns: itself, its gradient and two moments, all in float32."""
EXPECTED_TOKENS = MOST_PASS_TOKENS // 2
"""What the LM head is chosen for, before it is known how many tokens a pass will hold."""


class PassSize(NamedTuple):
    """Padded tokens of one forward pass at most, and why so many, in words."""

    tokens: int
    why: str


def free_bytes(device: torch.device) -> float:
    """Bytes of a GPU that a new tensor could take: what no process has, and what torch keeps without using it."""
    free, _ = torch.cuda.mem_get_info(device)
    return float(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def room_for_passes(model: PreTrainedModel) -> float:
    """Bytes of a GPU that will be left to forward and backward passes of `model`, which has been loaded and no more."""
    pending = sum((LEARNED_BYTES - p.element_size()) * p.numel() for p in trainable(model).values())
    return free_bytes(model.device) - pending


def choose_pass_size(
    model: PreTrainedModel, update: Update, ranks: Ranks, strategy: Strategy, *, item: int, head_chunk: int | None
) -> PassSize:
    """`update.micro_tokens`, or what fits. Call it on every rank, with the model in place and before the first step.

    Args:
        item: bytes of a number in forward and backward passes.
        head_chunk: tokens whose logits are held at a time; None where all of them are.
    """
    if update.micro_tokens is not None:
        return PassSize(update.micro_tokens, "as configured")
    if ranks.device.type != "cuda":
        return PassSize(CPU_PASS_TOKENS, f"the default on a {ranks.device.type.upper()}")
    free = free_bytes(ranks.device)
    lora = None if update.lora is None else LoraShape(update.lora.rank, tuple(update.lora.targets))
    shape = UpdateShape(0, item, update.gradient_checkpointing, lora, strategy, ranks.size, head_chunk)
    config = model.config.get_text_config().to_dict()
    try:
        architecture = architecture_of(config, type(model).__name__, Path("config.json"))
        fitting = pass_tokens(architecture, shape, PASS_SHARE * free, weights_placed=True)
        why = f"what {free / GIB:.1f} GiB of free memory hold"
    except (ModelError, ValueError) as error:  # another family, or adapters on modules that the formula does not know
        fitting, why = CPU_PASS_TOKENS, f"the default, because no more is known: {error}"
    # Ranks work in lockstep, so the fullest GPU decides for all.
    smallest = ranks.smallest(fitting)
    return PassSize(smallest, why if smallest == fitting else "what the fullest GPU holds")
