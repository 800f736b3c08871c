"""Cross-entropy of each token from hidden states and the vocabulary head, without all logits at once.

A step of 2,048 tokens over a vocabulary of 151,936 has 1.2 GiB of logits, and softmax and gradient as much again.
Here a chunk of tokens is taken from logits to gradient and forgotten before the next. That needs each token's weight
in the loss beforehand, since the head's gradient is summed over tokens: SRML knows it (`loss.token_weights`), for
the loss is linear in its tokens. Where nobody promises weights, torch's own chunks ask for the logits a second time.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import LinearCrossEntropyOptions, functional

from funreason.srml.parts import IGNORE

Way = Literal["naive", "chunked", "torch", "liger"]
CHUNK_BYTES = {"cpu": 5 * 2**24, "cuda": 2**29}
"""Logits held at a time by default. Each chunk costs a pass over the head's gradient: on a CPU, at a vocabulary of
151,936, 128 tokens take 0.9 times the naive way's time, 64 tokens 1.3 times."""
CACHE_BYTES = 2**21
"""Logits that a core's cache keeps between the softmax's passes over them."""


class Head(NamedTuple):
    """A way to the losses, and how many tokens it takes at a time (None: as many as CHUNK_BYTES hold)."""

    way: Way = "chunked"
    chunk: int | None = None


CHUNKED = Head()


def best_way(device: torch.device) -> Way:
    """Liger's fused kernel on a GPU where it is installed; else the chunks of this module."""
    return "liger" if device.type == "cuda" and find_spec("liger_kernel") is not None else "chunked"


def token_losses(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    weights: Tensor | None = None,
    head: Head = CHUNKED,
) -> Tensor:
    """Cross-entropy in nats of each token [N], 0 where the target is -100: hidden [N, H], weight [V, H], bias [V].

    `weights` [N] is a promise: the gradient that comes back is a multiple of it. A backward pass that breaks it raises
    RuntimeError. Without it the chunked way is torch's own, which computes the logits twice. The losses are float32,
    or float64 where the hidden states are. ValueError for shapes that do not fit.
    """
    _require_shapes(hidden, weight, targets, weights)
    way = "torch" if head.way == "chunked" and weights is None else head.way
    chunk = head.chunk or chunk_for(weight.shape[0], weight.device)
    if way == "chunked":
        return _chunked(hidden, weight, bias, targets, weights, chunk)
    if way == "torch":
        options = LinearCrossEntropyOptions(batch_chunk_size=min(chunk, max(len(hidden), 1)), chunking_method=None)
        return _wide(functional.linear_cross_entropy(
            hidden, weight, targets, linear_bias=bias, reduction="none", options=options
        ))  # fmt: skip
    if way == "liger":
        return _liger(hidden, weight, bias, targets)
    logits = _wide(functional.linear(hidden, weight, bias))
    return functional.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORE)


