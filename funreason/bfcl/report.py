"""Scores and comparisons as tables for people (Markdown) and as data (JSON).

"Not run" is a word of its own: null in the data, never a 0. A row without counts is a mean over categories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from funreason.bfcl.intervals import Interval, Paired
from funreason.bfcl.scores import Row

NOT_RUN = "not run"
SIGNIFICANT_P = 0.05

SCORE_HEADS = ("category", "right", "total", "%", "95 % interval")
COMPARISON_HEADS = ("category", "items", "old %", "new %", "change", "won/lost", "p", "signif.", "95 % interval")


def score_cells(row: Row) -> tuple[str, ...]:
    """A row of scores as text."""
    counts = ("", "") if row.total is None else (str(row.correct), str(row.total))
    if row.percent is None:
        return (row.name, *counts, NOT_RUN, "")
    return (row.name, *counts, f"{row.percent}", _interval(row.interval))


def score_data(row: Row) -> dict[str, Any]:
    """A row of scores as JSON data."""
    return {
        "name": row.name,
        "correct": row.correct,
        "total": row.total,
        "percent": None if row.percent is None else float(row.percent),
        "interval": None if row.interval is None else [round(end, 2) for end in row.interval],
    }


def comparison_cells(name: str, pair: Paired, old: float) -> tuple[str, ...]:
    """A paired comparison as text; `old` is the old accuracy."""
    return (
        name,
        str(pair.items),
        f"{100 * old:.2f}",
        f"{100 * (old + pair.difference):.2f}",
        f"{100 * pair.difference:+.2f}",
        f"{pair.gained}/{pair.lost}",
        f"{pair.p:.4f}",
        "yes" if significant(pair) else "no",
        _interval(Interval(100 * pair.interval.low, 100 * pair.interval.high)),
    )


def comparison_data(name: str, pair: Paired, old: float) -> dict[str, Any]:
    """A paired comparison as JSON data; accuracies from 0 to 1."""
    data = pair._asdict() | {"interval": list(pair.interval)}
    return {"name": name, "old": old, "new": old + pair.difference, **data, "significant": significant(pair)}


def significant(pair: Paired) -> bool:
    """Whether McNemar's exact test finds the two apart at 0.05; no correction for asking about many categories."""
    return pair.p <= SIGNIFICANT_P


def markdown(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """A table with its title and the notes that belong to it."""
    lines = [f"# {title}", "", _line(heads), _line(["---", *["---:"] * (len(heads) - 1)]), *map(_line, rows)]
    return "\n".join([*lines, *(["", *[f"- {note}" for note in notes]] if notes else [])]) + "\n"


def accuracies(valid: Mapping[str, bool], categories: Mapping[str, str]) -> dict[str, float]:
    """The share of right verdicts by category, and over "all"."""
    groups: dict[str, list[bool]] = {}
    for case_id, verdict in valid.items():
        groups.setdefault(categories[case_id], []).append(verdict)
        groups.setdefault("all", []).append(verdict)
    return {name: sum(verdicts) / len(verdicts) for name, verdicts in groups.items()}


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.2f} to {interval.high:.2f}"
