"""The self-refinement multiscale loss: `alpha * L_think + (1 - alpha) * L_result`, each part a mean.

Everything is computed as sums over global denominators, so that a batch may be cut into micro-batches, or shared
between processes, in any way: the pieces add up to the same loss and the same gradient. Plain fine-tuning is the
special case alpha = N_think / N_all (mode "proportional"). Source: arXiv 2505.20192, section on MSL; the level of
averaging is ours, the paper leaves it open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from funreason.srml.examples import Average
from funreason.srml.parts import IGNORE, NONE, RESULT, THINK

Alpha = float | Tensor | Literal["proportional"]


@dataclass(frozen=True, slots=True)
class SrmlLoss:
    """Scalars. `total` carries the gradient; `think` and `result` are the parts' means, 0 where a part is absent."""

    total: Tensor
    think: Tensor
    result: Tensor


@dataclass(frozen=True, slots=True)
class PartSums:
    """Per sample [B], float64: summed cross-entropy of each part, and how many tokens it has."""

    think: Tensor
    result: Tensor
    think_tokens: Tensor
    result_tokens: Tensor


@dataclass(frozen=True, slots=True)
class Normaliser:
    """The denominators of one effective batch, weighted: samples (all, with thinking, with result) and tokens.

    Add those of the micro-batches, and of the processes, before the first backward pass.
    """

    samples: float
    with_think: float
    with_result: float
    think_tokens: float
    result_tokens: float

    def __add__(self, other: Normaliser) -> Normaliser:
        """The denominators of both batches together."""
        return Normaliser(
            self.samples + other.samples,
            self.with_think + other.with_think,
            self.with_result + other.with_result,
            self.think_tokens + other.think_tokens,
            self.result_tokens + other.result_tokens,
        )

    @classmethod
    def of_sample(cls, parts: Sequence[int], weight: float = 1.0) -> Normaliser:
        """One sample's share, from its parts as `encode_sample` gives them."""
        think, result = (float(sum(part == kind for part in parts[1:])) for kind in (THINK, RESULT))
        present = (float(think + result > 0), float(think > 0), float(result > 0))
        return cls(*(weight * value for value in (*present, think, result)))

    @classmethod
    def of(cls, labels: Tensor, parts: Tensor, weights: Tensor | None = None) -> Normaliser:
        """Counted from labels and parts [B, T], with sample weights [B] (1 when None).

        A sequence's first token counts nowhere: nothing stands before it to predict it from.
        """
        think, result = (_tokens_of(labels[:, 1:], parts[:, 1:], part).sum(1).double() for part in (THINK, RESULT))
        scale = torch.ones_like(think) if weights is None else weights.double()
        present = [(tokens > 0).double() for tokens in (think + result, think, result)]
        return cls(*(float((scale * count).sum()) for count in (*present, think, result)))


@dataclass(frozen=True, slots=True)
class Places:
    """The N tokens that learn, in a batch of B samples: where each is predicted, what it is and whose.

    `where` [N] counts positions of the flattened [B, T]; `targets`, `part` and `sample` [N] belong to the token
    behind it; `tokens` [2, B] (float64) says how many thinking and result tokens each sample has.
    """

    where: Tensor
    targets: Tensor
    part: Tensor
    sample: Tensor
    tokens: Tensor

    @classmethod
    def of(cls, labels: Tensor, parts: Tensor, owners: Tensor | None = None, samples: int | None = None) -> Places:
        """From labels and parts [B, T], unshifted. `owners` [B, T] says to which of `samples` a position belongs.

        Without owners each row is a sample. What begins a sample counts nowhere.
        """
        rows = torch.arange(len(labels), device=labels.device).unsqueeze(1).expand_as(labels)
        owners = rows if owners is None else owners
        learns = (parts != NONE) & (labels != IGNORE)
        learns = learns[:, 1:] & (owners[:, 1:] == owners[:, :-1])
        where = functional.pad(learns, (0, 1)).flatten().nonzero().squeeze(-1)
        behind = where + 1
        part, sample = parts.flatten()[behind], owners.flatten()[behind]
        count = len(labels) if samples is None else samples
        tokens = [torch.bincount(sample[part == kind], minlength=count).double() for kind in (THINK, RESULT)]
        return cls(where, labels.flatten()[behind], part, sample, torch.stack(tokens))

    def sums(self, losses: Tensor) -> PartSums:
        """The tokens' losses [N], summed per sample and part in float64."""
        wide, count = losses.double(), self.tokens.shape[1]
        think, result = (_sums_per_sample(wide, self.sample, self.part == kind, count) for kind in (THINK, RESULT))
        return PartSums(think, result, self.tokens[0], self.tokens[1])


def srml_loss(logits: Tensor, labels: Tensor, parts: Tensor, *, alpha: Alpha, average: Average = "sample") -> SrmlLoss:
    """The loss of one whole batch: logits [B, T, V], labels and parts [B, T], all unshifted.

    Position t is predicted at t - 1. `parts` is 0 none, 1 think, 2 result; a label of -100 counts as none. `alpha`
    is the weight of thinking: a number or 0-dim tensor, a tensor [B], or "proportional". `sample`: per sample the
    weighted part means (a part that is alone has weight 1), then the mean over samples that have any trainable
    token. `token`: part sums over the batch by part counts over the batch. ValueError for a shape or alpha that
    does not fit. A batch without any trainable token gives 0, never NaN.
    The scalars are float32, or float64 where the logits are.
    """
    _require_shapes(logits, labels, parts)
    loss = srml_sums(logits, labels, parts, alpha=alpha, average=average, normaliser=Normaliser.of(labels, parts))
    kind = torch.promote_types(logits.dtype, torch.float32)
    return SrmlLoss(loss.total.to(kind), loss.think.to(kind), loss.result.to(kind))


