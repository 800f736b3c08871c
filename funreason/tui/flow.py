"""The flow panel: a row for each agent in graph order, then how the samples ended."""

from __future__ import annotations

from funreason.display.figures import NONE, SINKS, count, milliseconds, pass_rate, percent, phases_now, points, share_of
from funreason.display.spans import Column, Page, Span, said, table
from funreason.record.state import NodeCount, RoundState, State
from funreason.tui.view_state import ViewState

ENDS = (("kept", "good"), ("text", "good"), ("dropped", "bad"), ("dead", "bad"))
BAR = 10


def flow_page(state: State, view: ViewState, width: int) -> Page:
    """In, pass %, bar, change against the last round, p50 ms, in flight, regenerations; then the ends."""
    k, r, before = view.shown_round(state), view.of(state), view.before(state)
    title = f"flow · round {k}"
    names = [n for n in state.nodes if n not in SINKS] + [n for n in r.nodes if n not in state.nodes]
    if not names:
        return said(title, "No graph yet: the run writes it with its first event.", width)
    rows = [(f"node:{n}", _node_cells(state, k, n, r, before)) for n in names]
    rows += [(f"end:{name}", _end_cells(name, role, r, before)) for name, role in ENDS]
    columns = (
        Column("agent", 0),
        Column("in", 6, right=True),
        Column("pass %", 6, right=True),
        Column("", BAR),
        Column("Δ", 5, right=True),
        Column("p50 ms", 7, right=True),
        Column("fly", 4, right=True),
        Column("regen", 5, right=True),
    )
    page = table(title, columns, rows, width)
    return page._replace(columns=("agent", "in", "pass %", "bar", "change", "p50 ms", "in flight", "regenerated"))


def _node_cells(state: State, k: int, name: str, r: RoundState, before: RoundState | None) -> list[str | Span]:
    node = r.nodes.get(name) or NodeCount()
    rate, sent_back = pass_rate(r, name), node.outcomes["regenerate"]
    sampling = any(p.round == k and p.phase == "sample" for p in phases_now(state))
    live = state.in_flight(k, name) if sampling else 0
    return [
        name,
        count(node.answered),
        percent(rate),
        (bar(rate, BAR) if rate is not None else "", "accent"),
        points(rate, pass_rate(before, name)),
        milliseconds(node.median_us),
        NONE if live is None else str(live) if live else ("0", "dim"),
        (str(sent_back), "warn") if sent_back else ("0", "dim"),
    ]


def _end_cells(name: str, role: str, r: RoundState, before: RoundState | None) -> list[str | Span]:
    share = share_of(r.fates[name], r.fates.total())
    was = share_of(before.fates[name], before.fates.total()) if before else None
    sign = "✓" if role == "good" else "✗"
    others = ("repaired", "rerendered", "rewritten")
    extra = sum(r.origins[origin] for origin in others) if name == "kept" else 0
    moved = points(share, was)[0]
    return [
        (f"{sign} {name}", role),
        count(r.fates[name]),
        percent(share),
        (bar(share, BAR) if share is not None else "", role),
        (moved, "dim"),
        "",
        "",
        (f"+{extra}", "warn") if extra else "",
    ]


def bar(share: float, width: int) -> str:
    """A share from 0 to 1 as a bar in eighths of a cell, padded to `width`."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")).ljust(width, "·")
