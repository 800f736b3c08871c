"""Objectives: the protocol between a loss and the training engine, and SRML.

Importing this package imports no torch; a name that needs it loads it on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from funreason.objectives.protocol import Encoded, Example, LossShare, Objective, TokenTargets
    from funreason.objectives.srml import LossDenominators, Srml, SrmlLoss, srml_compute_loss, srml_loss

__all__ = [
    "Encoded",
    "Example",
    "LossDenominators",
    "LossShare",
    "Objective",
    "Srml",
    "SrmlLoss",
    "TokenTargets",
    "srml_compute_loss",
    "srml_loss",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    shared = ("Encoded", "Example", "LossShare", "Objective", "TokenTargets")
    return getattr(import_module(f"{__name__}.{'protocol' if name in shared else 'srml'}"), name)
