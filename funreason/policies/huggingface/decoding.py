"""Decodes one batch, with random draws that depend on the row and not on the batch.

Each row has a 64-bit key made of (seed, request id, completion index); the uniform for a step is a hash of key
and step. No generator state exists, so dropping a neighbour, splitting a batch or resuming a run changes no draw.
What remains is floating point: a batch of another shape may round a logit differently in its last bits, and the
uniform may fall into that gap. In float32 that changed 1 of 1,024 completions of 68 tokens between batches of 512 and
of 256 rows; both are valid draws.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from funreason.errors import BrokenWeights
from funreason.policies.huggingface.prefill import OwnLayer, Prefix, own_cache
from funreason.policies.huggingface.step_graph import RecordedStep, StepGraphs
from funreason.policies.protocol import Completion, Request

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


def draw(
    logits: Tensor, uniform: Tensor, *, temperature: float, top_p: float, logprobs: Tensor | None = None
) -> Tensor:
    """Tokens [R] by inverse CDF from logits [R, V] and uniform [R].

    The distribution is softmax(logits / temperature), cut to the smallest set of tokens holding `top_p`. The tokens'
    natural log-probabilities under it are written into `logprobs` [R] (float64) where that is given.
    """
    rows = max(1, BLOCK_ELEMENTS // logits.shape[-1])
    filled = [None] * -(-len(logits) // rows) if logprobs is None else torch.split(logprobs, rows)
    blocks = zip(torch.split(logits, rows), torch.split(uniform, rows), filled, strict=True)
    tokens = [_draw(some, own, temperature, top_p, out) for some, own, out in blocks]
    return tokens[0] if len(tokens) == 1 else torch.cat(tokens)


def _draw(logits: Tensor, uniform: Tensor, temperature: float, top_p: float, logprobs: Tensor | None) -> Tensor:
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    probabilities = torch.softmax(precise if temperature == 1.0 else precise / temperature, dim=-1)
    if top_p < 1.0:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1, dtype=torch.float64) - ordered
        ordered = ordered.masked_fill(before >= top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter_(-1, order, ordered)
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, uniform[:, None] * total, right=True)
    tokens.clamp_(max=logits.shape[-1] - 1)  # a product rounded up to the total would fall off the end
    if logprobs is not None:
        logprobs.copy_((probabilities.gather(-1, tokens).double() / total).log().squeeze(-1))
    return tokens.squeeze(-1)


# A row that ended is computed until enough rows have ended to make dropping them worth the copy; its further tokens are
# never read. Prompts leave the shared prefix when their last row has ended.

# Copying the remaining rows costs about as much as one step of attention, so an eighth pays itself back in eight.
DROP_SHARE = 1 / 8
RECORDED_DROP_SHARE = 1 / 2
"""Where the step is a recorded graph, which is recorded again for fewer rows; that takes as long as two eager steps."""
FEW_ROWS = 32
"""A recorded step of fewer rows takes as long: it reads all weights either way."""
WORTH_RECORDING = 16
"""Tokens of an answer: shorter ones end before a recording pays."""


class Settings(NamedTuple):
    """How to decode: bounds, the shape of the distribution, the ids that end a turn, and how many ids exist."""

    max_new_tokens: int
    temperature: float
    top_p: float
    end_ids: tuple[int, ...]
    known_ids: int


@dataclass(slots=True)
class Rows:
    """The rows still in the batch; every array has one entry per row."""

    place: Tensor
    """The row's index among all rows of the batch."""
    position: Tensor
    """The position of the next token the row will read."""
    keys: Keys
    greedy: Tensor
    ended: Tensor

    def select(self, kept: Tensor) -> None:
        """Keep the rows `kept`."""
        self.place, self.position = self.place[kept], self.position[kept]
        self.keys = self.keys[kept.cpu().numpy()]
        self.greedy, self.ended = self.greedy[kept], self.ended[kept]


