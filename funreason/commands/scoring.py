"""Results that are there already: scored, compared, saved, exported.

A result folder is one that `funreason eval` wrote, or a tree of official-form result files. Whatever is missing,
doubled or unknown in it is refused by name, or counted with `--partial`; it is never a silent zero.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table

from funreason.bfcl import BfclError, check
from funreason.bfcl.files import export_results, read_outputs
from funreason.bfcl.lines import write_lines
from funreason.bfcl.report import (
    COMPARISON_HEADS,
    SCORE_HEADS,
    accuracies,
    comparison_cells,
    comparison_data,
    markdown,
    score_cells,
    score_data,
)
from funreason.bfcl.scores import LiveMode, Scores, compare, score
from funreason.loops.evaluation import Answer, answer_notes, known_only, read_answers
from funreason.loops.suites import OFFICIAL, Cases, Selection, digest, load_suite, select
from funreason.record.folder import RecordError, write_json

FACTS, OUTPUTS = "eval.json", "outputs.jsonl"
SHOWN_ERRORS = 8


class Wanted(NamedTuple):
    """What is asked of an evaluation, as the options say it."""

    suite: str | None = None
    categories: list[str] | None = None
    limit: int | None = None
    live: LiveMode = "v4"
    prompt: Literal["bfcl", "native", "text"] | None = None
    max_new_tokens: int | None = None
    out: Path | None = None
    export: Path | None = None
    partial: bool = False


class Results(NamedTuple):
    """Outputs by case id and the suite they answer; `answers` only where `funreason eval` wrote them."""

    outputs: dict[str, Any]
    cases: Cases
    answers: dict[str, Answer]


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
    facts = _facts(folder) or {"suite": wanted.suite or OFFICIAL, "outputs": str(folder)}
    console = Console(soft_wrap=True, highlight=False)
    report(console, found.cases, Selection(selection.cases, notes), outputs, wanted, wanted.out or own, facts)
    return 0


def compare_results(old: Path, new: Path, wanted: Wanted) -> int:
    """Compare two result folders case by case; the exit code."""
    before, after = (read_results(folder, wanted._replace(partial=True)) for folder in (old, new))
    if digest(before.cases) != digest(after.cases):
        raise BfclError(f"{old} and {new} answer different suites; only answers to the same cases can be compared")
    chosen, left_out = select(before.cases, wanted.categories, wanted.limit)
    both = [case_id for case_id in chosen if case_id in before.outputs and case_id in after.outputs]
    one = sum((case_id in before.outputs) != (case_id in after.outputs) for case_id in chosen)
    if one and not wanted.partial:
        raise BfclError(f"{one} cases are answered in one of {old} and {new} only; --partial compares the others")
    verdicts = [{i: check(chosen[i], found.outputs[i]).valid for i in both} for found in (before, after)]
    pairs = compare(chosen, *verdicts)
    shares = accuracies(verdicts[0], {i: chosen[i].category for i in both})
    rows = [comparison_cells(name, pair, shares[name]) for name, pair in pairs.items()]
    notes = [f"old: {old}", f"new: {new}", "p: McNemar's exact test; significant: p at most 0.05, not corrected"]
    notes += [*left_out, *([f"{one} cases that only one of them answers are left out"] if one else [])]
    data = [comparison_data(name, pair, shares[name]) for name, pair in pairs.items()]
    # The interval of the change is in the files; beside the test it would make the lines too long for a terminal.
    shown = [row[:-1] for row in rows]
    _show(Console(soft_wrap=True, highlight=False), "New against old", COMPARISON_HEADS[:-1], shown, notes)
    if wanted.out is not None:
        _save(
            wanted.out,
            "comparison",
            {"notes": notes, "rows": data},
            markdown("Comparison", COMPARISON_HEADS, rows, notes),
        )
    return 0


def read_results(folder: Path, wanted: Wanted) -> Results:
    """What a result folder answers. BfclError names the file and line of what cannot be scored."""
    if not folder.is_dir():
        raise BfclError(f"{folder}: there is no such folder")
    facts = _facts(folder)
    name = wanted.suite or (facts or {}).get("suite", OFFICIAL)
    with TemporaryDirectory() as aside:
        cases = load_suite(name, folder if facts else Path(aside))
    if facts is None:
        outputs, _ = read_outputs(folder, cases, partial=wanted.partial)
        return Results(outputs, cases, {})
    answers = read_answers(folder / OUTPUTS)
    known_only(folder / OUTPUTS, answers, cases)
    return Results({answer.id: answer.output for answer in answers.values()}, cases, answers)


def report(
    console: Console,
    cases: Cases,
    selection: Selection,
    outputs: Mapping[str, Any],
    wanted: Wanted,
    out: Path | None,
    facts: Mapping[str, Any],
) -> None:
    """Check `outputs`, print the table, save it into `out`, export it where asked."""
    results = {case_id: check(cases[case_id], output) for case_id, output in outputs.items()}
    scores = score(cases, {case_id: result.valid for case_id, result in results.items()})
    errors = Counter(result.error_type for result in results.values() if result.error_type)
    table = scores.rows(wanted.live)
    rows = [score_cells(row) for row in table]
    _show(console, f"{facts['suite']}: {_total(scores)}", SCORE_HEADS, rows, [*selection.notes, *_why(errors)])
    if out is not None:
        data = {**facts, "live": wanted.live, "limit": wanted.limit, "notes": selection.notes}
        _save(
            out,
            "scores",
            {**data, "rows": [score_data(row) for row in table], "errors": dict(errors.most_common())},
            markdown(f"{facts['suite']}", SCORE_HEADS, rows, selection.notes),
        )
        lines = [
            {"id": i, "category": cases[i].category, "valid": result.valid, "error_type": result.error_type}
            for i, result in results.items()
        ]
        write_lines(out / "verdicts.jsonl", lines)
        console.print(f"saved {out / 'scores.json'}, scores.md, verdicts.jsonl", markup=False)
    if wanted.export is not None:
        export_results(wanted.export, dict(outputs), cases, partial=wanted.partial)
        console.print(f"official result tree in {wanted.export}", markup=False)


def _facts(folder: Path) -> dict[str, Any] | None:
    path = folder / FACTS
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_text())
    except ValueError as error:
        raise RecordError(f"{path}: expected what made these results, as JSON: {error}") from error
    if not isinstance(facts, dict):
        raise RecordError(f"{path}: expected an object that says what made these results")
    return facts


def _categories(found: Results) -> list[str]:
    return list(dict.fromkeys(found.cases[case_id].category for case_id in found.outputs))


def _total(scores: Scores) -> str:
    count = scores.all_items()
    return f"{count.correct} of {count.total} right"


def _why(errors: Counter[str]) -> list[str]:
    most = ", ".join(f"{name} {count}" for name, count in errors.most_common(SHOWN_ERRORS))
    return [f"not right: {most}"] if most else []


def _show(
    console: Console, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]
) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="", box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="left" if head == "category" else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for note in notes:
        console.print(note, markup=False)


def _save(out: Path, name: str, data: dict[str, Any], text: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", data)
    (out / f"{name}.md").write_text(text)
