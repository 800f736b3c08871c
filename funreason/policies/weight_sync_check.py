"""Proof that an engine answers with the weights it was given: its greedy words against the trainer's own model.

The model reads each prompt together with what the engine said, so every token is judged given the same tokens before
it: one forward pass for each prompt, and a divergence hides nothing behind it. Beside the choice of each token its
log-probability is compared, which moves with the weights even where the words stay the same.
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

    `gap`: a token may stand this much below the model's best; `drift`: the mean difference in log-probability over
    the tokens of one prompt.
    """

    gap: float
    drift: float


TOLERANCES = {"float32": Tolerance(1e-4, 1e-3), "bfloat16": Tolerance(0.25, 0.05)}
"""float32 is exact but for ties: sums in another order differ by about 1e-5. bfloat16 has 8 bits: logits near 32 are
0.25 apart."""


class Said(NamedTuple):
    """What an engine said greedily to prompt `ids`: its tokens and their log-probabilities."""

    ids: list[int]
    tokens: list[int]
    logprobs: list[float]


class Mismatch(NamedTuple):
    """Why one answer is not the model's own; `broken` when the model has none, its logits not being finite."""

    said: Said
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
    model: PreTrainedModel, answers: Sequence[Said], known_ids: int, tolerance: Tolerance
) -> Mismatch | None:
    """The first answer that `model` would not have given greedily; None when all are its own."""
    for said in answers:
        logprobs = _logprobs(model, said, known_ids)
        if not bool(torch.isfinite(logprobs).any(-1).all()) or bool(torch.isnan(logprobs).any()):
            return Mismatch(said, "the model's logits are not finite", broken=True)
        why = _compare(logprobs, said, tolerance)
        if why:
            return Mismatch(said, why)
    return None


@torch.inference_mode()
def refusal(model: PreTrainedModel, found: Mismatch, tokenizer: PreTrainedTokenizerBase, weights_id: str) -> ModelError:
    """The error: the prompt, and what each of the two answers, which stops a run; or BrokenWeights, a round's end."""
    if found.broken:
        return BrokenWeights(
            f"{found.why} with weights {weights_id}, so there is nothing to answer with. Load the last good ones."
        )
    ids = torch.tensor([found.said.ids], device=model.device)
    own = model.generate(  # type: ignore[operator]  # a mixin's method, lost in the stubs
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=len(found.said.tokens)
    )[0, ids.shape[1] :].tolist()
    return ModelError(
        f"the engine does not answer as the trainer's own model does with weights {weights_id}: {found.why}.\n"
        f"  prompt: {_text(tokenizer, found.said.ids)!r}\n"
        f"  model:  {_text(tokenizer, own)!r}\n"
        f"  engine: {_text(tokenizer, found.said.tokens)!r}\n"
        "Nothing is sampled from weights that are not those the run names. Resume the run (the engine starts anew), "
        "or use model.sampler: huggingface."
    )


def _compare(logprobs: torch.Tensor, said: Said, tolerance: Tolerance) -> str:
    chosen = logprobs.gather(-1, torch.tensor(said.tokens, device=logprobs.device)[:, None])[:, 0]
    gaps = logprobs.amax(-1) - chosen
    far = (gaps > tolerance.gap).nonzero()
    if len(far):
        place = int(far[0])
        return f"token {place + 1} stands {float(gaps[place]):.4g} nats below the model's own choice"
    drift = float((chosen - torch.tensor(said.logprobs, device=chosen.device)).abs().mean())
    if not drift <= tolerance.drift:
        return f"log-probabilities differ by {drift:.4g} nats on average, at most {tolerance.drift} is rounding"
    return ""


def _logprobs(model: PreTrainedModel, said: Said, known_ids: int) -> torch.Tensor:
    """Log-probabilities [tokens, known ids] of what may stand at each place of the answer."""
    ids = torch.tensor([said.ids + said.tokens[:-1]], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(said.ids) - 1 :, :known_ids]
    logprobs: torch.Tensor = logits.double().log_softmax(-1)
    return logprobs


def _text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
