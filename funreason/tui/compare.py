"""The panels that compare: old and new weights at each gate, and two runs or two rounds side by side.

The gate's page has a row per round; enter opens a round by category.
"""

from __future__ import annotations

from funreason.display.figures import (
    SINKS,
    curves,
    decision,
    hint,
    number,
    others,
    pass_rate,
    percent,
    points,
    share_of,
)
from funreason.display.spans import Column, Page, Span, line, said, table, wrap
from funreason.record.events import Score
from funreason.record.state import RoundState, State
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
    rows = [(f"round:{k}", _gate_cells(_name(k), gate.overall, decision(gate.decision), roomy)) for k, gate in gated]
    gate = latest[1]
    categories = ((f" {name}", score) for name, score in gate.by_category.items())
    parts = [*gate.kinds.items(), *gate.by_slice.items(), *categories]
    for name, score in parts:
        won = f"+{score.gained} −{score.lost}"
        last = (f"{won} p {score.p:.3f}" if roomy else won, "dim")
        rows.append((f"part:{name}", _gate_cells(name, score, last, roomy)))
    for name, text in gate.text.items():
        cells = (f"{text.old:.3f}", f"{text.new:.3f}", f"{text.new - text.old:+.3f}", "", ("bits per byte", "dim"))
        rows.append((f"part:{name}", [name, *cells]))
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


def _gate_cells(name: str, score: Score, last: str | Span, roomy: bool) -> list[str | Span]:
    old, new = share_of(score.old, score.total), share_of(score.new, score.total)
    return [
        name,
        percent(old),
        percent(new),
        points(new, old),
        f"{100 * score.low:.1f}–{100 * score.high:.1f}" if roomy else f"{100 * score.low:.0f}–{100 * score.high:.0f}",
        last,
    ]


def _name(k: int) -> str:
    return "start" if k == 0 else f"round {k}"


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
    rows: list[tuple[str, list[str | Span]]] = []
    nodes = [n for n in dict.fromkeys([*state.nodes, *here.nodes, *other.nodes]) if n not in SINKS]
    found = [(f"pass % {n}", (pass_rate(here, n), pass_rate(other, n)), "share") for n in nodes]
    ends = ("kept", "text", "dropped", "dead")
    found += [(f"end % {e}", (_ended(here, e), _ended(other, e)), "share") for e in ends]
    metrics = [*here.metric_names(), *other.metric_names()]
    found += [(hint(m).label, (here.mean(m), other.mean(m)), "metric") for m in (*curves(metrics), *others(metrics))]
    gates = [r.gate for r in (here, other) if r.gate]
    gated = ["all", *dict.fromkeys(name for gate in gates for name in gate.by_category)] if gates else []
    found += [(f"gate % {name}", (_accuracy(here, name), _accuracy(other, name)), "share") for name in gated]
    for name, (a, b), kind in [entry for entry in found if entry[1] != (None, None)]:
        if kind == "share":
            rows.append((name, [name, percent(a), percent(b), points(a, b)]))
        else:
            by = f"{a - b:+.3f}" if a is not None and b is not None else "–"
            rows.append((name, [name, number(a), number(b), (by, "plain")]))
    width = min(width, WIDEST)
    wide = max(8, min(22, (width - 24) // 2))
    columns = (Column("", 0), Column(names[0], wide, True), Column(names[1], wide, True), Column("diff", 8, True))
    return table(f"compare · {names[0]} with {names[1]}", columns, rows, width)


def _ended(r: RoundState, fate: str) -> float | None:
    return share_of(r.fates[fate], r.fates.total())


def _accuracy(r: RoundState, name: str) -> float | None:
    if r.gate is None:
        return None
    score = r.gate.overall if name == "all" else r.gate.by_category.get(name)
    return share_of(score.new, score.total) if score else None
