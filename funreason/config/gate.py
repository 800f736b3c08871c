"""When new weights are kept."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from funreason.config.section import Count, Section, Share


class Suite(Section):
    """A set of gate items."""

    path: str
    """A folder of BFCL-format files, `toolbox:<split>`, or `tasks:held_out` to hold back part of the task file."""
    count: Count | None = None
    seed: int = 0
    """Which items an embedded suite draws. It does not follow the run's seed: runs are compared on the same items."""
    role: Literal["decide", "guard", "watch"] = "decide"
    """`decide`: its accuracy promotes. `guard`: it only forbids, when it falls too far. `watch`: only reported."""


class Contamination(Section):
    """What to do with training tasks whose query stands in the gate."""

    mode: Literal["drop", "report"] = "drop"
    """`drop` leaves them out; `report` trains on them all the same. Both count them in the round's table."""
    near: Annotated[float, Field(ge=0.5, le=1)] | None = 0.8
    """How alike the letters of two queries must be to count as near duplicates, if beyond that no word of substance
    differs; null looks for exact duplicates only."""

    @model_validator(mode="before")
    @classmethod
    def _mode_alone(cls, given: Any) -> Any:
        return {"mode": given} if isinstance(given, str) else given


class Gate(Section):
    """When new weights are kept."""

    suites: dict[str, Suite] = {}
    min_gain: float = 0.0
    """Points the deciding suite must gain (more than this) for a promotion."""
    significant: bool = False
    """Ask for an exact McNemar p of at most `p` as well."""
    p: Share = 0.05
    max_category_loss: float = 5.0
    """A category that falls by more points than this, with p at most `p`, refuses the round."""
    max_guard_loss: float = 5.0
    """A guard suite that falls more points than this below its value before the first round refuses the round."""
    contamination: Contamination = Contamination()
    """Training tasks whose query stands in the gate: the rounds' own, the warm-up's and those of the replay."""
