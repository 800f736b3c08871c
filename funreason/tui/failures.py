"""The dead letters by reason, and the health of the judges."""

from __future__ import annotations

from funreason.record.state import State
from funreason.tui.figures import count, milliseconds, percent, share_of
from funreason.tui.flow import SINKS, judges
from funreason.tui.lines import Column, Page, Span, line, said, table
from funreason.tui.look import Look


def dead_page(state: State, look: Look, width: int) -> Page:
    """Reasons of what was dropped or died, the commonest first; records that never became a task below."""
    k, r = look.shown_round(state), look.of(state)
    title = f"dead letters · round {k}"
    if not r.dead_reasons and not state.refused:
        return said(title, "Nothing was dropped and nothing died so far.", width)
    lost = r.dead_reasons.total()
    pairs = r.dead_reasons.most_common()
    if look.sort.get("dead", 0) % 2:
        pairs = sorted(pairs)
    rows: list[tuple[str, list[str | Span]]] = [
        (f"reason:{reason}", [reason or "attempts spent", count(n), percent(share_of(n, lost))]) for reason, n in pairs
    ]
    rows += [(f"refused:{why}", [(f"no task: {why}", "dim"), count(n), ""]) for why, n in state.refused.most_common()]
    return table(title, (Column("reason", 0), Column("n", 6, right=True), Column("%", 5, right=True)), rows, width)


def health_page(state: State, look: Look, width: int) -> Page:
    """Errors, error rate and time of each judge; canaries and agreement where a run has them."""
    r = look.of(state)
    title = "judge health"
    names = [n for n in r.nodes if n not in SINKS and judges(r.nodes[n])]
    if not names:
        return said(title, "No judge has answered in this round yet.", width)
    rows = [(f"node:{n}", _health_cells(state, look, n)) for n in names]
    columns = (
        Column("judge", 0),
        Column("n", 6, right=True),
        Column("err", 5, right=True),
        Column("err %", 5, right=True),
    )
    page = table(title, (*columns, Column("ms", 6, right=True)), rows, width)
    note = "canaries, agreement: none in this log"
    return page._replace(head=(line((note, "dim")), *page.head))


def _health_cells(state: State, look: Look, name: str) -> list[str | Span]:
    node = look.of(state).nodes[name]
    errors = node.outcomes["error"]
    mark: str | Span = (f"! {errors}", "bad") if errors else ("0", "dim")
    return [
        name,
        count(node.answered),
        mark,
        percent(share_of(errors, node.answered)),
        milliseconds(node.busy_us / node.answered if node.answered else None),
    ]
