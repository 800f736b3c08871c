"""The base class of configuration sections, and what they share."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from rapidfuzz import process

CONFIGS = Path(__file__).parent.parent / "configs"
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


TOOLBOX = "toolbox:"
"""The prefix of a path into the embedded domain."""
COMPOSED = "toolbox:composed_"
"""The prefix of a path to composed tasks: `train`, `dev` or `gate` follows."""
OWN_TASKS = "tasks"
"""As a source of references: the run's own tasks, without those held out for the gate."""


class ConfigError(Exception):
    """A configuration that cannot be used; the message says where and what to write instead."""


class Section(BaseModel):
    """A group of settings; refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def strange_category(given: Collection[str], path: str = TOOLBOX) -> str:
    """An error about the first category that the embedded tasks at `path` do not have; empty if they have all of them.

    The path `toolbox:` alone allows those of every split.
    """
    # Imported late: most readers of settings do not need them.
    from funreason.data.composed import SHARES
    from funreason.data.toolbox.tasks import CATEGORIES

    known = tuple(SHARES if path.startswith(COMPOSED) else CATEGORIES)
    if path == TOOLBOX:
        known = tuple(dict.fromkeys((*CATEGORIES, *SHARES)))
    for name in given:
        if name not in known:
            best = process.extractOne(name, known)
            nearest = f" Did you mean {best[0]}?" if best and best[1] >= 55 else ""
            return f"the toolbox has no category {name!r}.{nearest} It has {', '.join(known)}."
    return ""


def _can_be_drawn(mix: dict[str, float]) -> dict[str, float]:
    if wrong := strange_category(mix):
        raise ValueError(wrong)
    if mix and not any(mix.values()):
        raise ValueError("no category has a share above 0; give one a share, or remove the mix for equal shares")
    return mix


Mix = Annotated[dict[str, Share], AfterValidator(_can_be_drawn)]
"""Shares of the embedded domain's categories."""
