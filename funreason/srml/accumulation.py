"""The gradient of one effective batch, gathered piece by piece and over all processes.

Denominators are those of the whole batch and known before the first backward pass, and gradients are added up, never
averaged. So neither the cut into micro-batches nor the number of processes shows in the result. Where processes work in
step with each other, one that has fewer micro-batches than the others runs idle passes, which add nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from funreason.srml.alpha import Weighting
from funreason.srml.batches import Batch, collate, cut, deal, pack
from funreason.srml.examples import Example, TrainSettings
from funreason.srml.lanes import Forward, Lanes, Passed
from funreason.srml.layout import Layout
from funreason.srml.loss import Normaliser, Places, token_weights, weigh
from funreason.srml.parts import Encoded
from funreason.srml.processes import Processes
from funreason.srml.tally import Tally
from funreason.srml.vocabulary import Vocabulary


class Accumulation:
    """Leaves the gradient of whole batches in the layout, and in the weighting if it learns."""

    def __init__(
        self,
        layout: Layout,
        processes: Processes,
        vocabulary: Vocabulary,
        weighting: Weighting,
        settings: TrainSettings,
        *,
        pad_id: int,
        packed: bool = False,
        lanes: Lanes | None = None,
    ) -> None:
        """`lanes` are for a process that is alone and holds the whole model; without them pieces come one by one."""
        self.layout, self.processes, self.vocabulary, self.weighting = layout, processes, vocabulary, weighting
        self.settings, self.pad_id, self.packed = settings, pad_id, packed
        self.lanes = lanes or Lanes(1, [], processes.device)

    def gather(self, examples: Sequence[Example], encoded: Sequence[Encoded]) -> tuple[Tensor, Tally]:
        """Backward over one batch; its loss [total, think, result] and its tally, the same in every process."""
        whole = Normaliser(0.0, 0.0, 0.0, 0.0, 0.0)
        for example, sample in zip(examples, encoded, strict=True):
            whole += Normaliser.of_sample(sample.parts, example.weight)
        loss = torch.zeros(3, dtype=torch.float64, device=self.processes.device)
        tally = Tally()

        def forward(piece: Sequence[int]) -> Forward:
            return self._forward([examples[at].weight for at in piece], [encoded[at] for at in piece], whole)

        for piece, (share, sums) in self._passes(encoded, forward):
            loss += torch.stack([share.total, share.think, share.result]).detach()
            tally.add([examples[at] for at in piece], sums)
        self._add_up_alpha()
        return self.processes.add_up(loss), self._everyones(tally)

    def _passes(self, encoded: Sequence[Encoded], forward: Callable[[Sequence[int]], Forward]) -> Iterator[Passed]:
        """Forward and backward of each of this process's pieces: one by one, or as many at once as there are lanes."""
        lengths = [len(sample.ids) for sample in encoded]
        if self.lanes.count > 1:
            yield from self.lanes.passes(self._shares(lengths, self.lanes.count), forward)
            return
        pieces = self._own_pieces(lengths)
        for number, piece in enumerate(pieces, start=1):
            with self.layout.piece(last=number == len(pieces)):
                if not piece:
                    self._idle()
                    continue
                passed = forward(piece)
                self.layout.backward(passed.loss.total * self.layout.scale)
            yield piece, passed

    def _own_pieces(self, lengths: Sequence[int]) -> list[list[int]]:
        pieces = self._shares(lengths, self.processes.size)
        own = pieces[self.processes.rank]
        most = max(len(each) for each in pieces)
        return [*own, *[[]] * (most - len(own))] if self.layout.lockstep else own

    def _shares(self, lengths: Sequence[int], hands: int) -> list[list[list[int]]]:
        """The pieces of each hand. Lanes run in one memory, so together they hold no more than one pass may."""
        budget = max(1, self.settings.micro_tokens // self.lanes.count)
        shares = deal(range(len(lengths)), lengths, hands=hands)
        return [cut(share, lengths, micro_tokens=budget, packed=self.packed) for share in shares]

    def _forward(self, weights: Sequence[float], encoded: Sequence[Encoded], whole: Normaliser) -> Forward:
        batch = self._batch(encoded, weights)
        start = max(batch.first_trained - 1, 0)  # no logits for the prompt: nothing there is learnt
        places = Places.of(batch.labels[:, start:], batch.parts[:, start:], batch.owners[:, start:], len(encoded))
        kept, alpha, average = batch.ids.shape[1] - start, self.weighting.for_loss(), self.settings.average
        by_token = token_weights(places, alpha=alpha, normaliser=whole, average=average, weights=batch.weights)
        sums = places.sums(
            self.vocabulary.losses(lambda: self.layout.logits(batch.ids, kept, batch.positions), places, by_token)
        )
        return Forward(weigh(sums, alpha=alpha, normaliser=whole, average=average, weights=batch.weights), sums)

    def _batch(self, encoded: Sequence[Encoded], weights: Sequence[float]) -> Batch:
        device = self.processes.device
        if self.packed and len(encoded) > 1:
            return pack(encoded, weights, device=device)
        return collate(encoded, weights, pad_id=self.pad_id, device=device)

    def _idle(self) -> None:
        ids = torch.full((1, 2), self.pad_id, device=self.processes.device)
        self.layout.backward(self.layout.logits(ids, 1).sum() * 0.0)

    def _everyones(self, tally: Tally) -> Tally:
        together = Tally()
        for part in self.processes.collect(tally):
            together.merge(part)
        return together

    def _add_up_alpha(self) -> None:
        gradient = self.weighting.gradient()
        if gradient is not None:
            gradient.copy_(self.processes.add_up(gradient) / self.layout.scale)