def chunk_for(vocabulary: int, device: torch.device) -> int:
    """Tokens, a multiple of 32, whose float32 logits over so large a vocabulary fill CHUNK_BYTES."""
    held = CHUNK_BYTES.get(device.type, CHUNK_BYTES["cpu"]) // (4 * vocabulary)
    return max(32, held // 32 * 32)


def _chunked(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, weights: Tensor | None, chunk: int
) -> Tensor:
    # In the precision the plain product would have, which under autocast is none of its operands' own.
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        lower = torch.get_autocast_dtype(device)
        hidden, weight, bias = hidden.to(lower), weight.to(lower), None if bias is None else bias.to(lower)
    with torch.autocast(device, enabled=False):
        losses: Tensor = _Chunked.apply(hidden, weight, bias, targets, weights, chunk)  # type: ignore[no-untyped-call]
    return losses


class _Chunked(torch.autograd.Function):
    # Gradients are made in the forward pass, where a chunk's logits are at hand, and wait in the context. No tensor is
    # saved for the backward pass: a sharded head may be gone by then.

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, weights: Tensor, chunk: int
    ) -> Tensor:
        kind = torch.promote_types(hidden.dtype, torch.float32)
        losses = torch.empty(len(hidden), dtype=kind, device=hidden.device)
        needs = ctx.needs_input_grad
        to_hidden = torch.empty_like(hidden) if needs[0] else None
        to_weight = torch.zeros_like(weight, dtype=kind) if needs[1] else None
        to_bias = torch.zeros_like(bias, dtype=kind) if bias is not None and needs[2] else None
        for rows in (slice(at, at + chunk) for at in range(0, len(hidden), chunk)):
            logits = functional.linear(hidden[rows], weight, bias).to(kind)
            _to_slopes(logits, targets[rows], weights[rows].to(kind), losses[rows])
            slopes = logits.to(hidden.dtype)
            if to_hidden is not None:
                torch.mm(slopes, weight, out=to_hidden[rows])
            if to_weight is not None:
                _add_product(to_weight, slopes, hidden[rows])
            if to_bias is not None:
                to_bias += logits.sum(0)
        ctx.gradients = [to_hidden, to_weight, to_bias]
        ctx.kinds = [hidden.dtype, weight.dtype, None if bias is None else bias.dtype]
        ctx.weights = weights
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("a second backward pass through the chunked head: its gradients were handed out before.")
        factor = _factor(slope, ctx.weights)
        gradients = [
            None if gradient is None else gradient.mul_(factor).to(kind)
            for gradient, kind in zip(ctx.gradients, ctx.kinds, strict=True)
        ]
        ctx.gradients = None
        return (*gradients, None, None, None)


def _to_slopes(logits: Tensor, targets: Tensor, weights: Tensor, losses: Tensor) -> None:
    # In place, for logits are the largest thing here: they become d(sum of weights * losses)/d(logits).
    counted = targets != IGNORE
    goals, weights = targets.clamp(min=0).unsqueeze(1), (weights * counted).unsqueeze(1)
    step = len(logits) if logits.is_cuda else max(1, CACHE_BYTES // (4 * logits.shape[1]))
    for rows in (slice(at, at + step) for at in range(0, len(logits), step)):
        some = logits[rows]
        peaks = some.amax(1, keepdim=True)
        wanted = some.gather(1, goals[rows]) - peaks
        sums = some.sub_(peaks).exp_().sum(1, keepdim=True)
        some.mul_(weights[rows] / sums).scatter_add_(1, goals[rows], -weights[rows])
        losses[rows] = (sums.log() - wanted).squeeze(1) * counted[rows]


def _add_product(total: Tensor, slopes: Tensor, hidden: Tensor) -> None:
    if total.dtype == slopes.dtype:
        total.addmm_(slopes.t(), hidden)
    else:  # summed wider than it is multiplied: sums of half-precision chunks would lose the small ones
        total += slopes.t() @ hidden


def _factor(slope: Tensor, weights: Tensor) -> Tensor:
    # The scalar s with slope = s * weights; a multiple is what loss scaling and averaging over processes make.
    weights = weights.to(slope)
    factor = (slope * weights).sum() / (weights * weights).sum().clamp(min=torch.finfo(slope.dtype).tiny)
    off, size = (slope - factor * weights).norm(), slope.norm()
    if off > 1e-3 * size:
        raise RuntimeError(
            f"the chunked head was promised other weights than came back: {float(off / size):.1%} off; "
            "hand token_losses the weights of the loss, or none."
        )
    return factor


def _liger(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

    call = LigerFusedLinearCrossEntropyFunction.apply
    # ignore_index, z-loss, label smoothing, reduction, softcap, return z-loss, the dtype gradients are summed in
    losses: Tensor = call(hidden, weight, targets, bias, None, IGNORE, 0.0, 0.0, "none", None, False, torch.float32)[0]
    return losses


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _require_shapes(hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor | None) -> None:
    fits = hidden.ndim == weight.ndim == 2 and hidden.shape[1] == weight.shape[1]
    if not fits or targets.shape != hidden.shape[:1] or (weights is not None and weights.shape != targets.shape):
        found = ", ".join(str(list(t.shape)) for t in (hidden, weight, targets, weights) if t is not None)
        raise ValueError(f"hidden, weight, targets, weights are {found}; expected [N, H], [V, H], [N] and [N].")
