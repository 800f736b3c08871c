"""The base model before training: a small Llama with an induction head written into its first two layers.

A head in layer 0 looks one token back and writes that token's code into the residual stream; a head in layer 1
looks for the place whose predecessor is the current token, and predicts what stood there. Copying values is most of
function calling, and a model of this size needs long to find that circuit by itself. (In an earlier experiment the
written heads reached in 40 CPU-seconds what the usual initialisation did not reach in 120.)

Its attention has biases, so it equals a Qwen2, but it is not called one: for that type transformers replaces a
tokenizer's own word splitting by Qwen's.
"""

from __future__ import annotations

import math

import torch
from transformers import LlamaConfig, LlamaForCausalLM

ROPE_THETA = 1e6
"""High, so that most pairs of a head hardly turn within a prompt and can carry codes that do not depend on distance."""
TURNING = 5
"""Pairs of a head that turn fast enough to tell one token back from two."""


def new_model(seed: int, vocabulary: int, pad: int, end: int, width: int = 128) -> LlamaForCausalLM:
    """A fresh float32 model for `vocabulary` entries, induction heads written in."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=4,
        num_attention_heads=width // 32,
        num_key_value_heads=max(1, width // 64),
        head_dim=32,
        attention_bias=True,
        rms_norm_eps=1e-6,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        pad_token_id=pad,
        eos_token_id=end,
        bos_token_id=None,
        initializer_range=0.02,
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = end
    model.generation_config.pad_token_id = pad
    model.generation_config.max_new_tokens = 160
    with torch.no_grad():
        model.model.embed_tokens.weight.normal_(0, 0.05)
        _write_induction(model, 32)
    return model


def _write_induction(model: LlamaForCausalLM, head: int) -> None:
    width, half, still = model.config.hidden_size, head // 2, head // 2 - TURNING
    basis = torch.linalg.qr(torch.randn(width, width)).Q.T
    read, code = basis[:head], basis[head : 2 * head]
    back, match = model.model.layers[0].self_attn, model.model.layers[1].self_attn

    # Layer 0, head 0: a fixed pair of biases whose product peaks one token back; it moves each token's code on.
    angles = ROPE_THETA ** (-torch.arange(half) / half)
    strength = torch.zeros(half)
    strength[:TURNING] = 9.0
    for pair in range(half):
        turn, size = angles[pair].item(), math.sqrt(strength[pair].item() * math.sqrt(head))
        back.k_proj.bias[pair] = size
        back.q_proj.bias[pair], back.q_proj.bias[half + pair] = size * math.cos(turn), -size * math.sin(turn)
    back.q_proj.weight[:head] *= 0.1
    back.k_proj.weight[:head] *= 0.1
    back.v_proj.weight[:head] = read * 0.5
    back.o_proj.weight[:, :head] = code.T * 0.1

    # Layer 1, head 0: the current token's code against those moved codes, in the pairs that hardly turn.
    slots = torch.tensor([*range(TURNING, half), *range(half + TURNING, head)])
    match.q_proj.weight[:head] *= 0.1
    match.k_proj.weight[:head] *= 0.1
    match.q_proj.weight[slots] = read[: 2 * still] * 2.2
    match.k_proj.weight[slots] = code[: 2 * still] * 2.2
    match.v_proj.weight[:head] = read * 0.5
    match.o_proj.weight[:, :head] = read.T * 2.0
