"""Which token ends the assistant's turn: the one the chat template writes, not the tokenizer's own end token.

The two differ where a family's tokenizer names the end of a text (`<|end_of_text|>`) and its template the end of a turn
(`<|eot_id|>`). A model taught the wrong one never stops where its own prompts do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from funreason.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from funreason.policies.protocol import Request

SAID = "what the assistant said"


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id of the first special token after an assistant's message; else the tokenizer's own end; else None."""
    written = _after_a_message(tokenizer)
    specials = [token for token in tokenizer.all_special_tokens if token]
    added = [str(token) for token in tokenizer.get_added_vocab()]
    known = sorted({*specials, *added}, key=len, reverse=True)
    found = re.search("|".join(map(re.escape, known)), written) if known else None
    if found is not None:
        written_id = tokenizer.convert_tokens_to_ids(found.group())
        assert isinstance(written_id, int)  # one token asked for, one id given
        return written_id
    end = tokenizer.eos_token_id
    return end if isinstance(end, int) else None


def _after_a_message(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the template writes after an assistant's message; empty where it cannot render one."""
    from jinja2 import TemplateError

    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": SAID}]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    except (TypeError, ValueError, TemplateError):
        return ""  # a template for prompts alone: its model ends as the tokenizer says
    return text.rpartition(SAID)[2] if SAID in text else ""


# Facts about tokens that every sampler in this process shares: which end a turn, which exist, how many fit.


class Context(NamedTuple):
    """A model's context of `tokens`, of which `max_new_tokens` are kept for the completion."""

    tokenizer: PreTrainedTokenizerBase
    tokens: int
    max_new_tokens: int

    @property
    def longest_prompt(self) -> int:
        """The most tokens a prompt may have."""
        return self.tokens - self.max_new_tokens

    def too_long(self, request: Request) -> bool:
        """Whether the prompt leaves less than `max_new_tokens` of the context."""
        return len(self._ids([request.prompt])[0]) > self.longest_prompt

    def encode(self, requests: Sequence[Request]) -> list[list[int]]:
        """The prompts' token ids. ModelError names the first request that cannot be used."""
        encoded = self._ids([request.prompt for request in requests])
        for request, ids in zip(requests, encoded, strict=True):
            self._require_usable(request, ids)
        return encoded

    def _require_usable(self, request: Request, ids: list[int]) -> None:
        if not ids or request.n < 0:
            raise ModelError(f"request {request.id}: {len(ids)} prompt tokens, n = {request.n}; neither may be that.")
        if len(ids) > self.longest_prompt:
            raise ModelError(
                f"request {request.id}: the prompt has {len(ids)} tokens; at most {self.longest_prompt} leave room "
                f"for {self.max_new_tokens} new ones. Ask too_long() first, or lower max_new_tokens."
            )

    def _ids(self, prompts: list[str]) -> list[list[int]]:
        if not prompts:
            return []
        # Not verbose: its warning about long prompts would contradict what `too_long` makes of them.
        ids: list[list[int]] = self.tokenizer(prompts, add_special_tokens=False, verbose=False)["input_ids"]
        return ids


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The tokens that end a turn, by generation config, tokenizer or chat template. ModelError without any."""
    stated = getattr(model.generation_config, "eos_token_id", None)
    ends = set(stated if isinstance(stated, list) else [stated]) | {tokenizer.eos_token_id, end_of_turn(tokenizer)}
    found = tuple(sorted(end for end in ends if end is not None))
    if not found:
        raise ModelError(f"{tokenizer.name_or_path!r}: neither tokenizer nor generation config names an end token.")
    return found


def known_ids(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many ids decode to something; embeddings are often padded beyond that."""
    return max(tokenizer.get_vocab().values()) + 1


def require_distribution(temperature: float, top_p: float) -> None:
    """Raise ModelError for a temperature or a top-p that is out of range."""
    if temperature <= 0 or not 0 < top_p <= 1:
        raise ModelError(
            f"temperature is {temperature}, top_p {top_p}; they must lie above 0 and in (0, 1]. "
            "For greedy decoding set `greedy` on the request."
        )
