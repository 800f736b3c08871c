"""The decoding step of a Llama-like model on a CPU, in as few operations as it takes.

A step of a small model is hundreds of short operations, and Python and dispatch take as long as the arithmetic: of a
0.9M model with 8 rows, transformers' modules take 5 ms a step, these functions 1. They read the model's own parameters
at every step and keep nothing, so the model may be trained in between.

The model's class is not asked. Its modules must have the names and types of Llama's (so do Qwen 2 and 3, Mistral and
SmolLM), without adapters and hooks, in float32 or float64; and a few steps must give the logits that its own code
gives. Where either fails, and for whatever is not a decoding step, its own code runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, rms_norm
from transformers import PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast

from funreason.policies.huggingface.prefill import (
    Prefix,
    attending_with_shared_prefix,
    own_cache,
    prefill,
    shared_prefix_attention,
)

TOLERANCE = 1e-4
"""Of the logits' spread. In float32 the two ways differ by rounding, 1e-6; another architecture by more than this."""
EXACT = (torch.float32, torch.float64)
PROOF_STEPS = 3
PROOF_PROMPTS = ([3, 4, 5, 6, 7], [8, 9, 10])

DECODER = {"embed_tokens", "layers", "norm", "rotary_emb"}
LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
HEAD_NORMS = {"q_norm", "k_norm"}
MLP = {"gate_proj", "up_proj", "down_proj", "act_fn"}


class LeanDecoder:
    """Whether a model's decoding steps may be lean; `used` runs them so."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.decoder: Any = model.base_model
        self.on = model.device.type == "cpu" and model.dtype in EXACT and _looks_like_llama(self.decoder)
        if self.on:
            training = model.training
            model.train(False)
            try:
                self.on = self._difference() <= TOLERANCE
            except (RuntimeError, TypeError, ValueError, AttributeError):  # of shapes and arguments: another model
                self.on = False
            finally:
                model.train(training)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Inside the block the model's decoding steps are lean, where that was proved."""
        if not self.on or not _looks_like_llama(self.decoder):  # hooks or adapters may have come since
            yield
            return
        own_forward, layers = self.decoder.forward, [_layer(layer) for layer in self.decoder.layers]

        def forward(
            input_ids: Tensor | None = None,
            position_ids: Tensor | None = None,
            past_key_values: Cache | None = None,
            shared_prefix: Prefix | None = None,
            **others: Any,
        ) -> Any:
            if input_ids is None or position_ids is None or past_key_values is None or shared_prefix is None:
                given: dict[str, Any] = {
                    "input_ids": input_ids, "position_ids": position_ids, "past_key_values": past_key_values
                }  # fmt: skip
                if shared_prefix is not None:
                    given["shared_prefix"] = shared_prefix
                return own_forward(**given, **others)
            hidden: Any = _step(self.decoder, layers, input_ids[:, 0], position_ids, past_key_values, shared_prefix)
            return BaseModelOutputWithPast(last_hidden_state=hidden[:, None], past_key_values=past_key_values)

        self.decoder.forward = forward
        try:
            yield
        finally:
            del self.decoder.forward  # the class's own is found again

    @torch.inference_mode()
    def _difference(self) -> float:
        """How far lean logits are from the model's own after the same tokens, over the logits' spread."""
        model, config = self.model, self.model.config.get_text_config()
        prompts = [[index % config.vocab_size for index in ids] for ids in PROOF_PROMPTS]
        tokens = torch.tensor([ids[-1] for ids in prompts])
        position = torch.tensor([len(ids) - 1 for ids in prompts])
        caches = [own_cache(config.num_hidden_layers) for _ in range(2)]
        worst = 0.0
        with attending_with_shared_prefix(model):
            prefix = prefill(model, prompts)
            prefixes = (prefix, replace(prefix))

            def step(which: int) -> Tensor:
                logits: Tensor = model(
                    input_ids=tokens[:, None], position_ids=position[:, None], past_key_values=caches[which],
                    use_cache=True, shared_prefix=prefixes[which],
                ).logits[:, -1]  # fmt: skip
                return logits

            for _ in range(PROOF_STEPS):
                plain = step(0)
                with self.used():
                    lean = step(1)
                spread = float(plain.max() - plain.min())
                if spread > 0:  # weights that are not finite are reported when they sample
                    worst = max(worst, float((plain - lean).abs().max()) / spread)
                tokens, position = plain.argmax(-1), position + 1
        return worst


