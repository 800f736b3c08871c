"""Cases: a question, the functions offered, and the possible answers, by id.

Question and answer files are aligned line by line, and ids must say so too: the official tools trust the position, and
a shifted file would score every case against another's answer. Files need not be official: any folder of BFCL-form
files with `possible_answer/` beside them is a suite, whatever stands before the category in their names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from funreason.bfcl.categories import (
    CATEGORIES,
    BfclError,
    Language,
    category_of,
    has_answers,
    is_other_test,
    language_of,
    read_lines,
)
from funreason.bfcl.expected import FunctionRule, rules_for
from funreason.bfcl.fetch import fetched_data

ANSWERS = "possible_answer"


@dataclass(frozen=True)
class Case:
    """One test case. `functions` are the raw docs; `answer` has one single-key dict a call, None for (ir)relevance."""

    id: str
    category: str
    question: list[list[dict[str, Any]]]
    functions: list[dict[str, Any]]
    answer: list[dict[str, dict[str, Any]]] | None

    @cached_property
    def language(self) -> Language:
        """The language its calls are written in."""
        return language_of(self.category)

    @cached_property
    def rules(self) -> list[FunctionRule]:
        """What each expected call must satisfy, made on first use. Raises as the official code would on broken docs."""
        return rules_for(self.category, self.functions, self.answer or [], self.language)


def load_cases(path: str | Path | None = None) -> dict[str, Case]:
    """All cases under `path`, by id in file order; without a path, the fetched official data.

    `path` is a folder of `<anything><category>.json` (or `.jsonl`) files with `possible_answer/` beside them, or one
    such file. Raises BfclError naming file and line for what is missing, doubled, misaligned or not JSON.
    """
    root = fetched_data() if path is None else Path(path)
    cases: dict[str, Case] = {}
    for file, category in question_files(root):
        for case in _cases_in(file, category):
            if case.id in cases:
                raise BfclError(f"{file}: the id {case.id!r} stands in another file of this suite too; make ids unique")
            cases[case.id] = case
    return cases


def question_files(root: Path) -> list[tuple[Path, str]]:
    """The question files under `root` with their categories, in the leaderboard's order."""
    if not root.exists():
        raise BfclError(f"{root}: there is no such file or folder")
    files = [root] if root.is_file() else sorted(root.glob("*.json")) + sorted(root.glob("*.jsonl"))
    found = [(file, _category(file)) for file in files if not is_other_test(file.stem)]
    if not found:
        raise BfclError(f"{root}: expected files named <prefix>_<category>.json, found none")
    return sorted(found, key=lambda pair: CATEGORIES.index(pair[1]))


def _category(file: Path) -> str:
    category = category_of(file.stem)
    if category is None:
        known = ", ".join(CATEGORIES)
        raise BfclError(f"{file}: its name must end with a category to say how it is checked; one of {known}")
    return category


def _cases_in(file: Path, category: str) -> Iterator[Case]:
    questions = list(_entries(file, ("question", "function")))
    answers = _answers(file, [(number, entry["id"]) for number, entry in questions]) if has_answers(category) else []
    for place, (_, entry) in enumerate(questions):
        answer = answers[place] if answers else None
        yield Case(entry["id"], category, entry["question"], entry["function"], answer)


def _answers(file: Path, questions: list[tuple[int, str]]) -> list[list[dict[str, dict[str, Any]]]]:
    path = file.parent / ANSWERS / file.name
    if not path.is_file():
        raise BfclError(f"{path}: the possible answers to {file.name} are expected here")
    answers = list(_entries(path, ("ground_truth",)))
    for (number, wanted), (line, entry) in zip(questions, answers, strict=False):
        if entry["id"] != wanted:
            raise BfclError(
                f"{path}:{line}: expected the answer to {wanted!r} ({file.name}:{number}), found {entry['id']!r}; "
                "answers must stand in the order of the questions"
            )
    if len(questions) != len(answers):
        raise BfclError(f"{path}: expected {len(questions)} answers, one for each question, found {len(answers)}")
    for line, entry in answers:
        _check_answer(path, line, entry["ground_truth"])
    return [entry["ground_truth"] for _, entry in answers]


def _check_answer(path: Path, line: int, answer: Any) -> None:
    fits = isinstance(answer, list) and all(
        isinstance(call, dict) and len(call) == 1 and all(isinstance(given, dict) for given in call.values())
        for call in answer
    )
    if not fits or not answer:
        raise BfclError(
            f"{path}:{line}: ground_truth must be a list of {{function: {{parameter: [values]}}}}, one a call"
        )


def _entries(path: Path, keys: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    seen: dict[str, int] = {}
    for number, entry in read_lines(path):
        for key in keys:
            if not isinstance(entry.get(key), list):
                raise BfclError(
                    f"{path}:{number}: expected a list under {key!r}, found {type(entry.get(key)).__name__}"
                )
        if entry["id"] in seen:
            raise BfclError(f"{path}:{number}: the id {entry['id']!r} stands on line {seen[entry['id']]} already")
        seen[entry["id"]] = number
        yield number, entry
