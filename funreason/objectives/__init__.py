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
    from funreason.objectives.srml import LossDenominators, Srml, SrmlTerms, srml_loss
    from funreason.objectives.trainer_loss import SrmlLoss

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
    "SrmlTerms",
    "TokenOutputs",
    "TokenRule",
    "TokenTargets",
    "batch_advantages",
    "group_advantages",
    "srml_loss",
]

_SHARED = ("Encoded", "Example", "LossShare", "Objective", "Rollout", "TokenOutputs", "TokenRule", "TokenTargets")
_GRPO = ("BatchAdvantages", "Grpo", "batch_advantages", "group_advantages")

_ELSEWHERE = dict.fromkeys(_SHARED, "protocol") | dict.fromkeys(_GRPO, "grpo") | {"SrmlLoss": "trainer_loss"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _ELSEWHERE.get(name, "srml")
    return getattr(import_module(f"{__name__}.{module}"), name)
