"""Samples of one prompt in one row: losses and gradients are those of separate rows, or the prompt is not shared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_objectives_grpo import LOSSES, rollouts
from test_training_engine import changed
from test_training_lm_head import SMALL, Mixing
from tiny import tiny_model, tiny_tokenizer
from transformers import LlamaConfig, MistralConfig, MistralForCausalLM

from funreason.objectives import Encoded, Example, Grpo, Srml
from funreason.training import TrainingError, batches, train
from funreason.training.batches import (
    by_prompt,
    collate,
    plan_passes,
    prompt_sharing,
    share_prompts,
    shared_length,
)
from funreason.training.chunked_cross_entropy import rule_of_logits
from funreason.training.encoding import encode_examples
from funreason.training.shared_attention import attending_with_shared_prompts

pytestmark = pytest.mark.usefixtures("one_thread")
TOKENIZER = tiny_tokenizer()
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def layouts_for_short_rows() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "SHORT_ROW", 0)
        yield


def answers() -> list[Example]:
    """Three answers to each of four queries of uneven lengths, and one query with a single answer."""
    return [
        Example(f"s{i}", f"<|im_start|>user\n{'add ' * (i % 5)}<|im_end|>\n", None if i % 4 else "it " * (i % 3),
                f"[add(n={i})]", weight=1.0 + (i == 2))
        for i in (*range(5), *range(5, 9), *range(10, 14))
    ]  # fmt: skip


def gradient(
    examples: list[Example], objective: object, how: str, dtype: torch.dtype = torch.float64
) -> tuple[float, torch.Tensor]:
    model = tiny_model().to(dtype)
    usable, encoded, _ = encode_examples(examples, TOKENIZER, 500)
    order = [at for group in by_prompt(encoded) for at in group]
    usable, encoded = [usable[at] for at in order], [encoded[at] for at in order]
    if how == "apart":
        batch = collate(encoded, pad_id=0, device=CPU)
    else:
        batch = share_prompts(encoded, pad_id=0, device=CPU, dense=how == "mask")
    targets, kept = batch.targets(len(encoded))
    more = {"shared_prompts": batch.layout} if how == "layout" else {}
    with attending_with_shared_prompts(model) if more else nullcontext():
        logits = model(
            input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions, logits_to_keep=kept, **more
        ).logits
    whole = objective.denominators(usable, encoded)
    rule = objective.rule(targets, usable, whole)
    outputs = rule_of_logits(logits.flatten(0, 1)[targets.where], targets.labels, rule)
    share = objective.loss(outputs, targets, usable, whole)
    share.total.backward()
    return float(share.total.detach()), torch.cat([p.grad.flatten().double() for p in model.parameters()])


@pytest.mark.parametrize("how", ["mask", "layout"])
@pytest.mark.parametrize("name", ["srml", "grpo"])
def test_a_shared_prompt_gives_the_loss_and_gradient_of_separate_rows(name, how):
    examples = answers() if name == "srml" else rollouts()
    objective = Srml(changed(loss_reduction="sample")) if name == "srml" else Grpo(LOSSES["kl"])
    wanted, found, single = (gradient(examples, objective, *one) for one in (("apart",), (how,), (how, torch.float32)))
    assert found[0] == pytest.approx(wanted[0], rel=1e-10)
    assert float((found[1] - wanted[1]).norm() / wanted[1].norm()) < 1e-6
    assert single[0] == pytest.approx(wanted[0], rel=1e-5)
    assert float((single[1] - wanted[1]).norm() / wanted[1].norm()) < 1e-5


def test_a_row_holds_its_prompt_once():
    _, encoded, _ = encode_examples(rollouts(), TOKENIZER, 500)
    batch = share_prompts(encoded, pad_id=0, device=CPU)
    assert [len(group) for group in by_prompt(encoded)] == [4, 4]
    assert batch.ids.shape == (2, max(shared_length(encoded[:4]), shared_length(encoded[4:])))
    assert batch.ids.numel() < 0.85 * sum(len(sample.ids) for sample in encoded)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=12), st.integers(1, 60),
       st.integers(1, 3))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_sample_is_in_one_pass_and_those_of_a_prompt_follow_each_other(drawn, micro_tokens, num_shards):
    encoded = [
        Encoded([prompt] * (prompt + 1) + [9] * length, [-100] * (prompt + 1) + [9] * length,
                [0] * (prompt + 1) + [2] * length)
        for prompt, length in drawn
    ]  # fmt: skip
    shards = plan_passes(encoded, num_shards=num_shards, micro_tokens=micro_tokens, packed=False, shared=True)
    pieces = [piece for part in shards for piece in part]
    assert sorted(index for piece in pieces for index in piece) == list(range(len(encoded)))
    for piece in pieces:
        samples = [encoded[index] for index in piece]
        assert [at for group in by_prompt(samples) for at in group] == list(range(len(samples)))
        batch = share_prompts(samples, pad_id=0, device=CPU)
        assert len(piece) == 1 or batch.ids.numel() <= max(micro_tokens, sum(len(sample.ids) for sample in samples))


@pytest.mark.parametrize("fields", [{"micro_tokens": 100_000}, {"micro_tokens": 120}, {"lm_head": "naive"}])
@pytest.mark.parametrize("name", ["srml", "grpo"])
def test_a_training_with_shared_prompts_is_the_training_of_separate_rows(name, fields):
    def trained(sharing: str) -> tuple[torch.Tensor, dict[str, float], str]:
        model, steps = tiny_model().double(), []  # where a gradient is near 0, AdamW's first step is only rounding
        update = changed(epochs=1, batch_size=100, prefix_sharing=sharing, **fields)
        examples = answers() if name == "srml" else rollouts()
        objective = Srml(update) if name == "srml" else Grpo(LOSSES["kl"])
        report = train(model, TOKENIZER, examples, update, objective=objective, on_step=steps.append)
        return torch.cat([p.detach().flatten() for p in model.parameters()]), steps[0].metrics, report.how

    apart, wanted, how = trained("never")
    assert "shared" not in how
    together, found, how = trained("always")
    assert "with shared prompts in 1 batches" in how
    assert torch.allclose(together, apart, atol=2e-5)
    for metric in wanted.keys() - {"seconds", "tokens_per_s"}:
        assert found[metric] == pytest.approx(wanted[metric], rel=1e-4, abs=1e-6), metric


def test_prompts_are_shared_unasked_only_where_that_saves_a_quarter():
    def how(examples: list[Example]) -> str:
        return train(tiny_model(), TOKENIZER, examples, changed(epochs=1, batch_size=100)).how

    long = "<|im_start|>user\n" + "add " * 40 + "<|im_end|>\n"
    assert "shared prompts" in how([Example(str(at), long, None, f"[f({at})]") for at in range(4)])
    assert "shared" not in how([Example(str(at), f"{at}{long}", None, f"[f({at})]") for at in range(4)])


REFUSED = {
    "sliding windows": (lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=4)), "full attention"),
    "mixing": (lambda: Mixing(LlamaConfig(**SMALL)), "logits differ"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_that_cannot_share_is_trained_in_separate_rows_and_says_why(kind):
    make, why = REFUSED[kind]
    torch.manual_seed(0)
    allowed, found = prompt_sharing(make(), "auto")
    assert not allowed
    assert why in found
    assert why in train(make(), TOKENIZER, answers(), changed(epochs=1, batch_size=100)).how
    with pytest.raises(TrainingError, match=f"prefix_sharing: always.*{why}"):
        prompt_sharing(make(), "always")
