"""Scores of result folders for `funreason eval`: read outputs, check them, print, save, export and compare.

A result folder is what `funreason eval` wrote, or a tree of official-form result files. Doubled or unknown outputs are
refused by name. Missing ones are refused too, or left out and counted with `--partial`: never a silent zero.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table

from funreason.bfcl import BfclError, check_in
from funreason.bfcl.categories import write_lines
from funreason.bfcl.intervals import wilson
from funreason.bfcl.scores import (
    COMPARISON_HEADS,
    SCORE_HEADS,
    LiveMode,
    accuracies,
    compare,
    comparison_cells,
    comparison_data,
    export_results,
    markdown,
    read_outputs,
    score,
    score_cells,
    score_data,
)
from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.dialects.catalogue import dialect_named
from funreason.cli import terminal
from funreason.evaluation.answers import (
    OFFICIAL,
    CaseAnswer,
    Cases,
    CaseSelection,
    answer_notes,
    digest,
    known_only,
    load_suite,
    read_answers,
    select,
)
from funreason.record.folder import RecordError, write_json
from funreason.trust import rule

FACTS, OUTPUTS = "eval.json", "outputs.jsonl"
SHOWN_ERRORS = 8
EXPLAINED = "p: McNemar's exact test; signif.: p at most 0.05, not corrected for the number of categories"


class EvalOptions(NamedTuple):
    """The options of an evaluation."""

    suite: str | None = None
    categories: list[str] | None = None
    limit: int | None = None
    live: LiveMode = "v4"
    prompt: Literal["bfcl", "native", "text"] | None = None
    max_new_tokens: int | None = None
    out: Path | None = None
    export: Path | None = None
    partial: bool = False
    json: bool = False


class Results(NamedTuple):
    """Outputs by case id and the suite they answer; `answers` only where `funreason eval` wrote them."""

    outputs: dict[str, Any]
    cases: Cases
    answers: dict[str, CaseAnswer]
    form: CallFormat = PYTHONIC


def form_of(facts: Mapping[str, Any] | None) -> CallFormat:
    """The form of calls that the model of these results was asked for; the leaderboard's where nothing is said."""
    name = (facts or {}).get("call_format")
    with rule("remembered"):  # results may be a stranger's
        return PYTHONIC if name is None else CallFormat(dialect_named(str(name)))


def read_results(folder: Path, options: EvalOptions) -> Results:
    """What a result folder answers. BfclError names the file and line of what cannot be scored."""
    if not folder.is_dir():
        raise BfclError(f"{folder}: there is no such folder")
    facts = read_facts(folder)
    own = (facts or {}).get("suite")
    name = options.suite or own or OFFICIAL
    with TemporaryDirectory() as offloaded:
        cases = load_suite(name, folder if name == own else Path(offloaded))
    if facts is None:
        outputs, _ = read_outputs(folder, cases, partial=options.partial)
        return Results(outputs, cases, {})
    answers = read_answers(folder / OUTPUTS)
    known_only(folder / OUTPUTS, answers, cases)
    return Results({answer.id: answer.output for answer in answers.values()}, cases, answers, form_of(facts))


def read_facts(folder: Path) -> dict[str, Any] | None:
    """What made the results in `folder`; None where `funreason eval` made none. RecordError when it is unreadable."""
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


def print_table(
    console: Console, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]
) -> None:
    """Print a table and the notes that belong to it."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="", box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="left" if head == "category" else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for note in notes:
        console.print(note, markup=False)


def save(out: Path, name: str, data: dict[str, Any], text: str) -> None:
    """Write `<name>.json` and `<name>.md` into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", data)
    (out / f"{name}.md").write_text(text)


def score_folder(folder: Path, options: EvalOptions) -> int:
    """Score a result folder; the exit code."""
    found = read_results(folder, options)
    answered = list(dict.fromkeys(found.cases[case_id].category for case_id in found.outputs))
    selection = select(found.cases, options.categories or answered, options.limit)
    outputs = {case_id: found.outputs[case_id] for case_id in selection.cases if case_id in found.outputs}
    absent = len(selection.cases) - len(outputs)
    if absent and not options.partial:
        first = next(case_id for case_id in selection.cases if case_id not in outputs)
        raise BfclError(f"{folder}: {absent} cases have no output, the first is {first!r}; --partial leaves them out")
    notes = [*selection.notes, *([f"{absent} cases have no output and are left out"] if absent else [])]
    notes += answer_notes({i: answer for i, answer in found.answers.items() if i in outputs}, found.cases)
    own = folder if (folder / FACTS).exists() else None
    facts = read_facts(folder) or {"suite": options.suite or OFFICIAL, "outputs": str(folder)}
    console = terminal.console(soft_wrap=True)
    asked = {case.category for case in (selection if options.categories else found).cases.values()}
    print_scores(console, CaseSelection(selection.cases, notes), asked, outputs, options, options.out or own, facts)
    export_official(console, options, found.cases, outputs)
    return 0


