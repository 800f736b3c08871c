"""AdamW and its learning rate, a function of the step alone, so that a resumed training needs no scheduler state."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from funreason.srml.examples import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def optimizer_for(model: PreTrainedModel, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW over the parameters that learn; weight decay on matrices only."""
    # Norms and biases are not decayed: they set scales, and pulling them to zero shrinks the signal.
    kinds: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    for parameter in model.parameters():
        if parameter.requires_grad:
            kinds[parameter.ndim > 1].append(parameter)
    groups = [
        {"params": kinds[True], "weight_decay": settings.weight_decay},
        {"params": kinds[False], "weight_decay": 0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)


def learning(model: PreTrainedModel) -> dict[str, torch.nn.Parameter]:
    """The parameters that learn, by name. Under adapters the others stay as they were loaded."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def rate(step: int, steps: int, settings: TrainSettings) -> float:
    """The learning rate of `step` (1 … steps): a linear warm-up, then the schedule down to `final_lr_ratio`."""
    asked = settings.warmup_steps
    warmup = min(steps - 1, asked if asked is not None else round(settings.warmup_ratio * steps))
    if step <= warmup:
        return settings.lr * step / warmup
    # Counted so that the first step behind the warm-up has the full rate and a step beyond the last would have none.
    left = (steps + 1 - step) / (steps - warmup) if steps > warmup else 1.0
    shape = {"constant": 1.0, "linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2}[settings.schedule]
    floor = 1.0 if settings.schedule == "constant" else settings.final_lr_ratio
    return settings.lr * (floor + (1 - floor) * shape)
