"""GRPO and EGPO: advantages, the loss against plain formulas, what is left out, and a policy that learns."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from test_training_engine import changed
from tiny import tiny_model, tiny_tokenizer
from transformers import PreTrainedModel

from funreason.config.reinforcement import EgpoSettings, GrpoSettings
from funreason.objectives import (
    Encoded,
    Example,
    Grpo,
    Rollout,
    TokenTargets,
    batch_advantages,
    group_advantages,
)
from funreason.policies.huggingface.sampler import HuggingFaceSampler
from funreason.policies.protocol import Request
from funreason.training import TrainingError, score, train
from funreason.training.batches import collate
from funreason.training.chunked_cross_entropy import rule_of_logits
from funreason.training.encoding import encode_examples
from funreason.training.lm_head import LossHead

pytestmark = pytest.mark.usefixtures("one_thread")
TOKENIZER = tiny_tokenizer()
KNOWN, VOCABULARY = 259, 300
FLOATS = st.floats(-10, 10).map(lambda value: round(value, 3))


# Advantages


def test_an_advantage_is_the_reward_less_the_groups_mean_over_its_standard_deviation():
    found = group_advantages([1, 0, 0, 0])
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([3**0.5, *[-(3**-0.5)] * 3], rel=1e-5)
    assert group_advantages([1, 0, 0, 0], std="unbiased").tolist() == pytest.approx([1.5, -0.5, -0.5, -0.5], rel=1e-5)
    assert group_advantages([1, 0, 0, 0], std="none").tolist() == [0.75, -0.25, -0.25, -0.25]
    alone = group_advantages([1, 0, 0, 0], std="none", baseline="leave_one_out")
    assert alone.tolist() == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])


def test_the_bonus_is_bounded_with_lambda_inside_the_minimum():
    found = group_advantages([1, 0], [2.0, 0.1], lam=0.4, alpha=2.0, std="none")
    assert found.tolist() == pytest.approx([0.5 + 0.25, -0.5 + 0.04])


@pytest.mark.parametrize("rewards", [[1.0], [0.1, 0.1, 0.1], [0.0] * 8])
@pytest.mark.parametrize("baseline", ["group_mean", "leave_one_out"])
@pytest.mark.parametrize("std", ["biased", "unbiased", "none"])
def test_a_group_of_equal_rewards_or_of_one_has_no_advantage(rewards, baseline, std):
    assert group_advantages(rewards, [1.0] * len(rewards), std=std, baseline=baseline).tolist() == [0.0] * len(rewards)


GROUPS = st.integers(2, 9).flatmap(
    lambda size: st.tuples(
        st.lists(FLOATS, min_size=size, max_size=size), st.lists(st.floats(0, 9), min_size=size, max_size=size)
    )
)


@given(GROUPS, st.floats(0, 50), st.floats(1.01, 10), st.sampled_from(["biased", "unbiased", "none"]))
def test_a_bonus_keeps_the_sign_and_its_bounds(group, lam, alpha, std):
    rewards, entropies = group
    plain = group_advantages(rewards, std=std)
    raised = group_advantages(rewards, entropies, lam=lam, alpha=alpha, std=std)
    assert torch.equal(raised.sign(), plain.sign())
    most = plain + plain.abs() / alpha
    assert bool((raised >= plain).all())
    assert bool((raised <= most + 1e-12 * most.abs()).all())


@given(GROUPS)
def test_without_lambda_or_entropy_egpo_is_grpo_to_the_bit(group):
    rewards, entropies = group
    plain = group_advantages(rewards)
    assert torch.equal(group_advantages(rewards, entropies, lam=0.0), plain)
    assert torch.equal(group_advantages(rewards, [0.0] * len(rewards)), plain)
    found = batch_advantages([rewards], [entropies], GrpoSettings(bonus=EgpoSettings(lam=0)))
    assert found.advantages == batch_advantages([rewards], None, GrpoSettings()).advantages == [plain.tolist()]


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (([],), {}, "rewards are"),
        (([1.0, float("nan")],), {}, "rewards are"),
        (([1.0, 0.0], [1.0]), {}, "entropies are"),
        (([1.0, 0.0], [1.0, float("inf")]), {}, "entropies are"),
        (([1.0, 0.0], [1.0, 1.0]), {"alpha": 1.0}, "alpha is 1.0"),
        (([1.0, 0.0], [1.0, 1.0]), {"lam": -1.0}, "lam is -1.0"),
        (([1.0, 0.0],), {"std": "population"}, "std is 'population'"),
        (([1.0, 0.0],), {"baseline": "median"}, "baseline is 'median'"),
    ],
)
def test_rewards_and_options_that_make_no_advantage_are_refused(given, options, message):
    with pytest.raises(ValueError, match=message):
        group_advantages(*given, **options)


def test_a_batch_says_what_became_of_its_groups_and_what_the_bonus_did():
    rewards = [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    found = batch_advantages(rewards, [[3.0, 0.1], [9, 9], [9, 9]], GrpoSettings(std="none", bonus=EgpoSettings()))
    assert found.fates == ["mixed", "all_right", "all_wrong"]
    assert found.signal == [True, False, False]
    assert found.advantages == [pytest.approx([0.75, -0.46]), [0.0, 0.0], [0.0, 0.0]]
    assert found.metrics == pytest.approx(
        {
            "advantage_abs": 0.5,
            "entropy_think": 1.55,
            "entropy_group_sd": 1.45,
            "bonus": 0.145,
            "bonus_bound_share": 0.5,
        }
    )


def test_with_outcomes_a_shaped_reward_alone_is_no_signal():
    found = batch_advantages([[0.9, 0.5], [0.9, 0.1]], None, GrpoSettings(), outcomes=[[True, True], [True, False]])
    assert found.signal == [False, True]
    assert found.advantages[0] == [0.0, 0.0]


def test_shuffled_entropies_are_those_of_the_same_group():
    rewards, entropies = [[1.0, 0.0, 0.0, 1.0]] * 6, [[0.1, 0.2, 0.3, 0.4]] * 6
    options = GrpoSettings(std="none", bonus=EgpoSettings(shuffle_entropy=True))
    plain = [0.5, -0.5, -0.5, 0.5]
    orders = set()
    for group in batch_advantages(rewards, entropies, options, seed=3).advantages:
        levels = [(raised - advantage) / 0.4 for raised, advantage in zip(group, plain, strict=True)]
        assert sorted(levels) == pytest.approx([0.1, 0.2, 0.3, 0.4])
        orders.add(tuple(round(level, 1) for level in levels))
    assert len(orders) > 1


@pytest.mark.parametrize(
    "fields", [{"dual_clip": 1.0}, {"correction_cap": 0.0}, {"clip_low": 1.0}, {"updates": 0}, {"bonus": {"alpha": 1}}]
)
def test_settings_that_make_no_sense_are_refused(fields):
    with pytest.raises(ValidationError):
        GrpoSettings.model_validate(fields)


# The loss


def rollouts(count: int = 8, *, temperature: float = 0.7, noise: float = 0.4, seed: int = 0) -> list[Example]:
    """Groups of four rollouts of uneven lengths, some without thinking, with log-probabilities near the model's."""
    draws, found = random.Random(seed), []
    for i in range(count):
        text = f"<think>{'it ' * (i % 3)}</think>\n\n[add(n={i})]" if i % 3 else f"[add(n={i})]"
        ids = (*TOKENIZER(text)["input_ids"], 2)
        logprobs = [tuple(-5.5 + draws.gauss(0, noise) for _ in ids) for _ in range(3)]
        rollout = Rollout(ids, draws.choice([-1.3, 0.4, 1.1]), temperature, f"g{i // 4}", *logprobs)
        found.append(Example(f"s{i}", f"<|im_start|>user\nadd {i // 4}<|im_end|>\n", None, "", rollout=rollout))
    return found


