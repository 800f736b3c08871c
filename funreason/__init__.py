"""FunReason: a language model that becomes a better function caller by judging and learning from its own calls.

Start at `funreason.loops.self_refinement`: it shows the order of things. Names are imported when they are first used,
so importing the package loads neither torch nor anything else that is slow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from funreason.errors import naming_extras

if TYPE_CHECKING:
    from funreason.api import (
        Evaluation,
        Judge,
        Loop,
        LoopResult,
        Refined,
        RefinedSample,
        RoundResult,
        evaluate,
        judge,
        refine,
        run_loop,
    )
    from funreason.objectives.srml import srml_loss
    from funreason.objectives.trainer_loss import SrmlLoss
    from funreason.types import Call, Message, Sample, Task, Turn, Verdict

__version__ = "0.1.0"

__all__ = [
    "Call",
    "Evaluation",
    "Judge",
    "Loop",
    "LoopResult",
    "Message",
    "Refined",
    "RefinedSample",
    "RoundResult",
    "Sample",
    "SrmlLoss",
    "Task",
    "Turn",
    "Verdict",
    "evaluate",
    "judge",
    "refine",
    "run_loop",
    "srml_loss",
]

_API = (
    "Evaluation", "Judge", "Loop", "LoopResult", "Refined", "RefinedSample", "RoundResult",
    "evaluate", "judge", "refine", "run_loop",
)  # fmt: skip
_MODULES = {
    **dict.fromkeys(("Call", "Message", "Sample", "Task", "Turn", "Verdict"), "funreason.types"),
    **dict.fromkeys(_API, "funreason.api"),
    "srml_loss": "funreason.objectives.srml",
    "SrmlLoss": "funreason.objectives.trainer_loss",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with naming_extras():
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
