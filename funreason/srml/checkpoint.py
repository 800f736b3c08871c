"""Where a training stands, on disk: weights, optimiser, alpha, random state, step.

Tensors are safetensors, the rest is JSON; nothing is pickled. A checkpoint appears by rename, so an interrupted one
is never met. It carries a fingerprint of settings and examples: resuming with others would give weights that no
uninterrupted training could have given, so it is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from funreason.models.loading import replace_folder
from funreason.srml.errors import OtherTrainingError, TrainingError
from funreason.srml.examples import Example, TrainSettings

NAME = "checkpoint"
RANDOM_STATE = "random_state"


class Position(NamedTuple):
    """What a checkpoint says beside its tensors."""

    step: int
    alpha: float | None


def fingerprint(examples: Sequence[Example], settings: TrainSettings) -> str:
    """A sha256 over everything that decides the weights: the examples in order, and the settings that matter."""
    decisive = msgspec.structs.replace(
        settings, micro_tokens=0, threads=None, checkpoint_every=0, gradient_checkpointing=False
    )
    digest = hashlib.sha256(msgspec.json.encode(decisive))
    for example in examples:
        digest.update(msgspec.json.encode(example))
    return digest.hexdigest()


def save(folder: Path, model: PreTrainedModel, optimizer: Optimizer, position: Position, print_: str) -> None:
    """Replace the checkpoint in `folder` by the present state."""
    target = folder / NAME
    fresh = folder / f".{NAME}.new-{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        _write(fresh, model, optimizer, position, print_)
        replace_folder(fresh, target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise TrainingError(
            f"{target}: the checkpoint cannot be written: {error}. The one before it stands."
        ) from error


def _write(fresh: Path, model: PreTrainedModel, optimizer: Optimizer, position: Position, print_: str) -> None:
    fresh.mkdir(parents=True)
    weights = {name: parameter.detach().contiguous() for name, parameter in _learning(model).items()}
    save_file(weights, fresh / "model.safetensors")
    moments = _moments(model, optimizer) | {RANDOM_STATE: torch.get_rng_state()}
    save_file(moments, fresh / "optimizer.safetensors")
    state = {"step": position.step, "alpha": position.alpha, "fingerprint": print_}
    (fresh / "state.json").write_text(json.dumps(state))


def restore(folder: Path, model: PreTrainedModel, optimizer: Optimizer, print_: str) -> Position | None:
    """Bring model, optimiser and random state to the checkpoint in `folder`; None when there is none.

    Raises TrainingError when it belongs to another training or cannot be read.
    """
    path = folder / NAME
    if not path.is_dir():
        return None
    try:
        state = json.loads((path / "state.json").read_text())
        weights, moments = load_file(path / "model.safetensors"), load_file(path / "optimizer.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise TrainingError(f"{path}: the checkpoint cannot be read ({error}); delete it to begin anew.") from error
    if state.get("fingerprint") != print_:
        raise OtherTrainingError(f"{path}: the checkpoint was made with other examples or settings; delete it.")
    _load_weights(path, model, weights)
    torch.set_rng_state(moments.pop(RANDOM_STATE))
    _load_moments(model, optimizer, moments)
    return Position(int(state["step"]), state["alpha"])


def forget(folder: Path) -> None:
    """Remove the checkpoint in `folder`, if any."""
    shutil.rmtree(folder / NAME, ignore_errors=True)


def _learning(model: PreTrainedModel) -> dict[str, torch.nn.Parameter]:
    # Weights that stay as they were loaded, as all but the adapters do, need no copy.
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _moments(model: PreTrainedModel, optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{kind}": value.detach().contiguous()
        for name, parameter in model.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


def _load_moments(model: PreTrainedModel, optimizer: Optimizer, moments: dict[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for key, value in moments.items():
        name, _, kind = key.rpartition("/")
        device = "cpu" if kind == "step" else parameters[name].device
        optimizer.state[parameters[name]][kind] = value.to(device)


def _load_weights(path: Path, model: PreTrainedModel, weights: dict[str, Tensor]) -> None:
    parameters = _learning(model)
    if parameters.keys() != weights.keys():
        raise TrainingError(f"{path}: the checkpoint is of another architecture; delete it to begin anew.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
