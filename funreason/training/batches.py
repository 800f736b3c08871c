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
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from funreason.objectives.protocol import IGNORE, NONE, RESULT, Encoded, TokenTargets
from funreason.training.shared_attention import Layout, attending_with_shared_prompts
from funreason.training.types import TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

POOL_BATCHES = 8
"""Batches whose samples are sorted by length together: enough to save padding, few enough to stay random."""
PACKED_KERNELS = ("flash", "flex")
WORTH_SHARING = 0.75
"""Prompts are shared where that leaves at most this share of a batch's tokens: a dense mask, where it is needed, costs
more attention."""
SHORT_ROW = 192
"""Rows of at most this many tokens take a dense mask: calls for each row would cost more than the work they save."""
PROBE_TOKENS = 5
"""Tokens in each of the two samples of the packing probe."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One forward pass over S samples.

    Attributes:
        ids, labels, parts: [B, T]; padded on the right with one sample per row, or packed into a single row.
        owners: [B, T], the index of the sample that each position belongs to.
        positions: [1, T], restarting at 0 with each sample, if packed; None if padded. [B, T] with shared prompts,
            restarting after the prompt with each completion.
        mask: [B, 1, T, T], True where a query (third) may see a key (fourth); None: what is on its left.
        before: [B, T], the position that predicts each token; None: the one on its left.
        layout: where prompts and completions are, for `shared_prompts_attention`. `mask` is then a single True, which
            keeps the model from making one.
    """

    ids: Tensor
    labels: Tensor
    parts: Tensor
    owners: Tensor
    positions: Tensor | None = None
    mask: Tensor | None = None
    before: Tensor | None = None
    layout: Layout | None = None

    def targets(self, samples: int) -> tuple[TokenTargets, int]:
        """The learned tokens of the S samples, and how many last positions' logits they index."""
        start = max(self.first_trained - 1, 0)  # no logits for the prompt: nothing is learned there
        labels, parts, owners = (column[:, start:] for column in (self.labels, self.parts, self.owners))
        before = None if self.before is None else self.before[:, start:] - start
        return TokenTargets.of(labels, parts, owners, samples, before), self.ids.shape[1] - start

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


