"""The gate panel: old and new weights on the same items, a row per round; enter opens a round by category."""

from __future__ import annotations

from funreason.display.figures import decision, percent, points, share_of
from funreason.display.spans import Column, Page, Span, line, said, table, wrap
from funreason.record.events import Score
from funreason.record.state import State
from funreason.tui.view_state import ViewState

WIDE = 62
"""From this width in cells on, intervals have a decimal and p-values are shown."""


def gate_page(state: State, view: ViewState, width: int) -> Page:
    """The decision of each round, then the shown round by suite and category."""
    gated = [(k, r.gate) for k, r in sorted(state.rounds.items()) if r.gate]
    if not gated:
        return said("gate", "No gate yet: weights are compared after a round's update.", width)
    shown = view.shown_round(state)
    latest = max((pair for pair in gated if pair[0] <= shown), default=gated[0], key=lambda pair: pair[0])
    roomy = width >= WIDE
    rows = [(f"round:{k}", _cells(_name(k), gate.overall, decision(gate.decision), roomy)) for k, gate in gated]
    gate = latest[1]
    parts = [*gate.by_slice.items(), *((f" {name}", score) for name, score in gate.by_category.items())]
    rows += [(f"part:{name}", _cells(name, score, _p(score, roomy), roomy)) for name, score in parts]
    columns = (
        Column("", 0),
        Column("old", 5, right=True),
        Column("new", 5, right=True),
        Column("diff", 5, right=True),
        Column("95 %", 11 if roomy else 6),
        Column("verdict", 18 if roomy else 10),
    )
    page = table(f"gate · {_name(latest[0])} by category", columns, rows, width)
    why = tuple(line((part, "dim")) for part in wrap(latest[1].reason, width)[:2])
    return page._replace(head=(*why, *page.head), columns=("", "old", "new", "difference", "interval", "verdict"))


def _cells(name: str, score: Score, last: str | Span, roomy: bool) -> list[str | Span]:
    old, new = share_of(score.old, score.total), share_of(score.new, score.total)
    return [
        name,
        percent(old),
        percent(new),
        points(new, old),
        f"{100 * score.low:.1f}–{100 * score.high:.1f}" if roomy else f"{100 * score.low:.0f}–{100 * score.high:.0f}",
        last,
    ]


def _p(score: Score, roomy: bool) -> Span:
    won = f"+{score.gained} −{score.lost}"
    return (f"{won} p {score.p:.3f}" if roomy else won, "dim")


def _name(k: int) -> str:
    return "start" if k == 0 else f"round {k}"
