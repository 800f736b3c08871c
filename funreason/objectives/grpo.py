"""GRPO, and EGPO as GRPO with an entropy bonus on its advantages.

A rollout's advantage is its reward against those of the other rollouts of the same prompt. EGPO (arXiv 2508.05118 v4,
equation 5) adds `min(lam * E, |A| / alpha)`: right answers with uncertain thinking count more, wrong ones cost less. A
bonus that is the same for a whole group has no expected gradient; only differences of E within a group matter, so
their spread is a metric.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from funreason.config.reinforcement import GrpoSettings
from funreason.objectives.protocol import (
    NONE,
    THINK,
    Encoded,
    Example,
    LossShare,
    Rollout,
    TokenOutputs,
    TokenSlopes,
    TokenTargets,
)

MOST_LOG_RATIO = 20.0
"""Where logarithms of ratios are cut, so that no token's ratio overflows."""
Baseline = Literal["group_mean", "leave_one_out"]
Std = Literal["biased", "unbiased", "none"]
Fate = Literal["all_right", "all_wrong", "mixed"]


def group_advantages(
    rewards: Sequence[float] | Tensor,
    entropies: Sequence[float] | Tensor | None = None,
    *,
    lam: float = 0.4,
    alpha: float = 2.0,
    std: Std = "biased",
    eps: float = 1e-6,
    baseline: Baseline = "group_mean",
) -> Tensor:
    """Advantages of one group of G rollouts of the same prompt: GRPO's, or with `entropies` EGPO's.

        A_i  = (r_i - baseline) / (std + eps)
        A'_i = A_i + min(lam * E_i, |A_i| / alpha)

    Args:
        rewards: [G].
        entropies: [G], the mean entropy of each rollout's thinking under the policy that sampled, in nats.
        lam, alpha: the bonus per nat, and its bound as a share of |A|; alpha > 1 keeps every sign.
        std: what the differences are divided by: the group's biased or unbiased standard deviation, or nothing.
        baseline: `group_mean`, or `leave_one_out`: the mean of the other rollouts.

    Returns [G], float64, without a gradient; zeros if all rewards are equal, and for a group of one. Raises ValueError
    for shapes that differ, values that are not finite, `lam` below 0, `alpha` not above 1, or an unknown option.
    """
    values = torch.as_tensor(rewards, dtype=torch.float64).detach()
    if values.ndim != 1 or not len(values) or not bool(values.isfinite().all()):
        raise ValueError(f"rewards are {values.tolist()}; expected a list of at least one finite number.")
    if baseline not in ("group_mean", "leave_one_out"):
        raise ValueError(f"baseline is {baseline!r}; use 'group_mean' or 'leave_one_out'.")
    if std not in ("biased", "unbiased", "none"):
        raise ValueError(f"std is {std!r}; use 'biased', 'unbiased' or 'none'.")
    if bool((values == values[0]).all()):  # rounding in the mean would leave differences for eps to blow up
        advantages = torch.zeros_like(values)
    else:
        advantages = values - values.mean()
        if baseline == "leave_one_out":
            advantages = advantages * (len(values) / (len(values) - 1))
        if std != "none":
            advantages = advantages / (values.std(correction=int(std == "unbiased")) + eps)
    if entropies is None:
        return advantages
    spread = torch.as_tensor(entropies, dtype=torch.float64, device=values.device).detach()
    if spread.shape != values.shape or not bool(spread.isfinite().all()):
        raise ValueError(
            f"entropies are {spread.tolist()}; expected {len(values)} finite numbers, one for each reward."
        )
    if not lam >= 0 or not alpha > 1:
        raise ValueError(f"lam is {lam} and alpha is {alpha}; lam must be at least 0, and alpha above 1.")
    return advantages + torch.minimum(lam * spread.clamp(min=0), advantages.abs() / alpha)


class BatchAdvantages(NamedTuple):
    """The advantages of a batch of groups.

    Attributes:
        advantages: for each group its rollouts' advantages; zeros where a group carries no signal.
        fates: for each group whether all its rollouts are right, all wrong, or mixed.
        signal: for each group whether it carries a signal: train on these only.
        metrics: by name. advantage_abs: mean |A|. entropy_think, entropy_group_sd: mean E, and its standard deviation
            within groups. bonus, bonus_bound_share: mean bonus, and the share of advantages whose bonus is at its
            bound |A| / alpha. Over the groups that carry a signal; a metric without data is left out.
    """

    advantages: list[list[float]]
    fates: list[Fate]
    signal: list[bool]
    metrics: dict[str, float]