def learned(
    examples: Sequence[Example],
    loss: GrpoSettings,
    *,
    pieces: Sequence[Sequence[int]] | None = None,
    model: PreTrainedModel | None = None,
    **fields: object,
) -> tuple[float, torch.Tensor]:
    """The loss of a batch and its gradient, added up over `pieces`."""
    model = tiny_model(vocabulary=VOCABULARY) if model is None else model
    objective, head = Grpo(loss), LossHead(model, changed(**fields), KNOWN)
    usable, encoded, _ = encode_examples(examples, TOKENIZER, 500)
    denominators, total = objective.denominators(usable, encoded), 0.0
    for piece in [range(len(usable))] if pieces is None else pieces:
        batch = collate([encoded[at] for at in piece], pad_id=0, device=torch.device("cpu"))
        chosen, targets = [usable[at] for at in piece], TokenTargets.of(batch.labels, batch.parts)
        rule = objective.rule(targets, chosen, denominators)
        outputs = head.outputs(lambda batch=batch: model(input_ids=batch.ids).logits, targets, rule)
        share = objective.loss(outputs, targets, chosen, denominators)
        share.total.backward()
        total += float(share.total.detach())
    return total, torch.cat([p.grad.flatten() for p in model.parameters()])


def by_formula(examples: Sequence[Example], loss: GrpoSettings) -> tuple[float, torch.Tensor]:
    """The same in float64, one sample at a time, from all logits, differentiated by torch."""
    model = tiny_model(vocabulary=VOCABULARY).double()
    _, encoded, _ = encode_examples(examples, TOKENIZER, 500)
    lengths = [len(example.rollout.token_ids) for example in examples]
    total = torch.zeros((), dtype=torch.float64)
    value = 0.0
    for example, sample, length in zip(examples, encoded, lengths, strict=True):
        rollout = example.rollout
        logits = model(input_ids=torch.tensor([sample.ids])).logits[0, -length - 1 : -1, :KNOWN]
        logprobs = torch.log_softmax(logits / rollout.temperature, dim=-1)
        now = logprobs[range(length), rollout.token_ids]
        sampler, old, reference = (
            now.detach() if column is None else torch.tensor(column, dtype=torch.float64)
            for column in (rollout.logprobs, rollout.old_logprobs, rollout.reference_logprobs)
        )
        ratio, advantage = (now - old).exp(), rollout.advantage
        gain = torch.min(ratio * advantage, ratio.clamp(1 - loss.clip_low, 1 + loss.clip_high) * advantage)
        if loss.dual_clip is not None and advantage < 0:
            gain = gain.clamp(min=loss.dual_clip * advantage)
        if loss.correction_cap is not None:
            gain = gain * (old - sampler).exp().clamp(max=loss.correction_cap).detach()
        k1 = now - reference
        k2, k3 = k1.square() / 2, (-k1).exp() - 1 + k1
        scale = {
            "token": 1 / sum(lengths),
            "sequence": 1 / len(lengths) / length,
            "constant": 1 / len(lengths) / loss.constant_tokens,
        }[loss.aggregation]
        total = total + scale * (-gain + loss.beta * k2).sum()
        value += scale * float((-gain + loss.beta * k3).sum().detach())
    total.backward()
    return value, torch.cat([p.grad.flatten() for p in model.parameters()])


