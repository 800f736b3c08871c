"""The gate's items: suites of BFCL-form cases, from a folder, the embedded toolbox, tasks held back from a file, or the
official data.

Every suite of cases is written into the run's folder in BFCL's file format and read back from there, so the items are
kept beside the results and can be given to any other scorer. Suites of programs and of text, which show what training
makes a model forget, are read from their files.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from funreason.bfcl import BfclError, Case, check, load_cases
from funreason.bfcl.cases import case_task, data_folder
from funreason.bfcl.suites import write_suite
from funreason.config import ConfigError, Suite
from funreason.evaluation.code_tasks import SUITES as CODE_SUITES
from funreason.evaluation.code_tasks import CodeTask, load_code_tasks
from funreason.evaluation.sandbox import CannotSandbox, run_program
from funreason.evaluation.text import load_documents
from funreason.sources.tasks import HELD_OUT, TOOLBOX, toolbox_tasks
from funreason.types import Task

OFFICIAL = "bfcl-v4"
"""As a suite's path: the official data that `funreason bfcl fetch` gets."""


@dataclass(frozen=True, slots=True)
class GateSuite:
    """Items to measure on; `role` is `decision`, `guard` (only forbids) or `report` (only reported).

    A suite of another kind than `bfcl` has no cases: it has `programs`, one for each of its tasks, or `texts`.
    """

    name: str
    cases: list[Case]
    tasks: list[Task]
    role: str = "decision"
    kind: str = "bfcl"
    programs: list[CodeTask] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    official: bool = False
    """Whether the cases are the leaderboard's own, which are measured by its rules whatever `gate.refusals` says."""


def gate_suites(
    suites: Mapping[str, Suite],
    held: list[Task],
    folder: Path,
    notes: list[str] | None = None,
    *,
    allow_code_execution: bool = False,
) -> list[GateSuite]:
    """The suites of a run with their items loaded; what is left out is said in `notes`.

    A suite that decides nothing does not stop a run because the official data was not fetched: it is left out.
    BfclError where one that decides or guards needs that data. ConfigError for a suite without items, and for one that
    runs programs where that is not allowed or not safe.
    """
    loaded, left = [], [] if notes is None else notes
    for name, suite in suites.items():
        if suite.kind == "text":
            texts = load_documents(Path(suite.path))[: suite.count]
            loaded.append(GateSuite(name, [], [], suite.role, suite.kind, texts=texts))
            continue
        if suite.kind in CODE_SUITES:
            if not allow_code_execution:
                raise ConfigError(
                    f"gate.suites.{name} is of kind {suite.kind}: it runs programs that the model writes, in a "
                    "sandbox. Allow it with --allow-code-execution, or leave the suite out."
                )
            programs = load_code_tasks(suite.kind, Path(suite.path))[: suite.count]
            try:
                run_program("", "")
            except CannotSandbox as error:
                raise ConfigError(f"gate.suites.{name} cannot be measured: {error}") from error
            tasks = [program.task() for program in programs]
            loaded.append(GateSuite(name, [], tasks, suite.role, suite.kind, programs))
            continue
        if suite.path == OFFICIAL and suite.role == "report" and not data_folder().is_dir():
            left.append(
                f"gate.suites.{name} is not measured: the official BFCL data is not here; run `funreason bfcl fetch`"
            )
            continue
        if suite.path == OFFICIAL:
            found = []
            groups = itertools.groupby(load_cases().values(), key=lambda case: case.category)
            for category, group in ((category, list(group)) for category, group in groups):
                try:
                    if group[0].language != "python":
                        check(group[0], "[f()]")  # raises where the grammar is not installed
                    found += group
                except BfclError as error:
                    left.append(f"gate.suites.{name} leaves {category} out: {error}")
        elif suite.path == HELD_OUT:
            found = list(load_cases(_written(held, folder / name, name)).values())
        elif suite.path.startswith(TOOLBOX):
            tasks = toolbox_tasks(suite.path, suite.count or 400, suite.seed)
            found = list(load_cases(_written(tasks, folder / name, name)).values())
        else:
            found = list(load_cases(Path(suite.path)).values())
        cases, official = spread(found, suite.count), suite.path == OFFICIAL
        if not cases:
            raise ConfigError(f"gate.suites.{name}.path is {suite.path}, which has no items to measure on")
        loaded.append(GateSuite(name, cases, [case_task(case) for case in cases], suite.role, official=official))
    return loaded


def spread(cases: Sequence[Case], count: int | None) -> list[Case]:
    """`count` cases, of each category as many as its share of all, the first ones; all of them for None."""
    if count is None or count >= len(cases):
        return list(cases)
    sizes = Counter(case.category for case in cases)
    quotas = {name: divmod(count * size, len(cases)) for name, size in sizes.items()}
    left = {name: whole for name, (whole, _) in quotas.items()}
    # The items that whole shares leave over go to the largest remainders.
    for name in sorted(quotas, key=lambda name: -quotas[name][1])[: count - sum(left.values())]:
        left[name] += 1
    taken = []
    for case in cases:
        if left[case.category]:
            left[case.category] -= 1
            taken.append(case)
    return taken


def _written(tasks: list[Task], folder: Path, prefix: str) -> Path:
    if not folder.exists():
        fresh = folder.with_name(f".{folder.name}.new-{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        write_suite(tasks, fresh, prefix)
        fresh.rename(folder)  # whole or not at all: half a suite would go unnoticed
    return folder
