"""GRPO, and EGPO as GRPO with an entropy bonus on its advantages.

A rollout's advantage is its reward against those of the other rollouts of the same prompt. EGPO (arXiv 2508.05118 v4,
equation 5) adds `min(lam * E, |A| / alpha)`: right answers with uncertain thinking count more, wrong ones cost less. A
bonus that is the same for a whole group has no expected gradient; only differences of E within a group matter, so
their spread is a metric.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from funreason.config.reinforcement import GrpoSettings

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
    rng = random.Random(seed)
    found = BatchAdvantages([], [], [], {})
    plain, added, bounds, spreads, levels = [], [], [], [], []
    for number, group in enumerate(rewards):
        right = [reward > 0 for reward in group] if outcomes is None else list(outcomes[number])
        found.fates.append("mixed" if any(right) and not all(right) else "all_right" if all(right) else "all_wrong")
        signal = len(set(group)) > 1 and (outcomes is None or found.fates[-1] == "mixed")
        found.signal.append(signal)
        options = {"std": settings.std, "eps": settings.eps, "baseline": settings.baseline}
        advantages = group_advantages(group, **options)
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
                raised = group_advantages(group, level, lam=bonus.lam, alpha=bonus.alpha, **options)
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


class Grpo:
    """GRPO as an `Objective` over examples with a `rollout`, whose advantages are known."""

    terms: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()
    values: tuple[str, ...] = ("ratio", "sampler_ratio")

    def __init__(self, settings: GrpoSettings) -> None:
        self.settings = settings