def off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


LOSSES = {
    "default": GrpoSettings(updates=2),
    "uncorrected": GrpoSettings(updates=2, correction_cap=None),
    "kl": GrpoSettings(updates=2, beta=0.3),
    "dual clip": GrpoSettings(updates=2, dual_clip=1.5, aggregation="sequence"),
    "constant": GrpoSettings(updates=2, aggregation="constant", constant_tokens=100, correction_cap=1.1),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("fields", [{"lm_head_chunk": 7}, {"lm_head": "naive"}])
def test_loss_and_gradient_are_those_of_the_formula_in_double_precision(name, fields):
    loss, examples = LOSSES[name], rollouts()
    wanted, gradient = by_formula(examples, loss)
    model = tiny_model(vocabulary=VOCABULARY).double()
    found = learned(examples, loss, model=model, **fields)
    assert found[0] == pytest.approx(wanted, rel=1e-9)
    assert off(found[1], gradient) < 1e-9
    single = learned(examples, loss, **fields)
    assert single[0] == pytest.approx(wanted, rel=1e-6)
    assert off(single[1], gradient) < 1e-6


def test_the_rollouts_of_the_test_above_are_clipped_on_every_side():
    examples = rollouts()
    steps = []
    dual = GrpoSettings(updates=2, beta=0.3, dual_clip=1.5)
    report = train(
        tiny_model(vocabulary=VOCABULARY), TOKENIZER, examples, changed(epochs=1, batch_size=8),
        objective=Grpo(dual), on_step=steps.append,
    )  # fmt: skip
    metrics = steps[0].metrics
    for name in ("clip_low_share", "clip_high_share", "dual_clip_share", "correction_capped_share"):
        assert 0 < metrics[name] < 1
    assert metrics["ratio_p50"] < metrics["ratio_p99"] <= metrics["ratio_max"]
    assert report.metrics["ratio_max"] == max(step.metrics["ratio_max"] for step in steps)
    mean = sum(step.metrics["ratio_p50"] for step in steps) / len(steps)
    assert report.metrics["ratio_p50"] == pytest.approx(mean)
    assert metrics["kl_k3"] > 0
    assert metrics["kl_k2"] > 0
    assert 0 < metrics["entropy"] < 6


def test_one_update_without_correction_and_kl_is_reinforce():
    examples = [replaced(example, logprobs=None, old_logprobs=None) for example in rollouts()]
    found = learned(examples, GrpoSettings(correction_cap=None), lm_head_chunk=7)
    model = tiny_model(vocabulary=VOCABULARY)
    _, encoded, _ = encode_examples(examples, TOKENIZER, 500)
    total, tokens = torch.zeros(()), 0
    for example, sample in zip(examples, encoded, strict=True):
        length = len(example.rollout.token_ids)
        logits = model(input_ids=torch.tensor([sample.ids])).logits[0, -length - 1 : -1, :KNOWN] / 0.7
        logprobs = torch.log_softmax(logits, -1)[range(length), example.rollout.token_ids]
        total, tokens = total - example.rollout.advantage * logprobs.sum(), tokens + length
    (total / tokens).backward()
    assert off(found[1], torch.cat([p.grad.flatten() for p in model.parameters()])) < 1e-6


def replaced(example: Example, **fields: object) -> Example:
    names = example.rollout.__struct_fields__
    given = {name: getattr(example.rollout, name) for name in names} | fields
    return Example(example.id, example.prompt, None, "", example.weight, rollout=Rollout(**given))


def test_a_bonus_that_is_the_same_for_a_group_has_no_expected_gradient():
    """By enumeration of every group of two draws from a policy over three tokens."""
    policy = torch.tensor([0.3, -0.5, 1.1], dtype=torch.float64)
    chances = policy.softmax(0).tolist()

    def expected(bonus: dict[int, float]) -> torch.Tensor:
        logits = policy.clone().requires_grad_()
        examples = [
            Example(f"{pair}/{at}", "", None, "", chances[pair[0]] * chances[pair[1]],
                    rollout=Rollout((token,), bonus[token], group=str(pair)))
            for pair in product(range(3), repeat=2) for at, token in enumerate(pair)
        ]  # fmt: skip
        labels = torch.tensor([[0, example.rollout.token_ids[0]] for example in examples])
        parts = torch.tensor([[0, 2]]).expand(len(examples), -1)
        objective = Grpo(GrpoSettings(correction_cap=None))
        encoded = [Encoded(*rows) for rows in zip(labels.tolist(), labels.tolist(), parts.tolist(), strict=True)]
        whole, targets = objective.denominators(examples, encoded), TokenTargets.of(labels, parts)
        rule = objective.rule(targets, examples, whole)
        outputs = rule_of_logits(logits.expand(len(examples), -1), targets.labels, rule)
        objective.loss(outputs, targets, examples, whole).total.backward()
        return logits.grad

    assert float(expected(dict.fromkeys(range(3), 0.4)).abs().max()) < 1e-15
    assert float(expected({0: 0.4, 1: 0.0, 2: 0.1}).abs().max()) > 1e-3


@given(st.permutations(range(8)), st.sets(st.integers(1, 7)), st.integers(1, 60), st.sampled_from(sorted(LOSSES)))
@settings(max_examples=12, deadline=None)
def test_any_cut_into_passes_and_chunks_gives_one_gradient(order, cuts, chunk, name):
    edges = [0, *sorted(cuts), 8]
    pieces = [order[low:high] for low, high in pairwise(edges)]
    examples = rollouts()
    wanted = learned(examples, LOSSES[name])
    found = learned(examples, LOSSES[name], pieces=pieces, lm_head_chunk=chunk)
    assert found[0] == pytest.approx(wanted[0], rel=1e-6, abs=1e-9)
    assert off(found[1], wanted[1]) < 2e-6


# In a training


def after(examples: Sequence[Example], loss: GrpoSettings, **fields: object) -> tuple[torch.Tensor, list]:
    model, steps = tiny_model(vocabulary=VOCABULARY), []
    update = changed(**{"epochs": 1, "batch_size": 100, "max_grad_norm": 1e9} | fields)
    train(model, TOKENIZER, examples, update, objective=Grpo(loss), on_step=steps.append)
    return torch.cat([p.detach().flatten() for p in model.parameters()]), steps


@pytest.mark.parametrize("fields", [{"micro_tokens": 1}, {"micro_tokens": 150}, {"packing": "always"}])
def test_a_training_does_not_see_how_its_batch_is_cut(fields):
    loss = GrpoSettings(updates=2, beta=0.1)
    whole, (wanted,) = after(rollouts(), loss, micro_tokens=100_000)
    found, (step,) = after(rollouts(), loss, **fields)
    assert torch.allclose(found, whole, atol=2e-5)
    for name in set(wanted.metrics) - {"seconds", "tokens_per_s"}:
        assert step.metrics[name] == pytest.approx(wanted.metrics[name], rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_groups_without_a_signal_change_neither_gradient_nor_denominator(beta):
    loss = GrpoSettings(updates=2, beta=beta)
    lively = rollouts()
    idle = [replaced(example, advantage=0.0, group="idle") for example in rollouts(seed=5)]
    wanted, (alone,) = after(lively, loss)
    found, (step,) = after([*idle[:4], *lively, *idle[4:]], loss)
    assert torch.equal(found, wanted)
    assert step.metrics["loss"] == alone.metrics["loss"]
    assert (alone.metrics["samples_without_signal"], step.metrics["samples_without_signal"]) == (0, 8)


def test_a_rollout_of_average_reward_counts_with_its_group():
    middling = [replaced(rollouts()[0], advantage=0.0), *rollouts()[1:]]
    _, (step,) = after(middling, GrpoSettings(updates=2))
    assert step.metrics["samples_without_signal"] == 0
    assert step.metrics["tokens"] == sum(len(example.rollout.token_ids) for example in middling)


def test_a_batch_without_any_signal_is_an_error_that_says_so():
    with pytest.raises(TrainingError, match="none of 8 samples carries a signal"):
        after([replaced(example, advantage=0.0) for example in rollouts()], GrpoSettings(updates=2))


@pytest.mark.parametrize(
    ("missing", "fields"),
    [("logprobs", {}), ("old_logprobs", {"updates": 2}), ("reference_logprobs", {"beta": 0.1})],
)
def test_what_the_loss_needs_and_a_rollout_lacks_is_named(missing, fields):
    examples = [replaced(example, **{missing: None}) for example in rollouts()]
    with pytest.raises(ValueError, match=f"sample s.: its rollout has no {missing}"):
        after(examples, GrpoSettings(**fields))


def test_an_example_without_a_rollout_is_refused_by_its_id():
    with pytest.raises(ValueError, match="sample plain has no rollout"):
        after([*rollouts(), Example("plain", "q", None, "a")], GrpoSettings())


def test_a_training_with_another_loss_does_not_resume(tmp_path):
    for loss, message in ((GrpoSettings(), None), (GrpoSettings(clip_low=0.1), "other examples or settings")):
        arguments = (tiny_model(vocabulary=VOCABULARY), TOKENIZER, rollouts(), changed(epochs=1))
        if message is None:
            train(*arguments, objective=Grpo(loss), checkpoint_dir=tmp_path)
        else:
            with pytest.raises(TrainingError, match=message):
                train(*arguments, objective=Grpo(loss), checkpoint_dir=tmp_path)


def test_a_policy_learns_what_is_rewarded():
    """Each of four prompts rewards other first tokens, which have a chance of about 0.3 at the start."""
    model = tiny_model(vocabulary=VOCABULARY)
    sampler = HuggingFaceSampler(model, TOKENIZER, max_new_tokens=2, temperature=1.0, weights_id="start")
    prompts = [f"<|im_start|>user\n{word}<|im_end|>\n<|im_start|>assistant\n" for word in ("add", "get", "set", "run")]
    rewarded = []
    for number, prompt in enumerate(prompts):
        ids = torch.tensor([TOKENIZER(prompt)["input_ids"]])
        with torch.no_grad():
            chances = model(input_ids=ids).logits[0, -1, :KNOWN].softmax(0)
        order = torch.randperm(KNOWN, generator=torch.Generator().manual_seed(number))
        rewarded.append(set(order[chances[order].cumsum(0) < 0.3].tolist()))

    def play(step: int, n: int) -> tuple[list[list[float]], list[list[tuple]]]:
        requests = [Request(f"{step}/{at}", prompt, n, seed=step, logprobs=True) for at, prompt in enumerate(prompts)]
        groups = sampler.sample(requests)
        rewards = [
            [float(each.token_ids[0] in wanted) for each in group]
            for group, wanted in zip(groups, rewarded, strict=True)
        ]
        return rewards, groups

    def pass_rate() -> float:
        found = [reward for group in play(10_000, 64)[0] for reward in group]
        return sum(found) / len(found)

    loss = GrpoSettings()
    assert 0.2 < pass_rate() < 0.4
    for step in range(100):
        rewards, groups = play(step, 16)
        found = batch_advantages(rewards, None, loss)
        if not any(found.signal):
            continue
        examples = [
            Example(f"{step}/{at}/{n}", prompts[at], None, "",
                    rollout=Rollout(each.token_ids, advantage, 1.0, f"{at}", each.logprobs))
            for at, group in enumerate(groups)
            for n, (each, advantage) in enumerate(zip(group, found.advantages[at], strict=True))
        ]  # fmt: skip
        update = changed(epochs=1, batch_size=64, lr=3e-3, lr_warmup_steps=0, schedule="constant")
        train(model, TOKENIZER, examples, update, objective=Grpo(loss))
        sampler.load_weights(model, str(step))
    assert pass_rate() > 0.9


# Scores


def test_scores_are_the_log_probabilities_the_sampler_drew_with():
    model = tiny_model(vocabulary=VOCABULARY)
    with torch.no_grad():  # the padding would be likely, if it were not masked
        model.lm_head.weight[KNOWN:] += 1.0
    sampler = HuggingFaceSampler(model, TOKENIZER, max_new_tokens=12, temperature=0.6, weights_id="w")
    prompt = "<|im_start|>user\nadd 1<|im_end|>\n<|im_start|>assistant\n"
    (completions,) = sampler.sample([Request("r", prompt, 4, seed=1, logprobs=True)])
    examples = [
        Example(str(at), prompt, None, "", rollout=Rollout(each.token_ids, 0.0, 0.6))
        for at, each in enumerate(completions)
    ]
    for fields in (
        {"lm_head_chunk": 5, "micro_tokens": 60},
        {"lm_head": "naive"},
        {"packing": "always"},
        {"prefix_sharing": "always"},
        {"prefix_sharing": "never"},
    ):
        scores, refused = score(model, TOKENIZER, examples, changed(**fields))
        assert not refused
        for found, each in zip(scores, completions, strict=True):
            assert found.logprobs == pytest.approx(each.logprobs, abs=1e-5)


def test_entropies_are_those_of_the_full_distribution():
    examples = [*rollouts(), Example("long", "q" * 600, None, "a")]
    model = tiny_model(vocabulary=VOCABULARY)
    scores, refused = score(model, TOKENIZER, examples, changed(max_length=400))
    assert [one.id for one in refused] == ["long"]
    assert scores[-1] is None
    _, encoded, _ = encode_examples(examples[:-1], TOKENIZER, 500)
    for example, sample, found in zip(examples, encoded, scores, strict=False):
        length = len(example.rollout.token_ids)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([sample.ids])).logits[0, -length - 1 : -1, :KNOWN] / 0.7
        wanted = torch.special.entr(logits.double().softmax(-1)).sum(-1).tolist()
        assert found.entropies == pytest.approx(wanted, rel=1e-5)
        assert found.mean_entropy("response") == pytest.approx(sum(wanted) / length, rel=1e-5)
        inside = [level for level, part in zip(wanted, sample.parts[-length:], strict=True) if part == 1]
        assert found.mean_entropy() == (pytest.approx(sum(inside) / len(inside), rel=1e-5) if inside else 0.0)
    assert {any(found.think) for found in scores[:-1]} == {True, False}


def test_a_ratio_to_old_scores_is_one():
    model, examples = tiny_model(vocabulary=VOCABULARY), rollouts()
    scores, _ = score(model, TOKENIZER, examples, changed())
    examples = [
        replaced(example, old_logprobs=found.logprobs, logprobs=found.logprobs)
        for example, found in zip(examples, scores, strict=True)
    ]
    _, (step,) = after(examples, GrpoSettings(updates=2))
    assert step.metrics["ratio_max"] == pytest.approx(1, abs=1e-5)
    assert step.metrics["correction_capped_share"] == 0
    assert step.metrics["sampler_ratio_p99"] == pytest.approx(1, abs=1e-5)


def test_scoring_leaves_a_model_as_it_was():
    model = tiny_model(vocabulary=VOCABULARY).bfloat16().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scores, _ = score(model, TOKENIZER, rollouts(), changed())
    assert model.training
    assert model.dtype == torch.bfloat16
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert scores[0].logprobs == pytest.approx(
        score(tiny_model(vocabulary=VOCABULARY), TOKENIZER, rollouts(), changed())[0][0].logprobs, abs=0.1
    )
