"""Reads a batch of prompts once, for all their completions, and checks that a model can be served this way.

All of a prompt but its last token is read here; the last one is left to the first decoding step, which needs its
logits. Padding stands on the right, where causal attention never looks, so reading needs no mask; decoding masks it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from funreason.models.errors import ModelError
from funreason.models.shared_prefix import Prefix, attending_with_shared_prefix, own_cache

PROBE_LENGTH = 5
PROBE_TOLERANCE = 0.02  # of the logits' spread: half precision stays within it, a wrong attention does not


def prefill(model: PreTrainedModel, prompts: list[list[int]]) -> Prefix:
    """Keys and values of `prompts` (token ids, at least one each), with one slot and one row per prompt."""
    device = model.device
    lengths = torch.tensor([len(ids) - 1 for ids in prompts], device=device)
    longest = int(lengths.max())
    cache = DynamicCache(config=model.config)
    if longest:
        padded = torch.tensor([ids[:-1] + [0] * (longest - len(ids) + 1) for ids in prompts], device=device)
        model(input_ids=padded, past_key_values=cache, use_cache=True, logits_to_keep=1)
    hidden = torch.arange(longest, device=device)[None] >= lengths[:, None]
    mask = torch.zeros(hidden.shape, dtype=model.dtype, device=device).masked_fill_(hidden, -torch.inf)
    stored = _stored(cache) if longest else _nothing(model, len(prompts))
    keys = [keys.transpose(-1, -2).contiguous() for keys, _ in stored]
    return Prefix(
        keys, [values for _, values in stored], mask[:, None, None], 1, torch.arange(len(prompts), device=device)
    )


def require_plain_attention(model: PreTrainedModel) -> None:
    """Raise ModelError for an architecture whose attention `shared_prefix` does not compute.

    What its config tells is asked first; the rest is found by computing one short prompt both ways.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if kinds != {"full_attention"} or window is not None or not model._supports_attention_backend:
        raise _refusal(model, f"layers {sorted(kinds)}, sliding window {window}")
    off = _probe(model)
    if off > PROBE_TOLERANCE:
        raise _refusal(model, f"a probe differs by {off:.0%} of the logits' spread")


@torch.inference_mode()
def _probe(model: PreTrainedModel) -> float:
    # The largest difference between both ways, over the spread of the logits; 0 for weights that are not finite,
    # which sampling itself reports.
    ids = [index % model.config.get_text_config().vocab_size for index in range(3, 3 + PROBE_LENGTH)]
    plain = model(input_ids=torch.tensor([ids], device=model.device), logits_to_keep=1).logits[0, -1].float()
    prefix = prefill(model, [ids])
    cache = own_cache(model.config.get_text_config().num_hidden_layers)
    with attending_with_shared_prefix(model):
        ours = model(
            input_ids=torch.tensor([ids[-1:]], device=model.device),
            position_ids=torch.tensor([[PROBE_LENGTH - 1]], device=model.device),
            past_key_values=cache,
            use_cache=True,
            shared_prefix=prefix,
        ).logits[0, -1]
    spread = float(plain.max() - plain.min())
    return float((plain - ours.float()).abs().max()) / spread if spread > 0 else 0.0


def _stored(cache: DynamicCache) -> list[tuple[Tensor, Tensor]]:
    stored = []
    for layer in cache.layers:
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if keys is None or values is None:
            raise ModelError("the model filled no attention cache; the in-process sampler needs one from every layer.")
        stored.append((keys, values))
    return stored


def _nothing(model: PreTrainedModel, prompts: int) -> list[tuple[Tensor, Tensor]]:
    # Prompts of a single token leave nothing to read: stores of length 0, one per layer.
    config = model.config.get_text_config()
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shape = (prompts, config.num_key_value_heads, 0, size)
    nothing = torch.empty(shape, dtype=model.dtype, device=model.device)
    return [(nothing, nothing)] * config.num_hidden_layers


def _refusal(model: PreTrainedModel, found: str) -> ModelError:
    return ModelError(
        f"{type(model).__name__} ({found}) has more than plain full attention, which the in-process sampler needs. "
        "Sample from it with an engine instead."
    )
