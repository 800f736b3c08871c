"""Attention in which the completions of one prompt share that prompt's keys and values.

A prompt is stored once, however many completions it has, and read once per step: its rows' queries form one
matrix product. Each row keeps only the keys of its own tokens. transformers' models reach this code through the
attention interface (its documented extension point), so any architecture with plain full attention works unchanged.

Shapes: P prompts, R rows (completions still running), G slots per prompt, H query heads, K key heads, D head size,
L prompt length, T tokens a row has of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from funreason.errors import ModelError

ATTENTION_NAME = "funreason_shared_prefix"
GROWTH = 32  # positions a row's own store grows by: growing one by one would copy everything at every step


@dataclass(slots=True)
class Prefix:
    """The prompts' keys and values [P, K, L, D], per layer; `mask` [P, 1, 1, L] is -inf on padding."""

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor
    slots: int
    """G: the most completions any one prompt has."""
    slot_of_row: Tensor
    """[R], ascending: prompt * G + completion index, the place of row r's queries in the product with its prompt."""
    own_mask: Tensor | None = None
    """[1, 1, 1, capacity], -inf on what is not filled yet, where rows answer with whole stores (`OwnLayer.fixed`)."""

    @property
    def prompts(self) -> int:
        """P, the prompts still held."""
        return int(self.mask.shape[0])

    @property
    def filled(self) -> bool:
        """Whether every slot holds a row, so that rows are in the order of their slots."""
        return self.slot_of_row.shape[0] == self.mask.shape[0] * self.slots

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
    """One layer's keys and values of the rows' own tokens, [R, K, capacity, D], the first `length` filled.

    With `fixed`, a tensor that holds one index, the store has one shape and address from step to step: states are
    written at that index, the answer is the whole store, and `length` is left to whoever sets the index.
    """

    keys: Tensor
    values: Tensor

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.length, self.growth = 0, GROWTH
        self.fixed: Tensor | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make an empty store shaped like the first states."""
        self.keys, self.values = _empty(key_states, GROWTH), _empty(value_states, GROWTH)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Add states [R, K, 1, D]; the answer is the filled part [R, K, T, D], a view."""
        if self.fixed is not None:
            self.keys.index_copy_(2, self.fixed, key_states)
            self.values.index_copy_(2, self.fixed, value_states)
            return self.keys, self.values
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        elif self.full:
            self._copy(None)
        self.keys[:, :, self.length] = key_states[:, :, 0]
        self.values[:, :, self.length] = value_states[:, :, 0]
        self.length += 1
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    @property
    def full(self) -> bool:
        """Whether another token needs a larger store."""
        return self.length == self.keys.shape[2]

    def grow(self) -> None:
        """Twice a store that is full; what is not filled is zero, because a masked nan would still be a nan."""
        if self.full:
            self.growth = self.length
        self._copy(None)
        self.keys[:, :, self.length :] = 0
        self.values[:, :, self.length :] = 0

    def select(self, rows: Tensor) -> None:
        """Keep `rows`, in that order; an index may come more than once."""
        self._copy(rows)

    def get_seq_length(self) -> int:
        """T, the tokens each row has of its own."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of a mask; this attention uses no mask."""
        return self.length + query_length, 0

    def get_max_length(self) -> int:
        """-1: the store grows."""
        return -1

    def _copy(self, rows: Tensor | None) -> None:
        capacity = (self.length // self.growth + 1) * self.growth
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
    key_heads = key.shape[1]
    grouped = query.view(rows, key_heads, heads // key_heads, size) * scaling
    layer: int = module.layer_idx  # type: ignore[assignment]
    own = grouped @ key.transpose(-1, -2)
    if shared_prefix.own_mask is not None:
        own = own + shared_prefix.own_mask
    shared = _over_prompts(grouped, shared_prefix, shared_prefix.keys[layer].transpose(-1, -2), shared_prefix.mask)
    precise = torch.promote_types(query.dtype, torch.float32)
    weights = torch.softmax(torch.cat([shared, own], dim=-1), dim=-1, dtype=precise).to(query.dtype)
    length = shared.shape[-1]
    mixed = _over_prompts(weights[..., :length], shared_prefix, shared_prefix.values[layer], None)
    mixed += weights[..., length:] @ value
    return mixed.reshape(rows, 1, heads, size), None


def _over_prompts(rows: Tensor, prefix: Prefix, matrix: Tensor, mask: Tensor | None) -> Tensor:
    # rows [R, K, Q, X] times their prompt's matrix [P, K, X, Y] -> [R, K, Q, Y]: rows go to their slots, so that
    # one product per prompt serves all of its completions; the slots of finished rows hold zeros and are not read.
    _, key_heads, queries, inner = rows.shape
    filled, prompts, in_slots = prefix.filled, prefix.prompts, rows
    if not filled:
        in_slots = rows.new_zeros(prompts * prefix.slots, key_heads, queries, inner)
        in_slots[prefix.slot_of_row] = rows
    if prefix.slots > 1:
        in_slots = in_slots.view(prompts, prefix.slots, key_heads, queries, inner).transpose(1, 2)
    product = in_slots.reshape(prompts, key_heads, prefix.slots * queries, inner) @ matrix
    if mask is not None:
        product += mask
    if prefix.slots > 1:
        apart = product.view(prompts, key_heads, prefix.slots, queries, -1).transpose(1, 2)
        product = apart.reshape(prompts * prefix.slots, key_heads, queries, -1)
    return product if filled else product[prefix.slot_of_row]


def attending_with_shared_prefix(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Inside the block `model` uses this attention; after it, its own again."""
    AttentionInterface.register(ATTENTION_NAME, shared_prefix_attention)
    return attending(model, ATTENTION_NAME)


@contextmanager
def attending(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Inside the block `model` uses the attention that is registered as `name`; after it, its own again."""
    before = model.config._attn_implementation
    model.config._attn_implementation = name
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


# Reads a batch of prompts once, for all their completions, and checks that a model can be served this way.
#
# All of a prompt but its last token is read here; the last one is left to the first decoding step, which needs its
# logits. Padding is on the right, where causal attention never looks, so reading needs no mask; decoding masks it.

CPU_PASS_TOKENS = 2048
"""Padded tokens of one pass on a CPU: states that stay in its caches, and little padding. With a 0.9M model 256 prompts
of 45 to 197 tokens took 2.3 CPU-seconds in one pass, 0.9 this way."""
PROBE_LENGTH = 5
PROBE_TOLERANCE = 0.02  # of the logits' spread: half precision mostly stays within it, a wrong attention does not
HALF_PRECISION_FACTOR = 4.0
"""A deep model in half precision may differ by as many times what two right attentions of torch differ by."""


def prefill(model: PreTrainedModel, prompts: list[list[int]]) -> Prefix:
    """Keys and values of `prompts` (token ids, at least one each), with one slot and one row per prompt.

    On a CPU prompts of like length are read together, CPU_PASS_TOKENS at a time.
    """
    device = model.device
    read = [ids[:-1] for ids in prompts]
    lengths = torch.tensor([len(ids) for ids in read], device=device)
    longest = max(map(len, read))
    passes = _passes(read) if device.type == "cpu" else [list(range(len(read)))]
    keys, values = _nothing(model, len(prompts)), _nothing(model, len(prompts))
    for some in passes if longest else []:
        padded_to = max(len(read[at]) for at in some)
        cache = DynamicCache(config=model.config)
        ids = torch.tensor([read[at] + [0] * (padded_to - len(read[at])) for at in some], device=device)
        model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        stored = _stored(cache)
        if len(passes) == 1:
            keys, values = [states for states, _ in stored], [states for _, states in stored]
            break
        if some is passes[0]:
            # Zeros, because what padding holds is multiplied by the weight 0 that its mask gives it.
            keys, values = ([_zeros(states[kind], len(read), longest) for states in stored] for kind in (0, 1))
        places = torch.tensor(some, device=device)
        for key_store, value_store, (key_states, value_states) in zip(keys, values, stored, strict=True):
            key_store[places, :, :padded_to] = key_states
            value_store[places, :, :padded_to] = value_states
    hidden = torch.arange(longest, device=device)[None] >= lengths[:, None]
    mask = torch.zeros(hidden.shape, dtype=model.dtype, device=device).masked_fill_(hidden, -torch.inf)
    return Prefix(keys, values, mask[:, None, None], 1, torch.arange(len(prompts), device=device))


def _passes(read: list[list[int]]) -> list[list[int]]:
    """Which prompts to read together, longest first; prompts without a token are in none."""
    order = sorted((at for at in range(len(read)) if read[at]), key=lambda at: -len(read[at]))
    passes: list[list[int]] = []
    for at in order:
        if not passes or (len(passes[-1]) + 1) * len(read[passes[-1][0]]) > CPU_PASS_TOKENS:
            passes.append([])
        passes[-1].append(at)
    # A single pass gives its states as they are: in the order of the prompts, and for all of them.
    return passes if len(passes) != 1 else [list(range(len(read)))]


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
    if off > PROBE_TOLERANCE and (model.dtype == torch.float32 or off > HALF_PRECISION_FACTOR * _rounding(model)):
        raise _refusal(model, f"a probe differs by {off:.0%} of the logits' spread")


@torch.inference_mode()
def _rounding(model: PreTrainedModel) -> float:
    """How far two right ways to attend are apart in the model's own precision, over the spread of the logits."""
    ids = torch.tensor([_probe_ids(model)], device=model.device)
    before, found = model.config._attn_implementation, []
    try:
        for way in ("eager", "sdpa"):
            model.config._attn_implementation = way
            found.append(model(input_ids=ids, logits_to_keep=1).logits[0, -1].float())
    finally:
        model.config._attn_implementation = before
    spread = float(found[0].max() - found[0].min())
    return float((found[0] - found[1]).abs().max()) / spread if spread > 0 else 0.0


def _probe_ids(model: PreTrainedModel) -> list[int]:
    return [index % model.config.get_text_config().vocab_size for index in range(3, 3 + PROBE_LENGTH)]


@torch.inference_mode()
def _probe(model: PreTrainedModel) -> float:
    # The largest difference between both ways, over the spread of the logits; 0 for weights that are not finite,
    # which sampling itself reports.
    ids = _probe_ids(model)
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


def _zeros(states: Tensor, prompts: int, longest: int) -> Tensor:
    return states.new_zeros(prompts, states.shape[1], longest, states.shape[3])


def _nothing(model: PreTrainedModel, prompts: int) -> list[Tensor]:
    # Prompts of a single token leave nothing to read: stores of length 0, one per layer.
    config = model.config.get_text_config()
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shape = (prompts, config.num_key_value_heads, 0, size)
    return [torch.empty(shape, dtype=model.dtype, device=model.device)] * config.num_hidden_layers


def _refusal(model: PreTrainedModel, found: str) -> ModelError:
    return ModelError(
        f"{type(model).__name__} ({found}) has more than plain full attention, which the in-process sampler needs. "
        "Sample from it with an engine instead."
    )
