"""The multiscale loss: its identities, its cuts, its missing parts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from funreason.objectives.srml import LossDenominators, srml_loss, srml_loss_share

VOCABULARY = 11


def world(rows: list[list[int]], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, labels and parts for rows of part numbers, padded with 0."""
    torch.manual_seed(seed)
    longest = max(len(row) for row in rows)
    parts = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    labels = torch.randint(0, VOCABULARY, parts.shape).masked_fill(parts == 0, -100)
    logits = torch.randn(*parts.shape, VOCABULARY, requires_grad=True)
    return logits, labels, parts


def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    flat = functional.cross_entropy(
        logits[:, :-1].reshape(-1, VOCABULARY).double(), labels[:, 1:].reshape(-1), reduction="none", ignore_index=-100
    )
    return flat.view(labels.shape[0], -1)


MIXED = [[0, 0, 1, 1, 1, 2, 2], [0, 1, 2, 2, 2], [0, 0, 0, 2], [0, 1, 1]]


def test_fixed_alpha_weighs_the_means_of_both_parts():
    logits, labels, parts = world([[0, 0, 1, 1, 1, 2]])
    losses = token_losses(logits, labels)[0]
    loss = srml_loss(logits, labels, parts, alpha=0.7)
    assert loss.think.item() == pytest.approx(losses[1:4].mean().item(), abs=1e-6)
    assert loss.result.item() == pytest.approx(losses[4].item(), abs=1e-6)
    assert loss.total.item() == pytest.approx(0.7 * loss.think.item() + 0.3 * loss.result.item(), abs=1e-6)


def test_a_part_that_stands_alone_is_the_whole_loss_of_its_sample():
    logits, labels, parts = world([[0, 0, 2, 2, 2]])
    loss = srml_loss(logits, labels, parts, alpha=0.7)
    assert loss.total.item() == pytest.approx(loss.result.item())
    assert loss.think.item() == 0.0
    only_think = srml_loss(logits, labels, torch.where(parts == 2, 1, parts), alpha=0.2)
    assert only_think.total.item() == pytest.approx(loss.total.item())


def test_token_average_gives_a_part_missing_from_the_whole_batch_no_weight():
    logits, labels, parts = world([[0, 2, 2], [0, 2, 0]])
    loss = srml_loss(logits, labels, parts, alpha=0.7, average="token")
    assert loss.total.item() == pytest.approx(token_losses(logits, labels).sum().item() / 3, abs=1e-6)


@given(
    st.lists(st.lists(st.sampled_from([0, 1, 2]), min_size=2, max_size=12), min_size=1, max_size=6), st.integers(0, 99)
)
@settings(max_examples=60, deadline=None)
def test_proportional_is_plain_cross_entropy(rows, seed):
    rows = [[0, *row] for row in rows]
    logits, labels, parts = world(rows, seed)
    losses, counts = token_losses(logits, labels), (labels[:, 1:] != -100).sum(1)
    by_token = srml_loss(logits, labels, parts, alpha="proportional", average="token").total.item()
    by_sample = srml_loss(logits, labels, parts, alpha="proportional").total.item()
    per_sample = [losses[i].sum().item() / counts[i].item() for i in range(len(rows)) if counts[i]]
    assert by_sample == pytest.approx(sum(per_sample) / max(len(per_sample), 1), abs=1e-6)
    assert by_token == pytest.approx(losses.sum().item() / max(int(counts.sum()), 1), abs=1e-6)


def test_alpha_per_sample_at_its_share_of_tokens_is_proportional():
    logits, labels, parts = world(MIXED[:2])
    share = torch.tensor([3 / 5, 1 / 4])
    each = srml_loss(logits, labels, parts, alpha=share).total
    assert each.item() == pytest.approx(srml_loss(logits, labels, parts, alpha="proportional").total.item(), abs=1e-6)


