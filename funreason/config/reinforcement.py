"""How a policy learns from rewards: the advantages and the loss of GRPO, and EGPO's entropy bonus.

Defaults are those of the papers and of today's trainers for short tool calls; each field says which failure its default
prevents. Sources: GRPO, arXiv 2402.03300; DAPO (clip-higher, token mean), 2503.14476; Dr. GRPO (constant), 2503.20783;
EGPO, 2508.05118 v4.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from funreason.config.section import Count, Section

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class EgpoSettings(Section):
    """EGPO's entropy bonus: `A' = A + min(lam * E, |A| / alpha)`, E the mean entropy of a rollout's thinking, in nats.

    E is measured with the policy that sampled and carries no gradient. A rollout without thinking has E = 0.
    """

    lam: NonNegative = 0.4
    """The bonus per nat of entropy. 0 is GRPO."""
    alpha: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 2.0
    """The bonus is at most |A| / alpha; above 1 it never changes an advantage's sign."""
    span: Literal["think", "response"] = "think"
    """The tokens whose entropies are averaged: the thinking with its tags (the paper), or the whole completion."""
    shuffle_entropy: bool = False
    """A control: give each rollout the entropy of another one of its group. What is left of a gain is not due to E."""


class GrpoSettings(Section):
    """Group-relative policy optimization: what is learned from groups of rollouts with rewards."""

    baseline: Literal["group_mean", "leave_one_out"] = "group_mean"
    """What a reward is compared with: the group's mean reward, or that of the other rollouts."""
    std: Literal["biased", "unbiased", "none"] = "biased"
    """The group's standard deviation that advantages are divided by; `none` does not inflate nearly solved groups."""
    eps: Positive = 1e-6
    """Added to the standard deviation."""
    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """A token whose probability fell below 1 - clip_low of the old one is not pushed down further."""
    clip_high: Positive = 0.28
    """A token whose probability rose above 1 + clip_high of the old one is not pushed up further."""
    dual_clip: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = None
    """A bound on the ratio where the advantage is negative, such as 3; null: none."""
    aggregation: Literal["token", "sequence", "constant"] = "token"
    """`token`: mean over all tokens of the batch; `sequence`: mean over rollouts of each one's mean (favors short wrong
    answers); `constant`: sum of the tokens over rollouts × `constant_tokens`."""
    constant_tokens: Count = 1024
    """The length that `constant` divides by."""
    beta: NonNegative = 0.0
    """The weight of the KL divergence from the reference policy: k3 as value, k2's gradient. 0 needs no reference."""
    correction_cap: Positive | None = 2.0
    """Each token's loss is multiplied by min(trainer's / sampler's probability, cap): truncated importance sampling. A
    cap per token, because a sequence's ratio grows with its length. null: no correction; log-probabilities of the
    sampler are not needed."""
    updates: Count = 1
    """Optimizer steps on the same rollouts. Above 1 the log-probabilities before the first step must be given."""
    bonus: EgpoSettings | None = None
    """EGPO's entropy bonus; null: GRPO."""
