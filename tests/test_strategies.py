"""However the model lies over however many processes, the training is the one of a single process: real processes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from test_training_engine import changed, examples
from tiny import tiny_model, tiny_tokenizer

from funreason.config import Lora, Update
from funreason.objectives import LossShare, Srml
from funreason.training import train
from funreason.training.parallel import Parallel

STRATEGIES = ("ddp", "fsdp2", "zero2", "zero3")
STEPS = 20
CUT_AT = 3
"""In the middle of the second epoch: one has 2 steps."""

PEFT = find_spec("peft") is not None
pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Path:
    """Where trainings in two and four processes, and some that went on with others' checkpoints, left what they did."""
    folder = tmp_path_factory.mktemp("strategies")
    run(2, folder, "whole", "cut", "half", "broken", *["adapters"] * PEFT)
    run(4, folder, "whole", "go_on")
    return folder


def run(processes: int, folder: Path, *acts: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": python_path()}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    done = subprocess.run(
        [*launch, __file__, str(folder), *acts],
        env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def python_path() -> str:
    return os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])


def update() -> Update:
    # Ten samples: batches of eight and of two, so four processes have uneven pieces, and some have none.
    return changed(epochs=STEPS // 2, batch_size=8, micro_tokens=120, alpha_mode="learnable", weight_decay=0.1)


def low_rank() -> Update:
    return changed(epochs=3, batch_size=4, micro_tokens=120, lora=Lora(rank=4), gradient_checkpointing=True)


@pytest.fixture(scope="module")
def losses() -> list[float]:
    steps = []
    train(tiny_model(), tiny_tokenizer(), examples(), update(), on_step=steps.append)
    return [step.metrics["loss"] for step in steps]


def told(folder: Path, strategy: str, processes: int, act: str) -> dict:
    return json.loads((folder / f"{strategy}-{processes}-{act}.json").read_text())


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_gives_the_losses_of_one_process_at_every_step(places, losses, strategy, processes):
    found = told(places, strategy, processes, "whole")["loss"]
    assert len(found) == STEPS
    assert max(abs(a - b) for a, b in zip(losses, found, strict=True)) < 1e-5


@pytest.mark.parametrize(
    ("strategy", "kinds"),
    [
        ("ddp", ["DistributedDataParallel", "Parameter", 0]),
        ("fsdp2", ["FSDPQwen2ForCausalLM", "DTensor", 0]),
        ("zero2", ["DeepSpeedEngine", "Parameter", 2]),
        ("zero3", ["DeepSpeedEngine", "Parameter", 3]),
    ],
)
def test_every_strategy_is_what_it_is_called(places, strategy, kinds):
    assert told(places, strategy, 2, "whole")["kinds"] == kinds


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_gives_the_weights_of_one_process(places, strategy, processes):
    model = tiny_model()
    train(model, tiny_tokenizer(), examples(), update())
    parameters = dict(model.named_parameters())
    found = load_file(places / f"{strategy}-{processes}-whole.safetensors")
    assert found.keys() == parameters.keys()
    assert max(float((found[name] - value.detach()).abs().max()) for name, value in parameters.items()) < 2e-5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_training_goes_on_with_more_processes_where_fewer_left_it(places, losses, strategy):
    found = told(places, strategy, 4, "go_on")
    assert found["resumed_from"] == CUT_AT
    assert max(abs(a - b) for a, b in zip(losses[CUT_AT:], found["loss"], strict=True)) < 1e-5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_training_goes_on_in_one_process_where_several_left_it(places, losses, strategy):
    cut = places / f"{strategy}-cut-for-one"
    steps = []
    report = train(tiny_model(seed=9), tiny_tokenizer(), examples(), update(), checkpoint_dir=cut, on_step=steps.append)
    assert report.resumed_from == CUT_AT
    assert max(abs(a - step.metrics["loss"]) for a, step in zip(losses[CUT_AT:], steps, strict=True)) < 1e-5


@pytest.mark.skipif(not PEFT, reason="peft is not installed: pip install 'funreason[lora]'")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_adapters_learn_under_every_strategy_as_in_one_process(places, strategy):
    steps = []
    train(tiny_model(), tiny_tokenizer(), examples(), low_rank(), on_step=steps.append)
    found = told(places, strategy, 2, "adapters")
    assert max(abs(a.metrics["loss"] - b) for a, b in zip(steps, found["loss"], strict=True)) < 1e-5
    assert all("lora_" in name for name in found["names"])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_half_the_precision_gives_about_the_same_and_keeps_whole_weights(places, losses, strategy):
    found = told(places, strategy, 2, "half")
    assert 0 < max(abs(a - b) for a, b in zip(losses, found["loss"], strict=True)) < 0.05
    assert found["kept"] == ["torch.float32"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_step_is_skipped_everywhere_if_the_loss_of_one_process_is_infinite(places, strategy):
    """The gradient is finite all the same: the infinite part of the loss is a constant."""
    found = told(places, strategy, 2, "broken")
    assert found["refused"] == [8, 2]
    assert found["refused_steps"] == 2
    assert not any("loss" in metrics for metrics in found["metrics"])
    assert found["moved"] == 0.0


class InfiniteOnRank1(Srml):
    def loss(self, *arguments: object) -> LossShare:
        share = super().loss(*arguments)
        return share._replace(total=share.total + math.inf) if os.environ["RANK"] == "1" else share


def main(folder: Path, acts: list[str]) -> None:
    """What each process does: one training for each strategy and act."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    for strategy in STRATEGIES:
        for act in acts:
            globals()[act](folder, strategy)


def whole(folder: Path, strategy: str) -> None:
    steps, weights, kinds = [], {}, []

    def take(parallel: Parallel) -> None:
        weights.update({name: value.cpu().clone() for name, value in parallel.weights()})
        parameter = next(parallel.model.parameters())
        kinds.extend([type(parallel.wrapped).__name__, type(parameter).__name__, parallel.zero_stage])

    train(tiny_model(), tiny_tokenizer(), examples(), update(), on_step=steps.append, strategy=strategy, on_finish=take)
    tell(folder, strategy, "whole", {"loss": [step.metrics["loss"] for step in steps], "kinds": kinds})
    if os.environ["RANK"] == "0":
        save_file(weights, folder / f"{strategy}-{os.environ['WORLD_SIZE']}-whole.safetensors")


def cut(folder: Path, strategy: str) -> None:
    for reader in ("one", "four"):
        steps = []
        report = train(
            tiny_model(), tiny_tokenizer(), examples(), update(), on_step=steps.append, strategy=strategy,
            checkpoint_dir=folder / f"{strategy}-cut-for-{reader}", stop=lambda steps=steps: len(steps) == CUT_AT,
        )  # fmt: skip
        assert not report.finished


def go_on(folder: Path, strategy: str) -> None:
    steps = []
    report = train(
        tiny_model(seed=9), tiny_tokenizer(), examples(), update(), on_step=steps.append, strategy=strategy,
        checkpoint_dir=folder / f"{strategy}-cut-for-four",
    )  # fmt: skip
    tell(
        folder,
        strategy,
        "go_on",
        {"loss": [step.metrics["loss"] for step in steps], "resumed_from": report.resumed_from},
    )


def broken(folder: Path, strategy: str) -> None:
    steps, moved, before = [], [], {name: value.detach() for name, value in tiny_model().named_parameters()}
    report = train(
        tiny_model(), tiny_tokenizer(), examples(), changed(epochs=1, batch_size=8, micro_tokens=120),
        objective=InfiniteOnRank1(update()), on_step=steps.append, strategy=strategy,
        on_finish=lambda parallel: moved.extend(
            float((value - before[name]).abs().max()) for name, value in parallel.weights()
        ),
    )  # fmt: skip
    sizes = sorted((len(step.refused) for step in steps), reverse=True)
    metrics = [step.metrics for step in steps]
    what = {"refused": sizes, "refused_steps": report.refused_steps, "metrics": metrics, "moved": max(moved)}
    tell(folder, strategy, "broken", what)


def adapters(folder: Path, strategy: str) -> None:
    steps, names = [], []
    train(
        tiny_model(), tiny_tokenizer(), examples(), low_rank(), on_step=steps.append, strategy=strategy,
        on_finish=lambda parallel: names.extend(name for name, _ in parallel.weights()),
    )  # fmt: skip
    tell(folder, strategy, "adapters", {"loss": [step.metrics["loss"] for step in steps], "names": names})


def half(folder: Path, strategy: str) -> None:
    steps, kept = [], []
    train(
        tiny_model().bfloat16(), tiny_tokenizer(), examples(), update(), on_step=steps.append, strategy=strategy,
        on_finish=lambda parallel: kept.extend(str(value.dtype) for _, value in parallel.weights()),
    )  # fmt: skip
    tell(folder, strategy, "half", {"loss": [step.metrics["loss"] for step in steps], "kept": sorted(set(kept))})


def tell(folder: Path, strategy: str, act: str, what: dict) -> None:
    if os.environ["RANK"] == "0":
        (folder / f"{strategy}-{os.environ['WORLD_SIZE']}-{act}.json").write_text(json.dumps(what))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
