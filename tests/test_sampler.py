"""The in-process sampler: right tokens, draws that belong to the request, bounds that are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest
from tiny import tiny_model, tiny_tokenizer
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
)

from funreason.errors import ModelError
from funreason.policies.huggingface import prefill
from funreason.policies.huggingface.decoding import draw, row_key, uniforms
from funreason.policies.huggingface.sampler import HuggingFaceSampler
from funreason.policies.model_files import save_model, weights_id_of
from funreason.policies.protocol import Request, Sampler

pytestmark = pytest.mark.usefixtures("one_thread")
TOKENIZER = tiny_tokenizer()
MODEL = tiny_model(scale=0.12)
# Where batches of different shape are compared, in double precision: in single, another processor's matrix product may
# round a logit across a draw, about once in 70,000 tokens.
PRECISE = tiny_model(scale=0.12).double()
PROMPTS = ["hello there, what is this", "x", "add 1 and 2 please", "one two", "a" * 40]


def sampler(model: Qwen2ForCausalLM = MODEL, **more: object) -> HuggingFaceSampler:
    chosen = {"weights_id": "w0", "max_new_tokens": 40} | more
    return HuggingFaceSampler(model, TOKENIZER, **chosen)


def requests(n: int = 3, *, greedy: bool = False) -> list[Request]:
    return [Request(f"r{i}", prompt, n, seed=5, greedy=greedy) for i, prompt in enumerate(PROMPTS)]


def test_the_sampler_keeps_the_protocol():
    kept: Sampler = sampler()
    assert kept.weights_id == "w0"


def test_greedy_equals_transformers_generate_token_for_token():
    answers = sampler(PRECISE).sample(requests(1, greedy=True))
    for prompt, (completion,) in zip(PROMPTS, answers, strict=True):
        ids = TOKENIZER(prompt, return_tensors="pt").input_ids
        output = PRECISE.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=40)
        spoken = output[0, ids.shape[1] :].tolist()
        assert completion.tokens == len(spoken)
        assert completion.text == TOKENIZER.decode(spoken[: len(spoken) - (spoken[-1] == 2)])
        assert completion.truncated == (spoken[-1] != 2)
        assert completion.token_ids == tuple(spoken)
        assert (completion.logprobs, completion.weights_id) == (None, "w0")


@pytest.mark.parametrize("more", [{"max_rows": 1}, {"max_rows": 4}, {"token_budget": 1}, {"max_rows": 1000}])
def test_what_a_request_is_batched_with_does_not_change_its_samples(more):
    wanted = [texts(answer) for answer in sampler(PRECISE).sample(requests())]
    assert [texts(answer) for answer in sampler(PRECISE, **more).sample(requests())] == wanted
    alone = sampler(PRECISE, **more).sample([requests()[2]])
    assert texts(alone[0]) == wanted[2]


def texts(answer: list) -> list[tuple[str, int, bool]]:
    return [(completion.text, completion.tokens, completion.truncated) for completion in answer]


def test_completions_that_share_a_prompt_equal_those_drawn_with_a_prefix_of_their_own():
    three, five = sampler(PRECISE).sample(requests(3)), sampler(PRECISE).sample(requests(5))
    assert [texts(answer) for answer in three] == [texts(answer)[:3] for answer in five]
    assert len({completion.text for completion in five[0]}) == 5


def test_requests_of_one_prompt_share_its_reading_and_keep_their_own_draws():
    apart = [Request(f"r{i}", PROMPTS[i % 2], 1 + i % 3, seed=5) for i in range(20)]
    alone = [texts(sampler(PRECISE).sample([request])[0]) for request in apart]
    assert [texts(answer) for answer in sampler(PRECISE).sample(apart)] == alone


def test_batches_decoded_side_by_side_give_what_they_give_one_after_the_other():
    after = sampler(PRECISE, max_rows=4).sample(requests())
    torch.set_num_threads(2)
    beside = sampler(PRECISE, max_rows=4).sample(requests())
    assert torch.get_num_threads() == 2
    assert [texts(answer) for answer in beside] == [texts(answer) for answer in after]


def test_rows_that_end_at_different_steps_are_dropped_without_harm():
    often = tiny_model(scale=0.12).double()
    with torch.no_grad():
        often.lm_head.weight[2] *= 2.5
    asked = [Request(f"r{i}", PROMPTS[i % 5], 4, seed=1) for i in range(12)]
    together = sampler(often).sample(asked)
    lengths = [completion.tokens for answer in together for completion in answer]
    assert len(set(lengths)) > 8
    apart = [sampler(often).sample([request])[0] for request in asked]
    assert [texts(answer) for answer in together] == [texts(answer) for answer in apart]


def test_log_probabilities_are_those_of_the_distribution_drawn_from():
    warm = sampler(PRECISE, temperature=0.7)
    (answer,) = warm.sample([Request("a", PROMPTS[0], 2, seed=3, logprobs=True)])
    for index, completion in enumerate(answer):
        ids = TOKENIZER(PROMPTS[0])["input_ids"]
        keys = np.array([row_key(3, "a", index)], dtype=np.uint64)
        found = []
        for step in range(completion.tokens):
            with torch.inference_mode():
                logits = PRECISE(torch.tensor([ids])).logits[:, -1]
            logprob = torch.zeros(1, dtype=torch.float64)
            uniform = torch.from_numpy(uniforms(keys, step))
            token = draw(logits, uniform, temperature=0.7, top_p=1.0, logprobs=logprob)
            found, ids = [*found, float(logprob)], [*ids, int(token)]
        assert completion.logprobs == pytest.approx(found, abs=1e-4)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9)])
def test_log_probabilities_of_tokens_are_those_of_a_forward_pass_over_the_whole_completion(temperature, top_p):
    asked = [Request(f"r{i}", prompt, 3, seed=5, logprobs=True) for i, prompt in enumerate(PROMPTS)]
    for request, answer in zip(asked, sampler(temperature=temperature, top_p=top_p).sample(asked), strict=True):
        for completion in answer:
            chances = forced(request.prompt, completion.token_ids, temperature).exp()
            ordered, ids = chances.sort(descending=True)
            ordered[ordered.cumsum(-1) - ordered >= top_p] = 0
            kept = torch.zeros_like(chances).scatter(-1, ids, ordered / ordered.sum(-1, keepdim=True))
            chosen = kept.gather(-1, torch.tensor(completion.token_ids)[:, None])[:, 0]
            assert len(completion.logprobs) == completion.tokens
            assert completion.logprobs == pytest.approx(chosen.log().tolist(), abs=1e-4)


def test_greedy_log_probabilities_are_the_models_own_even_beside_requests_that_are_drawn():
    greedy = [Request(f"g{i}", prompt, 1, seed=5, greedy=True, logprobs=True) for i, prompt in enumerate(PROMPTS)]
    answers = sampler(temperature=0.7).sample([*greedy, *requests()])
    for request, (completion,) in zip(greedy, answers, strict=False):
        own = forced(request.prompt, completion.token_ids, 1.0).gather(-1, torch.tensor(completion.token_ids)[:, None])
        assert completion.logprobs == pytest.approx(own[:, 0].tolist(), abs=1e-4)
    assert all(completion.logprobs is None for answer in answers[len(greedy) :] for completion in answer)


def forced(prompt: str, tokens: tuple[int, ...], temperature: float) -> torch.Tensor:
    """Log-probabilities [tokens, vocabulary] of one forward pass over prompt and completion."""
    ids = TOKENIZER(prompt)["input_ids"]
    with torch.inference_mode():
        logits = MODEL(torch.tensor([[*ids, *tokens[:-1]]])).logits[0, len(ids) - 1 :]
    return (logits.double() / temperature).log_softmax(-1)


def test_one_step_draws_follow_the_models_distribution():
    count = 4000
    (answer,) = sampler(PRECISE, max_new_tokens=1).sample([Request("many", "hello", count, seed=0)])
    with torch.inference_mode():
        logits = PRECISE(TOKENIZER("hello", return_tensors="pt").input_ids).logits[0, -1]
    expected = torch.softmax(logits.double(), -1).numpy() * count
    with torch.inference_mode():
        drawn = draw(
            logits.expand(count, -1),
            torch.from_numpy(uniforms(np.array([row_key(0, "many", i) for i in range(count)], dtype=np.uint64), 0)),
            temperature=1.0, top_p=1.0,
        )  # fmt: skip
    observed = np.bincount(drawn.numpy(), minlength=len(expected))
    common = expected >= 5
    bins = [np.append(values[common], values[~common].sum()) for values in (observed, expected)]
    assert chisquare(*bins).pvalue > 0.001
    spoken = [TOKENIZER.decode([token]) if token != 2 else "" for token in drawn.tolist()]
    assert [completion.text for completion in answer] == spoken
    assert sum(completion.truncated for completion in answer) == count - observed[2]


def test_top_p_never_draws_outside_the_nucleus():
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0]]).log_softmax(-1).expand(500, -1)
    uniform = torch.linspace(0, 1, 501, dtype=torch.float64)[:-1]
    logprobs = torch.zeros(500, dtype=torch.float64)
    tokens = draw(logits, uniform, temperature=1.0, top_p=0.8, logprobs=logprobs)
    assert set(tokens.tolist()) == {0, 2}
    share = torch.softmax(logits[0], -1)[[0, 2]]
    assert logprobs[tokens == 0][0].exp() == pytest.approx(float(share[0] / share.sum()), abs=1e-6)


@given(st.integers(0, 2**40), st.text(max_size=12), st.integers(0, 50))
@settings(max_examples=50)
def test_uniforms_lie_in_the_unit_interval_and_differ_by_every_ingredient(seed, name, step):
    keys = np.array([row_key(seed, name, 0), row_key(seed, name, 1), row_key(seed + 1, name, 0)], dtype=np.uint64)
    now, later = uniforms(keys, step), uniforms(keys, step + 1)
    assert ((now >= 0) & (now < 1)).all()
    assert len({*now.tolist(), *later.tolist()}) == 6


def test_uniforms_are_uniform_over_rows_and_over_steps():
    keys = np.array([row_key(0, "r", i) for i in range(4000)], dtype=np.uint64)
    assert kstest(uniforms(keys, 0), "uniform").pvalue > 0.001
    assert kstest([float(uniforms(keys[:1], step)[0]) for step in range(4000)], "uniform").pvalue > 0.001


def test_a_prompt_that_does_not_fit_is_refused_and_can_be_asked_about():
    short = sampler(tiny_model(context=64))
    long, fitting = Request("long", "a" * 25, 1, 0), Request("fits", "a" * 24, 1, 0)
    assert short.too_long(long)
    assert not short.too_long(fitting)
    assert short.sample([fitting])[0][0].tokens > 0
    with pytest.raises(ModelError, match=r"long: the prompt has 25 tokens; at most 24"):
        short.sample([fitting, long])


def test_no_request_and_no_completion_are_answered_with_nothing():
    assert sampler().sample([]) == []
    mixed = sampler().sample([Request("none", "x", 0, 0), Request("one", "x", 1, 0)])
    assert [len(answer) for answer in mixed] == [0, 1]


def test_new_weights_answer_from_the_next_sample_on(tmp_path):
    other = tiny_model(seed=1, scale=0.12)
    changing = sampler()
    before = changing.sample(requests())
    weights_id = save_model(other, TOKENIZER, tmp_path / "w1")
    changing.load_weights(tmp_path / "w1", weights_id)
    assert changing.weights_id == weights_id == weights_id_of(other)
    after = changing.sample(requests())
    assert after == sampler(other, weights_id=weights_id).sample(requests())
    assert [texts(answer) for answer in after] != [texts(answer) for answer in before]
    stamps = [{one.weights_id for answer in answers for one in answer} for answers in (before, after)]
    assert stamps == [{"w0"}, {weights_id}]


def test_sampling_leaves_the_model_as_it_was():
    model = tiny_model()
    model.train()
    before = model.config._attn_implementation
    sampler(model).sample(requests(1))
    assert model.training
    assert model.config._attn_implementation == before


def test_broken_weights_are_named_not_sampled():
    broken = tiny_model()
    with torch.no_grad():
        broken.model.norm.weight[0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        sampler(broken).sample(requests(1))


def test_an_architecture_with_sliding_windows_is_refused():
    config = Qwen2Config(
        vocab_size=259, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, use_sliding_window=True, sliding_window=8, max_window_layers=0,
    )  # fmt: skip
    with pytest.raises(ModelError, match="sliding"):
        sampler(Qwen2ForCausalLM(config))


class Capped(Qwen2ForCausalLM):
    """A model whose attention asks for something that the sampler's does not give: scores twice as sharp."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        for layer in self.model.layers:
            layer.self_attn.register_forward_pre_hook(self.sharpen, with_kwargs=True)

    @staticmethod
    def sharpen(module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        module.scaling = 2.0 if "shared_prefix" not in kwargs else 0.2


def test_an_attention_that_the_sampler_would_compute_wrongly_is_found_by_a_probe():
    torch.manual_seed(0)
    with pytest.raises(ModelError, match="probe differs"):
        sampler(Capped(MODEL.config).eval())


def test_a_deep_model_in_half_precision_is_not_refused_for_its_own_rounding(monkeypatch):
    """Its probe is judged by how far two of torch's own attentions are apart; a wrong attention is still found."""
    monkeypatch.setattr(prefill, "PROBE_TOLERANCE", 1e-4)
    torch.manual_seed(0)
    deep = Qwen2Config(
        vocab_size=259, hidden_size=64, intermediate_size=128, num_hidden_layers=24, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256,
    )  # fmt: skip
    sampler(Qwen2ForCausalLM(deep).to(torch.bfloat16).eval())
    with pytest.raises(ModelError, match="probe differs"):
        sampler(Capped(MODEL.config).to(torch.bfloat16).eval())


@pytest.mark.parametrize("family", [LlamaConfig, Qwen3Config, MistralConfig])
def test_other_families_with_plain_attention_are_sampled_right(family):
    torch.manual_seed(0)
    config = family(
        vocab_size=259, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, eos_token_id=2, pad_token_id=0, initializer_range=0.2, sliding_window=None,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).double().eval()
    ids = TOKENIZER(PROMPTS[0], return_tensors="pt").input_ids
    output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20)[0]
    (answer,) = sampler(model, max_new_tokens=20).sample([Request("a", PROMPTS[0], 1, 0, greedy=True)])
    assert answer[0].text == TOKENIZER.decode(output[ids.shape[1] :]).removesuffix("<|im_end|>")


@pytest.mark.parametrize("more", [{"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_a_distribution_that_cannot_be_is_refused(more):
    with pytest.raises(ModelError, match="temperature"):
        sampler(**more)


def test_a_batch_is_shared_out_over_the_lanes_and_gives_what_it_gives_whole(monkeypatch):
    asked = [Request(f"r{i}", PROMPTS[i % len(PROMPTS)] + " a" * i, 8, seed=5) for i in range(24)]
    whole = [texts(answer) for answer in sampler(PRECISE).sample(asked)]
    torch.set_num_threads(2)
    shared = sampler(PRECISE, max_rows=80)
    sizes = []
    complete = shared._complete
    monkeypatch.setattr(shared, "_complete", lambda batch: sizes.append(sum(g.rows for g in batch)) or complete(batch))
    assert [texts(answer) for answer in shared.sample(asked)] == whole
    assert len(sizes) == 4  # three would fit the bound, and leave one lane waiting
    assert sum(sizes) == 24 * 8
    assert max(sizes) <= 80
    assert max(sizes) - min(sizes) <= 16