def print_scores(
    console: Console,
    selection: CaseSelection,
    asked: Collection[str],
    outputs: Mapping[str, Any],
    options: EvalOptions,
    out: Path | None,
    facts: Mapping[str, Any],
) -> None:
    """Check `outputs` of the selected cases, print the table of the categories `asked`, and save it into `out`.

    `scores.json` has every row of the leaderboard, so that a program finds each number or null.
    """
    cases = selection.cases
    form = form_of(facts)
    results = {case_id: check_in(cases[case_id], output, form) for case_id, output in outputs.items()}
    scores = score(cases, {case_id: result.valid for case_id, result in results.items()})
    errors = Counter(result.error_type for result in results.values() if result.error_type)
    rows = [score_cells(row) for row in scores.rows(options.live, having=asked)]
    most = ", ".join(f"{name} {count}" for name, count in errors.most_common(SHOWN_ERRORS))
    notes = [*selection.notes, *([f"not right: {most}"] if most else [])]
    count = scores.all_items()
    headline = f"{facts['suite']}: {count.correct} of {count.total} right"
    if count.total:
        low, high = wilson(*count)
        share = f"{100 * count.correct / count.total:.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f}"
        headline += f" ({share})"
    data = {**facts, "live": options.live, "limit": options.limit, "notes": selection.notes}
    data |= {"rows": [score_data(row) for row in scores.rows(options.live)], "errors": dict(errors.most_common())}
    if options.json:
        terminal.print_json(data)
    else:
        print_table(console, headline, SCORE_HEADS, rows, notes)
    if out is None:
        return
    save(out, "scores", data, markdown(headline, SCORE_HEADS, rows, selection.notes))
    verdicts = [
        {"id": i, "category": cases[i].category, "valid": result.valid, "error_type": result.error_type}
        for i, result in results.items()
    ]
    write_lines(out / "verdicts.jsonl", verdicts)
    if not options.json:
        console.print(f"saved {out / 'scores.json'}, scores.md, verdicts.jsonl", markup=False)


def export_official(console: Console, options: EvalOptions, cases: Cases, outputs: Mapping[str, Any]) -> None:
    """Write the tree that the official command reads, where that is asked for; `cases` are all of the suite."""
    if options.export is not None:
        export_results(options.export, dict(outputs), cases, partial=options.partial)
        terminal.notices().print(f"official result tree in {options.export}", soft_wrap=True)


def compare_results(old: Path, new: Path, options: EvalOptions) -> int:
    """Compare two result folders case by case; the exit code."""
    before, after = (read_results(folder, options._replace(partial=True)) for folder in (old, new))
    if digest(before.cases) != digest(after.cases):
        raise BfclError(f"{old} and {new} answer different suites; only answers to the same cases can be compared")
    chosen, notes = select(before.cases, options.categories, options.limit)
    both = [i for i in chosen if i in before.outputs and i in after.outputs]
    one = sum((i in before.outputs) != (i in after.outputs) for i in chosen)
    if one and not options.partial:
        raise BfclError(f"{one} cases are answered in one of {old} and {new} only; --partial compares the others")
    notes = [f"old: {old}", f"new: {new}", EXPLAINED, *notes]
    notes += [f"{one} cases that only one of them answers are left out"] if one else []
    verdicts = [{i: check_in(chosen[i], found.outputs[i], found.form).valid for i in both} for found in (before, after)]
    pairs = compare(chosen, *verdicts)
    was = accuracies(verdicts[0], {i: chosen[i].category for i in both})
    rows = [comparison_cells(name, pair, was[name]) for name, pair in pairs.items()]
    # The interval of the change is in the files; next to the test it would make the lines too long for a terminal.
    shown = [row[:-1] for row in rows]
    data = {"notes": notes, "rows": [comparison_data(name, pair, was[name]) for name, pair in pairs.items()]}
    if options.json:
        terminal.print_json(data)
    else:
        print_table(terminal.console(soft_wrap=True), "New against old", COMPARISON_HEADS[:-1], shown, notes)
    if options.out is not None:
        save(options.out, "comparison", data, markdown("Comparison", COMPARISON_HEADS, rows, notes))
    return 0
