"""SRML, the self-refinement multiscale loss: `alpha * L_think + (1 - alpha) * L_result`, each part a mean.

Everything is a sum over the denominators of the whole batch, so micro-batches and processes may cut the batch in any
way: their shares add up to the same loss and the same gradient. Plain fine-tuning is the special case
alpha = N_think / N_all ("proportional"). Source: arXiv 2505.20192, section on MSL; the paper leaves the level of
averaging open, so `sample` and `token` are both here.

A learnable alpha (Self-adjusted Signal Balancing, third version of the paper) has a trap: dL/dalpha = L_think -
L_result, so plain descent moves alpha to whichever part is already easier until the other part has no weight left.
Hence sigmoid(theta) with its own learning rate and bounds, no weight decay, and alpha reported at every step. The
bounds are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from funreason.config.updates import Update
from funreason.objectives.protocol import (
    RESULT,
    THINK,
    CrossEntropy,
    Encoded,
    Example,
    LossShare,
    TokenOutputs,
    TokenTargets,
)

Alpha = float | Tensor | Literal["proportional"]
LossReduction = Literal["sample", "token"]


@dataclass(frozen=True, slots=True)
class SrmlTerms:
    """Scalars. `total` carries the gradient; `think` and `result` are the parts' means, 0 where a part is absent."""

    total: Tensor
    think: Tensor
    result: Tensor


@dataclass(frozen=True, slots=True)
class PartLossSums:
    """Per sample [S], float64: summed cross-entropy of each part, and how many tokens it has."""

    think: Tensor
    result: Tensor
    think_tokens: Tensor
    result_tokens: Tensor


@dataclass(frozen=True, slots=True)
class LossDenominators:
    """The denominators of one whole batch, weighted: samples (all, with thinking, with result) and tokens."""

    samples: float
    with_think: float
    with_result: float
    think_tokens: float
    result_tokens: float

    def __add__(self, other: LossDenominators) -> LossDenominators:
        """The denominators of both batches together."""
        return LossDenominators(
            self.samples + other.samples,
            self.with_think + other.with_think,
            self.with_result + other.with_result,
            self.think_tokens + other.think_tokens,
            self.result_tokens + other.result_tokens,
        )

    @classmethod
    def of_counts(cls, think: float, result: float, weight: float = 1.0) -> LossDenominators:
        """One sample's share, from its numbers of thinking and result tokens."""
        present = (float(think + result > 0), float(think > 0), float(result > 0))
        return cls(*(weight * value for value in (*present, think, result)))

    @classmethod
    def of(cls, labels: Tensor, parts: Tensor, weights: Tensor | None = None) -> LossDenominators:
        """Counted from unshifted labels and parts [B, T], with sample weights [B] (1 by default)."""
        counts = TokenTargets.of(labels, parts).counts.t().tolist()
        scales = [1.0] * len(labels) if weights is None else weights.tolist()
        total = cls(0.0, 0.0, 0.0, 0.0, 0.0)
        for (think, result), scale in zip(counts, scales, strict=True):
            total += cls.of_counts(think, result, scale)
        return total


def srml_loss(
    logits: Tensor, labels: Tensor, parts: Tensor, *, alpha: Alpha, average: LossReduction = "sample"
) -> SrmlTerms:
    """The loss of one whole batch.

    Args:
        logits: [B, T, V], unshifted; position t is predicted at t - 1.
        labels: [B, T]; -100 is not learned.
        parts: [B, T]; 0 none, 1 think, 2 result.
        alpha: the weight of thinking: a number or 0-dim tensor, a tensor [B], or "proportional" (plain fine-tuning).
        average: `sample`: per sample the weighted part means (a sample's only part has weight 1), then the mean over
            samples with any trainable token; `token`: part sums over the batch by part counts over the batch.

    Returns float32 scalars, or float64 where the logits are. A batch without any trainable token gives 0, never NaN.
    Raises ValueError for a shape or alpha that does not fit.
    """
    sums = part_loss_sums(logits, labels, parts)
    denominators = LossDenominators.of(labels, parts)
    loss = combine(sums, alpha=alpha, denominators=denominators, average=average)
    kind = torch.promote_types(logits.dtype, torch.float32)
    return SrmlTerms(loss.total.to(kind), loss.think.to(kind), loss.result.to(kind))


