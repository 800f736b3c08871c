"""How often the five rule judges err on canaries: good samples made from references, and the same ones spoilt.

    python benchmarks/canaries.py [FILE] > benchmarks/results/canaries.txt

Without a file: the embedded domain. A reference of a real record may be wrong itself, so its false drops are an upper
bound.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from funreason.agents.judges.canaries import CanarySet
from funreason.agents.judges.registry import judges
from funreason.bfcl.intervals import wilson
from funreason.config import Config, Fcdr
from funreason.data.reading import read_tasks
from funreason.data.toolbox import generate
from funreason.sources.tasks import can_be_scored
from funreason.types import Task

COUNT = 1_000
"""Good and bad ones for each stage."""


def main() -> None:
    """Print a line for each stage and fault."""
    for name, tasks in [("embedded domain, new_train", generate("new_train", 2_500, 1)), *map(_of_file, sys.argv[1:])]:
        able = [task for task in tasks if can_be_scored(task)]
        print(f"{name}: {len(able)} of {len(tasks)} references can be right")
        asyncio.run(_judge(able))
        print()


def _of_file(path: str) -> tuple[str, Sequence[Task]]:
    return path.rpartition("/")[2], read_tasks(path).tasks


async def _judge(tasks: Sequence[Task]) -> None:
    flock = CanarySet(tasks, 0, 1)
    print(f"{'stage':<12} {'sample':<18} {'asked':>6} {'wrong':>6} {'%':>6}  {'95 %':<12} {'µs':>5}")
    for stage, judge in judges(Config(fcdr=Fcdr(require_thinking=False))).items():
        await _judge_stage(flock, stage, judge)


async def _judge_stage(flock: CanarySet, stage: str, judge: Any) -> None:
    asked, wrong = Counter[str](), Counter[str]()
    started = perf_counter()
    for canary in (*flock.good(stage, COUNT), *flock.bad(stage, COUNT)):
        name = canary.fault or "good"
        asked[name] += 1
        wrong[name] += canary.misjudged((await judge(canary.sample)).outcome)
    us = 1e6 * (perf_counter() - started) / asked.total()
    for name, count in asked.items():
        low, high = wilson(wrong[name], count)
        share, between = 100 * wrong[name] / count, f"{100 * low:.1f}–{100 * high:.1f}"
        print(f"{stage:<12} {name:<18} {count:>6} {wrong[name]:>6} {share:>6.1f}  {between:<12} {us:>5.0f}")


if __name__ == "__main__":
    main()
