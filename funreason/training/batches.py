"""How examples become batches, and how a batch is split into micro-batches, padded or packed.

A batch always holds `batch_size` samples (the last one of an epoch may hold fewer), whatever their length. The split
into micro-batches is a matter of memory and speed; the loss does not depend on it. Everything follows from
(seed, epoch), so a resumed training sees the same batches.

Packing puts several samples into one row. It is used only where attention keeps samples apart that start at position
0: flash and flex attention do, and cost no more than the samples' own lengths; other kernels get a mask as large as
the row squared, which on a CPU is slower than padding samples of similar length.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from funreason.objectives.protocol import IGNORE, NONE, Encoded
from funreason.training.types import TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

POOL_BATCHES = 8
"""Batches whose samples are sorted by length together: enough to save padding, few enough to stay random."""
PACKED_KERNELS = ("flash", "flex")
PROBE_TOKENS = 5
"""Tokens in each of the two samples of the packing probe."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One forward pass over S samples.

    Attributes:
        ids, labels, parts: [B, T]; padded on the right with one sample per row, or packed into a single row.
        owners: [B, T], the index of the sample that each position belongs to.
        positions: [1, T], restarting at 0 with each sample, if packed; None if padded.
    """

    ids: Tensor
    labels: Tensor
    parts: Tensor
    owners: Tensor
    positions: Tensor | None = None

    @property
    def first_trained(self) -> int:
        """The first position at which any row is trained."""
        return int((self.parts != NONE).any(0).int().argmax())


def plan_epoch(lengths: Sequence[int], *, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Indices of `lengths` in batches of `batch_size`, similar lengths together, each index once."""
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


def shard(batch: Sequence[int], lengths: Sequence[int], *, num_shards: int) -> list[list[int]]:
    """`batch` dealt out to `num_shards`, longest first, so that each gets about as many tokens."""
    order = sorted(batch, key=lambda index: -lengths[index])
    return [order[number::num_shards] for number in range(num_shards)]


def split_microbatches(
    batch: Sequence[int], lengths: Sequence[int], *, micro_tokens: int, packed: bool = False
) -> list[list[int]]:
    """`batch` in micro-batches of at most `micro_tokens` tokens, padding included; a longer sample gets its own."""
    pieces: list[list[int]] = []
    for index in sorted(batch, key=lambda index: -lengths[index]):
        # Longest first, so the first sample of a piece is the width that all of it is padded to.
        piece = [*pieces[-1], index] if pieces else [index]
        size = sum(lengths[one] for one in piece) if packed else len(piece) * lengths[piece[0]]
        if pieces and size <= micro_tokens:
            pieces[-1].append(index)
        else:
            pieces.append([index])
    return pieces


def pack(samples: Sequence[Encoded], *, device: torch.device) -> MicroBatch:
    """All samples in one row, for attention that keeps samples apart by their positions."""

    def row(values: Iterable[int]) -> Tensor:
        return torch.tensor([list(values)], dtype=torch.long, device=device)

    return MicroBatch(
        row(chain.from_iterable(sample.ids for sample in samples)),
        row(chain.from_iterable(sample.labels for sample in samples)),
        row(chain.from_iterable(sample.parts for sample in samples)),
        row(chain.from_iterable([number] * len(sample.ids) for number, sample in enumerate(samples))),
        row(chain.from_iterable(range(len(sample.ids)) for sample in samples)),
    )


def collate(samples: Sequence[Encoded], *, pad_id: int, device: torch.device) -> MicroBatch:
    """Pad to the longest, on the right: causal attention never sees it, so no attention mask is needed."""
    longest = max(len(sample.ids) for sample in samples)

    def padded(column: int, fill: int) -> Tensor:
        rows = [[*sample[column], *[fill] * (longest - len(sample.ids))] for sample in samples]
        return torch.tensor(rows, dtype=torch.long, device=device)

    return MicroBatch(
        padded(0, pad_id),
        padded(1, IGNORE),
        padded(2, NONE),
        torch.arange(len(samples), device=device).unsqueeze(1).expand(-1, longest),
    )


def can_pack(model: PreTrainedModel, packing: str) -> bool:
    """Whether micro-batches are packed under `update.packing`.

    Raises TrainingError for "always" with a model that would mix the samples of a row.
    """
    kernel = str(getattr(model.config, "_attn_implementation", ""))
    if packing == "never" or (packing == "auto" and not any(name in kernel for name in PACKED_KERNELS)):
        return False
    separate = keeps_samples_apart(model)
    if not separate and packing == "always":
        raise TrainingError(
            f"packing: always cannot be used with this model: with its attention ({kernel or 'unnamed'}) a sample sees "
            "the one before it in its row. Use packing: auto or never."
        )
    return separate


def keeps_samples_apart(model: PreTrainedModel) -> bool:
    """Whether a packed sample's logits are the same after two different first samples: two passes of ten tokens.

    Attention kernels may be fine and the model still mix neighbours: recurrent layers ignore positions.
    """
    vocabulary = int(model.get_input_embeddings().num_embeddings)  # type: ignore[arg-type]
    first, second = (
        torch.tensor([[*range(start, start + PROBE_TOKENS), *range(PROBE_TOKENS)]], device=model.device) % vocabulary
        for start in (PROBE_TOKENS, 2 * PROBE_TOKENS)
    )
    positions = torch.arange(PROBE_TOKENS, device=model.device).repeat(2).unsqueeze(0)
    training = model.training
    model.train(False)
    try:
        with torch.no_grad():
            one, other = (
                model(input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=PROBE_TOKENS).logits
                for ids in (first, second)
            )
    finally:
        model.train(training)
    return torch.allclose(one.float(), other.float(), atol=1e-5, rtol=1e-3)
