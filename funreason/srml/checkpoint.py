"""Where a training stands, on disk: weights, optimiser, alpha, random state, step.

Tensors are safetensors, the rest is JSON; nothing is pickled. A checkpoint appears by rename, so an interrupted one
is never met. It carries a fingerprint of settings and examples: resuming with others would give weights that no
uninterrupted training could have given, so it is refused. Of the processes and their layout it knows nothing, so a
training may go on with others.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from funreason.policies.model_files import replace_folder
from funreason.srml.errors import OtherTrainingError, TrainingError
from funreason.srml.examples import Example, TrainSettings
from funreason.srml.layout import Layout, Named

INDECISIVE: dict[str, Any] = {
    "micro_tokens": 0, "threads": None, "checkpoint_every": 0, "gradient_checkpointing": False,
    "head": "auto", "head_chunk": None, "pack": "auto",
}  # fmt: skip
"""Settings that decide how the weights are computed, not which they are."""
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


def save(folder: Path, layout: Layout, position: Position, print_: str, *, write: bool = True) -> None:
    """Replace the checkpoint in `folder` by the present state. All processes take part, one may `write`."""
    weights, moments = _kept(layout.weights(), write), _kept(layout.moments(), write)
    if not write:
        return
    target = folder / NAME
    fresh = folder / f".{NAME}.new-{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        _write(fresh, weights, moments, position, print_)
        replace_folder(fresh, target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise TrainingError(
            f"{target}: the checkpoint cannot be written: {error}. The one before it stands."
        ) from error


def _write(
    fresh: Path, weights: dict[str, Tensor], moments: dict[str, Tensor], position: Position, print_: str
) -> None:
    fresh.mkdir(parents=True)
    save_file(weights, fresh / "model.safetensors")
    save_file(moments | {RANDOM_STATE: torch.get_rng_state()}, fresh / "optimizer.safetensors")
    state = {"step": position.step, "alpha": position.alpha, "fingerprint": print_}
    (fresh / "state.json").write_text(json.dumps(state))


def restore(folder: Path, layout: Layout, print_: str) -> Position | None:
    """Bring layout and random state to the checkpoint in `folder`; None when there is none.

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
    if weights.keys() != layout.names():
        raise TrainingError(f"{path}: the checkpoint is of another architecture; delete it to begin anew.")
    torch.set_rng_state(moments.pop(RANDOM_STATE))
    layout.load(weights, moments)
    return Position(int(state["step"]), state["alpha"])


def forget(folder: Path) -> None:
    """Remove the checkpoint in `folder`, if any."""
    shutil.rmtree(folder / NAME, ignore_errors=True)


def _kept(tensors: Named, keep: bool) -> dict[str, Tensor]:
    # Those that are not kept are asked for all the same: to put one together takes every process.
    return {name: value.cpu().contiguous() for name, value in tensors if keep}
