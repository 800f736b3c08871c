"""Attention over rows that hold a prompt once and then several completions of it.

The prompt attends to itself causally. Each completion attends to the prompt, without a mask, and to itself causally.
On a CPU these are three calls of torch's flash kernel, and the two of a completion are merged by their log-sum-exps. No
key is copied and no mask is built, so time and memory follow the work that is left. Elsewhere a completion's keys are
those of the prompt and its own in one call, under a small mask.

transformers' models reach this code through the attention interface. Without a layout it is `sdpa`.

Shapes: B rows of T tokens, N completions of R tokens at most, H query heads, K key heads, D
head size, and in a row P tokens of its prompt and S of its completions.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from funreason.policies.huggingface.prefill import attending

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION_NAME = "funreason_shared_prompts"
PROOF_ROWS = 2
"""Rows of a layout that its proof computes: two show whether rows are kept apart."""
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
"""Relative norm of the difference from separate rows; half precision may differ by 2e-2."""


class Bucket(NamedTuple):
    """N completions of similar lengths, R tokens at most.

    Attributes:
        rows: the row of each, ascending.
        places: [N, R], indices of their tokens in the flattened rows [B * T]. A shorter completion repeats its last
            token: under causal attention that changes nothing before it.
        real: [N, R], False where a token is such a repetition.
    """

    rows: tuple[int, ...]
    places: Tensor
    real: Tensor


@dataclass(slots=True, eq=False)
class Layout:
    """Where prompts and completions are in B rows of `width` tokens, padding at the end.

    Attributes:
        prompts: P of each row.
        completions: the lengths of each row's completions, in their order; at least one, none of them 0.
        buckets: the completions again, each in one of them.
        fallback: why attention under this layout is computed with a dense mask; empty if it is not.
    """

    prompts: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    width: int
    buckets: list[Bucket]
    fallback: str = ""

    @classmethod
    def of(
        cls, prompts: Sequence[int], completions: Sequence[Sequence[int]], width: int, device: torch.device
    ) -> Layout:
        """The layout of rows with these lengths."""
        found: dict[int, list[tuple[int, int, int]]] = {}  # row, first place, length; by the length's power of two
        for row, (prompt, lengths) in enumerate(zip(prompts, completions, strict=True)):
            for length, end in zip(lengths, accumulate(lengths), strict=True):
                start = row * width + prompt + end - length
                found.setdefault((length - 1).bit_length(), []).append((row, start, length))
        buckets = []
        for members in found.values():
            rows = tuple(row for row, _, _ in members)
            starts, counts = torch.tensor([member[1:] for member in members], device=device).unbind(1)
            steps = torch.arange(int(counts.max()), device=device)
            last = (counts - 1).unsqueeze(1)
            places = starts.unsqueeze(1) + torch.minimum(steps, last)
            buckets.append(Bucket(rows, places, steps <= last))
        return cls(tuple(prompts), tuple(map(tuple, completions)), width, buckets)

    def mask(self) -> Tensor:
        """[B, 1, T, T], True where a query (third) may see a key (fourth)."""
        segments = torch.full((len(self.prompts), self.width), -1)
        for row, (prompt, lengths) in enumerate(zip(self.prompts, self.completions, strict=True)):
            segments[row, :prompt] = 0
            ids = torch.arange(1, len(lengths) + 1).repeat_interleave(torch.tensor(lengths))
            segments[row, prompt : prompt + len(ids)] = ids
        segments = segments.to(self.device)
        query, key = segments.unsqueeze(2), segments.unsqueeze(1)
        causal = torch.ones(self.width, self.width, dtype=torch.bool, device=segments.device).tril()
        return (((key == query) | ((key == 0) & (query > 0))) & causal).unsqueeze(1)

    @property
    def device(self) -> torch.device:
        """Where the indices are."""
        return self.buckets[0].places.device

    @property
    def shape_class(self) -> tuple[object, ...]:
        """What the kernels' choices depend on: lengths in powers of two, and which of them differ."""
        lengths = [length for row in self.completions for length in row]
        return (
            min(len(self.prompts), PROOF_ROWS),
            max(self.prompts).bit_length(),
            max(lengths).bit_length(),
            max(map(sum, self.completions)).bit_length(),
            len(set(self.prompts)) > 1,
            len(set(lengths)) > 1,
            min(map(len, self.completions)) == 1,
            min(self.prompts) == 0,
        )

    def first(self, rows: int) -> Layout:
        """The layout of the first `rows` rows alone."""
        prompts, completions = self.prompts[:rows], self.completions[:rows]
        width = max(prompt + sum(lengths) for prompt, lengths in zip(prompts, completions, strict=True))
        return Layout.of(prompts, completions, width, self.device)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def shared_prompts_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    shared_prompts: Layout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of query [B, H, T, D] over key and value [B, K, T, D] under a layout; gives [B, T, H, D].

    With a layout `attention_mask` is not read. The first use of a shape class proves it (`why_not`). Where the proof
    fails, and with dropout, a dense mask does the same, and the layout's `fallback` says so.
    """
    if shared_prompts is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
    kind = query.device.type
    if torch.is_autocast_enabled(kind):  # as autocast does with torch's own attention
        query, key, value = (states.to(torch.get_autocast_dtype(kind)) for states in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    shared_prompts.fallback = "its attention has dropout" if dropout else why_not(shared_prompts, query, key)
    if shared_prompts.fallback:
        return _dense(query, key, value, shared_prompts, scale, dropout), None
    return _attend(query, key, value, shared_prompts, scale), None


_PROVED: dict[tuple[object, ...], str] = {}


def why_not(layout: Layout, query: Tensor, key: Tensor) -> str:
    """Why states like these may not use this attention under layouts like this one; empty if they may.

    Output and gradients of random states are compared with those of separate rows, once in a process for each shape
    class, number of heads, head size, precision and device.
    """
    heads, key_heads, size = query.shape[1], key.shape[1], query.shape[3]
    about = (layout.shape_class, heads, key_heads, size, query.dtype, query.device.type)
    if about not in _PROVED:
        _PROVED[about] = _differs(layout.first(PROOF_ROWS), heads, key_heads, size, query)
    return _PROVED[about]


def _differs(layout: Layout, heads: int, key_heads: int, size: int, like: Tensor) -> str:
    draws = torch.Generator(like.device).manual_seed(0)  # the training's own random numbers stay where they are

    def states(count: int) -> Tensor:
        shape = (len(layout.prompts), count, layout.width, size)
        return torch.randn(shape, generator=draws, dtype=like.dtype, device=like.device)

    ways: tuple[Callable[[Tensor, Tensor, Tensor, Layout, float], Tensor], ...] = (_attend, _apart)
    query, key, value, weights = states(heads), states(key_heads), states(key_heads), states(heads).transpose(1, 2)
    for row, (prompt, lengths) in enumerate(zip(layout.prompts, layout.completions, strict=True)):
        weights[row, prompt + sum(lengths) :] = 0
    found = []
    # Hooks of its own: gradient checkpointing counts what a layer saves, and the second time there is no proof.
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)
    with torch.enable_grad(), torch.autocast(like.device.type, enabled=False), hooks:
        for way in ways:
            inputs = [tensor.clone().requires_grad_() for tensor in (query, key, value)]
            try:
                output = way(inputs[0], inputs[1], inputs[2], layout, size**-0.5)
                found.append(
                    [(output * (weights != 0)).detach(), *torch.autograd.grad((output * weights).sum(), inputs)]
                )
            except (RuntimeError, NotImplementedError, AttributeError) as error:  # no such kernel here
                return f"the kernel fails: {str(error).splitlines()[0]}"
    within = TOLERANCE.get(like.dtype, 2e-2)
    names = ("output", "gradient of queries", "gradient of keys", "gradient of values")
    for name, one, other in zip(names, *found, strict=True):
        apart = float((one.double() - other.double()).norm() / other.double().norm().clamp_min(1e-30))
        if not apart <= within:
            return f"its {name} differs by {apart:.1e} from that of separate rows"
    return ""


def _apart(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
    # Each completion after its prompt in a row of its own; a prompt's own output is that of its first row.
    key, value = (_for_each_head(states, query) for states in (key, value))
    out = []
    for row, prompt, _ in _rows(layout):
        at = prompt
        parts: list[Tensor] = []
        for length in layout.completions[row]:
            asked, keys, values = (
                torch.cat([states[row, :, :prompt], states[row, :, at : at + length]], dim=1).unsqueeze(0)
                for states in (query, key, value)
            )
            found = nn.functional.scaled_dot_product_attention(asked, keys, values, is_causal=True, scale=scale)[0]
            parts.append(found[:, prompt:] if parts else found)
            at += length
        parts.append(query.new_zeros(query.shape[1], layout.width - at, query.shape[3]))
        out.append(torch.cat(parts, dim=1).transpose(0, 1))
    return torch.stack(out)


def _dense(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, dropout: float = 0.0) -> Tensor:
    key, value = (_for_each_head(states, query) for states in (key, value))
    out = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=layout.mask(), dropout_p=dropout, scale=scale
    )
    # Padding sees nothing, and what a kernel makes of that differs.
    return out.nan_to_num().transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
    if query.device.type == "cpu":
        merged: Tensor = _MergedAttention.apply(query, key, value, layout, scale)  # type: ignore[no-untyped-call]
        return merged
    return joined_attention(query, key, value, layout, scale)


class _MergedAttention(torch.autograd.Function):
    """Three flash calls. Given merged outputs and log-sum-exps, a call's own backward gives its exact share."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
        batch, heads, width, size = query.shape
        out = query.new_zeros(batch, width, heads, size)
        precise = torch.promote_types(query.dtype, torch.float32)
        sums = torch.zeros(batch, width, heads, dtype=precise, device=query.device)
        # Own tokens first, in place; then each row adds what its completions see of the prompt.
        for bucket in layout.buckets:
            asked, keys, values = (_gathered(states, bucket.places) for states in (query, key, value))
            found, logs = _flash(asked, _for_each_head(keys, query), _for_each_head(values, query), scale, causal=True)
            places = bucket.places[bucket.real]
            out.view(-1, heads, size)[places] = found.transpose(1, 2)[bucket.real]
            sums.view(-1, heads)[places] = logs.transpose(1, 2)[bucket.real]
        for row, prompt, end in _rows(layout):
            if not prompt:  # its completions see only themselves
                continue
            asked, keys, values = (states[row : row + 1, :, :prompt] for states in (query, key, value))
            found, logs = _flash(asked, _for_each_head(keys, query), _for_each_head(values, query), scale, causal=True)
            out[row, :prompt], sums[row, :prompt] = found[0].transpose(0, 1), logs[0].transpose(0, 1)
            shared, shared_logs = _flash(_stacked(query[row, :, prompt:end], key), keys, values, scale, causal=False)
            shared = shared.reshape(heads, end - prompt, size).transpose(0, 1)
            logs = shared_logs.reshape(heads, end - prompt).transpose(0, 1)
            mine, my_logs = out[row, prompt:end], sums[row, prompt:end]
            both = torch.logaddexp(my_logs, logs)
            my_share, share = ((part - both).exp().unsqueeze(-1) for part in (my_logs, logs))
            out[row, prompt:end] = mine * my_share + shared * share
            sums[row, prompt:end] = both
        ctx.save_for_backward(query, key, value, out, sums)
        ctx.layout, ctx.scale = layout, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, sums = ctx.saved_tensors
        layout, scale = ctx.layout, ctx.scale
        gradient = gradient.to(query.dtype)
        out, sums, gradient = (tensor.transpose(1, 2) for tensor in (out, sums, gradient))
        slopes = [torch.zeros_like(states, memory_format=torch.contiguous_format) for states in (query, key, value)]
        for bucket in layout.buckets:
            asked, keys, values, given, mixed, logs = (
                _gathered(states, bucket.places) for states in (query, key, value, gradient, out, sums.unsqueeze(-1))
            )
            given = given * bucket.real[:, None, :, None]  # a repeated token gives no gradient
            found = _flash_backward(
                given, asked, _for_each_head(keys, query), _for_each_head(values, query), mixed, logs.squeeze(-1),
                scale, causal=True,
            )  # fmt: skip
            places = bucket.places[bucket.real]
            rows, columns = places // layout.width, places % layout.width
            for slope, mine in zip(slopes, found, strict=True):
                slope[rows, :, columns] = _for_each_key(mine, slope).transpose(1, 2)[bucket.real]
        for row, prompt, end in _rows(layout):
            if not prompt:
                continue
            keys, values = (states[row : row + 1, :, :prompt] for states in (key, value))
            found = _flash_backward(
                gradient[row : row + 1, :, :prompt], query[row : row + 1, :, :prompt], _for_each_head(keys, query),
                _for_each_head(values, query), out[row : row + 1, :, :prompt], sums[row : row + 1, :, :prompt], scale,
                causal=True,
            )  # fmt: skip
            for slope, mine in zip(slopes, found, strict=True):
                slope[row, :, :prompt] += _for_each_key(mine, slope)[0]
            stacked = [_stacked(states[row, :, prompt:end], key) for states in (gradient, query, out)]
            logs = _stacked(sums[row, :, prompt:end].unsqueeze(-1), key).squeeze(-1)
            found = _flash_backward(stacked[0], stacked[1], keys, values, stacked[2], logs, scale, causal=False)
            slopes[0][row, :, prompt:end] += found[0].reshape(query.shape[1], end - prompt, -1)
            slopes[1][row, :, :prompt] += found[1][0]
            slopes[2][row, :, :prompt] += found[2][0]
        return *slopes, None, None


