"""The samples panel: the last words about samples, newest first, filtered by agent, end, reason or id.

Only a round's newest judgements are held one by one (`RECENT_JUDGEMENTS`), so this is a window, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from funreason.display.spans import Column, Page, Span, said, table
from funreason.record.events import Judged, SampleEnded
from funreason.record.state import State
from funreason.tui.look import Look

MOST = 200
"""Rows made at once: more than anyone scrolls through, few enough to be made four times a second."""
OUTCOMES = {
    "pass": ("✓", "good"), "kept": ("✓", "good"), "text": ("✓", "good"), "keep_text": ("✓", "good"),
    "drop": ("✗", "bad"), "dropped": ("✗", "bad"), "dead": ("✗", "bad"), "error": ("!", "bad"),
    "exhausted": ("✗", "bad"),
    "regenerate": ("↻", "warn"), "reformatted": ("↻", "warn"), "rewritten": ("↻", "warn"), "resampled": ("↻", "warn"),
}  # fmt: skip
_SORTS = ("newest", "id", "attempt", "node", "verdict", "reason")


def samples_page(state: State, look: Look, width: int) -> Page:
    """Id, attempt, node, verdict and reason of the newest samples that the filters let through."""
    k, r = look.shown_round(state), look.of(state)
    narrowed = " · ".join(part for part in (look.node.partition(":")[2], look.pattern and f"/{look.pattern}") if part)
    order = _SORTS[look.sort.get("samples", 0) % len(_SORTS)]
    title = (
        f"samples · round {k}"
        + (f" · {narrowed}" if narrowed else "")
        + (f" · by {order}" if order != "newest" else "")
    )
    if not r.recent:
        return said(title, "No sample of this round has been judged yet.", width)
    found = list(_newest(_matching(reversed(r.recent), look)))
    if not found:
        return said(title, f"None of the newest {len(r.recent)} judgements fits the filter; esc clears it.", width)
    rows = [(e.sample, _cells(e)) for e in _sorted(found, order)]
    columns = (
        Column("id", 0, end=True),
        Column("try", 3, right=True),
        Column("node", 11),
        Column("verdict", 12),
        Column("reason", 19),
    )
    page = table(
        title, _fitting(columns, width), [(key, cells[: len(_fitting(columns, width))]) for key, cells in rows], width
    )
    return page._replace(columns=page.columns)


def matches(event: Judged | SampleEnded, pattern: str) -> bool:
    """Whether a word of the filter fits: a part of the id, or a wildcard over node, verdict or reason."""
    word = event.outcome if isinstance(event, Judged) else event.fate
    if "*" in pattern or "?" in pattern:
        return any(fnmatchcase(text, pattern) for text in (event.sample, event.node, word, event.reason))
    return pattern in event.sample or pattern in event.node or pattern in word or pattern in event.reason


def _matching(events: Iterable[Judged | SampleEnded], look: Look) -> Iterator[Judged | SampleEnded]:
    kind, _, name = look.node.partition(":")
    for event in events:
        if kind == "node" and not (isinstance(event, Judged) and event.node == name):
            continue
        if kind == "end" and not (isinstance(event, SampleEnded) and event.fate == name):
            continue
        if kind == "reason" and not (isinstance(event, SampleEnded) and event.reason == name):
            continue
        if look.pattern and not matches(event, look.pattern):
            continue
        yield event


def _newest(events: Iterable[Judged | SampleEnded]) -> Iterator[Judged | SampleEnded]:
    """The newest event of each sample, `MOST` at most."""
    seen: set[str] = set()
    for event in events:
        if event.sample not in seen:
            seen.add(event.sample)
            yield event
            if len(seen) >= MOST:
                return


def _sorted(events: list[Judged | SampleEnded], order: str) -> list[Judged | SampleEnded]:
    if order == "newest":
        return events
    at = _SORTS.index(order) - 1
    return sorted(events, key=lambda e: (e.sample, f"{e.attempt:03}", e.node, _word(e), e.reason)[at])


def _word(event: Judged | SampleEnded) -> str:
    return event.outcome if isinstance(event, Judged) else event.fate


def _cells(event: Judged | SampleEnded) -> list[str | Span]:
    word = _word(event)
    sign, role = OUTCOMES.get(word, ("·", "dim"))
    return [event.sample, str(event.attempt), (event.node or NO_NODE, "dim"), (f"{sign} {word}", role), event.reason]


NO_NODE = "trainer"
"""A kept sample whose judges all passed it names no node: it ended where it was handed over."""


def _fitting(columns: tuple[Column, ...], width: int) -> tuple[Column, ...]:
    """The columns, the reason given up first when ids would have no room."""
    return columns if width >= 66 else columns[:-1]
