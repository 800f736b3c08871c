"""Which tasks are made from others: cases where no call is right, and masked function names."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from funreason.config.section import Section, Share

KINDS = ("irrelevance", "other_tools", "missing_value", "masking")
AUTOMATIC = {"irrelevance": 0.05, "other_tools": 0.05, "missing_value": 0.03, "masking": 0.1}
"""The shares where none is given and fewer than `NO_CALL_SHARE` of a pool's tasks are without a call."""
NO_CALL_SHARE = 0.1


class Augment(Section):
    """Tasks made from the pool's own and added to it; shares are of the pool's tasks.

    Without a share of any kind, those of `AUTOMATIC` are used where fewer than a tenth of the tasks have no right call,
    and none for the toolbox's own splits. With one, the kinds that are not named make none. `augment: off` makes none.
    """

    irrelevance: Share | None = None
    """The tools that the right calls need are taken away; the rest stay on offer."""
    other_tools: Share | None = None
    """The tools on offer are replaced by alike ones from other tasks."""
    missing_value: Share | None = None
    """A required value is removed from the query; the right answer asks for it."""
    masking: Share | None = None
    """Functions and parameters get meaningless names, descriptions stay: only they say what a tool is for."""
    seed: int = Field(default=0, ge=0)
    """Chooses tasks, tools and names, together with the run's seed."""

    @model_validator(mode="before")
    @classmethod
    def _switch(cls, given: Any) -> Any:
        if given is None or given is False or given == "off":  # YAML reads a bare `off` as false
            return dict.fromkeys(KINDS, 0.0)
        if given is True or given == "auto":
            return {}
        if isinstance(given, str):
            raise ValueError(f"expected auto, off, or shares such as {{irrelevance: 0.1}}, found {given!r}")
        return given

    @property
    def automatic(self) -> bool:
        """Whether the pool decides if tasks are made."""
        return all(getattr(self, kind) is None for kind in KINDS)

    def shares(self, no_call: float) -> dict[str, float]:
        """The share of each kind for a pool of which `no_call` have no right call; a kind without one is left out."""
        if self.automatic:
            return dict(AUTOMATIC) if no_call < NO_CALL_SHARE else {}
        return {kind: share for kind in KINDS if (share := getattr(self, kind))}