def srml_loss_share(
    logits: Tensor,
    labels: Tensor,
    parts: Tensor,
    *,
    alpha: Alpha,
    denominators: LossDenominators,
    average: LossReduction = "sample",
    weights: Tensor | None = None,
) -> SrmlTerms:
    """A micro-batch's share, in float64, of the batch whose `denominators` are given; `weights` [B] scale samples."""
    sums = part_loss_sums(logits, labels, parts)
    return combine(sums, alpha=alpha, denominators=denominators, average=average, weights=weights)


def part_loss_sums(logits: Tensor, labels: Tensor, parts: Tensor) -> PartLossSums:
    """Cross-entropy of logits [B, T, V] per sample and part; prompt positions are never read."""
    if logits.ndim != 3 or labels.shape != logits.shape[:2] or parts.shape != labels.shape:
        raise ValueError(
            f"logits {list(logits.shape)}, labels {list(labels.shape)}, parts {list(parts.shape)}: "
            "expected [B, T, V], [B, T] and [B, T]."
        )
    targets = TokenTargets.of(labels, parts)
    chosen = logits.flatten(0, 1)[targets.where]
    chosen = chosen.to(torch.promote_types(chosen.dtype, torch.float32))
    return sums_per_sample(functional.cross_entropy(chosen, targets.labels, reduction="none"), targets)


def sums_per_sample(losses: Tensor, targets: TokenTargets) -> PartLossSums:
    """The tokens' losses [N], summed per sample and part in float64."""
    wide, zeros = losses.double(), losses.new_zeros(targets.counts.shape[1], dtype=torch.float64)
    think, result = (zeros.index_add(0, targets.sample, wide * (targets.part == kind)) for kind in (THINK, RESULT))
    return PartLossSums(think, result, targets.counts[0], targets.counts[1])


def combine(
    sums: PartLossSums,
    *,
    alpha: Alpha,
    denominators: LossDenominators,
    average: LossReduction = "sample",
    weights: Tensor | None = None,
) -> SrmlTerms:
    """The loss from per-sample sums [S]; see `srml_loss_share`."""
    if average not in ("sample", "token"):
        raise ValueError(f"average is {average!r}; use 'sample' or 'token'.")
    if isinstance(alpha, str) and alpha != "proportional":
        raise ValueError(f"alpha is {alpha!r}; use a number between 0 and 1, a tensor, or 'proportional'.")
    if isinstance(alpha, Tensor) and alpha.shape not in (torch.Size([]), sums.think.shape):
        raise ValueError(f"alpha has shape {list(alpha.shape)}; expected a scalar or {list(sums.think.shape)}.")
    if isinstance(alpha, float | int) and not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it is the weight of thinking and must lie between 0 and 1.")
    scale = torch.ones_like(sums.think) if weights is None else weights.double()
    if average == "token":
        # Whether a part is missing, and how large its share is, is a matter of the whole batch.
        all_think, all_result = denominators.think_tokens, denominators.result_tokens
        if all_think == 0 or all_result == 0:
            share = torch.full_like(sums.think, float(all_result == 0))
        elif isinstance(alpha, str):
            share = torch.full_like(sums.think, all_think / (all_think + all_result))
        else:
            share = torch.as_tensor(alpha).to(sums.think).expand_as(sums.think)
        think, result = scale * sums.think / max(all_think, 1e-300), scale * sums.result / max(all_result, 1e-300)
        return SrmlTerms((share * think + (1 - share) * result).sum(), think.sum(), result.sum())
    if isinstance(alpha, str):
        share = sums.think_tokens / (sums.think_tokens + sums.result_tokens).clamp(min=1)
    else:
        share = torch.as_tensor(alpha).to(sums.think).expand_as(sums.think)
        share = torch.where(sums.result_tokens == 0, torch.ones_like(share), share)
        share = torch.where(sums.think_tokens == 0, torch.zeros_like(share), share)
    think, result = sums.think / sums.think_tokens.clamp(min=1), sums.result / sums.result_tokens.clamp(min=1)
    samples, with_think, with_result = (
        count if count > 0 else 1.0
        for count in (denominators.samples, denominators.with_think, denominators.with_result)
    )
    return SrmlTerms(
        (scale * (share * think + (1 - share) * result)).sum() / samples,
        (scale * think).sum() / with_think,
        (scale * result).sum() / with_result,
    )


