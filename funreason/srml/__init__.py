"""The self-refinement multiscale loss: parts, loss, batches, the training step.

Importing this package costs nothing: torch arrives with the first name asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from funreason.srml.errors import NoTrainableTokens, SampleTooLong, TrainingError
    from funreason.srml.examples import Example, StepReport, TrainReport, TrainSettings
    from funreason.srml.loss import Normaliser, SrmlLoss, srml_loss, srml_sums
    from funreason.srml.parts import Encoded, encode_sample
    from funreason.srml.training import train

__all__ = [
    "Encoded",
    "Example",
    "NoTrainableTokens",
    "Normaliser",
    "SampleTooLong",
    "SrmlLoss",
    "StepReport",
    "TrainReport",
    "TrainSettings",
    "TrainingError",
    "encode_sample",
    "srml_loss",
    "srml_sums",
    "train",
]

_HOMES = {
    "errors": ("NoTrainableTokens", "SampleTooLong", "TrainingError"),
    "examples": ("Example", "StepReport", "TrainReport", "TrainSettings"),
    "loss": ("Normaliser", "SrmlLoss", "srml_loss", "srml_sums"),
    "parts": ("Encoded", "encode_sample"),
    "training": ("train",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
