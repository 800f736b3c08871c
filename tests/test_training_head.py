"""The vocabulary head in chunks: the naive loss and gradient, whatever the way, the cut and the weights."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from funreason.objectives.protocol import TokenSlopes
from funreason.training.chunked_cross_entropy import apply_rule, chunk_for, rule_of_logits, token_losses

Gradients = list[torch.Tensor | None]


def world(
    tokens: int, width: int, vocabulary: int, *, bias: bool = False, seed: int = 0, kind: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Hidden states, the head's weight, targets (some ignored), its bias, and weights (some of them 0)."""
    torch.manual_seed(seed)
    hidden, weight = torch.randn(tokens, width, dtype=kind), torch.randn(vocabulary, width, dtype=kind)
    targets = torch.randint(0, vocabulary, (tokens,))
    targets[torch.rand(tokens) < 0.2] = -100
    weights = torch.rand(tokens) * (torch.rand(tokens) < 0.8)
    return hidden, weight, targets, torch.randn(vocabulary, dtype=kind) if bias else None, weights


def learnt(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    bias: torch.Tensor | None,
    weights: torch.Tensor,
    method: str,
    chunk: int | None = None,
    *,
    promised: bool = True,
    scale: float = 1.0,
) -> tuple[torch.Tensor, Gradients]:
    """The losses and the gradients of their weighted sum, times `scale`."""
    leaves = [None if leaf is None else leaf.clone().requires_grad_() for leaf in (hidden, weight, bias)]
    losses = token_losses(
        leaves[0], leaves[1], targets, bias=leaves[2], weights=weights if promised else None, method=method, chunk=chunk
    )
    (scale * (losses * weights).sum()).backward()
    return losses.detach(), [None if leaf is None else leaf.grad for leaf in leaves]


def agree(found: tuple[torch.Tensor, Gradients], wanted: tuple[torch.Tensor, Gradients], within: float = 1e-5) -> None:
    assert torch.allclose(found[0], wanted[0], atol=within, rtol=within)
    for one, other in zip(found[1], wanted[1], strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, atol=within, rtol=within)


