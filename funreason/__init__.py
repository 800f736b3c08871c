"""FunReason: a language model that becomes a better function caller by judging and learning from its own calls.

Start at `funreason.loops.self_refinement`: it shows the order of things. Names are imported when they are first used,
so importing the package loads neither torch nor anything else that is slow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from funreason.errors import naming_extras

if TYPE_CHECKING:
    from funreason.api.judge_function import Judge, JudgeReport, judge
    from funreason.api.loop_result import GateResult, LoopResult, RoundResult
    from funreason.api.model_scores import Evaluation, evaluate
    from funreason.api.refined import Refined, RefinedSample, refine
    from funreason.api.round_by_round import Loop, run_loop
    from funreason.objectives.srml import srml_loss
    from funreason.objectives.trainer_loss import SrmlLoss
    from funreason.types import Call, Message, Sample, Task, Turn, Verdict

__version__ = "0.1.0"

__all__ = [
    "Call",
    "Evaluation",
    "GateResult",
    "Judge",
    "JudgeReport",
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

_OF_MODULES = {
    "types": ("Call", "Message", "Sample", "Task", "Turn", "Verdict"),
    "api.judge_function": ("Judge", "JudgeReport", "judge"),
    "api.loop_result": ("GateResult", "LoopResult", "RoundResult"),
    "api.model_scores": ("Evaluation", "evaluate"),
    "api.refined": ("Refined", "RefinedSample", "refine"),
    "api.round_by_round": ("Loop", "run_loop"),
    "objectives.srml": ("srml_loss",),
    "objectives.trainer_loss": ("SrmlLoss",),
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _OF_MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with naming_extras():
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
