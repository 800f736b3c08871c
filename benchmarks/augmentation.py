"""What does each kind of made task (`data.augment`) teach? Each kind alone, all of them as `auto` makes them, and none.

    OMP_NUM_THREADS=1 python benchmarks/augmentation.py --seeds 0 1 2 --out benchmarks/results/augmentation.md

Every arm is a supervised start of the embedded model on the same number of references over the toolbox's unseen tools,
none of which has a no-call case to begin with: of the tasks and the replayed old ones only those with calls are drawn.
So what an arm knows of refusing comes from the base model and from its variants alone.

Measured on dev splits, never on the gate's: `new` (unseen tools, all categories), `old` (familiar tools), and one suite
for each kind, made of other dev tasks by the same rules. A run that is there already is read back.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

from starts import Start, differences, start_only, table

from funreason.bfcl.suites import write_suite
from funreason.config.augmentation import AUTOMATIC, KINDS
from funreason.data.task_variants import ToolIndex, masked, with_other_tools, without_needed_tools, without_value
from funreason.data.toolbox import generate

CALLS = {"simple": 0.3, "multiple": 0.4, "parallel": 0.3}
COUNT, ITEMS = 450, 150


def main() -> None:
    options = parse()
    suites: dict[str, dict[str, Any]] = {
        "new": {"path": "toolbox:new_dev", "count": 400},
        "old": {"path": "toolbox:old_dev", "count": 200, "role": "report"},
    }
    suites |= {kind: {"path": str(path), "role": "report"} for kind, path in written(options.runs / "suites").items()}
    common = {
        "tasks.path": "toolbox:new_train",
        "tasks.per_round": COUNT,
        "tasks.mix": CALLS,
        "start.references": {"path": "tasks", "count": COUNT},
        "start.update.replay": {"path": "toolbox:old_replay", "count": 600, "mix": CALLS},
        "gate.suites": suites,
    }
    off = dict.fromkeys(KINDS, 0.0)
    arms = {"none": off, **{kind: off | {kind: options.share} for kind in KINDS}, "auto": off | AUTOMATIC}
    starts = [
        start_only(arm, seed, common | {"data.augment": shares}, config="default", runs=options.runs, tag="augment")
        for seed in options.seeds
        for arm, shares in arms.items()
    ]
    text = report(starts, options, [*suites])
    options.out.write_text(text)
    print(text)


def written(folder: Path) -> dict[str, Path]:
    """A suite of each kind, made of dev tasks that want calls; written once."""
    tasks = generate("new_dev", 3 * ITEMS, 1, quotas=CALLS)
    tools = ToolIndex(tasks)
    kinds = {
        "irrelevance": without_needed_tools,
        "other_tools": lambda task, rng: with_other_tools(task, tools, rng),
        "missing_value": without_value,
        "masking": masked,
    }
    for kind, make in kinds.items():
        if not (folder / kind).exists():
            made = [variant for task in tasks if (variant := make(task, random.Random(task.id))) is not None]
            write_suite(made[:ITEMS], folder / kind, kind)
    return {kind: folder / kind for kind in kinds}


def report(starts: list[Start], options: argparse.Namespace, suites: list[str]) -> str:
    """The page: command, how many variants were made, both tables."""
    said = " ".join(["--seeds", *map(str, options.seeds), f"--share {options.share}"])
    pairs = [(arm, "none") for arm in dict.fromkeys(start.arm for start in starts) if arm != "none"]
    made = [f"- {start.arm}: {text}" for start in starts if start.seed == options.seeds[0] for text in start.messages]
    return (
        "\n\n".join(
            [
                f"`OMP_NUM_THREADS=1 python benchmarks/augmentation.py {said}`",
                table(starts, suites),
                differences(starts, pairs, suites),
                f"Made, with seed {options.seeds[0]}:",
                "\n".join(made),
            ]
        )
        + "\n"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--share", type=float, default=0.2, help="variants of a kind in its own arm, per task")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/augmentation.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
