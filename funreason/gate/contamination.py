"""Contamination: training tasks whose query is in the gate, word for word or nearly so.

Exact: the same words and numbers once case, blanks and punctuation are gone. Near: much the same letters, and no word
of substance apart: two queries that differ in a number, a name or a thing ask for different calls, however alike they
read, and templates make many such pairs. Reference answers are never looked at: only the query gives an item away.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from rapidfuzz import fuzz, process

from funreason.config import Contamination
from funreason.types import Task

Kind = Literal["exact", "near"]

EMPTY_WORDS = frozenset(
    "a an the please kindly hi hello hey thanks thank you can could would will may me i my us we to of for and that "
    "now just want need like do does is are it this".split()
)
"""Words that may differ between two queries for the same call."""

ROWS = 2_000
"""Tasks compared at once: bounds the table of similarities, whatever the number of tasks."""

_TOKEN = re.compile(r"(?<!\w)[-−]?\d+(?:[.,:/]\d+)*(?!\w)|[^\W_]+")


class Finding(NamedTuple):
    """A task whose query is in the gate, and the gate's query."""

    task: Task
    kind: Kind
    query: str


class ContaminationCheck:
    """The gate's queries, against which training tasks are held."""

    def __init__(self, queries: Sequence[str], settings: Contamination) -> None:
        self.settings = settings
        self._queries = list(dict.fromkeys(queries))
        self._tokens = [fold(query) for query in self._queries]
        self._exact = {tokens: query for tokens, query in zip(self._tokens, self._queries, strict=True) if tokens}

    def find(self, tasks: Sequence[Task]) -> list[Finding]:
        """The contaminated ones among `tasks`, in their order."""
        tokens = [fold(task.query) for task in tasks]
        exact = {place: self._exact[words] for place, words in enumerate(tokens) if words in self._exact}
        rest = [place for place in range(len(tasks)) if place not in exact]
        near = {rest[place]: query for place, query in self._near([tokens[place] for place in rest])}
        return [
            Finding(task, "exact" if place in exact else "near", exact.get(place) or near[place])
            for place, task in enumerate(tasks)
            if place in exact or place in near
        ]

    def clean(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks without the contaminated ones; all of them in mode `report`."""
        if self.settings.mode == "report":
            return list(tasks)
        found = {id(finding.task) for finding in self.find(tasks)}
        return [task for task in tasks if id(task) not in found]

    def _near(self, tokens: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, str]]:
        least = self.settings.near
        if least is None or not tokens or not self._tokens:
            return
        gate = [_letters(words) for words in self._tokens]
        for first in range(0, len(tokens), ROWS):
            part = tokens[first : first + ROWS]
            own = [_letters(words) for words in part]
            alike = process.cdist(own, gate, scorer=fuzz.ratio, score_cutoff=100 * least)
            for row, scores in enumerate(alike):
                candidates = scores.nonzero()[0] if own[row] else ()
                place = next((i for i in candidates if same_substance(part[row], self._tokens[i])), None)
                if place is not None:
                    yield first + row, self._queries[place]


def fold(query: str) -> tuple[str, ...]:
    """A query's words in lower case and its numbers with their sign and fraction; punctuation is gone."""
    return tuple(_TOKEN.findall(query.casefold()))


def same_substance(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two queries differ in nothing but order, empty words, plurals and transposed letters."""
    left, right = _left_over(one, other), _left_over(other, one)
    return len(left) == len(right) and all(_variants(*pair) for pair in zip(left, right, strict=True))


def _left_over(one: Sequence[str], other: Sequence[str]) -> list[str]:
    rest = (Counter(one) - Counter(other)).elements()
    return sorted(word for word in rest if word not in EMPTY_WORDS)


def _variants(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if len(short) < 4 or not short.isalpha():
        return False
    plural = long in (f"{short}s", f"{short}es")
    return plural or (short[0] == long[0] and sorted(short) == sorted(long))


def _letters(words: Sequence[str]) -> str:
    return " ".join(sorted(word for word in words if word not in EMPTY_WORDS))
