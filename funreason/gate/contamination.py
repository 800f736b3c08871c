"""Contamination: finds training tasks whose query also occurs in the gate, or whose tools are a benchmark's.

Exact duplicates have the same words and numbers, apart from case, spaces and punctuation. Near duplicates have mostly
the same letters and no differing content word: queries that differ in a number, name or object ask for different calls,
however alike they read, and templates make many such pairs. Reference answers are never compared. Tools are those of
BFCL's multi-turn test where `bfcl.multi_turn_tools` says so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from rapidfuzz import fuzz, process

from funreason.bfcl.multi_turn_tools import multi_turn_tools, offered_names
from funreason.config import Contamination
from funreason.types import Task

Kind = Literal["exact", "near", "tools"]

EMPTY_WORDS = frozenset(
    "a an the please kindly hi hello hey thanks thank you can could would will may me i my us we to of for and that "
    "now just want need like do does is are it this".split()
)
"""Words that may differ between two queries for the same call."""

ROWS = 2_000
"""Tasks compared at once, which bounds the size of the similarity table."""

_TOKEN = re.compile(r"(?<!\w)[-−]?\d+(?:[.,:/]\d+)*(?!\w)|[^\W_]+")


class Finding(NamedTuple):
    """A contaminated task, and the gate's query that it duplicates or the benchmark whose tools it offers."""

    task: Task
    kind: Kind
    what: str


class ContaminationCheck:
    """Checks training tasks against the gate's queries."""

    def __init__(self, queries: Sequence[str], settings: Contamination) -> None:
        self.settings = settings
        self._queries = list(dict.fromkeys(queries))
        self._tokens = [fold(query) for query in self._queries]
        self._exact = {tokens: query for tokens, query in zip(self._tokens, self._queries, strict=True) if tokens}

    def find(self, tasks: Sequence[Task]) -> list[Finding]:
        """The contaminated tasks among `tasks`, in order."""
        tokens = [fold(task.query) for task in tasks]
        exact = {place: self._exact[words] for place, words in enumerate(tokens) if words in self._exact}
        rest = [place for place in range(len(tasks)) if place not in exact]
        near = {rest[place]: query for place, query in self._near([tokens[place] for place in rest])}
        findings = []
        for place, task in enumerate(tasks):
            if place in exact:
                findings.append(Finding(task, "exact", exact[place]))
            elif place in near:
                findings.append(Finding(task, "near", near[place]))
            elif self.settings.bfcl_tools == "refuse" and (tools := multi_turn_tools(offered_names(task))):
                findings.append(Finding(task, "tools", str(tools)))
        return findings

    def clean(self, tasks: Sequence[Task], findings: Sequence[Finding] | None = None) -> list[Task]:
        """`tasks` without the contaminated ones, or all of them in mode `report`.

        `findings` are what `find` said of these tasks, if that is known.
        """
        if self.settings.mode == "report":
            return list(tasks)
        found = {id(finding.task) for finding in (self.find(tasks) if findings is None else findings)}
        return [task for task in tasks if id(task) not in found]

    def _near(self, tokens: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, str]]:
        least = self.settings.near_threshold
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
    """A query's words in lower case and its numbers with sign and fraction, without punctuation."""
    return tuple(_TOKEN.findall(query.casefold()))


def same_substance(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two queries differ only in word order, filler words, plurals and transposed letters."""
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
