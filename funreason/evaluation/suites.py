"""Which cases an evaluation asks: the official data, a split of the embedded toolbox, or a folder in BFCL's form.

A toolbox suite is what the gate of the default run measures on: the same number of items, drawn with the same seed,
whatever the run's own. It is written beside the results and read from there again, so that results stay comparable
when the toolbox changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from funreason.bfcl import BfclError, Case, check, load_cases
from funreason.bfcl.categories import CATEGORIES, FORMER_NAMES
from funreason.bfcl.suites import write_suite
from funreason.config import ConfigError
from funreason.sources.tasks import TOOLBOX, toolbox_tasks

OFFICIAL = "bfcl-v4"
TOOLBOX_ITEMS, TOOLBOX_SEED = 400, 0
KEPT = "suite"
"""The folder inside a result folder that holds the suite, where it was made for it."""

Cases = dict[str, Case]


class CaseSelection(NamedTuple):
    """The cases to score, and why any of the suite's categories is left out."""

    cases: Cases
    notes: list[str]


def load_suite(name: str, folder: Path) -> Cases:
    """The cases of a suite by id. ConfigError says which names there are; a toolbox suite is written into `folder`."""
    kept = folder / KEPT
    if kept.is_dir():
        return load_cases(kept)
    if name == OFFICIAL:
        return load_cases()
    if name.startswith(TOOLBOX):
        write_suite(toolbox_tasks(name, TOOLBOX_ITEMS, TOOLBOX_SEED), kept, name.removeprefix(TOOLBOX))
        return load_cases(kept)
    if not Path(name).exists():
        raise ConfigError(f"--suite {name}: expected {OFFICIAL}, {TOOLBOX}<split>, or a folder in BFCL's form")
    return load_cases(name)


def select(cases: Mapping[str, Case], categories: Sequence[str] | None, limit: int | None) -> CaseSelection:
    """The cases of these categories (default all), at most `limit` of each, that can be scored here.

    ConfigError for a category that is unknown or that the suite does not have, and for a limit under 1.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit is {limit}; it must be at least 1")
    there = [name for name in CATEGORIES if any(case.category == name for case in cases.values())]
    wanted = there
    if categories is not None:
        asked = [FORMER_NAMES.get(name, name) for name in categories]
        absent = [name for name in asked if name not in there]
        if absent or not asked:
            raise ConfigError(f"--categories: the suite has no category {absent[0]!r}; it has {', '.join(there)}")
        wanted = [name for name in there if name in asked]
    notes, taken = [], Cases()
    for category in wanted:
        group = [case for case in cases.values() if case.category == category]
        try:
            if group[0].language != "python":
                check(group[0], "[f()]")  # raises where the grammar is not installed
        except BfclError as error:
            notes.append(f"{category} is not run: {error}")
        else:
            taken |= {case.id: case for case in group[:limit]}
    if not taken:
        raise ConfigError("nothing can be scored here: " + "; ".join(notes))
    if limit is not None:
        notes.append(f"at most {limit} cases of each category: a quick look, no leaderboard number")
    return CaseSelection(taken, notes)


def digest(cases: Mapping[str, Case]) -> str:
    """A short hash of what a suite asks: two results can be compared when it is equal."""
    asked = [[case.id, case.category, case.question, case.functions, case.answer] for case in cases.values()]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
