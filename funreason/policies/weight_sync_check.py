"""Checks that an engine generates with the weights it was given, against the trainer's own model.

The model reads each prompt together with the engine's greedy answer, so each token is compared given the same tokens
before it, in one forward pass per prompt. Both the choice of each token and its log-probability are compared: the
latter moves with the weights even where the text stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from funreason.errors import BrokenWeights, ModelError
from funreason.policies.prompts import dialogue_text

NEW_TOKENS = 16
QUESTIONS = (
    "Convert 250 miles to kilometres and tell me the weather in Oslo on 3 May.",
    "Book a table for four at seven tomorrow evening.",
    "What is 17 times 23?",
    "Hello, who are you?",
)
TOOLS = [
    {
        "name": "convert_units",
        "description": "Convert a quantity from one unit to another.",
        "parameters": {
            "type": "object",
            "properties": {"value": {"type": "number"}, "source": {"type": "string"}, "target": {"type": "string"}},
            "required": ["value", "source", "target"],
        },
    }
]


class Tolerance(NamedTuple):
    """How far rounding may take two right engines apart, in nats.

    `gap`: a token's log-probability may be this far below the best token's. `drift`: the mean difference in
    log-probability over the tokens of one prompt.
    """

    gap: float
    drift: float


TOLERANCES = {"float32": Tolerance(1e-4, 1e-3), "bfloat16": Tolerance(0.25, 0.05)}
"""float32 is exact but for ties: sums in another order differ by about 1e-5. bfloat16 has 8 bits: logits near 32 are
0.25 apart."""


class GreedyAnswer(NamedTuple):
    """An engine's greedy answer to prompt `ids`: its tokens and their log-probabilities."""

    ids: list[int]
    tokens: list[int]
    logprobs: list[float]


class Mismatch(NamedTuple):
    """Why one answer is not the model's own; `broken` when the model has none, its logits not being finite."""

    answer: GreedyAnswer
    why: str
    broken: bool = False


def proof_prompts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The fixed prompts: each question with a tool and without."""
    return [
        dialogue_text([{"role": "user", "content": question}], TOOLS, tokenizer, style=style, where="proof")
        for question in QUESTIONS
        for style in ("text", "plain")
    ]


@torch.inference_mode()
def find_mismatch(
    model: PreTrainedModel, answers: Sequence[GreedyAnswer], known_ids: int, tolerance: Tolerance
) -> Mismatch | None:
    """The first answer that `model` would not have given greedily; None when they all agree."""
    for answer in answers:
        # Log-probabilities [tokens, known ids] at each position of the answer.
        ids = torch.tensor([answer.ids + answer.tokens[:-1]], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, len(answer.ids) - 1 :, :known_ids]
        logprobs: torch.Tensor = logits.double().log_softmax(-1)
        if not bool(torch.isfinite(logprobs).any(-1).all()) or bool(torch.isnan(logprobs).any()):
            return Mismatch(answer, "the model's logits are not finite", broken=True)
        why = _compare(logprobs, answer, tolerance)
        if why:
            return Mismatch(answer, why)
    return None


@torch.inference_mode()
def refusal(model: PreTrainedModel, found: Mismatch, tokenizer: PreTrainedTokenizerBase, weights_id: str) -> ModelError:
    """The error: the prompt, and what each of the two answers, which stops a run; or BrokenWeights, a round's end."""
    if found.broken:
        return BrokenWeights(
            f"{found.why} with weights {weights_id}, so there is nothing to answer with. Load the last good ones."
        )
    ids = torch.tensor([found.answer.ids], device=model.device)
    own = model.generate(  # type: ignore[operator]  # a mixin's method, lost in the stubs
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=len(found.answer.tokens)
    )[0, ids.shape[1] :].tolist()
    return ModelError(
        f"the engine does not answer as the trainer's own model does with weights {weights_id}: {found.why}.\n"
        f"  prompt: {_text(tokenizer, found.answer.ids)!r}\n"
        f"  model:  {_text(tokenizer, own)!r}\n"
        f"  engine: {_text(tokenizer, found.answer.tokens)!r}\n"
        "Nothing is sampled from weights that are not those the run names. Resume the run (the engine is restarted), "
        "or use model.sampler: huggingface."
    )


def _compare(logprobs: torch.Tensor, answer: GreedyAnswer, tolerance: Tolerance) -> str:
    chosen = logprobs.gather(-1, torch.tensor(answer.tokens, device=logprobs.device)[:, None])[:, 0]
    gaps = logprobs.amax(-1) - chosen
    far = (gaps > tolerance.gap).nonzero()
    if len(far):
        place = int(far[0])
        return f"token {place + 1} stands {float(gaps[place]):.4g} nats below the model's own choice"
    drift = float((chosen - torch.tensor(answer.logprobs, device=chosen.device)).abs().mean())
    if not drift <= tolerance.drift:
        return f"log-probabilities differ by {drift:.4g} nats on average, at most {tolerance.drift} is rounding"
    return ""


def _text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
