"""Result folders: what `funreason eval` wrote, or a tree of official-form result files, read and shown.

What is doubled or unknown in one is refused by name; what is missing too, or it is left out and counted with
`--partial`: it is never a silent zero.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table

from funreason.bfcl import BfclError
from funreason.bfcl.files import read_outputs
from funreason.bfcl.scores import LiveMode
from funreason.evaluate.answers import CaseAnswer, known_only, read_answers
from funreason.evaluate.suites import OFFICIAL, Cases, load_suite
from funreason.record.folder import RecordError, write_json

FACTS, OUTPUTS = "eval.json", "outputs.jsonl"


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
    answers: dict[str, CaseAnswer]


def read_results(folder: Path, wanted: Wanted) -> Results:
    """What a result folder answers. BfclError names the file and line of what cannot be scored."""
    if not folder.is_dir():
        raise BfclError(f"{folder}: there is no such folder")
    facts = read_facts(folder)
    own = (facts or {}).get("suite")
    name = wanted.suite or own or OFFICIAL
    with TemporaryDirectory() as offloaded:
        cases = load_suite(name, folder if name == own else Path(offloaded))
    if facts is None:
        outputs, _ = read_outputs(folder, cases, partial=wanted.partial)
        return Results(outputs, cases, {})
    answers = read_answers(folder / OUTPUTS)
    known_only(folder / OUTPUTS, answers, cases)
    return Results({answer.id: answer.output for answer in answers.values()}, cases, answers)


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


def show(
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