def batch_advantages(
    rewards: Sequence[Sequence[float]],
    entropies: Sequence[Sequence[float]] | None,
    settings: GrpoSettings,
    *,
    outcomes: Sequence[Sequence[bool]] | None = None,
    seed: int = 0,
) -> BatchAdvantages:
    """`group_advantages` of every group as `settings` say, with `settings.bonus` if there is one.

    Args:
        rewards: a list of rewards for each group.
        entropies: the same shape; needed with a bonus.
        outcomes: whether each rollout is right, by default `reward > 0`. Where they are given, a group without both
            outcomes carries no signal even if its rewards differ: a shaped reward alone leads to collapse.
        seed: for `shuffle_entropy`.
    """
    bonus = settings.bonus
    if bonus is not None and entropies is None:
        raise ValueError("an entropy bonus needs the entropies of the rollouts; score them first, or set bonus: null.")
    advantages_of = partial(group_advantages, std=settings.std, eps=settings.eps, baseline=settings.baseline)
    rng = random.Random(seed)
    found = BatchAdvantages([], [], [], {})
    plain, added, bounds, spreads, levels = [], [], [], [], []
    for number, group in enumerate(rewards):
        right = [reward > 0 for reward in group] if outcomes is None else list(outcomes[number])
        found.fates.append("mixed" if any(right) and not all(right) else "all_right" if all(right) else "all_wrong")
        signal = len(set(group)) > 1 and (outcomes is None or found.fates[-1] == "mixed")
        found.signal.append(signal)
        advantages = advantages_of(group)
        if not signal:
            found.advantages.append([0.0] * len(group))
            continue
        plain.append(advantages)
        if entropies is not None:
            level = torch.as_tensor(entropies[number], dtype=torch.float64)
            levels.append(level)
            spreads.append(level.std(correction=0))
            if bonus is not None:
                if bonus.shuffle_entropy:
                    level = level[rng.sample(range(len(group)), len(group))]
                raised = advantages_of(group, level, lam=bonus.lam, alpha=bonus.alpha)
                added.append(raised - advantages)
                bounds.append((bonus.lam * level >= advantages.abs() / bonus.alpha) & (advantages != 0))
                advantages = raised
        found.advantages.append(advantages.tolist())
    means = {
        "advantage_abs": [value.abs() for value in plain],
        "entropy_think": levels,
        "entropy_group_sd": [value.view(1) for value in spreads],
        "bonus": added,
        "bonus_bound_share": bounds,
    }
    found.metrics.update({name: float(torch.cat(values).double().mean()) for name, values in means.items() if values})
    return found


class TokenTerms(NamedTuple):
    """GRPO's loss of n tokens, taken apart; each [n], float64.

    Attributes:
        policy, slope: the clipped and corrected policy loss, and its derivative by the log-probability.
        log_ratio: the policy's log-probability less the old one.
        low, high, dual: whether the token is clipped below, above, or by the dual clip.
        sampler_log_ratio: the trainer's old log-probability less the sampler's; NaN without the sampler's.
        capped: whether the correction is at its cap.
        k1, k2, k3: estimates of the KL divergence from the reference; NaN without one. k2's derivative is k1.
    """

    policy: Tensor
    slope: Tensor
    log_ratio: Tensor
    low: Tensor
    high: Tensor
    dual: Tensor
    sampler_log_ratio: Tensor
    capped: Tensor
    k1: Tensor
    k2: Tensor
    k3: Tensor


