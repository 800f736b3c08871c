"""Low-rank adapters (arXiv 2106.09685) for the length of one training, through peft; plain weights before and after.

The adapters are merged when the training ends, so that sampling, saving and the gate get a model like any other. They
start as zero (the second matrix is) and from the seed, so a resumed training and other processes start alike. Adapters
learn in float32 even over weights in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from funreason.config.updates import Lora
from funreason.training.types import TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"  # peft's name for every linear module except the head


@contextmanager
def adapted(model: PreTrainedModel, lora: Lora | None, seed: int, *, merge: bool = True) -> Iterator[None]:
    """With `lora`, only adapters learn inside the block; they are merged into the weights after it.

    Without `merge` they stay: a sharded model has no whole weights to merge them into. Raises TrainingError when peft
    is not installed, or when no module of the model has a name in `lora.targets`.
    """
    if lora is None:
        yield
        return
    try:
        from peft import LoraConfig, LoraModel
    except ImportError as error:
        raise TrainingError(
            f"update.lora needs peft, which cannot be imported ({error}). Install it: pip install 'funreason[lora]'."
        ) from error
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or ALL_LINEAR,
    )
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            adapters = LoraModel(model, config, "default")
    except ValueError as error:
        raise TrainingError(f"update.lora.targets is {list(lora.targets)}: {error}") from error
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    try:
        yield
    finally:
        if merge:
            adapters.merge_and_unload()
        for parameter in learned:
            parameter.requires_grad_(True)
