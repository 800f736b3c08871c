"""Log-probability, entropy and loss of each token from hidden states and the LM head, without holding all logits.

2,048 tokens over a vocabulary of 151,936 have 1.2 GiB of logits, and softmax and gradient as much again. Here a chunk
of tokens is taken from logits to gradient and dropped before the next. The head's gradient is summed over tokens, so
what a token's loss is, and its weight in the total, must be known before: that is an objective's `TokenRule`.

With m the largest of a token's logits x, s = sum exp(x - m) and t = sum (x - m) exp(x - m): logZ = m + log s, the
log-probability of token y is x_y - logZ, and the entropy is log s - t / s. A loss with slopes g by log-probability and
c by entropy has the slope g (1[y] - p) - c p (log p + entropy) by logits.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from funreason.objectives.protocol import IGNORE, CrossEntropy, TokenOutputs, TokenRule

Method = Literal["naive", "chunked", "recomputed", "liger"]
CHUNK_BYTES = {"cpu": 5 * 2**24, "cuda": 2**29}
"""Logits held at a time by default. Each chunk costs a pass over the head's gradient: on a CPU, with a vocabulary of
151,936, chunks of 128 tokens take 0.9 times as long as the naive method, chunks of 64 tokens 1.3 times."""
LOWEST = -1e4
"""Where logits are cut below their largest for an entropy: 0 × -inf is not a number, and exp(-1e4) is 0 in any type."""
CACHE_BYTES = 2**21
"""Logits that a core's cache keeps between the softmax's passes over them."""


def best_method(device: torch.device) -> Method:
    """Liger's fused kernel on a GPU where it is installed; else the chunks of this module."""
    return "liger" if device.type == "cuda" and find_spec("liger_kernel") is not None else "chunked"


def apply_rule(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    rule: TokenRule,
    *,
    bias: Tensor | None = None,
    known: int | None = None,
    method: Method = "chunked",
    chunk: int | None = None,
) -> TokenOutputs:
    """What `rule` makes of each token.

    Args:
        hidden: [N, H].
        weight, bias: the head's, [V, H] and [V].
        targets: [N]; a token with target -100 has loss, log-probability and entropy 0, and no gradient.
        rule: its weights are a promise that the incoming gradient is a multiple of them. A backward pass that breaks
            the promise raises RuntimeError.
        known: under a rule with temperatures, the ids from here on have no probability, as when sampling; None: all do.
        method: `liger` and `recomputed` compute plain cross-entropy only; other rules are computed in chunks.
        chunk: tokens at a time, by default as many as fill CHUNK_BYTES.

    Each of the results is [N], float32, or float64 where the hidden states are. Where a log-probability is not finite,
    the loss is NaN, whatever the rule says. Raises ValueError for shapes that do not fit.
    """
    weights, temperatures = rule.weights, rule.temperatures
    _require_shapes(hidden, weight, targets, weights, temperatures)
    if method == "naive":
        return rule_of_logits(functional.linear(hidden, weight, bias), targets, rule, known=known)
    if method != "chunked" and isinstance(rule, CrossEntropy) and temperatures is None:
        losses = token_losses(hidden, weight, targets, bias=bias, method=method, chunk=chunk)
        return TokenOutputs(losses, -losses.detach(), None)
    # In the precision that the plain product would have, which under autocast is none of its operands' own.
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        lower = torch.get_autocast_dtype(device)
        hidden, weight, bias = hidden.to(lower), weight.to(lower), None if bias is None else bias.to(lower)
    size, ids = chunk or chunk_for(weight.shape[0], weight.device), None if temperatures is None else known
    with torch.autocast(device, enabled=False):
        chunked = _Chunked.apply(  # type: ignore[no-untyped-call]
            hidden, weight, bias, targets, rule, ids, size, torch.is_grad_enabled()
        )
    return TokenOutputs(*chunked)


