"""How examples become batches: which go together in a step, how a step is cut, how a cut is padded or packed.

A step always holds `batch_size` samples (the last one of an epoch may hold fewer), whatever their length. Cutting it
into micro-batches is a matter of memory and speed alone; the loss does not see the cut. Everything follows from
(seed, epoch), so a resumed training meets the same batches.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from funreason.srml.parts import IGNORE, NONE, Encoded

POOL_BATCHES = (
    8  # batches whose samples are sorted by length together: enough to cut padding, few enough to stay random
)


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass over S samples: ids, labels, parts [B, T] and weights [S] (float64).

    `owners` [B, T] says whose each position is. Padded on the right, a sample a row; or packed, one row of all
    samples, and `positions` [1, T] begin anew with each.
    """

    ids: Tensor
    labels: Tensor
    parts: Tensor
    owners: Tensor
    weights: Tensor
    positions: Tensor | None = None

    @property
    def first_trained(self) -> int:
        """The first position at which any row learns."""
        return int((self.parts != NONE).any(0).int().argmax())


def plan_epoch(lengths: Sequence[int], *, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Indices of `lengths` in effective batches of `batch_size`, like lengths together, each index once."""
    rng = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    pool = batch_size * POOL_BATCHES
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        alike = sorted(order[start : start + pool], key=lambda index: lengths[index])
        batches += [alike[at : at + batch_size] for at in range(0, len(alike), batch_size)]
    rng.shuffle(batches)
    return batches


def deal(batch: Sequence[int], lengths: Sequence[int], *, hands: int) -> list[list[int]]:
    """`batch` shared out among `hands` processes, longest first and one by one, so that each has about as much."""
    order = sorted(batch, key=lambda index: -lengths[index])
    return [order[hand::hands] for hand in range(hands)]


def cut(batch: Sequence[int], lengths: Sequence[int], *, micro_tokens: int, packed: bool = False) -> list[list[int]]:
    """`batch` in micro-batches of at most `micro_tokens` tokens, padding included; a longer sample stands alone."""
    pieces: list[list[int]] = []
    for index in sorted(batch, key=lambda index: -lengths[index]):
        # Longest first, so the first of a piece says how wide all of it will be padded.
        if pieces and _size([*pieces[-1], index], lengths, packed) <= micro_tokens:
            pieces[-1].append(index)
        else:
            pieces.append([index])
    return pieces


def _size(piece: Sequence[int], lengths: Sequence[int], packed: bool) -> int:
    return sum(lengths[index] for index in piece) if packed else len(piece) * lengths[piece[0]]


def pack(samples: Sequence[Encoded], weights: Sequence[float], *, device: torch.device) -> Batch:
    """All samples in one row, for attention that keeps apart what begins at position 0."""

    def row(values: Iterable[int]) -> Tensor:
        return torch.tensor([list(values)], dtype=torch.long, device=device)

    return Batch(
        row(chain.from_iterable(sample.ids for sample in samples)),
        row(chain.from_iterable(sample.labels for sample in samples)),
        row(chain.from_iterable(sample.parts for sample in samples)),
        row(chain.from_iterable([number] * len(sample.ids) for number, sample in enumerate(samples))),
        torch.tensor(weights, dtype=torch.float64, device=device),
        row(chain.from_iterable(range(len(sample.ids)) for sample in samples)),
    )


def collate(samples: Sequence[Encoded], weights: Sequence[float], *, pad_id: int, device: torch.device) -> Batch:
    """Pad to the longest, on the right: causal attention never sees it, so no attention mask is needed."""
    longest = max(len(sample.ids) for sample in samples)

    def padded(column: int, fill: int) -> Tensor:
        rows = [[*sample[column], *[fill] * (longest - len(sample.ids))] for sample in samples]
        return torch.tensor(rows, dtype=torch.long, device=device)

    return Batch(
        padded(0, pad_id),
        padded(1, IGNORE),
        padded(2, NONE),
        torch.arange(len(samples), device=device).unsqueeze(1).expand(-1, longest),
        torch.tensor(weights, dtype=torch.float64, device=device),
    )
