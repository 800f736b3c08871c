"""The gradient of one effective batch, gathered piece by piece and over all processes.

Denominators are those of the whole batch and known before the first backward pass, and gradients are added up, never
averaged. So neither the cut into micro-batches nor the number of processes shows in the result. The model is not
wrapped for that: each process holds all of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.utils import gather_object  # type: ignore[import-untyped]
from torch import Tensor
from transformers import PreTrainedModel

from funreason.srml.alpha import Weighting
from funreason.srml.batches import collate, cut
from funreason.srml.examples import Example, TrainSettings
from funreason.srml.loss import Normaliser, SrmlLoss, part_sums, weigh
from funreason.srml.parts import Encoded
from funreason.srml.tally import Tally


class Accumulation:
    """Leaves the gradient of whole batches in `model`, and in the weighting if it learns."""

    def __init__(self, model: PreTrainedModel, weighting: Weighting, settings: TrainSettings, pad_id: int) -> None:
        self.model, self.weighting, self.settings, self.pad_id = model, weighting, settings, pad_id
        self.accelerator = Accelerator(cpu=model.device.type == "cpu")

    def gather(self, examples: Sequence[Example], encoded: Sequence[Encoded]) -> tuple[Tensor, Tally]:
        """Backward over one batch; its loss [total, think, result] and its tally, the same in every process."""
        whole = Normaliser(0.0, 0.0, 0.0, 0.0, 0.0)
        for example, sample in zip(examples, encoded, strict=True):
            whole += Normaliser.of_sample(sample.parts, example.weight)
        loss = torch.zeros(3, dtype=torch.float64, device=self.model.device)
        tally = Tally()
        for piece in self._own_pieces(encoded):
            mine = [examples[index] for index in piece]
            share = self._backward(mine, [encoded[index] for index in piece], whole, tally)
            loss += torch.stack([share.total, share.think, share.result]).detach()
        self._add_up_gradients()
        reduced: Tensor = self.accelerator.reduce(loss, "sum")
        return reduced, self._everyones(tally)

    def any_says(self, stop: bool) -> bool:
        """Whether any process says so: all must take the same number of steps."""
        if self.accelerator.num_processes == 1:
            return stop
        votes = self.accelerator.reduce(torch.tensor(float(stop), device=self.model.device), "sum")
        return bool(votes > 0)

    def _own_pieces(self, encoded: Sequence[Encoded]) -> list[list[int]]:
        lengths = [len(sample.ids) for sample in encoded]
        pieces = cut(range(len(encoded)), lengths, micro_tokens=self.settings.micro_tokens)
        return pieces[self.accelerator.process_index :: self.accelerator.num_processes]

    def _backward(
        self, examples: Sequence[Example], encoded: Sequence[Encoded], whole: Normaliser, tally: Tally
    ) -> SrmlLoss:
        weights = [example.weight for example in examples]
        batch = collate(encoded, weights, pad_id=self.pad_id, device=self.model.device)
        start = max(batch.first_trained - 1, 0)  # no logits for the prompt: nothing there is learnt
        labels, parts = batch.labels[:, start:], batch.parts[:, start:]
        output = self.model(input_ids=batch.ids, use_cache=False, logits_to_keep=labels.shape[1])
        sums = part_sums(output.logits, labels, parts)
        alpha, average = self.weighting.for_loss(), self.settings.average
        share = weigh(sums, alpha=alpha, normaliser=whole, average=average, weights=batch.weights)
        self.accelerator.backward(share.total)
        tally.add(examples, sums)
        return share

    def _everyones(self, tally: Tally) -> Tally:
        if self.accelerator.num_processes == 1:
            return tally
        together = Tally()
        for part in gather_object([tally]):
            together.merge(part)
        return together

    def _add_up_gradients(self) -> None:
        if self.accelerator.num_processes == 1:
            return
        own = [self.weighting.gradient()]
        for parameter in self.model.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)  # a process without a piece must take part all the same
            own.append(parameter.grad)
        for gradient in own:
            if gradient is not None:
                gradient.copy_(self.accelerator.reduce(gradient, "sum"))
