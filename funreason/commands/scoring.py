"""`funreason eval --outputs`, and the end of every evaluation: verdicts, the table, what is saved and exported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from funreason.bfcl import BfclError, Case, Result, check
from funreason.bfcl.categories import write_lines
from funreason.bfcl.files import export_results
from funreason.bfcl.scores import SCORE_HEADS, Scores, markdown, score, score_cells, score_data
from funreason.commands import terminal
from funreason.commands.results import FACTS, Results, Wanted, read_facts, read_results, save, show
from funreason.evaluate.answers import answer_notes
from funreason.evaluate.suites import OFFICIAL, Cases, CaseSelection, select

SHOWN_ERRORS = 8


def score_folder(folder: Path, wanted: Wanted) -> int:
    """Score a result folder; the exit code."""
    found = read_results(folder, wanted)
    selection = select(found.cases, wanted.categories or _categories(found), wanted.limit)
    outputs = {case_id: found.outputs[case_id] for case_id in selection.cases if case_id in found.outputs}
    absent = len(selection.cases) - len(outputs)
    if absent and not wanted.partial:
        first = next(case_id for case_id in selection.cases if case_id not in outputs)
        raise BfclError(f"{folder}: {absent} cases have no output, the first is {first!r}; --partial leaves them out")
    notes = [*selection.notes, *([f"{absent} cases have no output and are left out"] if absent else [])]
    notes += answer_notes({i: answer for i, answer in found.answers.items() if i in outputs}, found.cases)
    own = folder if (folder / FACTS).exists() else None
    facts = read_facts(folder) or {"suite": wanted.suite or OFFICIAL, "outputs": str(folder)}
    console = terminal.console(soft_wrap=True)
    report(console, CaseSelection(selection.cases, notes), outputs, wanted, wanted.out or own, facts)
    export(console, wanted, found.cases, outputs)
    return 0


def report(
    console: Console,
    selection: CaseSelection,
    outputs: Mapping[str, Any],
    wanted: Wanted,
    out: Path | None,
    facts: Mapping[str, Any],
) -> None:
    """Check `outputs` of the selected cases, print the table, and save it into `out`."""
    cases = selection.cases
    results = {case_id: check(cases[case_id], output) for case_id, output in outputs.items()}
    scores = score(cases, {case_id: result.valid for case_id, result in results.items()})
    errors = Counter(result.error_type for result in results.values() if result.error_type)
    table = scores.rows(wanted.live)
    rows = [score_cells(row) for row in table]
    show(console, f"{facts['suite']}: {_total(scores)}", SCORE_HEADS, rows, [*selection.notes, *_why(errors)])
    if out is None:
        return
    data = {**facts, "live": wanted.live, "limit": wanted.limit, "notes": selection.notes}
    data |= {"rows": [score_data(row) for row in table], "errors": dict(errors.most_common())}
    save(out, "scores", data, markdown(f"{facts['suite']}", SCORE_HEADS, rows, selection.notes))
    write_lines(out / "verdicts.jsonl", [_verdict(cases[i], result) for i, result in results.items()])
    console.print(f"saved {out / 'scores.json'}, scores.md, verdicts.jsonl", markup=False)


def export(console: Console, wanted: Wanted, cases: Cases, outputs: Mapping[str, Any]) -> None:
    """Write the tree that the official command reads, where that is asked for; `cases` are all of the suite."""
    if wanted.export is not None:
        export_results(wanted.export, dict(outputs), cases, partial=wanted.partial)
        console.print(f"official result tree in {wanted.export}", markup=False)


def _verdict(case: Case, result: Result) -> dict[str, Any]:
    return {"id": case.id, "category": case.category, "valid": result.valid, "error_type": result.error_type}


def _categories(found: Results) -> list[str]:
    return list(dict.fromkeys(found.cases[case_id].category for case_id in found.outputs))


def _total(scores: Scores) -> str:
    count = scores.all_items()
    return f"{count.correct} of {count.total} right"


def _why(errors: Counter[str]) -> list[str]:
    most = ", ".join(f"{name} {count}" for name, count in errors.most_common(SHOWN_ERRORS))
    return [f"not right: {most}"] if most else []
