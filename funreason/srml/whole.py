"""The plainest layout: each process holds the whole model, and gradients are added up when a batch is through.

With one process this is a plain torch loop. The other torch layouts differ in how the model is wrapped and in how a
tensor is made whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from funreason.srml.examples import TrainSettings
from funreason.srml.layout import Named
from funreason.srml.optimizer import learning, optimizer_for
from funreason.srml.processes import Processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Whole:
    """The model as it is."""

    lockstep = False
    scale = 1.0

    def __init__(self, model: PreTrainedModel, settings: TrainSettings, processes: Processes) -> None:
        self.model = model
        self.processes = processes
        self.limit = settings.grad_clip
        self.wrapped: Any = self._wrap()
        self.optimizer = optimizer_for(model, settings)

    def logits(self, ids: Tensor, keep: int, positions: Tensor | None = None) -> Tensor:
        """See `Layout`."""
        said = self.wrapped(input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=keep)
        logits: Tensor = said.logits
        return logits

    @contextmanager
    def piece(self, last: bool) -> Iterator[None]:
        """Nothing to prepare."""
        yield

    def backward(self, loss: Tensor) -> None:
        """Into the parameters' own gradients."""
        loss.backward()  # type: ignore[no-untyped-call]

    def step(self, rate: float, sound: bool) -> float:
        """See `Layout`."""
        self._add_up()
        norm = float(self._whole(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.limit)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if sound and math.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def names(self) -> set[str]:
        """See `Layout`."""
        return set(learning(self.model))

    def weights(self) -> Named:
        """See `Layout`."""
        for name, parameter in learning(self.model).items():
            yield name, self._whole(parameter.detach())

    def moments(self) -> Named:
        """See `Layout`."""
        for name, parameter in learning(self.model).items():
            for kind, value in self.optimizer.state.get(parameter, {}).items():
                yield f"{name}/{kind}", self._whole(value.detach())

    def load(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
        """See `Layout`."""
        parameters = learning(self.model)
        with torch.no_grad():
            for name, value in weights.items():
                parameters[name].copy_(self._part(value, parameters[name]))
        for key, value in moments.items():
            name, _, kind = key.rpartition("/")
            parameter = parameters[name]
            here = value.to(parameter.device) if kind == "step" else self._part(value, parameter)
            self.optimizer.state[parameter][kind] = here

    def _wrap(self) -> Any:
        return self.model

    def _add_up(self) -> None:
        if self.processes.size == 1:
            return
        for parameter in self.model.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)  # a process without a piece must take part all the same
            if parameter.grad is not None:
                parameter.grad = self.processes.add_up(parameter.grad)

    def _whole(self, value: Tensor) -> Tensor:
        return value

    def _part(self, value: Tensor, parameter: Tensor) -> Tensor:
        return value.to(parameter.device)