class Layer(NamedTuple):
    """What a step reads of one layer: weights [out, in] and biases, and the modules that have no weights."""

    attention: nn.Module
    size: int
    scaling: float
    before: tuple[Tensor, float]
    heads: list[tuple[Tensor, Tensor | None]]
    """Of query, key and value."""
    head_norms: list[tuple[Tensor, float]]
    """Of query and key, where there are any."""
    out: tuple[Tensor, Tensor | None]
    between: tuple[Tensor, float]
    gate: tuple[Tensor, Tensor | None]
    up: tuple[Tensor, Tensor | None]
    activation: nn.Module
    down: tuple[Tensor, Tensor | None]


def _layer(layer: Any) -> Layer:
    # Once a call of the sampler: looking modules up costs more than a short operation.
    attention, mlp = layer.self_attn, layer.mlp
    q, k, v, out, gate, up, down = (
        (part.weight, part.bias)
        for part in (
            attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj,
            mlp.gate_proj, mlp.up_proj, mlp.down_proj,
        )
    )  # fmt: skip
    head_norms = [_norm(attention.q_norm), _norm(attention.k_norm)] if hasattr(attention, "q_norm") else []
    before, between = _norm(layer.input_layernorm), _norm(layer.post_attention_layernorm)
    return Layer(
        attention, attention.head_dim, attention.scaling, before, [q, k, v], head_norms, out, between,
        gate, up, mlp.act_fn, down,
    )  # fmt: skip


def _norm(norm: Any) -> tuple[Tensor, float]:
    return norm.weight, norm.variance_epsilon


def _step(decoder: Any, layers: list[Layer], ids: Tensor, position: Tensor, cache: Cache, prefix: Prefix) -> Tensor:
    # Tokens [R] at position [R, 1] -> hidden states [R, C] after the last norm.
    rows = ids.shape[0]
    hidden = embedding(ids, decoder.embed_tokens.weight)
    cos, sin = decoder.rotary_emb(hidden[:, None], position_ids=position)
    half = sin.shape[-1] // 2
    signed = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
    for index, layer in enumerate(layers):
        normed = _normed(hidden, layer.before)
        query, key, value = [linear(normed, *part).view(rows, -1, layer.size) for part in layer.heads]
        if layer.head_norms:
            query, key = _normed(query, layer.head_norms[0]), _normed(key, layer.head_norms[1])
        query, key = _turned(query, cos, signed, half), _turned(key, cos, signed, half)
        keys, values = cache.update(key[:, :, None], value[:, :, None], index)
        mixed, _ = shared_prefix_attention(
            layer.attention, query[:, :, None], keys, values, None, layer.scaling, shared_prefix=prefix
        )
        hidden = _added(hidden, mixed.view(rows, -1), *layer.out)
        normed = _normed(hidden, layer.between)
        gated = layer.activation(linear(normed, *layer.gate)).mul_(linear(normed, *layer.up))
        hidden = _added(hidden, gated, *layer.down)
    return _normed(hidden, _norm(decoder.norm))


def _turned(states: Tensor, cos: Tensor, signed: Tensor, half: int) -> Tensor:
    # The rotary embedding of [R, heads, D], with the signs of the turned half in the sine.
    return torch.addcmul(states * cos, torch.cat([states[..., half:], states[..., :half]], dim=-1), signed)


def _normed(states: Tensor, norm: tuple[Tensor, float]) -> Tensor:
    weight, epsilon = norm
    return rms_norm(states, weight.shape, weight, epsilon)


def _added(hidden: Tensor, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product = torch.addmm(hidden, states, weight.t())
    return product if bias is None else product.add_(bias)


def _looks_like_llama(decoder: Any) -> bool:
    if _children(decoder) != DECODER or type(decoder.embed_tokens) is not nn.Embedding:
        return False
    # A `forward` of the object itself is a hook by another name: accelerate places models so.
    if any(m._forward_pre_hooks or m._forward_hooks or "forward" in vars(m) for m in decoder.modules()):
        return False
    return all(
        _children(layer) == LAYER
        and _children(layer.self_attn) in (ATTENTION, ATTENTION | HEAD_NORMS)
        and _children(layer.mlp) == MLP
        and all(type(getattr(layer.self_attn, name)) is nn.Linear for name in ATTENTION)
        and all(type(getattr(layer.mlp, name)) is nn.Linear for name in MLP - {"act_fn"})
        for layer in decoder.layers
    )


def _children(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}