@dataclass(frozen=True, slots=True)
class GrpoRule:
    """GRPO as a `TokenRule`. Per-token tensors [N], float64; NaN where a rollout has no such log-probability."""

    settings: GrpoSettings
    weights: Tensor
    temperatures: Tensor
    advantages: Tensor
    sampler: Tensor
    old: Tensor
    reference: Tensor
    reads_entropy: bool = True

    def terms(self, logprobs: Tensor, rows: slice) -> TokenTerms:
        """The parts of the loss of tokens `rows`."""
        settings, now, advantages = self.settings, logprobs.double(), self.advantages[rows]
        # Without old log-probabilities this is the first update: the old policy is this one, and the ratio is 1.
        old = self.old[rows]
        old = now.where(old.isnan(), old)
        log_ratio = now - old
        ratio = log_ratio.clamp(-MOST_LOG_RATIO, MOST_LOG_RATIO).exp()
        low = (advantages < 0) & (ratio < 1 - settings.clip_low)
        high = (advantages > 0) & (ratio > 1 + settings.clip_high)
        gain = torch.minimum(
            ratio * advantages, ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high) * advantages
        )
        dual = torch.zeros_like(low)
        if settings.dual_clip is not None:
            dual = (advantages < 0) & (ratio > settings.dual_clip)
            gain = torch.where(dual, settings.dual_clip * advantages, gain)
        slope = (ratio * advantages).masked_fill(low | high | dual, 0.0)
        sampler_log_ratio, cap = old - self.sampler[rows], settings.correction_cap
        capped = torch.zeros_like(low)
        if cap is not None:
            correction = sampler_log_ratio.clamp(-MOST_LOG_RATIO, MOST_LOG_RATIO).exp()
            capped = correction > cap
            correction = correction.clamp(max=cap)
            gain, slope = gain * correction, slope * correction
        k1 = (now - self.reference[rows]).clamp(-MOST_LOG_RATIO, MOST_LOG_RATIO)
        return TokenTerms(
            -gain, -slope, log_ratio, low, high, dual, sampler_log_ratio, capped, k1, k1.square() / 2,
            torch.expm1(-k1) + k1,
        )  # fmt: skip

    def __call__(self, logprobs: Tensor, entropies: Tensor | None, rows: slice) -> TokenSlopes:
        """See `TokenRule`."""
        terms, beta = self.terms(logprobs, rows), self.settings.beta
        if beta == 0:
            return TokenSlopes(terms.policy, terms.slope)
        return TokenSlopes(terms.policy + beta * terms.k3, terms.slope + beta * terms.k1)


