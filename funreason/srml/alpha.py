"""The weight of thinking against the result, and how it may move.

The trap of the learnable mode: dL/dalpha = L_think - L_result, so plain descent does not balance anything, it
slides alpha towards whichever part is already easier, until the other part has no weight left and the model forgets
it. Hence sigmoid(theta) with a learning rate of its own, no weight decay, bounds that theta is put back into after
each step, and a report of alpha at every step. Source: Self-adjusted Signal Balancing, third version of
arXiv 2505.20192; the bounds are ours.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from funreason.srml.errors import TrainingError
from funreason.srml.examples import TrainSettings
from funreason.srml.loss import Alpha


class Weighting(Protocol):
    """Gives the loss its alpha, and moves after each step if it may."""

    def for_loss(self) -> Alpha:
        """What `srml_loss` takes as alpha."""
        ...

    def number(self) -> float | None:
        """The present weight, for the report; None when every sample has its own."""
        ...

    def learning(self) -> list[Tensor]:
        """The tensors that backward passes leave gradients in."""
        ...

    def gradient(self) -> Tensor | None:
        """What backward passes have gathered, so that processes can add theirs up; None when nothing learns."""
        ...

    def step(self, taken: bool) -> None:
        """Move by the gathered gradient when the step was `taken`, and forget it either way."""
        ...

    def state(self) -> float | None:
        """What a checkpoint keeps."""
        ...

    def restore(self, state: float | None) -> None:
        """Go back to a kept state."""
        ...


def weighting(settings: TrainSettings) -> Weighting:
    """The weighting that `settings.alpha_mode` names. TrainingError for a weight outside [0, 1] or its bounds."""
    if settings.alpha_mode == "proportional":
        return ProportionalAlpha()
    low, high = (0.0, 1.0) if settings.alpha_mode == "fixed" else settings.alpha_bounds
    if not 0 <= low <= settings.alpha <= high <= 1:
        raise TrainingError(f"alpha is {settings.alpha}; it must lie in [{low}, {high}], and those in [0, 1].")
    if settings.alpha_mode == "fixed":
        return FixedAlpha(settings.alpha)
    return LearnableAlpha(settings.alpha, lr=settings.alpha_lr, low=low, high=high)


class FixedAlpha:
    """One number for the whole training."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def for_loss(self) -> Alpha:
        """The number."""
        return self.alpha

    def number(self) -> float | None:
        """The number."""
        return self.alpha

    def learning(self) -> list[Tensor]:
        """Nothing."""
        return []

    def gradient(self) -> Tensor | None:
        """None: nothing learns."""
        return None

    def step(self, taken: bool) -> None:
        """Nothing moves."""

    def state(self) -> float | None:
        """None: the settings say it all."""
        return None

    def restore(self, state: float | None) -> None:
        """Nothing to restore."""


class ProportionalAlpha(FixedAlpha):
    """Plain fine-tuning: each part weighs as many tokens as it has."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def for_loss(self) -> Alpha:
        """The word the loss knows."""
        return "proportional"

    def number(self) -> float | None:
        """None: every sample has its own."""
        return None


class LearnableAlpha:
    """sigmoid(theta), descended at its own rate and kept within [low, high]."""

    def __init__(self, start: float = 0.7, *, lr: float = 0.05, low: float = 0.1, high: float = 0.9) -> None:
        self.bounds = (_logit(low), _logit(high))
        self.lr = lr
        self.theta = torch.tensor(_logit(start), dtype=torch.float64, requires_grad=True)

    def for_loss(self) -> Alpha:
        """A scalar that carries theta's gradient."""
        return torch.sigmoid(self.theta)

    def number(self) -> float | None:
        """The present weight."""
        return float(torch.sigmoid(self.theta.detach()))

    def learning(self) -> list[Tensor]:
        """Theta."""
        return [self.theta]

    def gradient(self) -> Tensor | None:
        """dL/dtheta, summed over this process's micro-batches; zero when there was none."""
        if self.theta.grad is None:
            self.theta.grad = torch.zeros_like(self.theta)
        return self.theta.grad

    def step(self, taken: bool) -> None:
        """Descend, then put theta back into its bounds: a clamp inside the loss would stop the gradient for good."""
        gradient = self.gradient()
        if taken and gradient is not None:
            with torch.no_grad():
                self.theta.sub_(self.lr * gradient).clamp_(*self.bounds)
        self.theta.grad = None

    def state(self) -> float | None:
        """Theta."""
        return float(self.theta.detach())

    def restore(self, state: float | None) -> None:
        """Take a kept theta."""
        if state is None:
            raise TrainingError("the checkpoint holds no alpha, but alpha_mode is learnable; train from the beginning.")
        with torch.no_grad():
            self.theta.fill_(state)


def _logit(probability: float) -> float:
    bounded = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(bounded / (1 - bounded))