def by_prompt(samples: Sequence[Encoded]) -> list[list[int]]:
    """Indices of `samples` in groups that have the same prompt, in the order of their first members."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, sample in enumerate(samples):
        prompt = sample.parts.count(NONE)
        # A sample without a prompt shares nothing; its first token has nothing before it.
        groups.setdefault(tuple(sample.ids[:prompt]) or (-1, index), []).append(index)
    return list(groups.values())


def shared_length(samples: Sequence[Encoded]) -> int:
    """The length of a row that has the samples' common prompt once and each one's completion."""
    return samples[0].parts.count(NONE) + sum(len(sample.ids) - sample.parts.count(NONE) for sample in samples)


def worth_sharing(samples: Sequence[Encoded], setting: str) -> bool:
    """Whether a batch is run with shared prompts under `update.prefix_sharing`, by a model that may."""
    if setting != "auto":
        return setting == "always"
    together = sum(shared_length([samples[index] for index in group]) for group in by_prompt(samples))
    return together <= WORTH_SHARING * sum(len(sample.ids) for sample in samples)


def share_prompts(
    samples: Sequence[Encoded], *, pad_id: int, device: torch.device, dense: bool | None = True
) -> MicroBatch:
    """A row for each prompt: the prompt, then the completion of each of its samples, which do not see each other.

    Samples with the same prompt must follow each other, or targets would not be in the order of the samples. With
    `dense` a mask keeps completions apart, else a layout, which only `attending_with_shared_prompts` reads; None leaves
    the choice to the rows' length.
    """
    groups = by_prompt(samples)
    longest = max(shared_length([samples[index] for index in group]) for group in groups)
    columns: dict[str, list[list[int]]] = {
        name: [] for name in ("ids", "labels", "parts", "owners", "positions", "before")
    }
    for group in groups:
        length = samples[group[0]].parts.count(NONE)
        row = {
            "ids": samples[group[0]].ids[:length], "labels": [IGNORE] * length, "parts": [NONE] * length,
            "owners": [group[0]] * length, "positions": list(range(length)), "before": list(range(-1, length - 1)),
        }  # fmt: skip
        for index in group:
            sample, at = samples[index], len(row["ids"])
            count = len(sample.ids) - length
            row["ids"] += sample.ids[length:]
            row["labels"] += sample.labels[length:]
            row["parts"] += sample.parts[length:]
            row["owners"] += [index] * count
            row["positions"] += range(length, length + count)
            row["before"] += [length - 1, *range(at, at + count - 1)][:count]
        fills = {"ids": pad_id, "labels": IGNORE, "parts": NONE}
        for name, values in row.items():
            columns[name].append([*values, *[fills.get(name, 0)] * (longest - len(values))])
    rows = {name: torch.tensor(values, dtype=torch.long, device=device) for name, values in columns.items()}
    prompts = [samples[group[0]].parts.count(NONE) for group in groups]
    completions = [
        [len(samples[at].ids) - prompt for at in group] for group, prompt in zip(groups, prompts, strict=True)
    ]
    layout = Layout.of(prompts, completions, longest, device)
    dense = longest <= SHORT_ROW if dense is None else dense
    mask = layout.mask() if dense else torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)
    return MicroBatch(
        rows["ids"], rows["labels"], rows["parts"], rows["owners"], rows["positions"], mask, rows["before"],
        None if dense else layout,
    )  # fmt: skip


def plan_passes(
    encoded: Sequence[Encoded], *, num_shards: int, micro_tokens: int, packed: bool, shared: bool
) -> list[list[list[int]]]:
    """For each shard its micro-batches, as indices of `encoded`; with `shared`, those of a prompt follow each other."""
    if not shared:
        lengths = [len(sample.ids) for sample in encoded]
        return [
            split_microbatches(part, lengths, micro_tokens=micro_tokens, packed=packed)
            for part in shard(range(len(lengths)), lengths, num_shards=num_shards)
        ]
    rows: list[list[int]] = []
    for group in by_prompt(encoded):
        row: list[int] = []
        for index in group:
            if row and shared_length([encoded[at] for at in (*row, index)]) > micro_tokens:
                rows.append(row)
                row = []
            row.append(index)
        rows.append(row)
    lengths = [shared_length([encoded[index] for index in row]) for row in rows]
    shards = []
    for part in shard(range(len(rows)), lengths, num_shards=num_shards):
        pieces = [
            [index for at in piece for index in rows[at]]
            for piece in split_microbatches(part, lengths, micro_tokens=micro_tokens)
        ]
        # Two rows of one prompt in one piece become one row.
        shards.append(
            [[piece[at] for group in by_prompt([encoded[i] for i in piece]) for at in group] for piece in pieces]
        )
    return shards


def prompt_sharing(model: PreTrainedModel, setting: str) -> tuple[bool, str]:
    """Whether prompts may be shared under `update.prefix_sharing`, and if not, why not.

    A model must have full attention in every layer and take a layout or a mask of its own; two short passes prove that
    completions after a shared prompt have the logits of separate rows. Under "auto" a GPU needs a model that takes
    layouts. Raises TrainingError for "always" with another model.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    sliding = not hasattr(config, "layer_types") and getattr(config, "sliding_window", None) is not None
    kernel = str(getattr(model.config, "_attn_implementation", ""))
    if setting == "never" or (setting == "auto" and model.device.type not in ("cpu", "cuda")):
        return False, ""
    why = ""
    if kernel != "sdpa":
        why = f"its attention is {kernel or 'unnamed'}, not sdpa"
    elif sliding or kinds != {"full_attention"}:
        why = "not all of its layers have full attention"
    elif (why := layout_refusal(model)) and (setting == "always" or model.device.type == "cpu"):
        why = "" if _shares_prompts(model, dense=True) else "its logits differ from those of separate rows"
    if why and setting == "always":
        raise TrainingError(f"prefix_sharing: always cannot be used with this model: {why}. Use auto or never.")
    return not why, why


def layout_refusal(model: PreTrainedModel) -> str:
    """Why a model whose prompts may be shared needs a dense mask for it; empty if a layout will do."""
    return "" if _shares_prompts(model, dense=False) else "its attention takes no layout"


def _shares_prompts(model: PreTrainedModel, *, dense: bool) -> bool:
    vocabulary = int(model.get_input_embeddings().num_embeddings)  # type: ignore[arg-type]
    prompt = [token % vocabulary for token in range(3, 3 + PROBE_TOKENS)]
    samples = []
    for start in (11, 29):
        completion = [token % vocabulary for token in range(start, start + PROBE_TOKENS)]
        samples.append(
            Encoded(prompt + completion, prompt + completion, [NONE] * PROBE_TOKENS + [RESULT] * PROBE_TOKENS)
        )
    training = model.training
    model.train(False)
    try:
        with torch.no_grad(), nullcontext() if dense else attending_with_shared_prompts(model):
            one, other = (
                model(
                    input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False,
                    **({} if batch.layout is None else {"shared_prompts": batch.layout}),
                ).logits.flatten(0, 1)[TokenTargets.of(batch.labels, batch.parts, batch.owners, 2, batch.before).where]
                for batch in (
                    collate(samples, pad_id=0, device=model.device),
                    share_prompts(samples, pad_id=0, device=model.device, dense=dense),
                )
            )  # fmt: skip
    except (RuntimeError, ValueError, TypeError):  # it takes no such mask or layout
        return False
    finally:
        model.train(training)
    # As vectors: single logits near 0 differ by rounding that is large beside them.
    within = 1e-4 if model.dtype == torch.float32 else 3e-2
    return bool((one.double() - other.double()).norm() <= within * one.double().norm())


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
