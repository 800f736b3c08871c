"""Attention in which the completions of one prompt share that prompt's keys and values.

A prompt is stored once, however many completions it has, and read once per step: its rows' queries form one
matrix product. Each row keeps only the keys of its own tokens. transformers' models reach this code through the
attention interface (its documented extension point), so any architecture with plain full attention works unchanged.

Shapes: P prompts, R rows (completions still running), G slots per prompt, H query heads, K key heads, D head size,
L prompt length, T tokens a row has of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

ATTENTION_NAME = "funreason_shared_prefix"
GROWTH = 32  # positions a row's own store grows by: growing one by one would copy everything at every step


@dataclass(slots=True)
class Prefix:
    """The prompts' keys [P, K, D, L] and values [P, K, L, D], per layer; `mask` [P, 1, 1, L] is -inf on padding.

    Keys stand transposed, as the product wants them: done once here, it would otherwise cost at every step.
    """

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor
    slots: int
    """G: the most completions any one prompt has."""
    slot_of_row: Tensor
    """[R]: prompt * G + completion index, where row r's queries stand in the product with its prompt."""

    @property
    def prompts(self) -> int:
        """P, the prompts still held."""
        return int(self.mask.shape[0])

    def drop_prompts(self, kept: Tensor) -> None:
        """Keep only the prompts `kept` (ascending indices); rows must already refer to nothing else."""
        renumbered = torch.full((self.prompts,), -1, dtype=torch.long, device=kept.device)
        renumbered[kept] = torch.arange(len(kept), device=kept.device)
        prompt, slot = self.slot_of_row // self.slots, self.slot_of_row % self.slots
        self.slot_of_row = renumbered[prompt] * self.slots + slot
        self.keys = [keys[kept] for keys in self.keys]
        self.values = [values[kept] for values in self.values]
        self.mask = self.mask[kept]


class OwnLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's keys and values of the rows' own tokens, [R, K, capacity, D], the first `length` filled."""

    keys: Tensor
    values: Tensor

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make an empty store shaped like the first states."""
        self.keys, self.values = _empty(key_states, GROWTH), _empty(value_states, GROWTH)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Add states [R, K, 1, D]; the answer is the filled part [R, K, T, D], a view."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        elif self.length == self.keys.shape[2]:
            self._copy(None)
        self.keys[:, :, self.length] = key_states[:, :, 0]
        self.values[:, :, self.length] = value_states[:, :, 0]
        self.length += 1
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def select(self, rows: Tensor) -> None:
        """Keep `rows`, in that order; an index may come more than once."""
        self._copy(rows)

    def get_seq_length(self) -> int:
        """T, the tokens each row has of its own."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset a mask would need; none is made for this attention."""
        return self.length + query_length, 0

    def get_max_length(self) -> int:
        """-1: the store grows."""
        return -1

    def _copy(self, rows: Tensor | None) -> None:
        capacity = (self.length // GROWTH + 1) * GROWTH
        self.keys = _moved(self.keys, rows, self.length, capacity)
        self.values = _moved(self.values, rows, self.length, capacity)


def own_cache(layers: int) -> Cache:
    """An empty cache for the rows' own tokens, one OwnLayer per layer of the model."""
    return Cache(layers=[OwnLayer() for _ in range(layers)])


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    shared_prefix: Prefix | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """One decoding step: query [R, H, 1, D] over the prompt's keys and the row's own [R, K, T, D].

    Gives [R, 1, H, D], as transformers' attention functions do. Softmax is taken once, over both parts, in float32 at
    least. Without `shared_prefix` it is plain causal attention, which is how the prompts themselves are read.
    """
    if shared_prefix is None:
        return sdpa_attention_forward(module, query, key, value, None, scaling=scaling)
    rows, heads, _, size = query.shape
    per_key = heads // key.shape[1]
    grouped = query.view(rows, key.shape[1], per_key, size) * scaling
    layer: int = module.layer_idx  # type: ignore[assignment]
    own = grouped @ key.transpose(-1, -2)
    shared = _over_prompts(grouped, shared_prefix, shared_prefix.keys[layer], shared_prefix.mask)
    precise = torch.promote_types(query.dtype, torch.float32)
    weights = torch.softmax(torch.cat([shared, own], dim=-1), dim=-1, dtype=precise).to(query.dtype)
    on_prompt, on_own = torch.split(weights, [shared.shape[-1], own.shape[-1]], dim=-1)
    mixed = on_own @ value + _over_prompts(on_prompt, shared_prefix, shared_prefix.values[layer], None)
    return mixed.reshape(rows, 1, heads, size), None


def _over_prompts(rows: Tensor, prefix: Prefix, matrix: Tensor, mask: Tensor | None) -> Tensor:
    # rows [R, K, Q, X] times their prompt's matrix [P, K, X, Y] -> [R, K, Q, Y]: rows go to their slots, so that
    # one product per prompt serves all of its completions; the slots of finished rows hold zeros and are not read.
    _, key_heads, queries, inner = rows.shape
    slots = rows.new_zeros(prefix.prompts * prefix.slots, key_heads, queries, inner)
    slots[prefix.slot_of_row] = rows
    stacked = slots.view(prefix.prompts, prefix.slots, key_heads, queries, inner).transpose(1, 2)
    product = stacked.reshape(prefix.prompts, key_heads, prefix.slots * queries, inner) @ matrix
    if mask is not None:
        product = product + mask
    apart = product.view(prefix.prompts, key_heads, prefix.slots, queries, -1).transpose(1, 2)
    return apart.reshape(prefix.prompts * prefix.slots, key_heads, queries, -1)[prefix.slot_of_row]


@contextmanager
def attending_with_shared_prefix(model: PreTrainedModel) -> Iterator[None]:
    """Let `model` use this attention inside the block, and its own again behind it."""
    AttentionInterface.register(ATTENTION_NAME, shared_prefix_attention)
    before = model.config._attn_implementation
    model.config._attn_implementation = ATTENTION_NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before


def _empty(like: Tensor, capacity: int) -> Tensor:
    return like.new_empty(like.shape[0], like.shape[1], capacity, like.shape[3])


def _moved(store: Tensor, rows: Tensor | None, filled: int, capacity: int) -> Tensor:
    count = store.shape[0] if rows is None else len(rows)
    fresh = store.new_empty(count, store.shape[1], capacity, store.shape[3])
    part = store[:, :, :filled]
    fresh[:, :, :filled] = part if rows is None else part[rows]
    return fresh
