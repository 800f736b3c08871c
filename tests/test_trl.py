"""SRML in TRL's SFTTrainer, and in transformers' Trainer on two processes: the steps of our own engine.

Run as a script, this file is one process of the second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_objectives_in_trainers import EXAMPLES, TOKENIZER, arguments, engine_steps, logged, trainer
from tiny import tiny_model

from funreason.policies.model_files import save_model
from funreason.srml import SrmlLoss

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def trl():
    if not os.environ.get("CI"):
        return pytest.importorskip("trl", reason="TRL comes with the extra `dev`")
    import trl

    return trl


def pairs() -> list[dict[str, str]]:
    """EXAMPLES as TRL wants them: two columns of text."""
    thought = ["" if e.thinking is None else f"<think>{e.thinking}</think>\n\n" for e in EXAMPLES]
    return [
        {"prompt": e.prompt, "completion": f"{thinking}{e.answer}<|im_end|>"}
        for e, thinking in zip(EXAMPLES, thought, strict=True)
    ]


@pytest.mark.filterwarnings("ignore:`compute_loss_func` is deprecated:FutureWarning")
@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("alpha", [0.7, "learnable"])
def test_trls_sft_trainer_takes_the_engines_steps(trl, alpha, packing, tmp_path):
    from datasets import Dataset

    loss, theirs = SrmlLoss(TOKENIZER, alpha), tiny_model()
    settings = arguments(bf16=False, gradient_checkpointing=False, completion_only_loss=True, max_length=120)
    if packing:
        settings |= {"padding_free": True, "max_length": None}
    found = trl.SFTTrainer(
        model=theirs,
        args=trl.SFTConfig(output_dir=str(tmp_path), **settings),
        train_dataset=Dataset.from_list(pairs()),
        processing_class=TOKENIZER,
        compute_loss_func=loss,
    )
    found.train()
    ours, steps = engine_steps(alpha, "sample")
    for key in ("loss", "loss_think", "loss_result", "alpha"):
        assert logged(found, key) == pytest.approx([step[key] for step in steps], abs=2e-5), key
    for (name, wanted), value in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(value, wanted, atol=3e-5), name


@pytest.mark.filterwarnings("ignore:`compute_loss_func` is deprecated:FutureWarning")
def test_a_trainer_that_loads_the_model_itself_needs_nothing_but_the_loss(trl, tmp_path):
    from datasets import Dataset
    from transformers import AutoTokenizer

    folder = tmp_path / "model"
    save_model(tiny_model(), TOKENIZER, folder)
    loss = SrmlLoss(AutoTokenizer.from_pretrained(folder), alpha=0.7)
    cpu = {"bf16": False, "use_cpu": True, "report_to": [], "max_steps": 1, "gradient_checkpointing": False}
    trainer = trl.SFTTrainer(
        str(folder),
        train_dataset=Dataset.from_list(pairs()),
        args=trl.SFTConfig(output_dir=str(tmp_path / "o"), completion_only_loss=True, **cpu),
        compute_loss_func=loss,
    )
    trainer.train()
    assert loss.think > 0
    assert loss.result > 0


def test_two_processes_take_the_steps_of_one(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launch, __file__, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    _, steps = engine_steps("learnable", "sample")
    for history in json.loads((tmp_path / "histories.json").read_text()):
        for key in ("loss", "loss_think", "loss_result", "alpha"):
            values = [entry[key] for entry in history if key in entry]
            assert values == pytest.approx([step[key] for step in steps], abs=2e-5), key


def main(folder: Path) -> None:
    """One of two processes that share EXAMPLES: two micro-batches a step, of two samples; one has a sample less."""
    histories = []
    for average in (True, False):  # whether Trainer counts tokens over all processes
        settings = {"gradient_accumulation_steps": 2, "average_tokens_across_devices": average}
        settings |= {"ddp_find_unused_parameters": False, "accelerator_config": {"even_batches": False}}
        found = trainer(tiny_model(), SrmlLoss(TOKENIZER, "learnable"), folder, **settings)
        found.train()
        histories.append(found.state.log_history)
    if found.is_world_process_zero():
        (folder / "histories.json").write_text(json.dumps(histories))
    torch.distributed.barrier()
    sys.stdout.flush()
    os._exit(0)  # a thread of torch's may outlive the interpreter, and abort a process whose work is done


if __name__ == "__main__":
    main(Path(sys.argv[1]))
