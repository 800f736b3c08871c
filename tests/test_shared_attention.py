"""Attention over a prompt and its completions in one row is that of separate rows, or a dense mask takes its place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_objectives_grpo import LOSSES, rollouts
from test_shared_prompts import CPU, TOKENIZER, answers
from test_training_engine import changed
from test_training_lm_head import SMALL
from tiny import tiny_model
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from funreason.objectives import Example, Grpo, Srml
from funreason.training import batches, score, train
from funreason.training.batches import shared_length
from funreason.training.encoding import encode_examples
from funreason.training.shared_attention import (
    TOLERANCE,
    Layout,
    attending_with_shared_prompts,
    joined_attention,
    shared_prompts_attention,
)

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 8
SHAPES = {
    "even": [(20, [6, 6, 6]), (20, [6, 6, 6])],
    "uneven completions": [(20, [1, 9, 4])],
    "one completion": [(12, [5])],
    "several prompts": [(3, [2, 7]), (31, [4]), (17, [1, 1, 12])],
    "without a prompt": [(0, [5]), (4, [3, 2])],
    "longer than a kernel's block": [(300, [70, 130]), (5, [260])],
}


@pytest.fixture(scope="module", autouse=True)
def layouts_for_short_rows() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "SHORT_ROW", 0)
        yield


def layout_of(rows: list[tuple[int, list[int]]]) -> Layout:
    width = max(prompt + sum(lengths) for prompt, lengths in rows)
    return Layout.of([prompt for prompt, _ in rows], [lengths for _, lengths in rows], width, CPU)


def states_of(layout: Layout, dtype: torch.dtype, size: int = SIZE) -> list[Tensor]:
    draws = torch.Generator().manual_seed(0)
    shapes = [(len(layout.prompts), heads, layout.width, size) for heads in (4, 2, 2)]
    return [torch.randn(shape, generator=draws, dtype=dtype) for shape in shapes]


def in_one_row(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    return shared_prompts_attention(nn.Module(), query, key, value, None, shared_prompts=layout)[0]


def joined(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    return joined_attention(query, key, value, layout, query.shape[-1] ** -0.5)


def in_separate_rows(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """Plain causal attention of each completion after its prompt."""
    rows = []
    for row, (prompt, lengths) in enumerate(zip(layout.prompts, layout.completions, strict=True)):
        parts, at = [], prompt
        for number, length in enumerate(lengths):
            places = [*range(prompt), *range(at, at + length)]
            chosen = [states[row : row + 1, :, places] for states in (query, key, value)]
            found = scaled_dot_product_attention(*chosen, is_causal=True, enable_gqa=True)
            parts += [found[0, :, :prompt]] * (number == 0) + [found[0, :, prompt:]]
            at += length
        padding = query.new_zeros(query.shape[1], layout.width - at, query.shape[3])
        rows.append(torch.cat([*parts, padding], dim=1).transpose(0, 1))
    return torch.stack(rows)


def output_and_gradients(attend: object, layout: Layout, states: list[Tensor]) -> list[Tensor]:
    inputs = [tensor.clone().requires_grad_() for tensor in states]
    output = attend(*inputs, layout)
    weights = torch.cos(torch.arange(output.numel())).view(output.shape).to(output.dtype)
    for row, (prompt, lengths) in enumerate(zip(layout.prompts, layout.completions, strict=True)):
        weights[row, prompt + sum(lengths) :] = 0
    return [(output * (weights != 0)).detach(), *torch.autograd.grad((output * weights).sum(), inputs)]


def apart(found: list[Tensor], wanted: list[Tensor]) -> float:
    return max(float((a.double() - b.double()).norm() / b.double().norm()) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("attend", [in_one_row, joined])
@pytest.mark.parametrize("shape", SHAPES)
def test_output_and_gradients_are_those_of_separate_rows(shape, attend, dtype, within):
    layout = layout_of(SHAPES[shape])
    states = states_of(layout, dtype)
    wanted = output_and_gradients(in_separate_rows, layout, [tensor.double() for tensor in states])
    assert apart(output_and_gradients(attend, layout, states), wanted) < within
    assert not layout.fallback


ROWS = st.lists(
    st.tuples(st.integers(0, 20), st.lists(st.integers(1, 12), min_size=1, max_size=4)), min_size=1, max_size=4
)


@given(ROWS)
@settings(max_examples=40, deadline=None)
def test_any_layout_gives_what_separate_rows_give(rows):
    layout = layout_of(rows)
    states = states_of(layout, torch.float64)
    wanted = output_and_gradients(in_separate_rows, layout, states)
    scale = max(float(tensor.norm()) for tensor in wanted)
    for attend in (in_one_row, joined):
        found = output_and_gradients(attend, layout, states)
        assert all(float((a - b).norm()) < 1e-12 * scale for a, b in zip(found, wanted, strict=True))


def test_the_first_use_of_a_shape_class_proves_it_and_a_failed_proof_leaves_a_dense_mask(monkeypatch):
    proved, other = layout_of([(9, [3, 3])]), layout_of([(90, [3, 3])])
    for layout in (proved, other):
        states = states_of(layout, torch.float32, size=6)  # a head size of this test alone
        wanted = output_and_gradients(in_separate_rows, layout, states)
        assert apart(output_and_gradients(in_one_row, layout, states), wanted) < 1e-6
        monkeypatch.setitem(TOLERANCE, torch.float32, 0.0)
    assert not proved.fallback
    assert "differs by" in other.fallback
    again = layout_of([(9, [3, 3])])
    in_one_row(*states_of(again, torch.float32, size=6), again)
    assert not again.fallback


def stepped(model: PreTrainedModel, name: str, **fields: object) -> tuple[Tensor, dict[str, float], str]:
    """Weights, metrics and description of one step."""
    steps: list = []
    update = changed(epochs=1, batch_size=100, **fields)
    examples = answers() if name == "srml" else rollouts()
    objective = Srml(update) if name == "srml" else Grpo(LOSSES["kl"])
    report = train(model, TOKENIZER, examples, update, objective=objective, on_step=steps.append)
    return torch.cat([p.detach().flatten() for p in model.parameters()]), steps[0].metrics, report.how


@pytest.mark.parametrize("name", ["srml", "grpo"])
def test_a_step_in_bfloat16_has_the_loss_and_gradient_norm_of_separate_rows(name):
    _, wanted, _ = stepped(tiny_model().bfloat16(), name, prefix_sharing="never")
    _, found, how = stepped(tiny_model().bfloat16(), name, prefix_sharing="always")
    assert "with shared prompts" in how
    assert "dense" not in how
    assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-2)
    assert found["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=2e-2)


def test_checkpointed_gradients_are_the_same():
    wanted, _, _ = stepped(tiny_model().double(), "srml", prefix_sharing="never")
    found, _, how = stepped(tiny_model().double(), "srml", prefix_sharing="always", gradient_checkpointing=True)
    assert "dense" not in how
    assert torch.allclose(found, wanted, atol=2e-5)


class DropsLayouts(LlamaForCausalLM):
    """A model that does not hand on to its attention what it does not know."""

    def forward(self, shared_prompts=None, **more):  # type: ignore[no-untyped-def]
        return super().forward(**more)


DENSE = {
    "drops layouts": (lambda: DropsLayouts(LlamaConfig(**SMALL)), "its attention takes no layout"),
    "dropout": (lambda: LlamaForCausalLM(LlamaConfig(**SMALL, attention_dropout=0.1)), "its attention has dropout"),
}


@pytest.mark.parametrize("kind", DENSE)
def test_a_model_that_takes_no_layout_shares_prompts_under_a_dense_mask_and_says_why(kind):
    make, why = DENSE[kind]
    torch.manual_seed(0)
    model = make()
    start = {name: weights.clone() for name, weights in model.state_dict().items()}
    _, found, how = stepped(model, "srml", prefix_sharing="always")
    assert f"under a dense mask ({why})" in how
    if kind != "dropout":
        apart_model = make()
        apart_model.load_state_dict(start)
        _, wanted, _ = stepped(apart_model, "srml", prefix_sharing="never")
        assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
        assert found["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=1e-5)


def test_a_model_has_its_own_attention_again_afterwards():
    model = tiny_model()
    train(model, TOKENIZER, answers(), changed(epochs=1, prefix_sharing="always"))
    score(model, TOKENIZER, answers(), changed(prefix_sharing="always"))
    assert model.config._attn_implementation == "sdpa"
    with pytest.raises(KeyError), attending_with_shared_prompts(model):
        raise KeyError
    assert model.config._attn_implementation == "sdpa"


def test_batches_that_share_nothing_are_computed_as_ever():
    apart_examples = [Example(str(at), f"{at} add", None, f"[f({at})]") for at in range(4)]
    model, ids = tiny_model(), torch.arange(3, 15).unsqueeze(0)
    wanted = model(input_ids=ids).logits
    packed = torch.arange(6).repeat(2).unsqueeze(0)
    wanted_packed = model(input_ids=ids, position_ids=packed, use_cache=False).logits
    with attending_with_shared_prompts(model):
        assert torch.equal(model(input_ids=ids).logits, wanted)
        assert torch.equal(model(input_ids=ids, position_ids=packed, use_cache=False).logits, wanted_packed)
    assert "shared" not in train(model, TOKENIZER, apart_examples, changed(epochs=1)).how


def test_short_rows_take_a_dense_mask_where_either_would_do(monkeypatch):
    _, encoded, _ = encode_examples(rollouts(), TOKENIZER, 500)

    def layout(dense: bool | None) -> Layout | None:
        return batches.share_prompts(encoded, pad_id=0, device=CPU, dense=dense).layout

    width = max(shared_length(encoded[:4]), shared_length(encoded[4:]))
    monkeypatch.setattr(batches, "SHORT_ROW", width)
    assert layout(None) is None
    assert layout(False) is not None
    monkeypatch.setattr(batches, "SHORT_ROW", width - 1)
    assert layout(None) is not None
    assert layout(True) is None
