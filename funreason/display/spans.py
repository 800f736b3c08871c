"""Text as the dashboard paints it: spans of (text, role), never markup.

What a model wrote may hold escape sequences, control characters or words that look like markup. Every span goes
through `clean` before it is painted, and nothing here ever reads markup, so none of it can reach the terminal.
A role is a word such as `good` or `think`; which colour that is depends on the theme.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.cells import cell_len, chop_cells, set_cell_size

from funreason.record.plain import plain

Span = tuple[str, str]
Line = tuple[Span, ...]
# A role is one of plain, dim, head, good, bad, warn, think, result, old, accent, key.


def clean(text: str) -> str:
    """`text` without anything a terminal would act on; nearly all text is plain ASCII and costs no more than a look."""
    return text if text.isascii() and text.isprintable() else plain(text)


def fit(text: str, width: int, right: bool = False) -> str:
    """`text`, cleaned, in exactly `width` cells; what is too long ends in `…`."""
    text = clean(text)
    size = len(text) if text.isascii() else cell_len(text)  # nearly all is ASCII, and this runs for every cell
    if size > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    return " " * (width - size) + text if right else text + " " * (width - size)


def fit_end(text: str, width: int) -> str:
    """As `fit`, but of what is too long the end is kept: ids differ there."""
    text = clean(text)
    if text.isascii() and len(text) > width > 0:
        return "…" + text[len(text) - width + 1 :]
    while cell_len(text) > width > 0:
        text = "…" + text[2:] if text.startswith("…") else "…" + text[1:]
    return fit(text, width)


class Column(NamedTuple):
    """A column of a table. Width 0 takes what the others leave; `end` keeps the end of what is too long."""

    name: str
    width: int
    right: bool = False
    end: bool = False


class PageRow(NamedTuple):
    """A line for the cursor; `key` names the thing it shows, `cells` are what is copied and exported."""

    key: str
    line: Line
    cells: tuple[str, ...] = ()


class Page(NamedTuple):
    """What a panel shows: its title, lines that stay, rows that scroll, a table's column names."""

    title: str
    head: tuple[Line, ...] = ()
    rows: tuple[PageRow, ...] = ()
    columns: tuple[str, ...] = ()


def line(*parts: str | Span) -> Line:
    """A line of plain strings and spans."""
    return tuple((part, "plain") if isinstance(part, str) else part for part in parts)


def table(
    title: str,
    columns: Sequence[Column],
    rows: Iterable[tuple[str, Sequence[str | Span]]],
    width: int,
    head: Sequence[Line] = (),
) -> Page:
    """A page with a header line and one row per (key, cells), `width` cells wide."""
    rest = width - sum(c.width + 1 for c in columns if c.width) - 1
    sized = [c if c.width else c._replace(width=max(4, rest)) for c in columns]
    names = line((" ".join(fit(c.name, c.width, c.right) for c in sized), "head"))
    made: list[PageRow] = []
    for key, cells in rows:
        spans: list[Span] = []
        for cell, column in zip(cells, sized, strict=True):
            text, role = (cell, "plain") if isinstance(cell, str) else cell
            fitted = fit_end(text, column.width) if column.end else fit(text, column.width, column.right)
            spans.append((fitted + " ", role))
        copied = tuple(clean(c if isinstance(c, str) else c[0]).strip() for c in cells)
        made.append(PageRow(key, tuple(spans), copied))
    return Page(title, (*head, names), tuple(made), tuple(c.name for c in columns))


def said(title: str, text: str, width: int) -> Page:
    """A page of plain text, such as why there is nothing to show yet."""
    return Page(title, tuple(line((part, "dim")) for part in wrap(text, width)))


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells, broken at blanks where there are any; its own breaks are kept."""
    width = max(8, width)
    lines: list[str] = []
    for one in text.splitlines() or [""]:
        current = ""
        for word in clean(one).split(" "):
            if cell_len(current) + 1 + cell_len(word) <= width or not current:
                current = f"{current} {word}" if current else word
            else:
                lines.append(current)
                current = word
            if cell_len(current) > width:
                *whole, current = chop_cells(current, width)
                lines += whole
        lines.append(current)
    return lines


def wrap_spans(spans: Sequence[Span], width: int) -> list[Line]:
    """Spans in lines of at most `width` cells, broken where a cell would be too many."""
    lines: list[list[Span]] = [[]]
    room = width
    for text, role in spans:
        for char in clean(text):
            if cell_len(char) > room:
                lines.append([])
                room = width
            room -= cell_len(char)
            here = lines[-1]
            if here and here[-1][1] == role:
                here[-1] = (here[-1][0] + char, role)
            else:
                here.append((char, role))
    return [tuple(each) for each in lines]
