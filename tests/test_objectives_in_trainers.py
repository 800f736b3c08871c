"""SRML in other people's trainers: the parts are found in the labels, and transformers' Trainer learns with it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from test_training_engine import changed
from tiny import tiny_model, tiny_tokenizer

from funreason.objectives import Example, srml_compute_loss, srml_loss
from funreason.training import encode_sample, train
from funreason.training.encoding import encode_examples

pytestmark = pytest.mark.usefixtures("one_thread")
TOKENIZER = tiny_tokenizer()
SAMPLES = [("use add", "[add(n=1)]"), (None, "[add(n=22)]"), ("no</think> yes", "[f()]"), ("think", "")]


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, labels and parts of SAMPLES, padded."""
    torch.manual_seed(0)
    encoded = [encode_sample("ask ", thinking, answer, TOKENIZER) for thinking, answer in SAMPLES]
    longest = max(len(sample.ids) for sample in encoded)
    labels, parts = (
        torch.tensor([[*row, *[fill] * (longest - len(row))] for row in (sample[column] for sample in encoded)])
        for column, fill in ((1, -100), (2, 0))
    )
    return torch.randn(*labels.shape, len(TOKENIZER)), labels, parts


@pytest.mark.parametrize("alpha", [0.3, "proportional"])
@pytest.mark.parametrize("average", ["sample", "token"])
def test_the_parts_found_in_labels_are_those_the_engine_trains_on(alpha, average):
    logits, labels, parts = batch()
    wanted = srml_loss(logits, labels, parts, alpha=alpha, average=average).total
    loss = srml_compute_loss(TOKENIZER, alpha, average=average)
    assert torch.equal(loss(SimpleNamespace(logits=logits), labels), wanted)
    assert torch.equal(loss({"logits": logits}, labels, num_items_in_batch=(labels[:, 1:] != -100).sum()), wanted)


def test_shares_of_plain_fine_tuning_add_up_over_micro_batches():
    logits, labels, parts = batch()
    whole = srml_loss(logits, labels, parts, alpha="proportional", average="token").total
    loss, count = srml_compute_loss(TOKENIZER, "proportional", average="token"), int((labels[:, 1:] != -100).sum())
    shares = [loss({"logits": logits[rows]}, labels[rows], count) for rows in (slice(0, 1), slice(1, 4))]
    assert float(sum(shares)) == pytest.approx(float(whole), rel=1e-6)


@pytest.fixture
def example(monkeypatch) -> ModuleType:
    path = Path(__file__).parents[1] / "examples" / "srml-loss" / "train.py"
    spec = importlib.util.spec_from_file_location("srml_loss_example", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    return module


def test_transformers_trainer_takes_the_step_that_the_engine_takes(example, tmp_path):
    settings = {
        "max_steps": 1, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "adam_beta2": 0.98, "use_cpu": True,
    }  # fmt: skip
    theirs, ours = tiny_model(), tiny_model()
    example.trainer_for(theirs, TOKENIZER, str(tmp_path), **settings).train()
    examples = [
        Example(prompt, prompt, completion.split("<think>")[1].split("</think>")[0], completion.rpartition("\n")[2])
        for prompt, completion in example.PAIRS
    ]
    assert [list(sample.ids) for sample in encode_examples(examples, TOKENIZER, 500)[1]] == [
        row["input_ids"] for row in example.rows(TOKENIZER)
    ]
    train(ours, TOKENIZER, examples, changed(epochs=1, batch_size=8, lr=1e-3, lr_warmup_steps=0, alpha=0.7))
    for (name, wanted), found in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(found, wanted, atol=2e-5), name


def test_transformers_trainer_learns_both_parts(example, tmp_path):
    settings = {"max_steps": 30, "learning_rate": 5e-3, "logging_steps": 1, "use_cpu": True}
    trainer = example.trainer_for(tiny_model(), TOKENIZER, str(tmp_path), **settings)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]


def test_the_loss_is_a_public_name_and_importing_the_package_loads_no_torch():
    code = "import sys, funreason\nassert 'torch' not in sys.modules\nfrom funreason import srml_loss\nprint(srml_loss)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "srml_loss" in done.stdout
