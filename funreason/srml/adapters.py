"""Low-rank adapters for the length of one training, through peft; plain weights before and behind it.

The adapters are merged when the training ends, so that whoever samples, saves or gates afterwards meets a model like
any other. They begin as nothing (the second matrix is zero) and from the settings' seed, so a resumed training and
other processes begin alike. Adapters learn in float32 even over weights in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from funreason.srml.errors import TrainingError
from funreason.srml.examples import LoraSettings, TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"  # peft's word for every linear module but the head


@contextmanager
def adapted(model: PreTrainedModel, settings: TrainSettings, *, merge: bool = True) -> Iterator[None]:
    """With `settings.lora`, only adapters learn inside the block, and they are merged into the weights behind it.

    Without `merge` they stay: a model that lies over several processes has no whole weights to merge them into.

    Raises TrainingError when peft is not installed, or when no module of the model has a name that is asked for.
    """
    if settings.lora is None:
        yield
        return
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adapters = _inject(model, settings.lora, settings.seed)
    try:
        yield
    finally:
        if merge:
            adapters.merge_and_unload()
        for parameter in learnt:
            parameter.requires_grad_(True)


def _inject(model: PreTrainedModel, lora: LoraSettings, seed: int) -> Any:
    try:
        from peft import LoraConfig, LoraModel
    except ImportError as error:
        raise TrainingError(
            f"update.lora needs peft, which cannot be imported ({error}). Install it: pip install 'funreason[lora]'."
        ) from error
    wanted = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or ALL_LINEAR,
    )
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            adapters = LoraModel(model, wanted, "default")
    except ValueError as error:
        raise TrainingError(f"update.lora.targets is {list(lora.targets)}: {error}") from error
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapters
