"""BFCL from Python in three calls: `load` cases, `score` a model's answers, `compare` two models on the same cases.

cases = bfcl.load("v4", ["simple_python", "multiple"])
card = bfcl.score({case.id: my_model(case.messages, case.tools) for case in cases})
print(card, card["multiple"].accuracy, bfcl.compare(before, card).p)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from funreason.bfcl.cases import Case, load_cases
from funreason.bfcl.categories import CATEGORIES, FORMER_NAMES, BfclError
from funreason.bfcl.checker import Result, check, check_any, check_calls
from funreason.bfcl.intervals import Interval, Paired, wilson
from funreason.bfcl.scores import (
    COMPARISON_HEADS,
    SCORE_HEADS,
    Scores,
    comparison_cells,
    markdown,
    score_cells,
)
from funreason.bfcl.scores import compare as compare_verdicts
from funreason.bfcl.scores import score as score_verdicts
from funreason.calls.thinking import THINK_TAGS, Tags, split_thinking
from funreason.types import Call

OFFICIAL = ("v4", "bfcl-v4")
"""Names of the official data; see `funreason bfcl fetch`."""
Answer = str | Sequence[Call | Mapping[str, Any]]
"""What a model wrote, or its calls: `Call`, `{"name", "arguments"}`, or a chat API's `tool_calls`."""


class CategoryScore(NamedTuple):
    """Right answers of a category; `interval` is Wilson's at 95 %. Shares from 0 to 1."""

    correct: int
    total: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True, repr=False)
class Scorecard(Mapping[str, CategoryScore]):
    """A model's scores under BFCL's rules: a mapping from category, or `all`, to `CategoryScore`.

    `results` has each case's verdict, `scores` the leaderboard's means. As text it is the table.
    """

    cases: Mapping[str, Case]
    results: Mapping[str, Result]
    scores: Scores

    @property
    def valid(self) -> dict[str, bool]:
        """Whether each case's answer is right, by id."""
        return {name: result.valid for name, result in self.results.items()}

    @property
    def accuracy(self) -> float:
        """The share of all cases that is right, whatever their category."""
        return self["all"].accuracy

    def __getitem__(self, category: str) -> CategoryScore:
        count = self.scores.all_items() if category == "all" else self.scores.counts[category]
        return CategoryScore(*count, count.correct / count.total, wilson(*count))

    def __iter__(self) -> Iterator[str]:
        return iter([*self.scores.counts, "all"])

    def __len__(self) -> int:
        return len(self.scores.counts) + 1

    def __str__(self) -> str:
        rows = [score_cells(row) for row in self.scores.rows() if row.percent is not None]
        return markdown("BFCL", SCORE_HEADS, rows)

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, repr=False)
class Comparison(Mapping[str, Paired]):
    """Two models on the same cases: a mapping from category, or `all`, to `Paired`. As text it is the table."""

    pairs: Mapping[str, Paired]
    old: Mapping[str, float]

    @property
    def p(self) -> float:
        """Two-sided p of McNemar's exact test over all cases."""
        return self.pairs["all"].p

    @property
    def difference(self) -> float:
        """New less old accuracy over all cases, from -1 to 1."""
        return self.pairs["all"].difference

    def __getitem__(self, category: str) -> Paired:
        return self.pairs[category]

    def __iter__(self) -> Iterator[str]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __str__(self) -> str:
        rows = [comparison_cells(name, pair, self.old[name]) for name, pair in self.pairs.items()]
        return markdown("BFCL, old and new", COMPARISON_HEADS, rows)

    def __repr__(self) -> str:
        return str(self)


def load(suite: str | Path = "v4", categories: Sequence[str] | None = None) -> list[Case]:
    """The cases of a suite, in its order.

    Args:
        suite: `v4`, the official data, or a folder in BFCL's form.
        categories: only these; default: all that the suite has.

    Raises BfclError where the data is missing or malformed, and for a category that the suite does not have.
    """
    cases = list(load_cases(None if suite in OFFICIAL else suite).values())
    if categories is None:
        return cases
    wanted = [FORMER_NAMES.get(name, name) for name in categories]
    there = {case.category for case in cases}
    for name in wanted:
        if name not in there:
            has = ", ".join(each for each in CATEGORIES if each in there)
            raise BfclError(f"the suite {suite} has no category {name!r}; it has {has}")
    return [case for case in cases if case.category in wanted]


def score(
    answers: Mapping[str, Answer],
    cases: Iterable[Case] | None = None,
    *,
    any_form: bool = False,
    partial: bool = False,
    tags: Tags = THINK_TAGS,
) -> Scorecard:
    """Score answers as the official command does, without running them.

    Args:
        answers: by case id, what the model wrote (up to the last closing tag of thinking it is not read), or its calls.
        cases: what was asked, from `load`; default: the categories of the official data that the answers belong to.
        any_form: read calls in any known dialect, instead of as `[f(a=v)]` only.
        partial: leave cases without an answer out, instead of refusing.
        tags: the tags of thinking.

    Raises BfclError for an id that no case has, a case without an answer, and answers that are neither text nor calls.
    """
    known = load_cases() if cases is None else {case.id: case for case in cases}
    unknown = [name for name in answers if name not in known]
    if unknown:
        raise BfclError(f"{len(unknown)} answers belong to no case, the first is {unknown[0]!r}")
    if cases is None:
        asked = {known[name].category for name in answers}
        known = {name: case for name, case in known.items() if case.category in asked}
    missing = [name for name in known if name not in answers]
    if not answers or (missing and not partial):
        first = f", the first is {missing[0]!r}" if missing else ""
        raise BfclError(f"{len(missing)} cases have no answer{first}; answer them, or pass partial=True.")
    results = {name: _checked(case, answers[name], any_form, tags) for name, case in known.items() if name in answers}
    return Scorecard(known, results, score_verdicts(known, {name: found.valid for name, found in results.items()}))


def compare(old: Scorecard, new: Scorecard) -> Comparison:
    """New against old on the same cases, pair by pair. BfclError where they are not the same."""
    pairs = compare_verdicts(old.cases, old.valid, new.valid)
    return Comparison(pairs, {name: old[name].accuracy for name in pairs})


def _checked(case: Case, answer: Answer, any_form: bool, tags: Tags) -> Result:
    if isinstance(answer, str):
        text = split_thinking(answer, tags).answer
        return check_any(case, text) if any_form else check(case, text)
    try:
        calls = [_call(each) for each in answer]
    except (TypeError, KeyError, ValueError) as error:
        raise BfclError(
            f"the answer to {case.id!r} is {answer!r:.80}; expected text, or a list of calls with name and arguments."
        ) from error
    # A chat API allows no dots in names, so the leaderboard's handlers write underscores for them.
    names = {str(function["name"]).replace(".", "_"): str(function["name"]) for function in case.functions}
    return check_calls(case, [{names.get(call.name, call.name): call.arguments} for call in calls])


def _call(given: Call | Mapping[str, Any]) -> Call:
    if isinstance(given, Call):
        return given
    inner = given.get("function", given)
    arguments = inner.get("arguments", {})
    found = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
    if not isinstance(inner["name"], str) or not isinstance(found, dict):
        raise TypeError("no call")
    return Call(inner["name"], found)
