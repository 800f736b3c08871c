"""The gate's items: suites of BFCL-form cases, from a folder, the embedded toolbox, or tasks held back from a file.

Every suite is written into the run's folder in BFCL's file format and read back from there, so the items are
kept beside the results and can be given to any other scorer.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from funreason.bfcl import Case, load_cases
from funreason.bfcl.cases import case_task
from funreason.bfcl.suites import write_suite
from funreason.config import ConfigError, Suite
from funreason.sources.tasks import HELD_OUT, TOOLBOX, toolbox_tasks
from funreason.types import Task


@dataclass(frozen=True, slots=True)
class GateSuite:
    """Items to measure on; `role` is `decision`, `guard` (only forbids) or `report` (only reported)."""

    name: str
    cases: list[Case]
    tasks: list[Task]
    role: str = "decision"


def gate_suites(suites: Mapping[str, Suite], held: list[Task], folder: Path) -> list[GateSuite]:
    """The suites of a run with their items loaded."""
    loaded = []
    for name, suite in suites.items():
        if suite.path == HELD_OUT:
            source = _written(held, folder / name, name)
        elif suite.path.startswith(TOOLBOX):
            source = _written(toolbox_tasks(suite.path, suite.count or 400, suite.seed), folder / name, name)
        else:
            source = Path(suite.path)
        cases = list(load_cases(source).values())[: suite.count]
        if not cases:
            raise ConfigError(f"gate.suites.{name}.path is {suite.path}, which has no items to measure on")
        loaded.append(GateSuite(name, cases, [case_task(case) for case in cases], role=suite.role))
    return loaded


def _written(tasks: list[Task], folder: Path, prefix: str) -> Path:
    if not folder.exists():
        fresh = folder.with_name(f".{folder.name}.new-{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        write_suite(tasks, fresh, prefix)
        fresh.rename(folder)  # whole or not at all: half a suite would go unnoticed
    return folder