def rule_of_logits(logits: Tensor, targets: Tensor, rule: TokenRule, *, known: int | None = None) -> TokenOutputs:
    """As `apply_rule`, from all logits [N, V] at once."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if rule.temperatures is not None:
        logits = logits[:, :known] / rule.temperatures.to(logits).unsqueeze(1)
    counted, everything = targets != IGNORE, torch.log_softmax(logits, dim=1)
    logprobs = everything.gather(1, targets.clamp(min=0).unsqueeze(1)).squeeze(1)
    entropies = -(everything.exp() * everything.clamp(min=LOWEST)).sum(1) if rule.reads_entropy else None
    fixed = None if entropies is None else entropies.detach()
    losses, by_logprob, by_entropy = rule(logprobs.detach(), fixed, slice(0, len(targets)))
    losses = losses.to(logprobs).where(logprobs.isfinite(), torch.nan)
    losses = losses + by_logprob.to(logprobs) * (logprobs - logprobs.detach())
    if by_entropy is not None and entropies is not None:
        losses = losses + by_entropy.to(logprobs) * (entropies - entropies.detach())
    found = TokenOutputs(losses, logprobs.detach(), fixed)
    return TokenOutputs(*(None if column is None else column.where(counted, 0.0) for column in found))  # type: ignore[arg-type]


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
    """Cross-entropy of each token, in nats: `apply_rule` with the constant rule.

    `weights` [N] are the losses' weights in the total. Without them `chunked` becomes `recomputed`, which computes the
    logits twice.
    """
    _require_shapes(hidden, weight, targets, weights)
    size = chunk or chunk_for(weight.shape[0], weight.device)
    if method == "liger":
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

        fused = LigerFusedLinearCrossEntropyFunction.apply
        # ignore_index, z-loss, label smoothing, reduction, softcap, return z-loss, the dtype gradients are summed in
        options = (None, IGNORE, 0.0, 0.0, "none", None, False, torch.float32)
        losses: Tensor = fused(hidden, weight, targets, bias, *options)[0]
        return losses
    if method == "naive":
        return _cross_entropy(hidden, weight, bias, targets)
    if method == "recomputed" or weights is None:
        return _recomputed(hidden, weight, bias, targets, size)
    return apply_rule(hidden, weight, targets, CrossEntropy(weights), bias=bias, chunk=size).losses


def chunk_for(vocabulary: int, device: torch.device) -> int:
    """Tokens, a multiple of 32, whose float32 logits over `vocabulary` fill CHUNK_BYTES."""
    held = CHUNK_BYTES.get(device.type, CHUNK_BYTES["cpu"]) // (4 * vocabulary)
    return max(32, held // 32 * 32)


def _require_shapes(hidden: Tensor, weight: Tensor, targets: Tensor, *per_token: Tensor | None) -> None:
    tokens = [one for one in (targets, *per_token) if one is not None]
    fits = hidden.ndim == weight.ndim == 2 and hidden.shape[1] == weight.shape[1]
    if not fits or any(one.shape != hidden.shape[:1] for one in tokens):
        found = ", ".join(str(list(one.shape)) for one in (hidden, weight, *tokens))
        raise ValueError(f"hidden, weight, targets (weights, temperatures) are {found}; expected [N, H], [V, H], [N].")


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


class _Chunked(torch.autograd.Function):
    # Gradients are computed in the forward pass, where a chunk's logits are at hand, and kept in the context. No tensor
    # is saved for the backward pass: a sharded head may be gone by then.

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        rule: TokenRule,
        known: int | None,
        chunk: int,
        learns: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        kind = torch.promote_types(hidden.dtype, torch.float32)
        losses = torch.empty(len(hidden), dtype=kind, device=hidden.device)
        found = TokenOutputs(losses, torch.empty_like(losses), torch.empty_like(losses) if rule.reads_entropy else None)
        needs = [need and learns for need in ctx.needs_input_grad]
        to_hidden = torch.empty_like(hidden) if needs[0] else None
        to_weight = torch.zeros_like(weight, dtype=kind) if needs[1] else None
        to_bias = torch.zeros_like(bias, dtype=kind) if bias is not None and needs[2] else None
        used, used_bias = weight[:known], None if bias is None else bias[:known]
        masked = bool((targets == IGNORE).any())
        for rows in (slice(at, min(at + chunk, len(hidden))) for at in range(0, len(hidden), chunk)):
            logits = functional.linear(hidden[rows], used, used_bias).to(kind)
            _to_slopes(logits, targets, rule, rows.start, found, masked=masked, learns=any(needs))
            if not any(needs):
                continue
            slopes = logits.to(hidden.dtype)
            if to_hidden is not None:
                torch.mm(slopes, used, out=to_hidden[rows])
            if to_weight is not None:
                if kind == slopes.dtype:
                    to_weight[:known].addmm_(slopes.t(), hidden[rows])
                else:  # summed in a wider type than it is multiplied in: half-precision sums would lose small chunks
                    to_weight[:known] += slopes.t() @ hidden[rows]
            if to_bias is not None:
                to_bias[:known] += logits.sum(0)
        ctx.gradients = [to_hidden, to_weight, to_bias]
        ctx.kinds = [hidden.dtype, weight.dtype, None if bias is None else bias.dtype]
        ctx.weights = rule.weights
        ctx.mark_non_differentiable(*(column for column in found[1:] if column is not None))
        return found.losses, found.logprobs, found.entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("a second backward pass through the chunked head: its gradients were used by the first.")
        # The scalar s with slope = s * weights: averaging over processes makes a multiple of the weights.
        weights = ctx.weights.to(slope)
        factor = (slope * weights).sum() / (weights * weights).sum().clamp(min=torch.finfo(slope.dtype).tiny)
        off, size = (slope - factor * weights).norm(), slope.norm()
        if off > 1e-3 * size:
            raise RuntimeError(
                f"the chunked head was promised other weights than the gradient has: {float(off / size):.1%} off; "
                "the rule's weights must be those of the losses in the total."
            )
        gradients = [
            None if gradient is None else gradient.mul_(factor).to(kind)
            for gradient, kind in zip(ctx.gradients, ctx.kinds, strict=True)
        ]
        ctx.gradients = None
        return (*gradients, None, None, None, None, None)


def _to_slopes(
    logits: Tensor,
    targets: Tensor,
    rule: TokenRule,
    first: int,
    found: TokenOutputs,
    *,
    masked: bool,
    learns: bool,
) -> None:
    # The logits are those of the tokens from `first` on. They become the total's slopes in place, because they are the
    # largest tensor here, a few tokens at a time, so that they stay in the cache between the passes over them.
    step = len(logits) if logits.is_cuda else max(1, CACHE_BYTES // (4 * logits.shape[1]))
    for at in range(0, len(logits), step):
        some = logits[at : at + step]
        rows = slice(first + at, first + at + len(some))
        goals = targets[rows].clamp(min=0).unsqueeze(1)
        scales = None if rule.temperatures is None else rule.temperatures[rows].to(some).unsqueeze(1)
        if scales is not None:
            some.div_(scales)
        peaks = some.amax(1, keepdim=True)
        wanted = some.gather(1, goals) - peaks
        some.sub_(peaks)
        powers = some.clamp_(min=LOWEST).exp() if rule.reads_entropy else some.exp_()
        sums = powers.sum(1, keepdim=True)
        logs = sums.log()
        logprobs = (wanted - logs).squeeze(1)
        entropies = None
        if found.entropies is not None:
            entropies = logs.squeeze(1) - torch.linalg.vecdot(some, powers) / sums.squeeze(1)
            found.entropies[rows] = entropies
        losses, by_logprob, by_entropy = rule(logprobs, entropies, rows)
        found.losses[rows] = losses.to(logits.dtype).where(logprobs.isfinite(), torch.nan)
        found.logprobs[rows] = logprobs
        if learns:
            weights = rule.weights[rows].to(some).unsqueeze(1)
            if scales is not None:
                weights = weights / scales
            slope = by_logprob.to(some).unsqueeze(1) * weights
            if by_entropy is not None and entropies is not None:
                curve = by_entropy.to(some).unsqueeze(1) * weights
                some.sub_(logs - entropies.unsqueeze(1)).mul_(curve).add_(slope).mul_(powers).div_(-sums)
            else:
                torch.mul(powers, -slope / sums, out=some)
            some.scatter_add_(1, goals, slope)
        if masked:
            ignored = targets[rows] == IGNORE
            some.masked_fill_(ignored.unsqueeze(1), 0.0)
            for column in found:
                if column is not None:
                    column[rows].masked_fill_(ignored, 0.0)
