"""Objectives: the protocol between a loss and the training engine, SRML, and GRPO with EGPO's bonus.

Importing this package imports no torch; a name that needs it loads it on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from funreason.objectives.grpo import BatchAdvantages, Grpo, batch_advantages, group_advantages
    from funreason.objectives.protocol import (
        Encoded,
        Example,
        LossShare,
        Objective,
        Rollout,
        TokenOutputs,
        TokenRule,
        TokenTargets,
    )
    from funreason.objectives.srml import LossDenominators, Srml, SrmlLoss, srml_compute_loss, srml_loss

__all__ = [
    "BatchAdvantages",
    "Encoded",
    "Example",
    "Grpo",
    "LossDenominators",
    "LossShare",
    "Objective",
    "Rollout",
    "Srml",
    "SrmlLoss",
    "TokenOutputs",
    "TokenRule",
    "TokenTargets",
    "batch_advantages",
    "group_advantages",
    "srml_compute_loss",
    "srml_loss",
]

_SHARED = ("Encoded", "Example", "LossShare", "Objective", "Rollout", "TokenOutputs", "TokenRule", "TokenTargets")
_GRPO = ("BatchAdvantages", "Grpo", "batch_advantages", "group_advantages")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "protocol" if name in _SHARED else "grpo" if name in _GRPO else "srml"
    return getattr(import_module(f"{__name__}.{module}"), name)
