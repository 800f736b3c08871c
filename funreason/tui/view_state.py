"""What the user chose to see: round, filters, sorting, what to compare with."""

from __future__ import annotations

from dataclasses import dataclass, field

from funreason.record.state import RoundState, State
from funreason.tui.sample_texts import SampleTexts

PANELS = ("flow", "loss", "gate", "samples", "dead", "health", "log", "compare")
"""The panels in the order of their number keys."""


@dataclass(slots=True)
class ViewState:
    """The choices that the pages are made from. `round` None follows the newest one."""

    round: int | None = None
    node: str = ""
    pattern: str = ""
    sort: dict[str, int] = field(default_factory=dict)
    against: State | None = None
    """Another run to compare with; without it, the round before."""
    against_name: str = ""
    texts: SampleTexts = field(default_factory=SampleTexts)
    """Queries and answers of the shown round's newest samples."""

    def shown_round(self, state: State) -> int:
        """The round on the screen."""
        return state.round if self.round is None else self.round

    def move_round(self, state: State, by: int) -> None:
        """One round back or forward, among those in the log."""
        known = sorted({*state.rounds, state.round})
        here = self.shown_round(state)
        at = known.index(here) if here in known else len(known) - 1
        self.round = known[min(max(at + by, 0), len(known) - 1)]

    def of(self, state: State) -> RoundState:
        """The shown round's state; an empty one when the log has nothing of it yet."""
        return state.rounds.get(self.shown_round(state)) or RoundState()

    def before(self, state: State) -> RoundState | None:
        """The round before the shown one, None when there was none."""
        earlier = [k for k in state.rounds if k < self.shown_round(state)]
        return state.rounds[max(earlier)] if earlier else None
