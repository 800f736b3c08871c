"""The panels that compare: old and new weights at each gate, and two runs or two rounds side by side.

The gate's page has a row per round; enter opens a round by category.
"""

from __future__ import annotations

from funreason.display.accuracy import share_with_interval
from funreason.display.figures import (
    NONE,
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
from funreason.display.spans import Column, Page, PageRow, Span, line, said, table, wrap
from funreason.record.events import Balance, Score
from funreason.record.sample_files import KEPT
from funreason.record.state import FAILED, RoundState, State
from funreason.tui.view_state import ViewState

WIDE = 62
"""From this width in cells on, intervals have a decimal and p-values are shown."""
NARROW = 46
"""Below this width a decision is its sign alone, and won and lost items are left out: names need the room."""


def gate_page(state: State, view: ViewState, width: int) -> Page:
    """The decision of each round, then the shown round by suite and category."""
    gated = [(k, r.gate) for k, r in sorted(state.rounds.items()) if r.gate]
    if not gated:
        return said("gate", "No gate yet: weights are compared after a round's update.", width)
    shown = view.shown_round(state)
    latest = max((pair for pair in gated if pair[0] <= shown), default=gated[0], key=lambda pair: pair[0])
    roomy = width >= WIDE
    rows = [
        (f"round:{k}", _gate_cells(_name(k), gate.overall, _decision(gate.decision, width), roomy, gate.balance))
        for k, gate in gated
    ]
    gate = latest[1]
    categories = ((f" {name}", score) for name, score in gate.by_category.items())
    parts = [*gate.kinds.items(), *gate.by_slice.items(), *categories]
    for name, score in parts:
        won = f"+{score.gained} −{score.lost}" if width >= NARROW else ""
        last = (f"{won} p {score.p:.3f}" if roomy else won, "dim")
        both = gate.balance_by_slice.get(name) if name in gate.by_slice else None
        rows.append((f"part:{name}", _gate_cells(name, score, last, roomy, both)))
    for name, text in gate.text.items():
        by = round(text.new - text.old, 3)
        change = (f"{by:+.3f}", "bad" if by > 0 else "good" if by < 0 else "dim")
        cells = (f"{text.old:.3f}", f"{text.new:.3f}", "", change, ("bits per byte", "dim"))
        rows.append((f"part:{name}", [name, *cells]))
    columns = (
        Column("", 0),
        Column("old", 5, right=True),
        Column("new", 5, right=True),
        Column("95 %", 11 if roomy else 6),
        Column("diff", 5, right=True),
        Column("verdict", 18 if roomy else 10 if width >= NARROW else 2),
    )
    page = table(f"gate · {_name(latest[0])} by category", columns, rows, width)
    below = PageRow("line", line(("─" * width, "dim")))
    rounds = page.rows[: len(gated)]
    page = page._replace(rows=(*rounds, below, *page.rows[len(gated) :]))
    why = tuple(line((part, "dim")) for part in wrap(latest[1].reason, width)[:2])
    return page._replace(head=(*why, *page.head), columns=("", "old", "new", "interval", "difference", "verdict"))


def _gate_cells(
    name: str, score: Score, last: str | Span, roomy: bool, both: Balance | None = None
) -> list[str | Span]:
    """With items of both kinds, accuracy is the mean of calls and refusals, as the gate decides by it."""
    old, new = share_with_interval(score, both, new=False)[0], share_with_interval(score, both, new=True)
    ends = f"{100 * new[1]:.1f}–{100 * new[2]:.1f}" if roomy else f"{100 * new[1]:.0f}–{100 * new[2]:.0f}"
    if not score.total:
        return [name, NONE, NONE, "", NONE, last]
    return [name, percent(old), percent(new[0]), ends, points(new[0], old), last]


def _decision(word: str, width: int) -> Span:
    """A decision with its sign; its sign alone where names need the room."""
    text, role = decision(word)
    return (text if width >= NARROW else text.partition(" ")[0], role)


def _name(k: int) -> str:
    return "start" if k == 0 else f"round {k}"


WIDEST = 90
"""Widest table in cells: in a wider one the eye would lose the row."""
Pair = tuple[float | None, float | None]


def compare_page(state: State, view: ViewState, width: int) -> Page:
    """The shown round on the left; on the right the same round of another run, or the round before."""
    here, k = view.of(state), view.shown_round(state)
    if view.against is not None:
        played = [n for n, r in view.against.rounds.items() if r.nodes or r.gate]
        there = k if k in view.against.rounds else max(played, default=k)  # a shorter run: its last round
        other, names = view.against.rounds.get(there), (f"{state.run} r{k}", f"{view.against_name} r{there}")
        nothing = f"Run {view.against_name} has no round yet."
    else:
        other, names = view.before(state), (f"round {k}", "round before")
        nothing = "Only one round so far; [ and ] move between rounds, ctrl+p compares with another run."
    if other is None:
        return said("compare", nothing, width)
    rows: list[tuple[str, list[str | Span]]] = []
    nodes = [n for n in dict.fromkeys([*state.nodes, *here.nodes, *other.nodes]) if n not in SINKS]
    found = [(f"pass % {n}", (pass_rate(here, n), pass_rate(other, n)), "share") for n in nodes]
    found += [(f"end % {e}", (_ended(here, e), _ended(other, e)), "share") for e in KEPT]
    found += [(f"end % {e}", (_ended(here, e), _ended(other, e)), "lost") for e in FAILED]
    metrics = [*here.metric_names(), *other.metric_names()]
    found += [(hint(m).label, (here.mean(m), other.mean(m)), "loss") for m in curves(metrics)]
    found += [(hint(m).label, (here.mean(m), other.mean(m)), "metric") for m in others(metrics)]
    gates = [r.gate for r in (here, other) if r.gate]
    gated = ["all", *dict.fromkeys(name for gate in gates for name in gate.by_category)] if gates else []
    found += [(f"gate % {name}", (_accuracy(here, name), _accuracy(other, name)), "share") for name in gated]
    for name, (a, b), kind in [entry for entry in found if entry[1] != (None, None)]:
        if kind in ("share", "lost"):
            rows.append((name, [name, percent(a), percent(b), points(a, b, less_is_better=kind == "lost")]))
        else:
            by = a - b if a is not None and b is not None else None
            role = "plain" if by is None or kind != "loss" or not round(by, 3) else "good" if by < 0 else "bad"
            rows.append((name, [name, number(a), number(b), ("–" if by is None else f"{by:+.3f}", role)]))
    width = min(width, WIDEST)
    wide = max(8, min(22, (width - 24) // 2))
    columns = (Column("", 0), Column(names[0], wide, True), Column(names[1], wide, True), Column("diff", 8, True))
    return table(f"compare · {names[0]} with {names[1]}", columns, rows, width)


def _ended(r: RoundState, fate: str) -> float | None:
    return share_of(r.fates[fate], r.fates.total())


def _accuracy(r: RoundState, name: str) -> float | None:
    if r.gate is None:
        return None
    if name == "all" and r.gate.balance is not None and r.gate.balance.has_both:
        return r.gate.balance.new
    score = r.gate.overall if name == "all" else r.gate.by_category.get(name)
    return share_of(score.new, score.total) if score else None
