"""Cross-entropy of each token from hidden states and the LM head, without holding all logits at once.

2,048 tokens over a vocabulary of 151,936 have 1.2 GiB of logits, and softmax and gradient as much again. Here a chunk
of tokens is taken from logits to gradient and dropped before the next. That needs each token's weight in the total
loss beforehand, because the head's gradient is summed over tokens: an objective that is linear in the tokens' losses
knows it (`Objective.token_weights`). Without weights the logits are computed a second time in the backward pass.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from funreason.objectives.protocol import IGNORE

Method = Literal["naive", "chunked", "recomputed", "liger"]
CHUNK_BYTES = {"cpu": 5 * 2**24, "cuda": 2**29}
"""Logits held at a time by default. Each chunk costs a pass over the head's gradient: on a CPU, with a vocabulary of
151,936, chunks of 128 tokens take 0.9 times as long as the naive method, chunks of 64 tokens 1.3 times."""
CACHE_BYTES = 2**21
"""Logits that a core's cache keeps between the softmax's passes over them."""


def token_losses(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    weights: Tensor | None = None,
    method: Method = "chunked",
    chunk: int | None = None,
) -> Tensor:
    """Cross-entropy of each token, in nats.

    Args:
        hidden: [N, H].
        weight, bias: the head's, [V, H] and [V].
        targets: [N]; a token with target -100 has loss 0.
        weights: [N], a promise that the incoming gradient is a multiple of it. A backward pass that breaks the promise
            raises RuntimeError. Without it `chunked` becomes `recomputed`, which computes the logits twice.
        chunk: tokens at a time, by default as many as fill CHUNK_BYTES.

    Returns [N], float32, or float64 where the hidden states are. Raises ValueError for shapes that do not fit.
    """
    fits = hidden.ndim == weight.ndim == 2 and hidden.shape[1] == weight.shape[1]
    if not fits or targets.shape != hidden.shape[:1] or (weights is not None and weights.shape != targets.shape):
        found = ", ".join(str(list(t.shape)) for t in (hidden, weight, targets, weights) if t is not None)
        raise ValueError(f"hidden, weight, targets, weights are {found}; expected [N, H], [V, H], [N] and [N].")
    size = chunk or chunk_for(weight.shape[0], weight.device)
    if method == "liger":
        return _liger(hidden, weight, bias, targets, size)
    if method == "naive":
        return _cross_entropy(hidden, weight, bias, targets)
    if method == "recomputed" or weights is None:
        return _recomputed(hidden, weight, bias, targets, size)
    # In the precision that the plain product would have, which under autocast is none of its operands' own.
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        lower = torch.get_autocast_dtype(device)
        hidden, weight, bias = hidden.to(lower), weight.to(lower), None if bias is None else bias.to(lower)
    with torch.autocast(device, enabled=False):
        chunked: Tensor = _Chunked.apply(hidden, weight, bias, targets, weights, size)  # type: ignore[no-untyped-call]
    return chunked


def chunk_for(vocabulary: int, device: torch.device) -> int:
    """Tokens, a multiple of 32, whose float32 logits over `vocabulary` fill CHUNK_BYTES."""
    held = CHUNK_BYTES.get(device.type, CHUNK_BYTES["cpu"]) // (4 * vocabulary)
    return max(32, held // 32 * 32)


def _cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    logits = functional.linear(hidden, weight, bias)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return functional.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORE)


def _recomputed(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, chunk: int) -> Tensor:
    if hasattr(functional, "linear_cross_entropy"):  # torch 2.13: 0.7 times as long as the chunks below
        options = torch.nn.LinearCrossEntropyOptions(
            batch_chunk_size=min(chunk, max(len(hidden), 1)), chunking_method=None
        )
        losses = functional.linear_cross_entropy(
            hidden, weight, targets, linear_bias=bias, reduction="none", options=options
        )
        return losses.to(torch.promote_types(losses.dtype, torch.float32))
    pieces = [slice(at, at + chunk) for at in range(0, max(len(hidden), 1), chunk)]
    return torch.cat([
        checkpoint(_cross_entropy, hidden[rows], weight, bias, targets[rows], use_reentrant=False) for rows in pieces
    ])  # fmt: skip


def _liger(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, chunk: int) -> Tensor:
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction as Fused

    device = hidden.device.type
    if torch.is_autocast_enabled(device):  # else it would cast the whole head again for each chunk
        lower = torch.get_autocast_dtype(device)
        hidden, weight, bias = hidden.to(lower), weight.to(lower), None if bias is None else bias.to(lower)
    given = {"_input": hidden, "weight": weight, "target": targets, "bias": bias}
    # It holds as many logits as the hidden states have elements, times this: by default 16 of 2,048 tokens at a width
    # of 896, and so 128 passes over the head's gradient.
    held = math.ceil(chunk * weight.shape[0] / max(1, hidden.numel()))
    options = {"ignore_index": IGNORE, "reduction": "none", "accum_dtype": torch.float32, "chunk_mem_const": held}
    parameters = list(inspect.signature(Fused.forward).parameters.values())[1:]  # without the context
    values = given | options
    with torch.autocast(device, enabled=False):
        losses: Tensor = Fused.apply(*(values.get(each.name, each.default) for each in parameters))[0]
    return losses


def _liger_missing() -> str:
    if find_spec("liger_kernel") is None:
        return "liger-kernel is not installed"
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction as Fused

    # Versions without this option also scale every gradient by the first token's weight.
    known = "chunk_mem_const" in inspect.signature(Fused.forward).parameters
    return "" if known else "this liger-kernel cannot weigh tokens; 0.8.5 can"


METHODS: dict[Method, Callable[[], str]] = {
    "naive": str, "chunked": str, "recomputed": str, "liger": _liger_missing
}  # fmt: skip
"""Each method, and what it lacks here: an empty text where it can be used."""


class _Chunked(torch.autograd.Function):
    # Gradients are computed in the forward pass, where a chunk's logits are at hand, and kept in the context. No tensor
    # is saved for the backward pass: a sharded head may be gone by then.

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
                if kind == slopes.dtype:
                    to_weight.addmm_(slopes.t(), hidden[rows])
                else:  # summed in a wider type than it is multiplied in: half-precision sums would lose small chunks
                    to_weight += slopes.t() @ hidden[rows]
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
            raise RuntimeError("a second backward pass through the chunked head: its gradients were used by the first.")
        # The scalar s with slope = s * weights: averaging over processes makes a multiple of the weights.
        weights = ctx.weights.to(slope)
        factor = (slope * weights).sum() / (weights * weights).sum().clamp(min=torch.finfo(slope.dtype).tiny)
        off, size = (slope - factor * weights).norm(), slope.norm()
        if off > 1e-3 * size:
            raise RuntimeError(
                f"the chunked head was promised other weights than the gradient has: {float(off / size):.1%} off; "
                "pass token_losses the weights of the loss, or None."
            )
        gradients = [
            None if gradient is None else gradient.mul_(factor).to(kind)
            for gradient, kind in zip(ctx.gradients, ctx.kinds, strict=True)
        ]
        ctx.gradients = None
        return (*gradients, None, None, None)


def _to_slopes(logits: Tensor, targets: Tensor, weights: Tensor, losses: Tensor) -> None:
    # In place, because the logits are the largest tensor here: they become d(sum of weights * losses)/d(logits).
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
