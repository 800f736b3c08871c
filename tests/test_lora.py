"""Adapters: few weights learn, plain weights come out. And checkpointing: less memory, the same numbers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_model, tiny_tokenizer

from funreason.agents.updating import update_job
from funreason.config import ConfigError, Lora, Update, check_config
from funreason.objectives import Example
from funreason.policies.model_files import load_model, save_model, weights_id_of
from funreason.training import TrainingError, train

pytestmark = pytest.mark.usefixtures("one_thread")
TOKENIZER = tiny_tokenizer()
LORA = Lora(rank=4, alpha=8, targets=["q_proj", "down_proj"])
UPDATE = Update(epochs=3, batch_size=4, lr=1e-2, alpha=0.5, lora=LORA)
EXAMPLES = [
    Example(f"s{i}", f"<|im_start|>user\nadd {i}<|im_end|>\n<|im_start|>assistant\n", "add", f"[add(n={i})]")
    for i in range(8)
]


@pytest.fixture
def _peft():
    if os.environ.get("CI"):
        import peft  # noqa: F401
    pytest.importorskip("peft", reason="the extra `lora` is not installed")


def changed(**fields) -> Update:
    return UPDATE.model_copy(update=fields)


def weights_after(update: Update, **more) -> dict[str, torch.Tensor]:
    model = tiny_model()
    train(model, TOKENIZER, EXAMPLES, update, **more)
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.usefixtures("_peft")
def test_only_what_the_adapters_stand_on_changes_and_it_learns():
    before, steps = tiny_model().state_dict(), []
    after = weights_after(changed(epochs=20), on_step=steps.append)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[-2] for name in moved} == {"q_proj", "down_proj"}
    assert steps[-1].metrics["loss"] < 0.8 * steps[0].metrics["loss"]


@pytest.mark.usefixtures("_peft")
def test_what_comes_out_is_a_plain_model_whose_change_has_the_adapters_rank(tmp_path):
    model, before = tiny_model(), tiny_model().state_dict()
    train(model, TOKENIZER, EXAMPLES, UPDATE)
    saved_id = save_model(model, TOKENIZER, tmp_path / "m")
    assert set(load_file(tmp_path / "m" / "model.safetensors")) <= set(before)
    loaded = load_model(tmp_path / "m")
    assert weights_id_of(loaded) == saved_id
    assert all(parameter.requires_grad for parameter in model.parameters())
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.linalg.matrix_rank((loaded.state_dict()[name] - before[name]).double(), tol=1e-6) == LORA.rank


@pytest.mark.usefixtures("_peft")
def test_no_targets_mean_every_linear_module_but_the_head():
    before, after = tiny_model().state_dict(), weights_after(changed(lora=Lora(rank=2)))
    moved = {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.mark.usefixtures("_peft")
def test_a_training_of_adapters_that_was_interrupted_ends_with_the_same_weights(tmp_path):
    whole = weights_after(UPDATE)
    calls = iter([False, False, True])
    model = tiny_model()
    report = train(model, TOKENIZER, EXAMPLES, UPDATE, checkpoint_dir=tmp_path, stop=lambda: next(calls))
    assert not report.finished
    kept = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
    assert kept < 0.75 * sum(value.nbytes for value in whole.values())
    resumed = weights_after(UPDATE, checkpoint_dir=tmp_path)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


@pytest.mark.usefixtures("_peft")
def test_a_target_that_the_model_has_not_is_named():
    with pytest.raises(TrainingError, match="query_proj"):
        train(tiny_model(), TOKENIZER, EXAMPLES, changed(lora=Lora(targets=["query_proj"])))


@pytest.mark.usefixtures("_peft")
def test_adapters_over_half_precision_learn_in_full_precision():
    model = tiny_model().to(torch.bfloat16)
    kinds = set()
    train(
        model, TOKENIZER, EXAMPLES, UPDATE,
        on_step=lambda step: kinds.update(p.dtype for p in model.parameters() if p.requires_grad),
    )  # fmt: skip
    assert kinds == {torch.float32}
    assert model.dtype == torch.bfloat16


@pytest.mark.usefixtures("_peft")
def test_checkpointing_changes_no_number_with_adapters():
    assert_same(weights_after(UPDATE), weights_after(changed(gradient_checkpointing=True)))


def test_checkpointing_changes_no_number():
    plain = changed(lora=None, lr=1e-3)
    assert_same(weights_after(plain), weights_after(plain.model_copy(update={"gradient_checkpointing": True})))


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)


def test_the_configuration_reaches_the_training():
    update = {
        "lr_warmup_ratio": 0.05, "micro_tokens": 512, "gradient_checkpointing": True,
        "lora": {"rank": 8, "alpha": 16, "targets": ["q_proj"]},
    }  # fmt: skip
    data = {"train": {"update": update}, "model": {"think_tags": ["<r>", "</r>"]}}
    config = check_config(data, "here")
    job = update_job(config.train.update, config, Path("model"), Path("out"), round=3)
    assert job.update is config.train.update
    assert job.update.lora == Lora(rank=8, alpha=16, targets=["q_proj"])
    assert job.think_tags == ("<r>", "</r>")
    assert job.seed == config.seed * 1000 + 3


@pytest.mark.parametrize("tags", [["<t>", "<t>"], ["", "</t>"], ["<t> ", "</t>"], ["t", "/t"]])
def test_tags_that_cannot_be_told_apart_are_refused(tags):
    with pytest.raises(ConfigError, match="two different tags"):
        check_config({"model": {"think_tags": tags}}, "here")
