"""The training engine: batches, accumulation, LM head, parallelism, checkpoints. It knows only `Objective`.

Importing this package imports no torch; a name that needs it loads it on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from funreason.training.encoding import encode_sample
    from funreason.training.engine import train
    from funreason.training.launch import update
    from funreason.training.scoring import TokenScores, score
    from funreason.training.types import NoTrainableTokens, SampleTooLong, StepReport, TrainingError, TrainReport

__all__ = [
    "NoTrainableTokens",
    "SampleTooLong",
    "StepReport",
    "TokenScores",
    "TrainReport",
    "TrainingError",
    "encode_sample",
    "score",
    "train",
    "update",
]

_MODULES = {
    "TokenScores": "scoring",
    "encode_sample": "encoding",
    "score": "scoring",
    "train": "engine",
    "update": "launch",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'types')}"), name)
