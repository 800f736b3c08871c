"""Random draws that belong to a row, not to a batch.

Each row has a 64-bit key made of (seed, request id, completion index); the uniform for a step is a hash of key
and step. No generator state exists, so dropping a neighbour, splitting a batch or resuming a run changes no draw.
What remains is floating point: a batch of another shape may round a logit differently in its last bits, and the
uniform may fall into that gap. In float32 that changed 1 of 1,024 completions of 68 tokens between batches of 512 and
of 256 rows: the other one is as good a draw.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# splitmix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
# Elements per block of the cumulative sum: a vocabulary of 152k in float64 would otherwise take 1.2 MB a row at once.
BLOCK_ELEMENTS = 1 << 24

Keys = npt.NDArray[np.uint64]


def row_key(seed: int, request_id: str, index: int) -> int:
    """The 64-bit key of completion `index` of the request `request_id` under `seed`."""
    digest = hashlib.blake2b(f"{seed}\x1f{index}\x1f{request_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def uniforms(keys: Keys, step: int) -> npt.NDArray[np.float64]:
    """One number in [0, 1) per key [R] for `step`, with 53 random bits."""
    with np.errstate(over="ignore"):  # wrapping at 64 bits is what the hash is made of
        mixed = keys + np.uint64(step + 1) * GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * MIX_1
        mixed = (mixed ^ (mixed >> np.uint64(27))) * MIX_2
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draw(logits: Tensor, uniform: Tensor, *, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """Tokens [R] by inverse CDF from logits [R, V] and uniform [R], and their log-probabilities [R] (float64).

    The distribution is softmax(logits / temperature), cut to the smallest set of tokens holding `top_p`.
    """
    rows = max(1, BLOCK_ELEMENTS // logits.shape[-1])
    if logits.shape[0] <= rows:
        return _draw(logits, uniform, temperature, top_p)
    blocks = zip(torch.split(logits, rows), torch.split(uniform, rows), strict=True)
    parts = [_draw(some, own, temperature, top_p) for some, own in blocks]
    return torch.cat([token for token, _ in parts]), torch.cat([logprob for _, logprob in parts])


def _draw(logits: Tensor, uniform: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    probabilities = torch.softmax(precise / temperature, dim=-1)
    if top_p < 1.0:
        probabilities = _nucleus(probabilities, top_p)
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, uniform[:, None] * total, right=True)
    tokens.clamp_(max=logits.shape[-1] - 1)  # a product rounded up to the total would fall off the end
    chosen = probabilities.gather(-1, tokens).double()
    return tokens.squeeze(-1), (chosen / total).log().squeeze(-1)


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1, dtype=torch.float64) - ordered
    ordered = ordered.masked_fill(before >= top_p, 0.0)
    return torch.zeros_like(probabilities).scatter_(-1, order, ordered)