def joined_attention(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
    """The same with torch's public attention only: each completion's keys are its prompt's and its own, in one call."""
    attend = nn.functional.scaled_dot_product_attention
    batch, heads, width, size = query.shape
    flat = query.new_zeros(batch * width, heads, size)
    for row, prompt, _ in _rows(layout):
        keys, values = (states[row : row + 1, :, :prompt] for states in (key, value))
        if prompt:
            alone = attend(
                query[row : row + 1, :, :prompt], _for_each_head(keys, query), _for_each_head(values, query),
                is_causal=True, scale=scale,
            )  # fmt: skip
            begins = torch.arange(row * width, row * width + prompt, device=query.device)
            flat = flat.index_copy(0, begins, alone[0].transpose(0, 1))
        for bucket in layout.buckets:
            here = slice(bisect_left(bucket.rows, row), bisect_right(bucket.rows, row))
            places, real = bucket.places[here], bucket.real[here]
            count, longest = places.shape
            if not count:
                continue
            asked, own_keys, own_values = (_gathered(states, places) for states in (query, key, value))
            joined_keys, joined_values = (
                _for_each_head(torch.cat([shared.expand(count, -1, -1, -1), own], dim=2), query)
                for shared, own in ((keys, own_keys), (values, own_values))
            )
            mask = torch.ones(longest, prompt + longest, dtype=torch.bool, device=query.device).tril(prompt)
            found = attend(asked, joined_keys, joined_values, attn_mask=mask, scale=scale).transpose(1, 2)
            flat = flat.index_copy(0, places[real], found[real])
    return flat.view(batch, width, heads, size)


def attending_with_shared_prompts(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Inside the block `model`, which uses `sdpa`, uses this attention; after it, its own again."""
    AttentionInterface.register(ATTENTION_NAME, shared_prompts_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
    return attending(model, ATTENTION_NAME)


def _rows(layout: Layout) -> Iterator[tuple[int, int, int]]:
    # Of each row its number, P, and P + S.
    for row, (prompt, lengths) in enumerate(zip(layout.prompts, layout.completions, strict=True)):
        yield row, prompt, prompt + sum(lengths)


def _gathered(states: Tensor, places: Tensor) -> Tensor:
    # [B, X, T, Y] -> [N, X, R, Y], the completions' own states.
    return states.transpose(1, 2).flatten(0, 1)[places].transpose(1, 2)


def _for_each_head(states: Tensor, query: Tensor) -> Tensor:
    # [X, K, T, D] -> [X, H, T, D]
    return states.repeat_interleave(query.shape[1] // states.shape[1], dim=1)


def _for_each_key(slopes: Tensor, like: Tensor) -> Tensor:
    # [X, H, T, D] -> [X, K, T, D], the sum over the query heads of each key head.
    return slopes.reshape(slopes.shape[0], like.shape[1], -1, *slopes.shape[2:]).sum(2)


def _stacked(states: Tensor, key: Tensor) -> Tensor:
    # [H, S, D] -> [1, K, H / K * S, D]: without a mask, the heads of one key are only more queries.
    return states.reshape(1, key.shape[1], -1, states.shape[-1])


def _flash(query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool) -> tuple[Tensor, Tensor]:
    # Output [X, H, T, D] and log-sum-exp [X, H, T].
    found: tuple[Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, causal, scale=scale
    )
    return found


def _flash_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    sums: Tensor,
    scale: float,
    *,
    causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        gradient, query, key, value, out, sums, 0.0, causal, scale=scale
    )
    return found
