"""`funreason eval --compare`: two results on the same cases, pair by pair."""

from __future__ import annotations

from pathlib import Path

from funreason.bfcl import BfclError, check
from funreason.bfcl.intervals import Paired
from funreason.bfcl.scores import COMPARISON_HEADS, accuracies, compare, comparison_cells, comparison_data, markdown
from funreason.commands import terminal
from funreason.commands.results import Wanted, read_results, save, show
from funreason.evaluate.suites import digest, select

EXPLAINED = "p: McNemar's exact test; signif.: p at most 0.05, not corrected for the number of categories"


def compare_results(old: Path, new: Path, wanted: Wanted) -> int:
    """Compare two result folders case by case; the exit code."""
    before, after = (read_results(folder, wanted._replace(partial=True)) for folder in (old, new))
    if digest(before.cases) != digest(after.cases):
        raise BfclError(f"{old} and {new} answer different suites; only answers to the same cases can be compared")
    chosen, notes = select(before.cases, wanted.categories, wanted.limit)
    both = [i for i in chosen if i in before.outputs and i in after.outputs]
    one = sum((i in before.outputs) != (i in after.outputs) for i in chosen)
    if one and not wanted.partial:
        raise BfclError(f"{one} cases are answered in one of {old} and {new} only; --partial compares the others")
    notes = [f"old: {old}", f"new: {new}", EXPLAINED, *notes]
    notes += [f"{one} cases that only one of them answers are left out"] if one else []
    verdicts = [{i: check(chosen[i], found.outputs[i]).valid for i in both} for found in (before, after)]
    _report(
        compare(chosen, *verdicts), accuracies(verdicts[0], {i: chosen[i].category for i in both}), notes, wanted.out
    )
    return 0


def _report(pairs: dict[str, Paired], old: dict[str, float], notes: list[str], out: Path | None) -> None:
    rows = [comparison_cells(name, pair, old[name]) for name, pair in pairs.items()]
    # The interval of the change is in the files; beside the test it would make the lines too long for a terminal.
    shown = [row[:-1] for row in rows]
    show(terminal.console(soft_wrap=True), "New against old", COMPARISON_HEADS[:-1], shown, notes)
    if out is not None:
        data = [comparison_data(name, pair, old[name]) for name, pair in pairs.items()]
        save(out, "comparison", {"notes": notes, "rows": data}, markdown("Comparison", COMPARISON_HEADS, rows, notes))
