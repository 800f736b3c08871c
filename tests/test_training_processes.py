"""Training in two processes gives the weights of training in one, from references and from rewards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_objectives_grpo import rollouts
from test_training_engine import changed
from tiny import examples, tiny_model, tiny_tokenizer
from transformers import PreTrainedModel

from funreason.config import Update
from funreason.config.reinforcement import GrpoSettings
from funreason.objectives import Grpo
from funreason.training import train
from funreason.training.parallel import leave

MICRO_TOKENS = (100, 100_000)  # several pieces each; one piece in all, so that a process has nothing to do


@pytest.mark.engine
def test_two_processes_train_to_the_weights_of_one(tmp_path):
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, __file__, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for micro_tokens in MICRO_TOKENS:
        first, second = (load_file(tmp_path / f"{micro_tokens}-{rank}.safetensors") for rank in (0, 1))
        alone = tiny_model()
        report = train(alone, tiny_tokenizer(), examples(), update(micro_tokens))
        for name, value in alone.named_parameters():
            assert torch.equal(first[name], second[name])
            assert torch.allclose(first[name], value, atol=2e-5)
        spoken = [int(count) for count in (tmp_path / f"{micro_tokens}-tokens").read_text().split()]
        assert spoken == [report.metrics["think_tokens"], report.metrics["result_tokens"]]
        model, wanted = rewarded(micro_tokens)
        first, second = (load_file(tmp_path / f"{micro_tokens}-grpo-{rank}.safetensors") for rank in (0, 1))
        for name, value in model.named_parameters():
            assert torch.equal(first[name], second[name])
            assert torch.allclose(first[name], value, atol=2e-5)
        found = json.loads((tmp_path / f"{micro_tokens}-grpo.json").read_text())
        assert found.keys() == wanted.keys()
        for name in wanted.keys() - {"seconds", "tokens_per_s"}:
            assert found[name] == pytest.approx(wanted[name], rel=1e-4, abs=1e-6), name


def rewarded(micro_tokens: int) -> tuple[PreTrainedModel, dict[str, float]]:
    """A model after one step on rollouts, and the step's metrics."""
    model, steps = tiny_model().double(), []  # in float32 a first AdamW step follows the sign of rounding
    objective = Grpo(GrpoSettings(updates=2, beta=0.1))
    chosen = changed(epochs=1, batch_size=8, micro_tokens=micro_tokens)
    train(model, tiny_tokenizer(), rollouts(), chosen, objective=objective, on_step=steps.append)
    return model, steps[0].metrics


def update(micro_tokens: int) -> Update:
    return changed(alpha_mode="learnable", micro_tokens=micro_tokens)


def main(folder: Path) -> None:
    """What each process runs."""
    for micro_tokens in MICRO_TOKENS:
        model = tiny_model()
        checkpoints = folder / f"{micro_tokens}-checkpoints"
        report = train(
            model, tiny_tokenizer(), examples(), update(micro_tokens), checkpoint_dir=checkpoints, stop=lambda: False
        )
        assert torch.distributed.get_world_size() == 2
        weights = {name: value.detach().clone() for name, value in model.named_parameters()}
        save_file(weights, folder / f"{micro_tokens}-{torch.distributed.get_rank()}.safetensors")
        (folder / f"{micro_tokens}-tokens").write_text(
            "{think_tokens:.0f} {result_tokens:.0f}".format(**report.metrics)
        )
        model, metrics = rewarded(micro_tokens)
        weights = {name: value.detach().clone() for name, value in model.named_parameters()}
        save_file(weights, folder / f"{micro_tokens}-grpo-{torch.distributed.get_rank()}.safetensors")
        (folder / f"{micro_tokens}-grpo.json").write_text(json.dumps(metrics))
    leave()  # threads of the group that outlive it would abort the process now and then


if __name__ == "__main__":
    main(Path(sys.argv[1]))
