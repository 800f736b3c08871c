"""Two runs, or two rounds of one, side by side: stage pass rates, ends, losses, gate by category."""

from __future__ import annotations

from funreason.display.figures import SINKS, number, pass_rate, percent, points, share_of
from funreason.display.metrics import curves, hint, others
from funreason.display.spans import Column, Page, Span, said, table
from funreason.record.state import RoundState, State
from funreason.tui.view_state import ViewState

WIDEST = 90
"""Widest table in cells: in a wider one the eye would lose the row."""
Pair = tuple[float | None, float | None]


def compare_page(state: State, view: ViewState, width: int) -> Page:
    """The shown round on the left; on the right the same round of another run, or the round before."""
    here, k = view.of(state), view.shown_round(state)
    if view.against is not None:
        other, names = view.against.rounds.get(k), (f"{state.run} r{k}", f"{view.against_name} r{k}")
        nothing = f"Run {view.against_name} has no round {k}."
    else:
        other, names = view.before(state), (f"round {k}", "round before")
        nothing = "Only one round so far; [ and ] move between rounds, ctrl+p compares with another run."
    if other is None:
        return said("compare", nothing, width)
    rows = [(name, _cells(name, pair, kind)) for name, pair, kind in _lines(state, here, other)]
    width = min(width, WIDEST)
    wide = max(8, min(22, (width - 24) // 2))
    columns = (Column("", 0), Column(names[0], wide, True), Column(names[1], wide, True), Column("diff", 8, True))
    return table(f"compare · {names[0]} with {names[1]}", columns, rows, width)


def _lines(state: State, a: RoundState, b: RoundState) -> list[tuple[str, Pair, str]]:
    nodes = [n for n in dict.fromkeys([*state.nodes, *a.nodes, *b.nodes]) if n not in SINKS]
    found = [(f"pass % {n}", (pass_rate(a, n), pass_rate(b, n)), "share") for n in nodes]
    ends = ("kept", "text", "dropped", "dead")
    found += [(f"end % {e}", (_ended(a, e), _ended(b, e)), "share") for e in ends]
    metrics = [*a.metric_names(), *b.metric_names()]
    found += [(hint(m).label, (a.mean(m), b.mean(m)), "metric") for m in (*curves(metrics), *others(metrics))]
    gates = [r.gate for r in (a, b) if r.gate]
    gated = ["all", *dict.fromkeys(name for gate in gates for name in gate.by_category)] if gates else []
    found += [(f"gate % {name}", (_accuracy(a, name), _accuracy(b, name)), "share") for name in gated]
    return [entry for entry in found if entry[1] != (None, None)]


def _ended(r: RoundState, fate: str) -> float | None:
    return share_of(r.fates[fate], r.fates.total())


def _accuracy(r: RoundState, name: str) -> float | None:
    if r.gate is None:
        return None
    score = r.gate.overall if name == "all" else r.gate.by_category.get(name)
    return share_of(score.new, score.total) if score else None


def _cells(name: str, pair: Pair, kind: str) -> list[str | Span]:
    a, b = pair
    if kind == "share":
        return [name, percent(a), percent(b), points(a, b)]
    by = f"{a - b:+.3f}" if a is not None and b is not None else "–"
    return [name, number(a), number(b), (by, "plain")]
