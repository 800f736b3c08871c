"""Training: it learns, it does not see the cut, it resumes, it refuses, it says so."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny import examples, tiny_model, tiny_tokenizer
from torch import distributed

from funreason.config import Update
from funreason.objectives import Example, Srml
from funreason.training import TrainingError, train
from funreason.training.batches import plan_epoch, split_microbatches
from funreason.training.checkpoint import NO_EFFECT_ON_WEIGHTS, fingerprint
from funreason.training.engine import learning_rate

pytestmark = pytest.mark.usefixtures("one_thread")
TOKENIZER = tiny_tokenizer()
UPDATE = Update(epochs=2, batch_size=4, lr=3e-3, lr_warmup_steps=1, alpha=0.3)


def weights_after(update: Update, **more: object) -> dict[str, torch.Tensor]:
    model = tiny_model()
    train(model, TOKENIZER, examples(), update, **more)
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(**fields: object) -> Update:
    return Update.model_validate(UPDATE.model_dump() | fields)


def test_training_lowers_the_loss_of_both_parts():
    steps = []
    report = train(tiny_model(), TOKENIZER, examples(), changed(epochs=12), on_step=steps.append)
    assert report.steps == len(steps) == 36
    for part in ("loss_think", "loss_result"):
        assert steps[-1].metrics[part] < 0.5 * steps[0].metrics[part]
    assert all(step.metrics["alpha"] == 0.3 and step.metrics["seconds"] > 0 for step in steps)


def test_one_process_in_a_process_group_trains_as_it_does_without_one(tmp_path, monkeypatch):
    """As beside a vLLM engine, which opens a process group for itself."""

    def wrapped(*given: object, **more: object) -> None:
        raise AssertionError("there is nobody to exchange gradients with")

    alone, environment = weights_after(UPDATE), dict(os.environ)
    monkeypatch.setattr(torch.nn.parallel, "DistributedDataParallel", wrapped)
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    try:
        grouped = weights_after(UPDATE)
    finally:
        distributed.destroy_process_group()
    assert all(torch.equal(grouped[name], alone[name]) for name in alone)
    assert dict(os.environ) == environment


@pytest.mark.parametrize("reduction", ["sample", "token"])
def test_the_split_into_micro_batches_does_not_change_the_training(reduction):
    whole = weights_after(changed(loss_reduction=reduction, micro_tokens=100_000))
    for micro_tokens in (1, 150):
        pieces = weights_after(changed(loss_reduction=reduction, micro_tokens=micro_tokens))
        # AdamW divides by the gradient's own size, so rounding in near-zero gradients shows, bounded by the rate.
        assert all(torch.allclose(pieces[name], whole[name], atol=2e-5) for name in whole)


def test_a_step_reports_losses_by_origin_round_and_attempt():
    steps = []
    report = train(tiny_model(), TOKENIZER, examples(), changed(epochs=1), on_step=steps.append)
    assert {split: set(groups) for split, groups in report.groups.items()} == {
        "origin": {"sampled", "repaired"}, "round": {"0", "1", "2"}, "attempt": {"0", "1"},
    }  # fmt: skip
    for groups in report.groups.values():
        assert sum(group["think_tokens"] for group in groups.values()) == report.metrics["think_tokens"]
    assert sum(step.metrics["result_tokens"] for step in steps) == report.metrics["result_tokens"]
    by_round, by_attempt = (
        sum(group["loss_result"] * group["result_tokens"] for group in report.groups[split].values())
        for split in ("round", "attempt")
    )
    assert by_round == pytest.approx(by_attempt)


@pytest.mark.parametrize("mode", ["fixed", "learnable"])
def test_a_resumed_training_gives_the_weights_of_an_uninterrupted_one(tmp_path, mode):
    chosen = changed(alpha_mode=mode)
    wanted = weights_after(chosen)
    steps = []
    stopped = train(
        tiny_model(), TOKENIZER, examples(), chosen,
        on_step=steps.append, checkpoint_dir=tmp_path, stop=lambda: len(steps) == 2,
    )  # fmt: skip
    assert (stopped.finished, len(steps)) == (False, 2)
    model = tiny_model(seed=9)
    resumed = train(model, TOKENIZER, examples(), chosen, checkpoint_dir=tmp_path)
    assert (resumed.resumed_from, resumed.finished) == (2, True)
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())
    assert sorted(path.suffix for path in (tmp_path / "checkpoint").iterdir()) == [
        ".json", ".safetensors", ".safetensors",
    ]  # fmt: skip


def test_a_finished_training_is_not_repeated(tmp_path):
    wanted = weights_after(UPDATE, checkpoint_dir=tmp_path)
    steps = []
    model = tiny_model(seed=9)
    train(model, TOKENIZER, examples(), UPDATE, checkpoint_dir=tmp_path, on_step=steps.append)
    assert steps == []
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    weights_after(UPDATE, checkpoint_dir=tmp_path)
    with pytest.raises(TrainingError, match="other examples or settings"):
        weights_after(changed(lr=1e-3), checkpoint_dir=tmp_path)
    assert weights_after(changed(lr=1e-3), checkpoint_dir=tmp_path, resume=False)


@pytest.mark.parametrize(
    "fields",
    [
        {"lm_head": "naive", "lm_head_chunk": 7, "packing": "never", "micro_tokens": 90},
        {"gradient_checkpointing": True, "checkpoint_every": 1},
    ],
)
def test_settings_that_do_not_decide_the_weights_may_change_in_the_middle(tmp_path, fields):
    wanted, calls = weights_after(UPDATE), iter([False, True])
    train(tiny_model(), TOKENIZER, examples(), UPDATE, checkpoint_dir=tmp_path, stop=lambda: next(calls))
    model = tiny_model(seed=9)
    report = train(model, TOKENIZER, examples(), changed(**fields), checkpoint_dir=tmp_path, threads=1)
    assert report.resumed_from == 2
    assert all(torch.allclose(value, wanted[name], atol=2e-5) for name, value in model.state_dict().items())


def test_every_other_setting_is_part_of_the_fingerprint():
    wanted = fingerprint(examples(), UPDATE)
    decisive = {
        "lr": 1e-3, "epochs": 3, "batch_size": 5, "lr_warmup_steps": 2, "lr_warmup_ratio": 0.1, "schedule": "cosine",
        "min_lr_ratio": 0.1, "adam_betas": (0.9, 0.99), "weight_decay": 0.1, "max_grad_norm": 2.0, "alpha": 0.4,
        "alpha_mode": "learnable", "alpha_lr": 0.1, "alpha_bounds": (0.2, 0.9), "loss_reduction": "token",
        "max_length": 100, "lora": {"rank": 2},
    }  # fmt: skip
    assert set(decisive) | NO_EFFECT_ON_WEIGHTS == set(Update.model_fields)
    for name, value in decisive.items():
        assert fingerprint(examples(), changed(**{name: value})) != wanted, name
    assert fingerprint(examples(), UPDATE, 1) != wanted
    assert fingerprint(examples(9), UPDATE) != wanted


def test_a_torn_checkpoint_is_named(tmp_path):
    weights_after(UPDATE, checkpoint_dir=tmp_path)
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(TrainingError, match="cannot be read"):
        weights_after(UPDATE, checkpoint_dir=tmp_path)


def test_nothing_to_train_on_is_an_error_that_says_so():
    with pytest.raises(TrainingError, match="nothing to train on: 0 examples"):
        train(tiny_model(), TOKENIZER, [], UPDATE)
    with pytest.raises(TrainingError, match=r"1 examples came, 1 were refused.*sample empty"):
        train(tiny_model(), TOKENIZER, [Example("empty", "q", None, "")], UPDATE)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_no_weight_is_refused_with_the_samples_id(weight):
    with pytest.raises(TrainingError, match="sample odd: weight"):
        train(tiny_model(), TOKENIZER, [Example("odd", "q", None, "a", weight=weight)], UPDATE)


def test_examples_that_cannot_be_used_are_listed_with_their_reason():
    bad = [Example("empty", "q", None, ""), Example("long", "q" * 600, None, "a")]
    report = train(tiny_model(), TOKENIZER, [*examples(), *bad], changed(max_length=400))
    assert [(refusal.id, refusal.reason) for refusal in report.refused] == [
        ("empty", "train.no_tokens"),
        ("long", "train.too_long"),
    ]
    assert report.examples == 10


def test_a_step_whose_loss_is_not_finite_is_not_taken_and_three_end_the_training():
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight[5, 0] = float("nan")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    steps = []
    with pytest.raises(TrainingError, match="steps 1 to 3"):
        train(model, TOKENIZER, examples(), changed(epochs=3), on_step=steps.append)
    assert len(steps[0].refused) in (2, 4)
    assert all(torch.equal(value, before[name]) or name.endswith(("head.weight", "tokens.weight"))
               for name, value in model.state_dict().items())  # fmt: skip


def test_learnable_alpha_moves_within_its_bounds_and_is_reported():
    steps = []
    chosen = changed(alpha_mode="learnable", alpha=0.7, alpha_lr=500.0, alpha_bounds=(0.2, 0.8))
    train(tiny_model(), TOKENIZER, examples(), chosen, on_step=steps.append)
    reported = [step.metrics["alpha"] for step in steps]
    assert all(0.2 - 1e-9 <= alpha <= 0.8 + 1e-9 for alpha in reported)
    assert len(set(reported)) > 1


def test_alpha_at_its_bound_can_come_back():
    objective = Srml(changed(alpha_mode="learnable", alpha=0.9, alpha_lr=1.0))
    (torch.sigmoid(objective.theta) * 2).backward()
    objective.step(True)
    assert objective.state_metrics()["alpha"] < 0.9


def test_proportional_mode_reports_no_alpha():
    steps = []
    train(tiny_model(), TOKENIZER, examples(), changed(alpha_mode="proportional"), on_step=steps.append)
    assert not any("alpha" in step.metrics for step in steps)


@pytest.mark.parametrize(
    "fields",
    [
        {"alpha": 1.5},
        {"lr": 0.0},
        {"batch_size": 0},
        {"schedule": "wavy"},
        {"alpha_bounds": (0.9, 0.1), "alpha_mode": "learnable"},
    ],
)
def test_settings_without_sense_are_refused(fields):
    with pytest.raises(ValidationError):
        changed(**fields)


@given(st.integers(1, 60), st.integers(0, 70), st.sampled_from(["linear", "cosine", "constant"]))
def test_the_rate_is_positive_at_every_step_and_never_above_its_top(steps, warmup, schedule):
    chosen = changed(lr_warmup_steps=warmup, schedule=schedule, lr=1.0)
    rates = [learning_rate(step, steps, chosen) for step in range(1, steps + 1)]
    assert all(0 < value <= 1.0 for value in rates)
    assert max(rates) == 1.0


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80), st.integers(1, 9), st.integers(1, 900))
def test_every_sample_is_in_one_batch_and_one_micro_batch_of_an_epoch(lengths, batch_size, micro_tokens):
    batches = plan_epoch(lengths, batch_size=batch_size, seed=3, epoch=1)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert sorted(map(len, batches))[1:] == [batch_size] * (len(batches) - 1)
    for batch in batches:
        pieces = split_microbatches(batch, lengths, micro_tokens=micro_tokens)
        assert sorted(index for piece in pieces for index in piece) == sorted(batch)
        assert all(len(p) == 1 or len(p) * max(lengths[i] for i in p) <= micro_tokens for p in pieces)


def small_machine(model, tokens: int) -> None:
    """Lets `model` run out of memory as a GPU does, in any pass of more than `tokens` tokens."""

    def refuse(module, args, kwargs):
        if kwargs["input_ids"].numel() > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    model.register_forward_pre_hook(refuse, with_kwargs=True)


def test_memory_that_runs_out_halves_the_pass_once_and_changes_no_number():
    update, steps, model = changed(micro_tokens=240), [], tiny_model()
    small_machine(model, 130)
    train(model, TOKENIZER, examples(), update, on_step=steps.append)
    assert [step.halved_to for step in steps] == [120, *[None] * (len(steps) - 1)]
    assert not any(step.refused for step in steps)
    whole = weights_after(update)
    assert all(torch.allclose(model.state_dict()[name], whole[name], atol=2e-5) for name in whole)


def test_memory_that_runs_out_again_is_the_end_and_the_checkpoint_stays(tmp_path):
    update, model, calls = changed(micro_tokens=240), tiny_model(), iter([False, True])
    train(model, TOKENIZER, examples(), update, checkpoint_dir=tmp_path, stop=lambda: next(calls))
    again = tiny_model()
    small_machine(again, 20)
    with pytest.raises(TrainingError, match=r"out of memory with 120 padded tokens.*micro_tokens"):
        train(again, TOKENIZER, examples(), update, checkpoint_dir=tmp_path)
    assert weights_after(update, checkpoint_dir=tmp_path).keys() == weights_after(update).keys()
