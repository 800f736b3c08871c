"""The state of a training on disk: weights, optimizer, the objective's state, random state, step.

Tensors are safetensors, the rest is JSON; nothing is pickled. A checkpoint appears by rename, so an incomplete one is
never read. It carries a fingerprint of settings and examples: resuming with other ones would give weights that no
uninterrupted training could have given, so that is refused. The number of processes and their strategy are not part
of it, so a training may be resumed with other ones.
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

from funreason.config.updates import Update
from funreason.objectives.protocol import Example
from funreason.policies.model_files import replace_folder
from funreason.record.folder import hash_file, remove_folder
from funreason.training.parallel import Parallel, trainable
from funreason.training.types import OtherTrainingError, TrainingError

NO_EFFECT_ON_WEIGHTS = {
    "micro_tokens", "lm_head", "lm_head_chunk", "packing", "prefix_sharing", "gradient_checkpointing", "compile",
    "checkpoint_every", "launch", "replay",
}  # fmt: skip
"""Settings that decide how the weights are computed, or (`replay`) what the examples are, not what is learned."""
NAME = "checkpoint"
TENSORS = ("model.safetensors", "optimizer.safetensors")
RANDOM_STATE = "random_state"


class Position(NamedTuple):
    """What a checkpoint holds besides its tensors."""

    step: int
    objective: dict[str, float]


def fingerprint(examples: Sequence[Example], update: Update, *others: object) -> str:
    """A sha256 over everything that decides the weights: examples in order, the settings that matter, `others`."""
    settings = update.model_dump(mode="json", exclude=NO_EFFECT_ON_WEIGHTS)
    digest = hashlib.sha256(json.dumps([settings, *others]).encode())
    for example in examples:
        digest.update(msgspec.json.encode(example))
    return digest.hexdigest()


def save(folder: Path, parallel: Parallel, position: Position, fingerprint: str) -> None:
    """Replace the checkpoint in `folder` by the current state. Call it on every rank; rank 0 writes."""
    write = parallel.ranks.is_main
    # The other ranks ask for every tensor as well, because gathering one takes all of them; they keep none.
    weights = {name: value.cpu().contiguous() for name, value in parallel.weights() if write}
    moments = {name: value.cpu().contiguous() for name, value in parallel.moments() if write}
    if not write:
        return
    target, fresh = folder / NAME, folder / f".{NAME}.new-{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(parents=True)
        save_file(weights, fresh / "model.safetensors")
        save_file(moments | {RANDOM_STATE: torch.get_rng_state()}, fresh / "optimizer.safetensors")
        state = {"step": position.step, "objective": position.objective, "fingerprint": fingerprint}
        state["files"] = {name: hash_file(fresh / name) for name in TENSORS}
        (fresh / "state.json").write_text(json.dumps(state | {"sha256": _digest(state)}))
        replace_folder(fresh, target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise TrainingError(
            f"{target}: the checkpoint cannot be written: {error}. The previous one is kept."
        ) from error


def restore(folder: Path, parallel: Parallel, fingerprint: str | None) -> Position | None:
    """Load the checkpoint in `folder` into `parallel` and torch's random state; None if there is none.

    Raises OtherTrainingError when it belongs to another training than that of `fingerprint` (None: any may be loaded),
    TrainingError when it cannot be read.
    """
    path = folder / NAME
    if not path.is_dir():
        return None
    try:
        state = json.loads((path / "state.json").read_text())
        _require_unchanged(path, state)
        weights, moments = load_file(path / "model.safetensors"), load_file(path / "optimizer.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise TrainingError(f"{path}: the checkpoint cannot be read ({error}); delete it to start over.") from error
    if fingerprint is not None and state.get("fingerprint") != fingerprint:
        raise OtherTrainingError(f"{path}: the checkpoint was made with other examples or settings; delete it.")
    if weights.keys() != trainable(parallel.model).keys():
        raise TrainingError(f"{path}: the checkpoint is of another architecture; delete it to start over.")
    torch.set_rng_state(moments.pop(RANDOM_STATE))
    parallel.load(weights, moments)
    return Position(int(state["step"]), state["objective"])


def _require_unchanged(path: Path, state: Any) -> None:
    """Raise TrainingError when a file of a checkpoint is not as it was written."""
    told = state.pop("sha256", None) if isinstance(state, dict) else None
    wrong = "state.json" if told is None or told != _digest(state) else ""
    wrong = wrong or next((name for name in TENSORS if hash_file(path / name) != state["files"].get(name)), "")
    if wrong:
        raise TrainingError(
            f"{path / wrong} cannot be read: it is not as it was written. Delete {path} to start the update over."
        )


def _digest(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def delete(folder: Path) -> None:
    """Delete the checkpoint in `folder`, if any."""
    remove_folder(folder / NAME)
