"""What the screen against gate queries finds, and what it must leave alone.

    python benchmarks/contamination.py [RECORDS]

Three seeds of the embedded domain's training tasks against the default gate (nothing may be found), how alike queries
get without being the same, disguised gate queries (all should be found), and how long it takes. With RECORDS, a data
file, the same disguises on its first 400 queries, and all of it against BFCL, if that is fetched.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from rapidfuzz import fuzz, process

from funreason.bfcl import load_cases
from funreason.bfcl.cases import case_task, data_folder
from funreason.config import Contamination
from funreason.data.reading import read_tasks
from funreason.data.toolbox import generate
from funreason.gate.contamination import ContaminationCheck
from funreason.types import Task

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
GATE = (("new_gate", 400), ("old_gate", 200))
TRAINING = (("new_train", 1500), ("new_warmup", 400), ("old_replay", 750))


def main() -> None:
    gate = [task.query for split, count in GATE for task in generate(split, count, 0)]
    for seed in range(3):
        tasks = [task for split, count in TRAINING for task in generate(split, count, seed)]
        found = {
            level: len(ContaminationCheck(gate, Contamination(near_threshold=level)).find(tasks)) for level in LEVELS
        }
        print(f"seed {seed}: {len(tasks)} training tasks against {len(gate)} gate queries, found by near: {found}")
        if seed == 0:
            say_likeness(tasks, gate)
            say_speed(tasks, gate)
    say_disguised("toolbox", generate("new_gate", 400, 0))
    if len(sys.argv) > 1:
        records = read_tasks(Path(sys.argv[1])).tasks
        say_disguised("records", records[:400])
        if data_folder().is_dir():
            official = [case_task(case).query for case in load_cases().values()]
            count = len(ContaminationCheck(official, Contamination()).find(records))
            print(f"{len(records)} records against {len(official)} BFCL queries: {count} found")


def say_likeness(tasks: list[Task], gate: list[str]) -> None:
    """How many queries are nearly those of the gate by their letters alone, and the most alike of them."""
    queries = [task.query for task in tasks]
    alike = process.cdist(queries, gate, scorer=fuzz.token_sort_ratio)
    best = alike.max(1)
    print("letters alone would find:", {level: int((best >= 100 * level).sum()) for level in (0.8, 0.85, 0.9, 0.95)})
    for place in (-best).argsort()[:20]:
        print(f"  {best[place]:.0f}  {queries[place]}  |  {gate[alike[place].argmax()]}")


def say_speed(tasks: list[Task], gate: list[str]) -> None:
    """CPU seconds for 2,000 tasks against 600 queries."""
    before = time.process_time()
    ContaminationCheck(gate, Contamination()).find(tasks[:2000])
    print(f"2,000 tasks against {len(gate)} queries: {time.process_time() - before:.2f} s of CPU")


def say_disguised(name: str, tasks: list[Task]) -> None:
    """How many gate queries are recognised in another dress."""
    rng = random.Random(0)
    worn = [Task.of(task.id, disguised(task.query, rng), task.tools) for task in tasks]
    screens = {
        level: ContaminationCheck([task.query for task in tasks], Contamination(near_threshold=level))
        for level in LEVELS
    }
    print(f"{name}: {len(worn)} disguised, found by near:", {level: len(s.find(worn)) for level, s in screens.items()})


def disguised(query: str, rng: random.Random) -> str:
    """The query with empty words more or fewer, two letters transposed, or its words in another order."""
    words = query.split()
    lowered = query[:1].lower() + query[1:]
    longest = max(range(len(words)), key=lambda i: len(words[i]) if words[i].isalpha() else 0)
    word = words[longest]
    typo = word[:2] + word[2:4][::-1] + word[4:] if len(word) > 5 and word.isalpha() else word
    return rng.choice(
        [
            f"Please {lowered}",
            f"Could you {lowered.rstrip('.?!')}, thanks?",
            " ".join(word for word in words if word.lower() not in ("the", "a", "an")),
            " ".join([*words[:longest], typo, *words[longest + 1 :]]),
            " ".join(reversed(words)),
        ]
    )


if __name__ == "__main__":
    main()
