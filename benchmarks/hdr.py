"""Do hard tasks teach more than random ones? Hard-data rounds against their control on the toolbox.

    OMP_NUM_THREADS=1 python benchmarks/hdr.py --seeds 0 --rounds 3 --out benchmarks/results/hdr.md

For each seed one supervised start and one first round, which sorts the tasks. Two runs continue from it:

- `hard`: rounds on the hard tasks, as in the paper;
- `random`: the control `random_qualified`, as many random qualified tasks, which learns as many samples in each round,
  by category, as `hard` did.

No model judges: references accept. As in the paper these rounds replay nothing and no gate refuses them;
besides the gate's items, all weights answer 200 fresh items that no gate reads. A run that is there is read back. With
another `--tag`, arms with other settings of `hdr` continue from the same first round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import Any

from evidence import FRESH, KEEP_ALL, difference, summary

from funreason.config import Config, dump_config, load_config, parse_setting
from funreason.display.figures import POOL_COLUMNS, pool_note, pool_rows
from funreason.loops.self_refinement import config_of, new_run, play
from funreason.record.folder import LOOP, RunFolder
from funreason.stop import StopRequest

ARMS = {"hard": "none", "random": "random_qualified"}


def main() -> None:
    options = parse()
    rows = [row for seed in options.seeds for row in one_seed(seed, options)]
    parts = [said(options), table(rows), differences(rows), *map(pool, rows)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n\n".join(parts) + "\n")
    print("\n\n".join(parts))


def one_seed(seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Both arms of a seed, from one first round."""
    changes: dict[str, Any] = {"method": "hdr", "seed": seed, "run_dir": str(options.runs), "hdr.max_rounds": 0}
    changes |= {"gate.suites.fresh": FRESH, **KEEP_ALL, **dict(options.set)}
    first = options.runs / f"hdr-first-{seed}"
    config = (
        config_of(RunFolder(first), dict(options.set))
        if first.exists()
        else load_config(options.config, changes | {"name": first.name})
    )
    played("first", seed, config, first)
    rows: list[dict[str, Any]] = []
    for arm, control in ARMS.items():
        folder = options.runs / f"hdr-{options.tag}{arm}-{seed}"
        counts = rows[0]["by_category"][1:] if rows else []
        hdr = config.hdr.model_copy(update={"max_rounds": options.rounds, "control": control})
        alone = config.train.update.model_copy(update={"replay": None})
        train = config.train.model_copy(update={"exact_counts": counts, "update": alone})
        if not folder.exists():
            shutil.copytree(first, folder, symlinks=True)
            (folder / "cost.json").unlink()
        own = config.model_copy(update={"name": folder.name, "hdr": hdr, "train": train})
        (folder / LOOP).write_text(dump_config(own))
        rows.append(played(arm, seed, own, folder))
    return rows


def played(arm: str, seed: int, config: Config, path: Path) -> dict[str, Any]:
    """Play a run, or continue it, unless it is over; its row."""
    folder, cost = RunFolder(path), path / "cost.json"
    if not cost.exists():
        started, resumed = time.process_time(), path.exists()
        asyncio.run(play(config, folder if resumed else new_run(config), StopRequest(), resume=resumed))
        cost.write_text(json.dumps({"cpu_s": round(time.process_time() - started)}))
    row = summary(arm, seed, folder) | json.loads(cost.read_text()) | {"folder": str(path)}
    print(json.dumps({key: value for key, value in row.items() if key != "marks"}), flush=True)
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """One line a run: what each round learned from, and the accuracy after the start and after each round."""
    lines = [
        "| arm | seed | learned from, by round | new tools: start → rounds | fresh items | old tools | CPU-s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        paths = {name: " → ".join(f"{x:.1f}" for x in values[1:]) for name, values in row["accuracy"].items()}
        learned = ", ".join(map(str, row["trained"][1:]))
        lines.append(
            f"| {row['arm']} | {row['seed']} | {learned} | {paths['new']} | {paths['fresh']} | {paths['old']} "
            f"| {row['cpu_s']} |"
        )
    return "\n".join(lines)


def differences(rows: list[dict[str, Any]]) -> str:
    """After the last round, hard less random, paired by item."""
    hard, random = ([row for row in rows if row["arm"] == arm] for arm in ARMS)
    lines = ["| last round | suite | points | 95 % over items | by seed |", "|---|---|---|---|---|"]
    for suite in ("new", "fresh", "old"):
        lines.append(difference("hard − random", suite, hard, "last", random, "last"))
        lines.append(difference("hard − its supervised start", suite, hard, "last", hard, "warm"))
    return "\n".join(lines)


def pool(row: dict[str, Any]) -> str:
    """The pool of a run by round."""
    state = RunFolder(Path(row["folder"])).state()
    lines = [f"{row['arm']}, seed {row['seed']}. {pool_note(state)}", ""]
    lines += ["| " + " | ".join(POOL_COLUMNS) + " |", "|" + "---|" * len(POOL_COLUMNS)]
    lines += ["| " + " | ".join(cells) + " |" for cells in pool_rows(state)]
    return "\n".join(lines)


def said(options: argparse.Namespace) -> str:
    """The command."""
    more = " ".join(f"--set {key}={json.dumps(value)}" for key, value in options.set)
    seeds = " ".join(map(str, options.seeds)) + (f" --tag {options.tag}" if options.tag else "")
    return (
        f"`python benchmarks/hdr.py --seeds {seeds} --rounds {options.rounds} {more}`, configuration `{options.config}`"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--config", default="default")
    parser.add_argument("--rounds", type=int, default=3, help="hard-data rounds after the first")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--tag", default="", help="put into the names of the arms' folders")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/hdr.md"))
    parser.add_argument("--set", type=parse_setting, action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