@given(
    cuts=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    average=st.sampled_from(["sample", "token"]),
    alpha=st.sampled_from([0.0, 0.3, 1.0, "proportional"]),
    weighted=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_batch_cut_in_any_way_gives_the_same_loss_and_gradient(cuts, average, alpha, weighted):
    logits, labels, parts = world(MIXED)
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0]) if weighted else torch.ones(4)
    denominators = LossDenominators.of(labels, parts, weights)
    whole = srml_loss_share(
        logits, labels, parts, alpha=alpha, average=average, denominators=denominators, weights=weights
    )
    (wanted,) = torch.autograd.grad(whole.total, logits)
    pieces = [[i for i in range(4) if cuts[i] == piece] for piece in set(cuts)]
    shares = [
        srml_loss_share(
            logits[p], labels[p], parts[p], alpha=alpha, average=average, denominators=denominators, weights=weights[p]
        )
        for p in pieces
    ]
    total = sum(share.total for share in shares)
    (found,) = torch.autograd.grad(total, logits)
    assert total.item() == pytest.approx(whole.total.item(), abs=1e-9)
    assert sum(s.think.item() for s in shares) == pytest.approx(whole.think.item(), abs=1e-9)
    assert sum(s.result.item() for s in shares) == pytest.approx(whole.result.item(), abs=1e-9)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_denominators_of_micro_batches_add_up():
    _, labels, parts = world(MIXED)
    summed = LossDenominators.of(labels[:1], parts[:1]) + LossDenominators.of(labels[1:], parts[1:])
    assert summed == LossDenominators.of(labels, parts) == LossDenominators(4.0, 3.0, 3.0, 6.0, 6.0)


def test_padding_and_ignored_labels_count_as_no_part():
    logits, labels, parts = world([[0, 1, 1, 2, 2]])
    masked = labels.clone()
    masked[0, 2] = -100
    loss = srml_loss(logits, masked, parts, alpha=0.5)
    assert loss.think.item() == pytest.approx(token_losses(logits, labels)[0, 0].item(), abs=1e-6)


def test_a_batch_without_trainable_tokens_gives_zero_and_zero_gradient():
    logits, labels, parts = world([[0, 0, 0], [0, 0, 0]])
    for average in ("sample", "token"):
        loss = srml_loss(logits, labels, parts, alpha=0.7, average=average)
        assert loss.total.item() == 0.0
        (gradient,) = torch.autograd.grad(loss.total, logits)
        assert gradient.abs().max() == 0


def test_broken_logits_in_the_prompt_do_not_reach_the_loss():
    logits, labels, parts = world([[0, 0, 0, 1, 2]])
    spoiled = logits.detach().clone()
    spoiled[0, :2] = float("nan")
    assert torch.isfinite(srml_loss(spoiled, labels, parts, alpha=0.7).total)


def test_half_precision_logits_lose_nothing_in_the_sums():
    logits, labels, parts = world([[0, *[1] * 400, *[2] * 30]])
    halved = logits.detach().bfloat16()
    assert srml_loss(halved, labels, parts, alpha=0.7).total.item() == pytest.approx(
        srml_loss(halved.double(), labels, parts, alpha=0.7).total.item(), abs=1e-6
    )


def test_a_learnt_alpha_is_pulled_towards_the_easier_part():
    logits, labels, parts = world(MIXED[:2])
    alpha = torch.tensor(0.7, requires_grad=True)
    loss = srml_loss(logits, labels, parts, alpha=alpha)
    loss.total.backward()
    assert alpha.grad.item() == pytest.approx((loss.think - loss.result).item(), abs=1e-6)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, "plain", torch.zeros(3)])
def test_an_alpha_that_cannot_be_is_refused(alpha):
    logits, labels, parts = world(MIXED[:2])
    with pytest.raises(ValueError, match="alpha"):
        srml_loss(logits, labels, parts, alpha=alpha)


def test_shapes_that_do_not_belong_together_are_named():
    logits, labels, parts = world(MIXED)
    with pytest.raises(ValueError, match=r"\[4, 7, 11\].*\[4, 6\]"):
        srml_loss(logits, labels[:, :6], parts, alpha=0.5)
