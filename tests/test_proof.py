"""The proof that an engine serves the weights it was given, with a transformers model in the engine's place."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_model, tiny_tokenizer
from transformers import Qwen2ForCausalLM

from funreason.errors import BrokenWeights
from funreason.policies.weight_sync_check import TOLERANCES, GreedyAnswer, find_mismatch, proof_prompts, refusal

TOKENIZER = tiny_tokenizer()
EXACT = TOLERANCES["float32"]


def tiny(seed: int = 0) -> Qwen2ForCausalLM:
    return tiny_model(seed, context=4096, scale=0.12)


@torch.inference_mode()
def said(model: Qwen2ForCausalLM, prompt: str, count: int = 12) -> GreedyAnswer:
    """What `model` answers greedily, token for token, as an engine would."""
    ids = TOKENIZER(prompt)["input_ids"]
    tokens: list[int] = []
    logprobs: list[float] = []
    for _ in range(count):
        scores = model(torch.tensor([ids + tokens])).logits[0, -1, : len(TOKENIZER)].log_softmax(-1)
        tokens.append(int(scores.argmax()))
        logprobs.append(float(scores.max()))
    return GreedyAnswer(ids, tokens, logprobs)


@pytest.fixture(scope="module")
def answers() -> list[GreedyAnswer]:
    return [said(tiny(), prompt) for prompt in proof_prompts(TOKENIZER)]


def test_the_prompts_are_fixed_and_some_offer_a_tool():
    prompts = proof_prompts(TOKENIZER)
    assert prompts == proof_prompts(TOKENIZER)
    assert len(set(prompts)) == len(prompts) == 8
    assert sum("convert_units" in prompt for prompt in prompts) == 4


def test_an_engine_that_answers_as_the_model_does_is_proved(answers):
    assert find_mismatch(tiny(), answers, len(TOKENIZER), EXACT) is None


def test_an_engine_with_other_weights_is_found_and_both_texts_are_named(answers):
    other = tiny(1)
    found = find_mismatch(other, answers, len(TOKENIZER), EXACT)
    assert found is not None
    refused = refusal(other, found, TOKENIZER, "w1")
    assert not isinstance(refused, BrokenWeights), "the engine is wrong here: no round of the run may go on"
    error = str(refused)
    assert "weights w1" in error
    assert f"engine: {TOKENIZER.decode(found.answer.tokens)!r}" in error
    assert f"model:  {TOKENIZER.decode(said(other, proof_prompts(TOKENIZER)[0]).tokens)!r}" in error


def test_weights_that_moved_too_little_to_change_a_word_are_found_by_their_probabilities(answers):
    near = tiny()
    with torch.no_grad():
        near.model.norm.weight.mul_(1.01)
    assert [said(near, p).tokens for p in proof_prompts(TOKENIZER)[:2]] == [answer.tokens for answer in answers[:2]]
    found = find_mismatch(near, answers[:2], len(TOKENIZER), EXACT)
    assert found is not None
    assert "log-probabilities differ" in found.why


def test_a_tie_within_rounding_is_no_mismatch_and_a_clear_gap_is(answers):
    first = answers[0]
    with torch.inference_mode():
        scores = tiny()(torch.tensor([first.ids])).logits[0, -1, : len(TOKENIZER)].log_softmax(-1)
    best, second = scores.topk(2)
    runner_up = GreedyAnswer(first.ids, [int(second[1])], [float(best[1])])
    gap = float(best[0] - best[1])
    assert find_mismatch(tiny(), [runner_up], len(TOKENIZER), EXACT._replace(gap=gap + 1e-4)) is None
    found = find_mismatch(tiny(), [runner_up], len(TOKENIZER), EXACT)
    assert found is not None
    assert "below the model's own choice" in found.why


def test_a_model_of_broken_numbers_proves_nothing(answers):
    broken = tiny()
    with torch.no_grad():
        broken.model.norm.weight[0] = float("nan")
    found = find_mismatch(broken, answers, len(TOKENIZER), EXACT)
    assert found is not None
    assert "not finite" in found.why


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_broken_numbers_are_refused_as_such_so_that_their_round_is_lost_and_not_the_run(answers, value):
    broken = tiny()
    with torch.no_grad():
        broken.model.embed_tokens.weight[:] = value
    found = find_mismatch(broken, answers, len(TOKENIZER), EXACT)
    assert found is not None
    with pytest.raises(BrokenWeights, match="not finite with weights w1"):
        raise refusal(broken, found, TOKENIZER, "w1")
