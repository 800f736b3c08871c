"""One batch being decoded: rows that run, rows that ended, and the step between.

A row that ended goes on being computed until enough have ended to make dropping them worth the copy; what it
produces then is never read. Prompts leave the shared prefix when their last row has ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from funreason.models.draws import Keys, draw, row_key, uniforms
from funreason.models.errors import BrokenWeights
from funreason.models.protocol import Completion, Request
from funreason.models.shared_prefix import OwnLayer, Prefix, own_cache

# Copying the remaining rows costs about as much as one step of attention, so an eighth pays itself back in eight.
DROP_SHARE = 1 / 8


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
    """Where the row's result stands among all rows of the batch."""
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
        self, model: PreTrainedModel, prefix: Prefix, requests: list[Request], prompts: list[int], settings: Settings
    ) -> None:
        """`prompts` names each request's prompt by its place in `prefix`; several requests may share one."""
        self.model, self.prefix, self.requests, self.prompts, self.settings = model, prefix, requests, prompts, settings
        self.cache = own_cache(model.config.get_text_config().num_hidden_layers)
        total = sum(request.n for request in requests)
        self.tokens = torch.zeros(total, settings.max_new_tokens, dtype=torch.long, device=model.device)
        self.lengths = torch.full((total,), settings.max_new_tokens, device=model.device)
        self.ended = torch.zeros(total, dtype=torch.bool, device=model.device)
        self.logprobs = torch.zeros(total, dtype=torch.float64, device=model.device)
        self.ends = torch.tensor(settings.end_ids, device=model.device)

    def run(self, last_ids: list[int], lengths: list[int]) -> None:
        """Decode to the end; `last_ids` are the prompts' last tokens, `lengths` their token counts."""
        device = self.model.device
        logits = self._step(torch.tensor(last_ids, device=device), torch.tensor(lengths, device=device) - 1)
        rows, logits = self._fan_out(logits, torch.tensor(lengths, device=device))
        for step in range(self.settings.max_new_tokens):
            tokens = self._choose(logits, rows, step)
            self._note(rows, tokens, step)
            if step + 1 == self.settings.max_new_tokens or bool(rows.ended.all()):
                return
            tokens = self._drop_ended(rows, tokens)
            logits = self._step(tokens, rows.position)
            rows.position += 1

    def completions(self, tokenizer: PreTrainedTokenizerBase) -> list[list[Completion]]:
        """The finished texts, per request."""
        lengths, ended = self.lengths.tolist(), self.ended.tolist()
        spoken = zip(self.tokens.tolist(), lengths, ended, strict=True)
        texts = tokenizer.batch_decode(
            [ids[: length - end] for ids, length, end in spoken],
            skip_special_tokens=False,  # a special token inside an answer is a fault of the model that judges must see
            clean_up_tokenization_spaces=False,
        )
        rows = iter(zip(texts, lengths, ended, self.logprobs.tolist(), strict=True))
        return [[_completion(*next(rows), request.greedy) for _ in range(request.n)] for request in self.requests]

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
        self.prefix.slot_of_row = prompt * self.prefix.slots + _place_among_equals(prompt)
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
        if bool(rows.greedy.all()):
            return logits.argmax(-1)
        uniform = torch.from_numpy(uniforms(rows.keys, step)).to(logits.device)
        tokens, logprobs = draw(logits, uniform, temperature=self.settings.temperature, top_p=self.settings.top_p)
        self.logprobs[rows.place] += logprobs.masked_fill(rows.ended, 0.0)
        return torch.where(rows.greedy, logits.argmax(-1), tokens) if bool(rows.greedy.any()) else tokens

    def _note(self, rows: Rows, tokens: Tensor, step: int) -> None:
        self.tokens[rows.place, step] = tokens
        ending = torch.isin(tokens, self.ends) & ~rows.ended
        places = rows.place[ending]
        self.lengths[places] = step + 1
        self.ended[places] = True
        rows.ended |= ending

    def _drop_ended(self, rows: Rows, tokens: Tensor) -> Tensor:
        if int(rows.ended.sum()) < DROP_SHARE * len(rows.ended):
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


def _completion(text: str, length: int, ended: bool, logprob: float, greedy: bool) -> Completion:
    return Completion(text, length, not ended, None if greedy else logprob)


def _place_among_equals(prompt: Tensor) -> Tensor:
    """How many rows of the same prompt stand before each row; `prompt` [R] ascends."""
    places = torch.arange(len(prompt), device=prompt.device)
    first = torch.searchsorted(prompt.contiguous(), prompt.contiguous())
    return places - first
