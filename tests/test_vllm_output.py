"""What becomes of vLLM's output, without vLLM: texts, token ids, log-probabilities, stamps."""

from types import SimpleNamespace

import pytest
from tiny import tiny_tokenizer

from funreason.errors import BrokenWeights
from funreason.policies.protocol import Request
from funreason.policies.vllm.sampler import completions

TINY = tiny_tokenizer()


def output(*texts: str, logprob: float = -0.5):
    """One part per text, given in the wrong order; the first ended by itself, the others at the limit."""
    parts = []
    for index, text in enumerate(texts):
        ids = TINY(text, add_special_tokens=False)["input_ids"] + [2] * (index == 0)
        logprobs = [{token: SimpleNamespace(logprob=logprob - i)} for i, token in enumerate(ids)]
        parts.append(
            SimpleNamespace(
                index=index,
                token_ids=ids,
                finish_reason="length" if index else "stop",
                cumulative_logprob=sum(logprob - i for i in range(len(ids))),
                logprobs=logprobs,
            )
        )
    return SimpleNamespace(outputs=parts[::-1])


def test_a_completion_has_its_tokens_and_the_weights_that_generated_it():
    first, second = completions(Request("r", "", 2, 0), output("hi", "you"), TINY, "w7")
    assert (first.text, first.tokens, first.truncated, first.token_ids[-1]) == ("hi", 3, False, 2)
    assert (second.text, second.truncated, len(second.token_ids)) == ("you", True, 3)
    assert {first.weights_id, second.weights_id} == {"w7"}
    assert first.logprobs is second.logprobs is None


def test_log_probabilities_are_handed_out_where_they_were_asked_for():
    (found,) = completions(Request("r", "", 1, 0, logprobs=True), output("hi"), TINY, "w7")
    assert found.logprobs == (-0.5, -1.5, -2.5)


def test_logits_that_are_not_finite_are_broken_weights():
    with pytest.raises(BrokenWeights, match="request r"):
        completions(Request("r", "", 1, 0), output("hi", logprob=float("nan")), TINY, "w7")
