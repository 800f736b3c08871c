"""A model's head that answers with losses, and samples that share a row: neither shows in a training's result."""

from __future__ import annotations

import pytest
import torch
from test_training_engine import changed
from tiny import examples, tiny_model, tiny_tokenizer
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from funreason.objectives import Example, Srml, TokenOutputs, TokenTargets
from funreason.objectives.protocol import Encoded
from funreason.training import TrainingError, train
from funreason.training.batches import keeps_samples_apart
from funreason.training.lm_head import plain_head

TOKENIZER = tiny_tokenizer()
NAMES = ("loss", "loss_think", "loss_result", "alpha")
SMALL = {
    "vocab_size": 259, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 12, "max_position_embeddings": 512, "pad_token_id": 0, "eos_token_id": 2,
    "bos_token_id": None,
}  # fmt: skip


def losses_of(model: PreTrainedModel, **fields: object) -> tuple[list[tuple[float, ...]], str]:
    """NAMES of every step, and how it was computed."""
    steps = []
    report = train(model, TOKENIZER, examples(), changed(**fields), on_step=steps.append)
    return [tuple(step.metrics.get(name, 0.0) for name in NAMES) for step in steps], report.how


def alike(one: list[tuple[float, ...]], other: list[tuple[float, ...]]) -> bool:
    return torch.allclose(torch.tensor(one), torch.tensor(other), atol=1e-5, rtol=0)


@pytest.mark.parametrize("reduction", ["sample", "token"])
@pytest.mark.parametrize("alpha_mode", ["fixed", "proportional", "learnable"])
def test_a_training_in_chunks_has_the_losses_of_a_naive_one(reduction, alpha_mode):
    chosen = {"loss_reduction": reduction, "alpha_mode": alpha_mode, "epochs": 3}
    naive, how = losses_of(tiny_model(), lm_head="naive", **chosen)
    assert "all logits at once (as configured)" in how
    for chunk in (7, None):
        chunked, how = losses_of(tiny_model(), lm_head="auto", lm_head_chunk=chunk, **chosen)
        assert "logits at a time" in how
        assert alike(chunked, naive)


@pytest.mark.parametrize("reduction", ["sample", "token"])
def test_packed_samples_have_the_losses_of_padded_ones(reduction):
    padded, how = losses_of(tiny_model(), loss_reduction=reduction, epochs=3, packing="never")
    assert "padded" in how
    for micro_tokens in (150, 4096):
        packed, how = losses_of(
            tiny_model(), loss_reduction=reduction, epochs=3, packing="always", micro_tokens=micro_tokens
        )
        assert "packed" in how
        assert alike(packed, padded)


def test_on_a_plain_kernel_samples_are_not_packed_unasked():
    assert "padded" in losses_of(tiny_model(), epochs=1)[1]


class Mixing(LlamaForCausalLM):
    """A model that does not heed positions: every token sees all before it."""

    def forward(self, input_ids, position_ids=None, **more):  # type: ignore[no-untyped-def]
        return super().forward(input_ids, **more)


def test_a_model_that_would_mix_packed_samples_is_refused():
    model = Mixing(LlamaConfig(**SMALL))
    assert not keeps_samples_apart(model)
    assert keeps_samples_apart(tiny_model())
    with pytest.raises(TrainingError, match="a sample sees the one before it"):
        losses_of(model, packing="always")


CHANGING = {
    "soft cap": lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL)),
    "scale": lambda: GraniteForCausalLM(GraniteConfig(**SMALL, logits_scaling=8.0)),
    "product": lambda: CohereForCausalLM(CohereConfig(**SMALL)),
}


@pytest.mark.parametrize("kind", CHANGING)
def test_a_model_that_changes_its_logits_gets_all_of_them(kind):
    torch.manual_seed(0)
    model = CHANGING[kind]()
    assert plain_head(model)[0] is None
    before = {name: value.clone() for name, value in model.state_dict().items()}
    auto, how = losses_of(model)
    assert "changes its logits" in how
    model.load_state_dict(before)
    assert alike(auto, losses_of(model, lm_head="naive")[0])
    with pytest.raises(TrainingError, match="lm_head: chunked cannot be used"):
        losses_of(model, lm_head="chunked")


def test_a_head_with_a_bias_is_a_plain_one():
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SMALL))
    model.lm_head = torch.nn.Linear(48, 259, bias=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    chunked = losses_of(model, lm_head="chunked", epochs=1)[0]
    model.load_state_dict(before)
    assert alike(chunked, losses_of(model, lm_head="naive", epochs=1)[0])


def test_a_head_of_another_kind_is_left_alone():
    class Loud(torch.nn.Linear):
        def forward(self, values):  # type: ignore[no-untyped-def]
            return 2 * super().forward(values)

    model = LlamaForCausalLM(LlamaConfig(**SMALL))
    model.lm_head = Loud(48, 259, bias=False)
    assert plain_head(model) == (None, "its head is Loud, not a plain linear layer")


def test_the_model_has_its_own_head_back_afterwards():
    model = tiny_model()
    losses_of(model, epochs=1)
    assert "forward" not in vars(model.lm_head)
    assert model(torch.tensor([[5, 6]])).logits.shape == (1, 2, 259)


@pytest.mark.parametrize("reduction", ["sample", "token"])
@pytest.mark.parametrize("mode", ["fixed", "learnable", "proportional"])
def test_weights_of_tokens_are_the_gradient_of_the_loss(reduction, mode):
    torch.manual_seed(0)
    parts = torch.tensor([[0, 0, 1, 1, 1, 2, 2], [0, 1, 2, 2, 2, 0, 0], [0, 0, 0, 2, 0, 0, 0]])
    labels = torch.randint(0, 11, parts.shape).masked_fill(parts == 0, -100)
    weighted = [Example(str(n), "", None, "", weight=weight) for n, weight in enumerate((1.0, 2.0, 0.5))]
    encoded = [Encoded(*rows) for rows in zip(labels.tolist(), labels.tolist(), parts.tolist(), strict=True)]
    objective, targets = Srml(changed(alpha_mode=mode, loss_reduction=reduction)), TokenTargets.of(labels, parts)
    whole = objective.denominators(weighted, encoded)
    losses = torch.rand(len(targets.where), dtype=torch.float64, requires_grad=True)
    share = objective.loss(TokenOutputs(losses, -losses.detach(), None), targets, weighted, whole)
    weights = objective.rule(targets, weighted, whole).weights
    assert torch.allclose(weights, torch.autograd.grad(share.total, losses)[0], atol=1e-12)
    assert float((weights * losses).sum().detach()) == pytest.approx(float(share.total.detach()), abs=1e-9)
