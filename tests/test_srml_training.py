"""Training: it learns, it does not see the cut, it resumes, it refuses, it says so."""

from __future__ import annotations

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import examples, tiny_model, tiny_tokenizer

from funreason.srml import Example, TrainingError, TrainSettings, train
from funreason.srml.alpha import LearnableAlpha
from funreason.srml.batches import cut, plan_epoch
from funreason.srml.optimizer import rate

pytestmark = pytest.mark.usefixtures("one_thread")
TOKENIZER = tiny_tokenizer()
SETTINGS = TrainSettings(epochs=2, batch_size=4, lr=3e-3, warmup_steps=1, alpha=0.3)


def weights_after(settings: TrainSettings, **more: object) -> dict[str, torch.Tensor]:
    model = tiny_model()
    train(model, TOKENIZER, examples(), settings, **more)
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(**fields: object) -> TrainSettings:
    return msgspec.structs.replace(SETTINGS, **fields)


def test_training_lowers_the_loss_of_both_parts():
    steps = []
    report = train(tiny_model(), TOKENIZER, examples(), changed(epochs=12), on_step=steps.append)
    assert report.steps == len(steps) == 36
    assert steps[-1].think < 0.5 * steps[0].think
    assert steps[-1].result < 0.5 * steps[0].result
    assert all(step.alpha == 0.3 and step.seconds > 0 for step in steps)


@pytest.mark.parametrize("average", ["sample", "token"])
def test_the_cut_into_micro_batches_does_not_change_the_training(average):
    whole = weights_after(changed(average=average, micro_tokens=100_000))
    for micro_tokens in (1, 150):
        pieces = weights_after(changed(average=average, micro_tokens=micro_tokens))
        # AdamW divides by the gradient's own size, so rounding in near-zero gradients shows, bounded by the rate.
        assert all(torch.allclose(pieces[name], whole[name], atol=2e-5) for name in whole)


def test_a_step_reports_losses_by_origin_round_and_attempt():
    steps = []
    report = train(tiny_model(), TOKENIZER, examples(), changed(epochs=1), on_step=steps.append)
    assert set(report.by_origin) == {"sampled", "repaired"}
    assert set(report.by_round) == {0, 1, 2}
    assert set(report.by_attempt) == {0, 1}
    assert sum(part.think_tokens for part in report.by_origin.values()) == report.think_tokens
    assert sum(step.result_tokens for step in steps) == report.result_tokens
    assert sum(part.result * part.result_tokens for part in report.by_round.values()) == pytest.approx(
        sum(part.result * part.result_tokens for part in report.by_attempt.values())
    )


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
    wanted = weights_after(SETTINGS, checkpoint_dir=tmp_path)
    steps = []
    model = tiny_model(seed=9)
    train(model, TOKENIZER, examples(), SETTINGS, checkpoint_dir=tmp_path, on_step=steps.append)
    assert steps == []
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    weights_after(SETTINGS, checkpoint_dir=tmp_path)
    with pytest.raises(TrainingError, match="other examples or settings"):
        weights_after(changed(lr=1e-3), checkpoint_dir=tmp_path)
    assert weights_after(changed(lr=1e-3), checkpoint_dir=tmp_path, resume=False)


def test_a_torn_checkpoint_is_named(tmp_path):
    weights_after(SETTINGS, checkpoint_dir=tmp_path)
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(TrainingError, match="cannot be read"):
        weights_after(SETTINGS, checkpoint_dir=tmp_path)


def test_nothing_to_train_on_is_an_error_that_says_so():
    with pytest.raises(TrainingError, match="nothing to train on: 0 examples"):
        train(tiny_model(), TOKENIZER, [], SETTINGS)
    with pytest.raises(TrainingError, match=r"1 examples came, 1 were refused.*sample empty"):
        train(tiny_model(), TOKENIZER, [Example("empty", "q", None, "")], SETTINGS)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_no_weight_is_refused_with_the_samples_id(weight):
    with pytest.raises(TrainingError, match="sample odd: weight"):
        train(tiny_model(), TOKENIZER, [Example("odd", "q", None, "a", weight=weight)], SETTINGS)


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
    reported = [step.alpha for step in steps]
    assert all(0.2 - 1e-9 <= alpha <= 0.8 + 1e-9 for alpha in reported)
    assert len(set(reported)) > 1


def test_alpha_at_its_bound_can_come_back():
    alpha = LearnableAlpha(0.9, lr=1.0, low=0.1, high=0.9)
    (alpha.for_loss() * 2).backward()
    alpha.step(True)
    assert alpha.number() < 0.9


def test_proportional_mode_reports_no_alpha():
    steps = []
    train(tiny_model(), TOKENIZER, examples(), changed(alpha_mode="proportional"), on_step=steps.append)
    assert {step.alpha for step in steps} == {None}


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
    with pytest.raises(TrainingError):
        train(tiny_model(), TOKENIZER, examples(), changed(**fields))


@given(st.integers(1, 60), st.integers(0, 70), st.sampled_from(["linear", "cosine", "constant"]))
def test_the_rate_is_positive_at_every_step_and_never_above_its_top(steps, warmup, schedule):
    chosen = changed(warmup_steps=warmup, schedule=schedule, lr=1.0)
    rates = [rate(step, steps, chosen) for step in range(1, steps + 1)]
    assert all(0 < value <= 1.0 for value in rates)
    assert max(rates) == 1.0


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80), st.integers(1, 9), st.integers(1, 900))
def test_every_sample_is_in_one_batch_and_one_micro_batch_of_an_epoch(lengths, batch_size, micro_tokens):
    batches = plan_epoch(lengths, batch_size=batch_size, seed=3, epoch=1)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert sorted(map(len, batches))[1:] == [batch_size] * (len(batches) - 1)
    for batch in batches:
        pieces = cut(batch, lengths, micro_tokens=micro_tokens)
        assert sorted(index for piece in pieces for index in piece) == sorted(batch)
        assert all(len(p) == 1 or len(p) * max(lengths[i] for i in p) <= micro_tokens for p in pieces)


def small_machine(model, tokens: int) -> None:
    """Lets `model` run out of memory as a GPU does, in any pass of more than `tokens` tokens."""

    def refuse(module, args, kwargs):
        if kwargs["input_ids"].numel() > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    model.register_forward_pre_hook(refuse, with_kwargs=True)


def test_memory_that_runs_out_halves_the_pass_once_and_changes_no_number():
    settings, steps, model = changed(micro_tokens=240), [], tiny_model()
    small_machine(model, 130)
    train(model, TOKENIZER, examples(), settings, on_step=steps.append)
    assert [step.halved_to for step in steps] == [120, *[None] * (len(steps) - 1)]
    assert not any(step.refused for step in steps)
    whole = weights_after(settings)
    assert all(torch.allclose(model.state_dict()[name], whole[name], atol=2e-5) for name in whole)


def test_memory_that_runs_out_again_is_the_end_and_the_checkpoint_stays(tmp_path):
    settings, model, calls = changed(micro_tokens=240), tiny_model(), iter([False, True])
    train(model, TOKENIZER, examples(), settings, checkpoint_dir=tmp_path, stop=lambda: next(calls))
    again = tiny_model()
    small_machine(again, 20)
    with pytest.raises(TrainingError, match=r"out of memory with 120 padded tokens.*micro_tokens"):
        train(again, TOKENIZER, examples(), settings, checkpoint_dir=tmp_path)
    assert weights_after(settings, checkpoint_dir=tmp_path).keys() == weights_after(settings).keys()