class Grpo:
    """GRPO as an `Objective` over examples with a `rollout`, whose advantages are known.

    A token's loss is `-min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) * c + beta * k3`, with r its probability over
    that before the first update, and c the correction min(trainer's / sampler's, cap), which carries no gradient. The
    KL divergence has k3 as value and the gradient of k2: k3's own gradient is that of another divergence.
    """

    terms: tuple[str, ...] = ()
    sums: tuple[str, ...] = (
        "tokens", "think_tokens", "samples", "advantage", "policy", "entropy", "clip_low", "clip_high", "dual_clip",
        "corrected", "capped", "sampler_k1", "referred", "k1", "k2", "k3",
    )  # fmt: skip
    values: tuple[str, ...] = ("ratio", "sampler_ratio")

    def __init__(self, settings: GrpoSettings) -> None:
        self.settings = settings
        self.fingerprint = settings.model_dump_json()
        self.left_out = 0

    def with_signal(self, examples: Sequence[Example]) -> list[bool]:
        """False for rollouts of a group whose advantages are all 0; `state_metrics` has their number."""
        groups = [example.rollout.group for example in examples if example.rollout is not None]
        if len(groups) < len(examples):
            odd = next(example.id for example in examples if example.rollout is None)
            raise ValueError(f"sample {odd} has no rollout; GRPO learns from sampled tokens and their advantage.")
        lively = {e.rollout.group for e in examples if e.rollout is not None and e.rollout.advantage != 0}
        kept = [group in lively for group in groups]
        self.left_out = kept.count(False)
        return kept

    def denominators(self, examples: Sequence[Example], encoded: Sequence[Encoded]) -> float:
        """What the batch's weighted token losses (`sequence`: their means per rollout) are divided by.

        ValueError for a rollout without the log-probabilities that the settings need.
        """
        for example in examples:
            self._rollout(example)
        weights = [example.weight for example in examples]
        if self.settings.aggregation == "token":
            lengths = [len(sample.parts) - 1 - sample.parts[1:].count(NONE) for sample in encoded]
            return sum(weight * length for weight, length in zip(weights, lengths, strict=True))
        return sum(weights) * (self.settings.constant_tokens if self.settings.aggregation == "constant" else 1)

    def rule(self, targets: TokenTargets, examples: Sequence[Example], denominators: float) -> GrpoRule:
        """See `Objective`."""
        device, counts = targets.where.device, [int(count) for count in targets.counts.sum(0).tolist()]
        rollouts = [self._rollout(example) for example in examples]

        def per_token(values: Iterable[float]) -> Tensor:
            return torch.tensor(list(values), dtype=torch.float64, device=device)[targets.sample]

        def sampled(columns: Iterable[Sequence[float] | None]) -> Tensor:
            # The last `count`: without a prompt, the first token is no target.
            kept = [
                [math.nan] * count if column is None else column[len(column) - count :]
                for column, count in zip(columns, counts, strict=True)
            ]
            return torch.tensor(list(chain.from_iterable(kept)), dtype=torch.float64, device=device)

        lengths = counts if self.settings.aggregation == "sequence" else [1] * len(counts)
        return GrpoRule(
            self.settings,
            per_token(e.weight / max(n, 1) / denominators for e, n in zip(examples, lengths, strict=True)),
            per_token(rollout.temperature for rollout in rollouts),
            per_token(rollout.advantage for rollout in rollouts),
            sampled(rollout.logprobs for rollout in rollouts),
            sampled(rollout.old_logprobs for rollout in rollouts),
            sampled(rollout.reference_logprobs for rollout in rollouts),
        )

    def loss(
        self, outputs: TokenOutputs, targets: TokenTargets, examples: Sequence[Example], denominators: float
    ) -> LossShare:
        """See `Objective`."""
        rule = self.rule(targets, examples, denominators)
        terms = rule.terms(outputs.logprobs, slice(None))
        total = (outputs.losses.double() * rule.weights).sum()
        ones = torch.ones_like(rule.weights)
        columns = {
            "tokens": ones,
            "think_tokens": targets.part == THINK,
            "policy": terms.policy,
            "entropy": torch.zeros_like(ones) if outputs.entropies is None else outputs.entropies,
            "clip_low": terms.low,
            "clip_high": terms.high,
            "dual_clip": terms.dual,
            "corrected": ~terms.sampler_log_ratio.isnan(),
            "capped": terms.capped,
            "sampler_k1": -terms.sampler_log_ratio.nan_to_num(0.0),
            "referred": ~terms.k1.isnan(),
            "k1": terms.k1.nan_to_num(0.0),
            "k2": terms.k2.nan_to_num(0.0),
            "k3": terms.k3.nan_to_num(0.0),
        }
        sums = ones.new_zeros(len(examples), len(self.sums))
        for at, name in enumerate(self.sums):
            if name in columns:
                sums[:, at].index_add_(0, targets.sample, columns[name].detach().double())
        sums[:, self.sums.index("samples")] = 1.0
        sums[:, self.sums.index("advantage")] = sums.new_tensor([self._rollout(e).advantage for e in examples])
        values = torch.stack([terms.log_ratio, terms.sampler_log_ratio], dim=1).exp()
        return LossShare(total, sums.new_zeros(0), sums, values)

    def metrics(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Means per token; advantage per rollout. KL and correction only where rollouts have what they need.

        kl_k1, kl_k2, kl_k3: the policy from the reference; sampler_kl: the sampler from the trainer's old policy.
        """
        tokens, samples = sums["tokens"], sums["samples"]
        found = {"tokens": tokens, "think_tokens": sums["think_tokens"]}
        if tokens:
            found |= {
                "loss_policy": sums["policy"] / tokens,
                "entropy": sums["entropy"] / tokens,
                "clip_low_share": sums["clip_low"] / tokens,
                "clip_high_share": sums["clip_high"] / tokens,
            }
            if self.settings.dual_clip is not None:
                found["dual_clip_share"] = sums["dual_clip"] / tokens
        if samples:
            found["advantage"] = sums["advantage"] / samples
        if sums["corrected"]:
            found["sampler_kl"] = sums["sampler_k1"] / sums["corrected"]
            if self.settings.correction_cap is not None:
                found["correction_capped_share"] = sums["capped"] / sums["corrected"]
        if sums["referred"]:
            found |= {f"kl_{name}": sums[name] / sums["referred"] for name in ("k1", "k2", "k3")}
        return found

    def state_metrics(self) -> dict[str, float]:
        """How many rollouts of the training carry no signal and were left out."""
        return {"samples_without_signal": float(self.left_out)}

    def parameters(self) -> list[Tensor]:
        """None: only the model learns."""
        return []

    def step(self, taken: bool) -> None:
        """Nothing to update."""

    def state_dict(self) -> dict[str, float]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Nothing to restore."""

    def _rollout(self, example: Example) -> Rollout:
        """The example's rollout, with all that the settings need. ValueError where something is missing."""
        rollout, settings = example.rollout, self.settings
        if rollout is None:
            raise ValueError(
                f"sample {example.id} has no rollout; GRPO learns from sampled tokens and their advantage."
            )
        missing = {
            "logprobs": (settings.correction_cap is not None, "the sampler's; or set correction_cap: null"),
            "old_logprobs": (settings.updates > 1, "those before the first of several updates; or set updates: 1"),
            "reference_logprobs": (settings.beta > 0, "the reference policy's; or set beta: 0"),
        }
        for name, (needed, which) in missing.items():
            if needed and getattr(rollout, name) is None:
                raise ValueError(f"sample {example.id}: its rollout has no {name}, which the loss needs: {which}.")
        return rollout
