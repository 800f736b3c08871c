"""The panels about agents: the flow in graph order, how samples ended, dead letters by reason, the judges' health."""

from __future__ import annotations

from collections.abc import Sequence

from funreason.display.figures import (
    NONE,
    SINKS,
    count,
    judges,
    milliseconds,
    pass_rate,
    percent,
    phases_now,
    points,
    pool_rows,
    share_of,
)
from funreason.display.spans import Column, Line, Page, Span, line, said, table
from funreason.record.rounds import JudgeHealth
from funreason.record.state import NodeCount, State
from funreason.tui.view_state import ViewState

ENDS = (("kept", "good"), ("text", "good"), ("dropped", "bad"), ("dead", "bad"))
BAR = 10
ROOM_FOR_BARS = 64


def flow_page(state: State, view: ViewState, width: int) -> Page:
    """In, pass %, bar, change against the last round, p50 ms, in flight, regenerations; then the ends."""
    k, r, before = view.shown_round(state), view.of(state), view.before(state)
    title = f"flow · round {k}"
    names = [n for n in state.nodes if n not in SINKS] + [n for n in r.nodes if n not in state.nodes]
    if not names:
        return said(title, "No graph yet: the run writes it with its first event.", width)
    sampling = any(p.round == k and p.phase == "sample" for p in phases_now(state))
    rows: list[tuple[str, list[str | Span]]] = []
    for name in names:
        node = r.nodes.get(name) or NodeCount()
        rate, sent_back = pass_rate(r, name), node.outcomes["regenerate"]
        live = state.in_flight(k, name) if sampling else 0
        cells: list[str | Span] = [
            name,
            count(node.answered),
            percent(rate),
            (bar(rate, BAR) if rate is not None else "", "accent"),
            points(rate, pass_rate(before, name)),
            milliseconds(node.median_us),
            NONE if live is None else str(live) if live else ("0", "dim"),
            (str(sent_back), "warn") if sent_back else ("0", "dim"),
        ]
        rows.append((f"node:{name}", cells))
    for name, role in ENDS:
        share = share_of(r.fates[name], r.fates.total())
        was = share_of(before.fates[name], before.fates.total()) if before else None
        others = ("repaired", "rerendered", "rewritten")
        extra = sum(r.origins[origin] for origin in others) if name == "kept" else 0
        ended: list[str | Span] = [
            (f"{'✓' if role == 'good' else '✗'} {name}", role),
            count(r.fates[name]),
            percent(share),
            (bar(share, BAR) if share is not None else "", role),
            points(share, was, less_is_better=role == "bad"),
            "",
            "",
            (f"+{extra}", "warn") if extra else "",
        ]
        rows.append((f"end:{name}", ended))
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
    if width < ROOM_FOR_BARS:  # names need the room more
        narrow = [column for column in columns if column.width != BAR]
        return table(
            title, narrow, [(key, [*cells[:3], *cells[4:]]) for key, cells in rows], width, head=_pool_head(state, k)
        )
    page = table(title, columns, rows, width, head=_pool_head(state, k))
    return page._replace(columns=("agent", "in", "pass %", "bar", "change", "p50 ms", "in flight", "regenerated"))


def _pool_head(state: State, k: int) -> tuple[Line, ...]:
    """A line on the tasks of a hard-data round; none in any other run."""
    row = next((row for row in pool_rows(state) if row[0] == str(k)), None)
    if row is None:
        return ()
    _, asked, accepted, share, returned, left, *_ = row
    facts = [f"{asked} tasks", f"{accepted} {'qualified' if k == 1 else 'accepted'} ({share} %)"]
    facts += [f"{returned} returned"] if returned != "0" else []
    return (line(("hard tasks: ", "dim"), f"{' · '.join(facts)} · {left} left"),)


def bar(share: float, width: int) -> str:
    """A share from 0 to 1 as a bar in eighths of a cell, padded to `width`."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")).ljust(width, "·")


HEALTH = (
    Column("judge", 0),
    Column("n", 6, right=True),
    Column("err", 5, right=True),
    Column("err %", 5, right=True),
    Column("f.pass", 6, right=True),
    Column("f.drop", 6, right=True),
    Column("same%", 5, right=True),
    Column("ms", 6, right=True),
)
WORK = ("judge", "n", "err", "err %", "ms")
"""The columns for a log without canaries."""
NARROW = ("judge", "err", "f.pass", "f.drop", "same%")
"""The columns that matter most, where there is no room for all."""
TIGHT = ("judge", "err", "f.pass", "f.drop")
"""Those for the smallest screen, where names would be cut."""
WIDE, TIGHTEST = 64, 36


def dead_page(state: State, view: ViewState, width: int) -> Page:
    """Reasons of dropped and dead samples, the commonest first; then records that never became a task."""
    k, r = view.shown_round(state), view.of(state)
    title = f"dead letters · round {k}"
    if not r.dead_reasons and not state.refused:
        return said(title, "No sample has been dropped or has died so far.", width)
    lost = r.dead_reasons.total()
    pairs = r.dead_reasons.most_common()
    if view.sort.get("dead", 0) % 2:
        pairs = sorted(pairs)
    rows: list[tuple[str, list[str | Span]]] = [
        (f"reason:{reason}", [reason or "attempts spent", count(n), percent(share_of(n, lost))]) for reason, n in pairs
    ]
    rows += [(f"refused:{why}", [(f"no task: {why}", "dim"), count(n), ""]) for why, n in state.refused.most_common()]
    return table(title, (Column("reason", 0), Column("n", 6, right=True), Column("%", 5, right=True)), rows, width)


def health_page(state: State, view: ViewState, width: int) -> Page:
    """Each judge's errors and time, its errors on canaries, and whether it agrees with itself when asked twice."""
    r = view.of(state)
    title = "judge health"
    judging = [n for n in r.nodes if n not in SINKS and judges(r.nodes[n])]
    names = [n for n in (*state.nodes, *judging) if n in judging or n in r.health]
    if not names:
        return said(title, "No judge has answered in this round yet.", width)
    shown: Sequence[str] = (
        WORK
        if not r.health
        else TIGHT
        if width < TIGHTEST
        else NARROW
        if width < WIDE
        else [column.name for column in HEALTH]
    )
    columns = [c for c in HEALTH if c.name in shown]
    rows = []
    for n in dict.fromkeys(names):
        node = r.nodes.get(n) or NodeCount()
        health = r.health.get(n) or JudgeHealth()
        errors = node.outcomes["error"] + health.errors
        facts: dict[str, str | Span] = {
            "judge": n,
            "n": count(node.answered),
            "err": (f"! {errors}", "bad") if errors else ("0", "dim"),
            "err %": percent(share_of(node.outcomes["error"], node.answered)),
            "f.pass": _wrong(health.false_pass),
            "f.drop": _wrong(health.false_drop),
            "same%": percent(health.agreement),
            "ms": milliseconds(node.busy_us / node.answered if node.answered else None),
        }
        rows.append((f"node:{n}", [facts[column.name] for column in columns]))
    page = table(title, columns, rows, width)
    note = "f.: false on canaries, %; same: asked twice" if r.health else "canaries, agreement: none in this log"
    return page._replace(head=(line((note, "dim")), *page.head))


def _wrong(share: float | None) -> Span:
    return (f"!{percent(share)}", "bad") if share else (percent(share), "dim")