class Decoding:
    """Completes one batch of requests over their prefilled `prefix`; call `run` once, then `completions`."""

    def __init__(
        self,
        model: PreTrainedModel,
        prefix: Prefix,
        requests: list[Request],
        prompts: list[int],
        settings: Settings,
        graphs: StepGraphs,
    ) -> None:
        """`prompts` names each request's prompt by its place in `prefix`; several requests may share one."""
        self.graphs = graphs
        self.model, self.prefix, self.requests, self.prompts, self.settings = model, prefix, requests, prompts, settings
        self.cache = own_cache(model.config.get_text_config().num_hidden_layers)
        total = sum(request.n for request in requests)
        self.tokens = torch.zeros(total, settings.max_new_tokens, dtype=torch.long, device=model.device)
        self.lengths = torch.full((total,), settings.max_new_tokens, device=model.device)
        self.ended = torch.zeros(total, dtype=torch.bool, device=model.device)
        asked = any(request.logprobs for request in requests)
        shape = (total, settings.max_new_tokens)
        self.logprobs = torch.zeros(shape, dtype=torch.float64, device=model.device) if asked else None
        self.ends = torch.tensor(settings.end_ids, device=model.device)
        self.recorded: RecordedStep | None = None

    def run(self, last_ids: list[int], lengths: list[int]) -> None:
        """Decode to the end; `last_ids` are the prompts' last tokens, `lengths` their token counts."""
        device = self.model.device
        logits = self._step(torch.tensor(last_ids, device=device), torch.tensor(lengths, device=device) - 1)
        rows, logits = self._fan_out(logits, torch.tensor(lengths, device=device))
        if self.graphs.on and self.settings.max_new_tokens >= WORTH_RECORDING:
            longest = self.settings.max_new_tokens
            self.recorded = RecordedStep(self.model, self.prefix, self.cache, self.settings.known_ids, longest)
        for step in range(self.settings.max_new_tokens):
            tokens = self._choose(logits, rows, step)
            self.tokens[rows.place, step] = tokens
            ending = torch.isin(tokens, self.ends) & ~rows.ended
            places = rows.place[ending]
            self.lengths[places] = step + 1
            self.ended[places] = True
            rows.ended |= ending
            if step + 1 == self.settings.max_new_tokens or bool(rows.ended.all()):
                return
            tokens = self._drop_ended(rows, tokens)
            logits = self._next(tokens, rows.position)
            rows.position += 1

    def completions(self, tokenizer: PreTrainedTokenizerBase, weights_id: str) -> list[list[Completion]]:
        """The completions of each request, stamped with `weights_id`."""
        pairs = zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)
        tokens, ended = [tuple(ids[:length]) for ids, length in pairs], self.ended.tolist()
        texts = tokenizer.batch_decode(
            [list(ids[: len(ids) - end]) for ids, end in zip(tokens, ended, strict=True)],
            skip_special_tokens=False,  # a special token inside an answer is a fault of the model that judges must see
            clean_up_tokenization_spaces=False,
        )
        logprobs = [()] * len(tokens) if self.logprobs is None else self.logprobs.tolist()
        rows = iter(zip(texts, tokens, ended, logprobs, strict=True))
        return [
            [
                Completion(
                    text, len(ids), not end, ids, tuple(each[: len(ids)]) if request.logprobs else None, weights_id
                )
                for text, ids, end, each in islice(rows, request.n)
            ]
            for request in self.requests
        ]

    def _next(self, tokens: Tensor, position: Tensor) -> Tensor:
        if self.recorded is not None:
            try:
                return self.recorded(tokens, position)
            except RuntimeError as error:  # torch's errors of capturing have no class of their own
                self.recorded.give_up()
                self.recorded = None
                self.graphs.turn_off(error)
        return self._step(tokens, position)

    def _step(self, tokens: Tensor, position: Tensor) -> Tensor:
        output = self.model(
            input_ids=tokens[:, None],
            position_ids=position[:, None],
            past_key_values=self.cache,
            use_cache=True,
            shared_prefix=self.prefix,
        )
        logits: Tensor = output.logits[:, -1, : self.settings.known_ids]
        return logits

    def _fan_out(self, logits: Tensor, lengths: Tensor) -> tuple[Rows, Tensor]:
        device = logits.device
        counts = torch.tensor([request.n for request in self.requests], device=device)
        prompt = torch.repeat_interleave(torch.tensor(self.prompts, device=device), counts)
        self._select(prompt)
        self.prefix.slots = int(torch.bincount(prompt).max())
        # How many rows of the same prompt precede each row; `prompt` [R] ascends.
        places = torch.arange(len(prompt), device=prompt.device)
        first = torch.searchsorted(prompt.contiguous(), prompt.contiguous())
        self.prefix.slot_of_row = prompt * self.prefix.slots + (places - first)
        keys = [row_key(request.seed, request.id, i) for request in self.requests for i in range(request.n)]
        greedy = torch.repeat_interleave(
            torch.tensor([request.greedy for request in self.requests], device=device), counts
        )
        place = torch.arange(len(prompt), device=device)
        rows = Rows(place, lengths[prompt], np.array(keys, dtype=np.uint64), greedy, torch.zeros_like(greedy))
        return rows, logits[prompt]

    def _choose(self, logits: Tensor, rows: Rows, step: int) -> Tensor:
        if not bool(torch.isfinite(logits.amax(-1)).all()):  # a NaN anywhere is the maximum of its row
            raise BrokenWeights(
                "the model gave logits that are not finite; its weights are broken. Load the last good ones."
            )
        logprobs = None if self.logprobs is None else self.logprobs.new_zeros(len(logits))
        if bool(rows.greedy.all()):
            tokens = logits.argmax(-1)
        else:
            uniform = torch.from_numpy(uniforms(rows.keys, step)).to(logits.device)
            settings = self.settings
            tokens = draw(logits, uniform, temperature=settings.temperature, top_p=settings.top_p, logprobs=logprobs)
            if bool(rows.greedy.any()):
                tokens = torch.where(rows.greedy, logits.argmax(-1), tokens)
        if self.logprobs is not None and logprobs is not None:
            if bool(rows.greedy.any()):
                precise = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
                likeliest = precise.gather(-1, tokens[:, None]).squeeze(-1).double()
                logprobs = torch.where(rows.greedy, likeliest, logprobs)
            self.logprobs[rows.place, step] = logprobs
        return tokens

    def _drop_ended(self, rows: Rows, tokens: Tensor) -> Tensor:
        share = DROP_SHARE if self.recorded is None else RECORDED_DROP_SHARE
        if self.recorded is not None and len(rows.ended) <= FEW_ROWS:
            return tokens
        if int(rows.ended.sum()) < share * len(rows.ended):
            return tokens
        kept = (~rows.ended).nonzero().squeeze(-1)
        rows.select(kept)
        self._select(kept)
        self.prefix.slot_of_row = self.prefix.slot_of_row[kept]
        prompts = torch.unique(self.prefix.slot_of_row // self.prefix.slots)
        if len(prompts) <= (1 - DROP_SHARE) * self.prefix.prompts:
            self.prefix.drop_prompts(prompts)
        return tokens[kept]

    def _select(self, rows: Tensor) -> None:
        for layer in self.cache.layers:
            assert isinstance(layer, OwnLayer)
            layer.select(rows)
        if self.recorded is not None:
            self.recorded.forget()
