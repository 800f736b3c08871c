"""How a round learns from rewards: the steps of a round, the groups of a step, and what stops a round.

The loss of a step is `reinforcement.loss` (`config/reinforcement.py`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from funreason.config.reinforcement import EgpoSettings, GrpoSettings
from funreason.config.section import Count, Section, Share
from funreason.config.updates import Beta, Update

Method = Literal["srml", "grpo", "egpo", "hdr"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PolicyUpdate(Update):
    """How weights are trained in a step of reinforcement learning: all groups of the step are one batch.

    Rate, warm-up and schedule count the steps of a round. What belongs to SRML (`alpha`, `loss_reduction`) is unused.
    """

    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-6
    lr_warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["linear", "cosine", "constant"] = "constant"
    adam_betas: tuple[Beta, Beta] = (0.9, 0.999)

    @model_validator(mode="after")
    def _a_step_is_one_batch(self) -> PolicyUpdate:
        if self.epochs != 1:
            raise ValueError(f"epochs is {self.epochs}; several passes over a step's rollouts are loss.updates")
        if self.replay is not None:
            raise ValueError("replay has no rewards to learn from; take it out")
        return self


class Reinforcement(Section):
    """A round of `method: grpo` or `egpo`: small steps, each on samples of the weights that the last one made."""

    steps_per_round: Count = 8
    """Optimizer steps between two decisions of the gate."""
    prompts_per_step: Count = 16
    """Groups of a step. The paper has 1,024; below 64 the gradient is noisy."""
    group_size: Annotated[int, Field(ge=2)] = 8
    """Answers to each prompt. A reward counts only against those of its group, so a group of one teaches nothing."""
    no_call_share: Share | None = 0.2
    """The share of prompts where no call is right: trained on calls alone, a model learns to call always. Null: as many
    as the tasks have."""
    max_resample: Annotated[int, Field(ge=0)] = 1
    """How often a step asks for new prompts in place of groups whose rewards are all equal. 0: never."""
    reward: str = "egpo"
    """`egpo`, `tool_n1`, `toolrl`, `module:function` or `path/to/file.py:function`."""
    loss: GrpoSettings = GrpoSettings()
    update: PolicyUpdate = PolicyUpdate()
    kl_stop: Positive | None = 0.3
    """Roll the round back when the KL divergence from the accepted weights exceeds this, in nats per token."""
    kl_rollouts: Count = 32
    """Rollouts of a step on which that divergence is measured; all of them where `loss.beta` is above 0."""
    entropy_stop: Positive | None = 3.0
    """Roll the round back when the mean entropy of the rollouts' tokens exceeds this, in nats."""
    refusal_floor: Share | None = 0.05
    """Roll the round back when a smaller share of the answers refuses, where no call is right, over the last
    `refusal_window` steps."""
    refusal_window: Count = 4
    """Steps over which refusals are counted for `refusal_floor`."""
    max_idle_steps: Count = 10
    """Stop the run after so many steps in a row in which all groups had equal rewards."""

    def loss_of(self, method: Method) -> GrpoSettings:
        """The loss of a method: EGPO's has its bonus."""
        return (
            self.loss.model_copy(update={"bonus": self.loss.bonus or EgpoSettings()}) if method == "egpo" else self.loss
        )