class Srml:
    """SRML as an `Objective`, with alpha fixed, proportional or learnable as `update.alpha_mode` says."""

    terms: tuple[str, ...] = ("loss_think", "loss_result")
    sums: tuple[str, ...] = ("loss_think", "loss_result", "think_tokens", "result_tokens")
    values: tuple[str, ...] = ()
    fingerprint = ""

    def __init__(self, update: Update) -> None:
        self.mode, self.alpha, self.lr = update.alpha_mode, update.alpha, update.alpha_lr
        self.average: LossReduction = update.loss_reduction
        self.bounds = tuple(map(_logit, update.alpha_bounds))
        self.theta = torch.tensor(_logit(update.alpha), dtype=torch.float64, requires_grad=self.mode == "learnable")

    def denominators(self, examples: Sequence[Example], encoded: Sequence[Encoded]) -> LossDenominators:
        """Samples and tokens of the whole batch, weighted."""
        total = LossDenominators(0.0, 0.0, 0.0, 0.0, 0.0)
        for example, sample in zip(examples, encoded, strict=True):
            predicted = sample.parts[1:]
            total += LossDenominators.of_counts(predicted.count(THINK), predicted.count(RESULT), example.weight)
        return total

    def rule(self, targets: TokenTargets, examples: Sequence[Example], denominators: LossDenominators) -> CrossEntropy:
        """The total is linear in the tokens' losses, so their weights are its gradient, taken at zero."""
        with torch.enable_grad():
            losses = torch.zeros(
                len(targets.where), dtype=torch.float64, device=targets.where.device, requires_grad=True
            )
            alpha = self._alpha()
            fixed = alpha.detach() if isinstance(alpha, Tensor) else alpha
            total = self._combine(sums_per_sample(losses, targets), examples, denominators, fixed).total
            return CrossEntropy(torch.autograd.grad(total, losses)[0])

    def loss(
        self, outputs: TokenOutputs, targets: TokenTargets, examples: Sequence[Example], denominators: LossDenominators
    ) -> LossShare:
        """See `Objective`."""
        sums = sums_per_sample(outputs.losses, targets)
        loss = self._combine(sums, examples, denominators, self._alpha())
        columns = [sums.think, sums.result, sums.think_tokens, sums.result_tokens]
        return LossShare(
            loss.total, torch.stack([loss.think, loss.result]).detach(), torch.stack(columns, dim=1).detach()
        )

    def with_signal(self, examples: Sequence[Example]) -> list[bool]:
        """Every example is learned."""
        return [True] * len(examples)

    def metrics(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Mean loss per token of each part that has tokens, and the token counts."""
        found: dict[str, float] = {}
        for part in ("think", "result"):
            tokens = sums[f"{part}_tokens"]
            if tokens:
                found[f"loss_{part}"] = sums[f"loss_{part}"] / tokens
            found[f"{part}_tokens"] = tokens
        return found

    def state_metrics(self) -> dict[str, float]:
        """The current alpha; nothing under `proportional`, where every sample has its own."""
        if self.mode == "proportional":
            return {}
        return {"alpha": float(torch.sigmoid(self.theta.detach())) if self.mode == "learnable" else self.alpha}

    def parameters(self) -> list[Tensor]:
        """Theta, the logit of alpha, where alpha is learnable."""
        return [self.theta] if self.mode == "learnable" else []

    def step(self, taken: bool) -> None:
        """Descend, then clamp theta to its bounds: a clamp inside the loss would stop the gradient for good."""
        if taken and self.theta.grad is not None:
            with torch.no_grad():
                self.theta.sub_(self.lr * self.theta.grad).clamp_(*self.bounds)
        self.theta.grad = None

    def state_dict(self) -> dict[str, float]:
        """Theta, where alpha is learnable."""
        return {"theta": float(self.theta.detach())} if self.mode == "learnable" else {}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """See `Objective`."""
        if self.mode == "learnable":
            with torch.no_grad():
                self.theta.fill_(state["theta"])

    def _alpha(self) -> Alpha:
        if self.mode == "proportional":
            return "proportional"
        return torch.sigmoid(self.theta) if self.mode == "learnable" else self.alpha

    def _combine(
        self, sums: PartLossSums, examples: Sequence[Example], denominators: LossDenominators, alpha: Alpha
    ) -> SrmlTerms:
        weights = sums.think.new_tensor([example.weight for example in examples])
        return combine(sums, alpha=alpha, denominators=denominators, average=self.average, weights=weights)


def _logit(probability: float) -> float:
    bounded = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(bounded / (1 - bounded))
