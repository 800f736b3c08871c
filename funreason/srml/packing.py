"""Whether several samples may share a row: only where attention keeps apart what begins at position 0.

Flash and flex attention do, and cost no more than the samples' own lengths; other kernels get a mask as large as the
row squared, which on a CPU is slower than padding samples of like length. A model may still mix neighbours (recurrent
layers know no positions), so it is tried: another first sample must leave the second one's output alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from funreason.srml.errors import TrainingError
from funreason.srml.examples import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHEAP = ("flash", "flex")
TRIED = 5
"""Tokens in each of the two samples of the trial."""


def packs(model: PreTrainedModel, settings: TrainSettings) -> bool:
    """Whether micro-batches are packed; TrainingError where `settings.pack` asks for it and samples would mix."""
    kernel = str(getattr(model.config, "_attn_implementation", ""))
    if settings.pack == "never" or (settings.pack == "auto" and not any(name in kernel for name in CHEAP)):
        return False
    apart = keeps_apart(model)
    if not apart and settings.pack == "always":
        raise TrainingError(
            f"pack: always cannot be used with this model: under its attention ({kernel or 'unnamed'}) a sample sees "
            "the one before it in its row. Use pack: auto or never."
        )
    return apart


def keeps_apart(model: PreTrainedModel) -> bool:
    """Whether a packed sample's logits are the same whatever stands before it. Two forward passes of ten tokens."""
    first, second = (
        torch.tensor([[*range(start, start + TRIED), *range(TRIED)]], device=model.device) % _vocabulary(model)
        for start in (TRIED, 2 * TRIED)
    )
    positions = torch.arange(TRIED, device=model.device).repeat(2).unsqueeze(0)
    training = model.training
    model.train(False)
    try:
        with torch.no_grad():
            one, other = (
                model(input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=TRIED).logits
                for ids in (first, second)
            )
    finally:
        model.train(training)
    return torch.allclose(one.float(), other.float(), atol=1e-5, rtol=1e-3)


def _vocabulary(model: PreTrainedModel) -> int:
    embedding = model.get_input_embeddings()
    return int(embedding.num_embeddings)  # type: ignore[arg-type]
