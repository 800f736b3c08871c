"""How well stages 2 and 3 tell invented values from right ones, by language.

    python benchmarks/grounding.py [--half dev|held-out] [--misses] > benchmarks/results/grounding.txt

The items are those of `multilingual.py`: half of them wrong by construction. *Recall* is the share of wrong items that
the stage drops, *false alarms* the share of right ones that it drops. `--misses` prints each item judged wrongly.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.multilingual import LANGUAGES, Item, items
from funreason.agents.judges.rules.stages import CotJudge, judge_query_tool
from funreason.types import Outcome

STAGES = {"query_tool": judge_query_tool, "cot": CotJudge()}


class Rates(NamedTuple):
    """Counts of wrong items (`found` of `wrong`) and of right ones (`alarms` of `right`)."""

    found: int
    wrong: int
    alarms: int
    right: int

    @property
    def recall(self) -> float:
        """The share of wrong items that are dropped."""
        return self.found / self.wrong if self.wrong else 1.0

    @property
    def false_alarms(self) -> float:
        """The share of right items that are dropped."""
        return self.alarms / self.right if self.right else 0.0


def dropped(item: Item) -> str:
    """The evidence against an item, by the judge of its stage; "" where it passes."""
    verdict = asyncio.run(STAGES[item.stage](item.sample))
    return f"{verdict.reason}: {verdict.evidence}" if verdict.outcome == Outcome.DROP else ""


def rates(chosen: Iterable[Item]) -> Rates:
    """The counts over these items."""
    counts = Counter((bool(item.wrong), bool(dropped(item))) for item in chosen)
    return Rates(
        counts[True, True],
        counts[True, True] + counts[True, False],
        counts[False, True],
        counts[False, True] + counts[False, False],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("dev", "held-out"))
    parser.add_argument("--misses", action="store_true")
    options = parser.parse_args()
    halves = [options.half] if options.half else ["dev", "held-out"]
    print("| half | stage | language | recall | false alarms |\n|---|---|---|---:|---:|")
    for half in halves:
        chosen = items(half)
        for stage in STAGES:
            for language in [*LANGUAGES, "all"]:
                group = [item for item in chosen if item.stage == stage and language in (item.language, "all")]
                found = rates(group)
                print(
                    f"| {half} | {stage} | {language} | {found.found}/{found.wrong} = {found.recall:.2f} "
                    f"| {found.alarms}/{found.right} = {found.false_alarms:.2f} |"
                )
        both = rates(chosen)
        print(
            f"| {half} | both | all | {both.found}/{both.wrong} = {both.recall:.3f} "
            f"| {both.alarms}/{both.right} = {both.false_alarms:.3f} |"
        )
    for item in items(options.half) if options.misses else ():
        evidence = dropped(item)
        if bool(evidence) != bool(item.wrong):
            fault = f"false alarm, {evidence}" if evidence else f"missed, {item.wrong}"
            print(f"\n{item.half} {item.sample.id} {item.stage}: {fault}")
            print(f"  {item.sample.task.query}\n  {item.sample.answer}\n  {item.sample.thinking}")


if __name__ == "__main__":
    main()
