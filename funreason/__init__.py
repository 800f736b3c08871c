"""FunReason: a language model that becomes a better function caller by judging and learning from its own calls.

Start at `funreason.loops.self_refinement`: it shows the order of things. Importing this package imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from funreason.objectives.srml import srml_loss

__version__ = "0.1.0"
__all__ = ["srml_loss"]


def __getattr__(name: str) -> Any:
    if name == "srml_loss":
        from funreason.objectives.srml import srml_loss

        return srml_loss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
