"""Lean decoding steps on a CPU: what they give, and for which models they are used."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_model, tiny_tokenizer
from torch import nn
from transformers import AutoModelForCausalLM, GemmaConfig, LlamaConfig, MistralConfig, Olmo2Config, Qwen3Config

from funreason.policies.huggingface import lean_decoder, prefill
from funreason.policies.huggingface.lean_decoder import LeanDecoder
from funreason.policies.huggingface.sampler import HuggingFaceSampler
from funreason.policies.protocol import Completion, Request

pytestmark = pytest.mark.usefixtures("one_thread")
TOKENIZER = tiny_tokenizer()
REQUESTS = [
    Request("a", "hello there, what is this", 3, 0),
    Request("b", "x", 2, 0),
    Request("c", "add 1 and 2 please", 1, 0, greedy=True),
]
SIZES = {
    "vocab_size": len(TOKENIZER), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
    "eos_token_id": 2, "pad_token_id": 0, "sliding_window": None,
}  # fmt: skip


def model_of(config: type, **more: object) -> nn.Module:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config(**SIZES | more)).eval()


def sampled(sampler: HuggingFaceSampler) -> list[list[Completion]]:
    return sampler.sample(REQUESTS)


def eager_and_lean(model: nn.Module) -> tuple[list[list[Completion]], list[list[Completion]]]:
    sampler = HuggingFaceSampler(model.double(), TOKENIZER, weights_id="w", max_new_tokens=40)
    assert sampler.lean.on
    lean = sampled(sampler)
    sampler.lean.on = False
    return sampled(sampler), lean


@pytest.mark.parametrize(
    ("config", "more"),
    [
        (LlamaConfig, {"attention_bias": True, "mlp_bias": True}),
        (LlamaConfig, {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}),
        (MistralConfig, {}),
        (Qwen3Config, {"hidden_act": "gelu"}),
    ],
)
def test_lean_steps_sample_what_the_models_own_code_samples(config, more):
    eager, lean = eager_and_lean(model_of(config, **more))
    assert lean == eager


def test_a_lean_step_calls_no_module_of_a_layer_but_its_activation(monkeypatch):
    model = tiny_model()
    sampler = HuggingFaceSampler(model, TOKENIZER, weights_id="w", max_new_tokens=5)
    widths = []
    original = nn.Linear.forward
    inner = {id(module) for module in model.base_model.modules() if isinstance(module, nn.Linear)}

    def forward(self: nn.Linear, states: torch.Tensor) -> torch.Tensor:
        if id(self) in inner:
            widths.append(states.shape[1])
        return original(self, states)

    monkeypatch.setattr(nn.Linear, "forward", forward)
    sampled(sampler)
    assert widths  # the prompts are read by the model's own code,
    assert min(widths) > 1  # and no single token is


@pytest.mark.parametrize(
    "made",
    [
        lambda: model_of(Olmo2Config),  # its norms come after attention and MLP
        lambda: model_of(GemmaConfig),  # Llama's names of modules, but scaled embeddings and norms that add one
        lambda: tiny_model().bfloat16(),
    ],
    ids=["other_layers", "other_arithmetic", "half_precision"],
)
def test_other_models_keep_their_own_code(made):
    assert not LeanDecoder(made()).on


def test_a_layer_with_the_same_modules_and_other_arithmetic_is_found_by_the_proof():
    model = tiny_model()
    layer = model.base_model.layers[0]

    class Louder(type(layer)):
        def forward(self, *given, **named):
            return super().forward(*given, **named) * 1.5

    assert LeanDecoder(model).on
    layer.__class__ = Louder
    assert not LeanDecoder(model).on


def test_a_module_whose_forward_was_replaced_keeps_the_replacement():
    model = tiny_model()
    sampler = HuggingFaceSampler(model, TOKENIZER, weights_id="w", max_new_tokens=4)
    own, widths = model.base_model.forward, []

    def forward(*given, **named):
        widths.append(named["input_ids"].shape[1])
        return own(*given, **named)

    model.base_model.forward = forward
    sampled(sampler)
    assert 1 in widths
    assert model.base_model.forward is forward


def test_a_hook_that_came_after_the_proof_is_called():
    model, seen = tiny_model(), []
    sampler = HuggingFaceSampler(model, TOKENIZER, weights_id="w", max_new_tokens=6)
    hook = model.base_model.layers[1].mlp.register_forward_hook(lambda *given: seen.append(given[2].shape[1]))
    wanted = sampled(sampler)
    assert 1 in seen
    hook.remove()
    before = len(seen)
    assert [[c.text for c in answer] for answer in sampled(sampler)] == [[c.text for c in a] for a in wanted]
    assert len(seen) == before


def test_weights_that_were_trained_in_between_answer_next():
    model = tiny_model().double()
    sampler = HuggingFaceSampler(model, TOKENIZER, weights_id="w", max_new_tokens=20)
    before = sampled(sampler)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    after = sampled(sampler)
    assert after != before
    assert after == sampled(HuggingFaceSampler(model, TOKENIZER, weights_id="w", max_new_tokens=20))


def test_the_models_own_forward_is_back_after_a_call_and_after_a_failure(monkeypatch):
    model = tiny_model()
    sampler = HuggingFaceSampler(model, TOKENIZER, weights_id="w", max_new_tokens=4)
    sampled(sampler)
    assert "forward" not in vars(model.base_model)
    monkeypatch.setattr(lean_decoder, "rms_norm", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sampled(sampler)
    assert "forward" not in vars(model.base_model)


def test_prompts_read_in_several_passes_give_what_one_pass_gives(monkeypatch):
    sampler = HuggingFaceSampler(tiny_model().double(), TOKENIZER, weights_id="w", max_new_tokens=40)
    whole = sampled(sampler)
    for tokens in (1, 12, 30):
        monkeypatch.setattr(prefill, "CPU_PASS_TOKENS", tokens)
        assert sampled(sampler) == whole