@given(
    st.integers(1, 40), st.integers(1, 9), st.integers(2, 50), st.integers(1, 45), st.booleans(),
    st.sampled_from(["chunked", "recomputed"]), st.booleans(), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_every_way_gives_the_naive_loss_and_gradient(tokens, width, vocabulary, chunk, bias, way, promised, seed):
    given = world(tokens, width, vocabulary, bias=bias, seed=seed)
    agree(learnt(*given, way, chunk, promised=promised), learnt(*given, "naive"))


def test_without_torchs_own_chunks_logits_are_recomputed_all_the_same(monkeypatch):
    monkeypatch.delattr(functional, "linear_cross_entropy", raising=False)
    given = world(40, 6, 30, bias=True)
    agree(learnt(*given, "recomputed", 7), learnt(*given, "naive"))
    empty = (torch.randn(0, 4), torch.randn(9, 4), torch.zeros(0, dtype=torch.long), None, torch.zeros(0))
    assert learnt(*empty, "recomputed", 7)[0].shape == (0,)


def test_a_large_vocabulary_gives_the_naive_loss_and_gradient():
    given = world(300, 24, 40_000)
    agree(learnt(*given, "chunked"), learnt(*given, "naive"), within=2e-5)


def test_a_scaled_loss_scales_the_gradient():
    given = world(20, 6, 30, bias=True)
    agree(learnt(*given, "chunked", 7, scale=-2.5), learnt(*given, "naive", scale=-2.5))


def test_double_precision_stays_double():
    given = world(20, 6, 30, kind=torch.float64)
    found = learnt(*given, "chunked", 7)
    assert found[0].dtype == torch.float64
    agree(found, learnt(*given, "naive"), within=1e-9)


def test_half_precision_is_summed_in_single():
    given = world(200, 16, 60, kind=torch.bfloat16)
    losses, gradients = learnt(*given, "chunked", 32)
    single = [value.float() if value is not None and value.is_floating_point() else value for value in given]
    wanted = learnt(*single, "naive")
    assert losses.dtype == torch.float32
    assert gradients[1].dtype == torch.bfloat16
    assert (losses - wanted[0]).abs().max() < 0.1
    assert (gradients[1].float() - wanted[1][1]).norm() < 0.02 * wanted[1][1].norm()


def test_a_frozen_head_gets_no_gradient_and_passes_one_on():
    hidden, weight, targets, _, weights = world(20, 6, 30)
    hidden.requires_grad_()
    losses = token_losses(hidden, weight, targets, weights=weights, method="chunked", chunk=7)
    (losses * weights).sum().backward()
    assert weight.grad is None
    assert hidden.grad.abs().sum() > 0


def test_a_broken_promise_is_an_error_and_no_wrong_gradient():
    hidden, weight, targets, _, weights = world(20, 6, 30)
    losses = token_losses(hidden.requires_grad_(), weight, targets, weights=weights + 1, method="chunked")
    with pytest.raises(RuntimeError, match="promised other weights"):
        (losses * torch.arange(20)).sum().backward()
    assert hidden.grad is None


def test_a_second_backward_pass_is_refused():
    hidden, weight, targets, _, weights = world(20, 6, 30)
    losses = token_losses(hidden.requires_grad_(), weight, targets, weights=weights, method="chunked")
    (losses * weights).sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second backward"):
        (losses * weights).sum().backward()


def test_logits_that_are_not_finite_give_a_loss_that_is_not():
    hidden, weight, targets, _, weights = world(5, 4, 10)
    targets[:] = 1
    hidden[2] = float("nan")
    losses = token_losses(hidden, weight, targets, weights=weights, method="chunked")
    assert torch.isfinite(losses).tolist() == [True, True, False, True, True]


def test_great_logits_overflow_nothing():
    hidden, weight, targets, _, weights = world(8, 4, 10)
    agree(learnt(hidden * 1e3, weight, targets, None, weights, "chunked"),
          learnt(hidden * 1e3, weight, targets, None, weights, "naive"), within=1e-4)  # fmt: skip


def test_no_token_at_all_is_no_loss():
    given = (torch.randn(0, 4), torch.randn(9, 4), torch.zeros(0, dtype=torch.long), None, torch.zeros(0))
    for way in ("naive", "chunked", "recomputed"):
        losses, gradients = learnt(*given, way)
        assert losses.shape == (0,)
        assert not gradients[1].any()


def test_a_chunk_holds_so_many_logits_as_were_set():
    assert [chunk_for(size, torch.device("cpu")) for size in (151_936, 1_280, 10_000_000)] == [128, 16_384, 32]


def test_shapes_that_do_not_belong_together_are_named():
    with pytest.raises(ValueError, match=r"\[5, 4\], \[9, 3\], \[5\]"):
        token_losses(torch.zeros(5, 4), torch.zeros(9, 3), torch.zeros(5, dtype=torch.long))


def test_the_naive_way_is_plain_cross_entropy():
    hidden, weight, targets, bias, _ = world(20, 6, 30, bias=True)
    wanted = functional.cross_entropy(hidden @ weight.T + bias, targets, reduction="none")
    assert torch.allclose(token_losses(hidden, weight, targets, bias=bias, method="naive"), wanted, atol=1e-5)


@dataclass
class Curved:
    """A loss that is not linear in anything: logprob² × factor + 0.3 entropy² where the factor is positive."""

    weights: torch.Tensor
    factors: torch.Tensor
    temperatures: torch.Tensor | None = None
    reads_entropy: bool = True

    def __call__(self, logprobs, entropies, rows):  # type: ignore[no-untyped-def]
        factors = self.factors[rows].to(logprobs)
        by_entropy = 0.3 * (factors > 0).to(logprobs)
        return TokenSlopes(
            factors * logprobs**2 + by_entropy * entropies**2, 2 * factors * logprobs, 2 * by_entropy * entropies
        )


def ruled(given, rule, method, chunk=None, known=None):  # type: ignore[no-untyped-def]
    """Losses, log-probabilities and entropies, and the gradients of the total."""
    hidden, weight, targets, bias, _ = given
    leaves = [None if leaf is None else leaf.clone().requires_grad_() for leaf in (hidden, weight, bias)]
    found = apply_rule(leaves[0], leaves[1], targets, rule, bias=leaves[2], known=known, method=method, chunk=chunk)
    (found.losses.double() * rule.weights).sum().backward()
    columns = torch.stack([found.losses.detach(), found.logprobs, found.entropies])
    return columns, [None if leaf is None else leaf.grad for leaf in leaves]


def by_autograd(given, rule, known):  # type: ignore[no-untyped-def]
    """The same in plain torch, differentiated through the whole softmax."""
    hidden, weight, targets, bias, _ = given
    leaves = [None if leaf is None else leaf.clone().requires_grad_() for leaf in (hidden, weight, bias)]
    logits = functional.linear(*leaves)
    if rule.temperatures is not None:
        logits = logits[:, :known] / rule.temperatures.unsqueeze(1)
    everything, counted = logits.log_softmax(1), targets != -100
    logprobs = everything.gather(1, targets.clamp(min=0).unsqueeze(1)).squeeze(1)
    entropies = -(everything.exp() * everything).sum(1)
    losses = rule.factors * logprobs**2 + 0.3 * (rule.factors > 0).double() * entropies**2
    columns = torch.stack([column.where(counted, 0.0) for column in (losses, logprobs, entropies)])
    (columns[0] * rule.weights).sum().backward()
    return columns.detach(), [None if leaf is None else leaf.grad for leaf in leaves]


@given(
    st.integers(1, 40), st.integers(1, 9), st.integers(2, 50), st.integers(1, 45), st.booleans(), st.booleans(),
    st.sampled_from(["chunked", "naive"]), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_any_rule_has_the_gradient_of_its_loss_through_the_whole_softmax(
    tokens, width, vocabulary, chunk, bias, sampled, method, seed
):
    given = world(tokens, width, vocabulary, bias=bias, seed=seed, kind=torch.float64)
    known = max(1, vocabulary - 3)
    given[2][given[2] >= known] = 0
    temperatures = torch.rand(tokens, dtype=torch.float64) + 0.5 if sampled else None
    rule = Curved(given[4].double(), torch.randn(tokens, dtype=torch.float64), temperatures)
    agree(ruled(given, rule, method, chunk, known), by_autograd(given, rule, known), within=1e-9)


def test_an_entropy_and_its_slope_do_not_depend_on_the_size_of_the_cache(monkeypatch):
    monkeypatch.setattr("funreason.training.chunked_cross_entropy.CACHE_BYTES", 4 * 30 * 3)
    given = world(40, 6, 30, kind=torch.float64)
    rule = Curved(given[4].double(), torch.randn(40, dtype=torch.float64))
    agree(ruled(given, rule, "chunked", 16), by_autograd(given, rule, None), within=1e-9)


@pytest.mark.parametrize("method", ["chunked", "naive"])
def test_ids_that_pad_the_vocabulary_have_no_probability_and_no_gradient(method):
    given = world(20, 6, 30, bias=True, kind=torch.float64)
    given[2].fill_(3)
    given[3][25:] = 50.0  # the padding would take all probability
    rule = Curved(given[4].double() + 0.1, torch.ones(20), torch.ones(20, dtype=torch.float64))
    columns, gradients = ruled(given, rule, method, 7, 25)
    assert columns[1].min() > -40
    assert not gradients[1][25:].any()
    assert not gradients[2][25:].any()
    assert gradients[1][:25].any()


def test_a_token_that_is_not_learned_has_no_gradient_even_where_its_logits_are_not_numbers():
    given = world(20, 6, 30)
    given[2][:] = 3
    given[2][4] = -100
    given[0][4] = float("nan")
    columns, gradients = ruled(given, Curved(torch.ones(20, dtype=torch.float64), torch.ones(20)), "chunked", 7)
    assert not columns[:, 4].any()
    assert not gradients[0][4].any()
    # The head's own gradient is a product with the hidden state, which is not a number here.
    assert torch.isfinite(gradients[0]).all()


@pytest.mark.parametrize("method", ["chunked", "naive"])
def test_a_rule_cannot_hide_a_log_probability_that_is_not_finite(method):
    class Hiding(Curved):
        def __call__(self, logprobs, entropies, rows):  # type: ignore[no-untyped-def]
            zeros = torch.zeros_like(logprobs)
            return TokenSlopes(zeros, zeros)

    given = world(5, 4, 10)
    given[2][:] = 1
    given[0][2] = float("nan")
    rule = Hiding(torch.ones(5, dtype=torch.float64), torch.ones(5))
    columns, _ = ruled(given, rule, method)
    assert torch.isfinite(columns[0]).tolist() == [True, True, False, True, True]


def test_a_clipped_token_gives_exactly_no_gradient():
    given = world(20, 6, 30)
    factors = torch.zeros(20)
    _, gradients = ruled(given, Curved(torch.ones(20, dtype=torch.float64), factors), "chunked", 7)
    assert not gradients[0].any()
    assert not gradients[1].any()


def test_logits_of_minus_infinity_leave_an_entropy_finite():
    logits = torch.tensor([[1.0, 1.0, -torch.inf]], dtype=torch.float64, requires_grad=True)
    rule = Curved(torch.ones(1, dtype=torch.float64), torch.ones(1))
    found = rule_of_logits(logits, torch.tensor([0]), rule)
    assert float(found.entropies) == pytest.approx(0.6931471805599453)
    bias = torch.tensor([1.0, 1.0, -torch.inf])
    chunked = apply_rule(torch.zeros(1, 2), torch.zeros(3, 2), torch.tensor([0]), rule, bias=bias)
    assert float(chunked.entropies) == pytest.approx(0.6931471805599453, rel=1e-6)


def test_without_a_gradient_nothing_of_the_heads_size_is_kept():
    given = world(20, 6, 30)
    hidden, weight = given[0].requires_grad_(), given[1].requires_grad_()
    rule = Curved(torch.ones(20, dtype=torch.float64), torch.ones(20))
    with torch.no_grad():
        silent = apply_rule(hidden, weight, given[2], rule, chunk=7)
    assert not silent.losses.requires_grad
    assert torch.equal(silent.losses, apply_rule(hidden, weight, given[2], rule, chunk=7).losses.detach())