def srml_sums(
    logits: Tensor,
    labels: Tensor,
    parts: Tensor,
    *,
    alpha: Alpha,
    normaliser: Normaliser,
    average: Average = "sample",
    weights: Tensor | None = None,
) -> SrmlLoss:
    """One piece's share, in float64, of the loss whose denominators are `normaliser`: all shares add up to it."""
    return weigh(part_sums(logits, labels, parts), alpha=alpha, normaliser=normaliser, average=average, weights=weights)


def part_sums(logits: Tensor, labels: Tensor, parts: Tensor) -> PartSums:
    """Cross-entropy [B, T, V] against labels [B, T], summed per sample and part; prompt positions are never read."""
    _require_shapes(logits, labels, parts)
    places = Places.of(labels, parts)
    chosen = logits.flatten(0, 1)[places.where]
    chosen = chosen.to(torch.promote_types(chosen.dtype, torch.float32))
    return places.sums(functional.cross_entropy(chosen, places.targets, reduction="none"))


def token_weights(
    places: Places,
    *,
    alpha: Alpha,
    normaliser: Normaliser,
    average: Average = "sample",
    weights: Tensor | None = None,
) -> Tensor:
    """What each token's loss weighs in the total of `srml_sums` [N], float64: known before any loss is."""
    with torch.enable_grad():
        # The total is linear in the losses, so its gradient is the same wherever it is taken.
        losses = torch.zeros(len(places.where), dtype=torch.float64, device=places.where.device, requires_grad=True)
        fixed = alpha.detach() if isinstance(alpha, Tensor) else alpha
        loss = weigh(places.sums(losses), alpha=fixed, normaliser=normaliser, average=average, weights=weights)
        return torch.autograd.grad(loss.total, losses)[0]


def weigh(
    sums: PartSums,
    *,
    alpha: Alpha,
    normaliser: Normaliser,
    average: Average = "sample",
    weights: Tensor | None = None,
) -> SrmlLoss:
    """The loss from per-sample sums [B]; see `srml_sums`."""
    if average not in ("sample", "token"):
        raise ValueError(f"average is {average!r}; use 'sample' or 'token'.")
    scale = torch.ones_like(sums.think) if weights is None else weights.double()
    share = _share(sums, alpha, normaliser) if average == "token" else _share_per_sample(sums, alpha)
    if average == "token":
        think = scale * sums.think / max(normaliser.think_tokens, 1e-300)
        result = scale * sums.result / max(normaliser.result_tokens, 1e-300)
        return SrmlLoss((share * think + (1 - share) * result).sum(), think.sum(), result.sum())
    think, result = sums.think / sums.think_tokens.clamp(min=1), sums.result / sums.result_tokens.clamp(min=1)
    total = (scale * (share * think + (1 - share) * result)).sum() / _nonzero(normaliser.samples)
    return SrmlLoss(
        total,
        (scale * think).sum() / _nonzero(normaliser.with_think),
        (scale * result).sum() / _nonzero(normaliser.with_result),
    )


def _share_per_sample(sums: PartSums, alpha: Alpha) -> Tensor:
    # The weight of thinking in each sample [B]: a part that stands alone is the whole loss of its sample.
    if isinstance(alpha, str):
        _require_proportional(alpha)
        return sums.think_tokens / (sums.think_tokens + sums.result_tokens).clamp(min=1)
    share = _as_share(alpha, sums)
    share = torch.where(sums.result_tokens == 0, torch.ones_like(share), share)
    return torch.where(sums.think_tokens == 0, torch.zeros_like(share), share)


def _share(sums: PartSums, alpha: Alpha, normaliser: Normaliser) -> Tensor:
    # The same under `token`, where being alone is a matter of the whole batch.
    share = torch.ones_like(sums.think)
    if normaliser.think_tokens == 0 or normaliser.result_tokens == 0:
        return share * float(normaliser.result_tokens == 0)
    if isinstance(alpha, str):
        _require_proportional(alpha)
        return share * (normaliser.think_tokens / (normaliser.think_tokens + normaliser.result_tokens))
    return _as_share(alpha, sums)


def _as_share(alpha: float | Tensor, sums: PartSums) -> Tensor:
    if not isinstance(alpha, Tensor):
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha}; it is the weight of thinking and must lie between 0 and 1.")
        return torch.full_like(sums.think, alpha)
    if alpha.shape not in (torch.Size([]), sums.think.shape):
        raise ValueError(f"alpha has shape {list(alpha.shape)}; expected a scalar or {list(sums.think.shape)}.")
    return alpha.to(sums.think).expand_as(sums.think)


def _sums_per_sample(losses: Tensor, sample: Tensor, chosen: Tensor, count: int) -> Tensor:
    return losses.new_zeros(count).index_add(0, sample, losses * chosen)


def _tokens_of(labels: Tensor, parts: Tensor, part: int) -> Tensor:
    return (parts == part) & (labels != IGNORE)


def _nonzero(count: float) -> float:
    return count if count > 0 else 1.0


def _require_proportional(alpha: str) -> None:
    if alpha != "proportional":
        raise ValueError(f"alpha is {alpha!r}; use a number between 0 and 1, a tensor, or 'proportional'.")


def _require_shapes(logits: Tensor, labels: Tensor, parts: Tensor) -> None:
    if logits.ndim != 3 or labels.shape != logits.shape[:2] or parts.shape != labels.shape:
        raise ValueError(
            f"logits {list(logits.shape)}, labels {list(labels.shape)}, parts {list(parts.shape)}: "
            "expected [B, T, V], [B, T] and [B, T]."
        )
