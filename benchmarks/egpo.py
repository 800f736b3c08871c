"""Does EGPO beat GRPO on the toolbox, and does either beat SRML rounds? Equal sampling budgets, several seeds.

    python benchmarks/egpo.py --seeds 0 1 2 --out benchmarks/results/egpo.md

For each seed one supervised start, and from its weights the arms:

- `srml`: rounds on judged samples (no answer is regenerated, so a sample is a sample);
- `grpo`, `egpo`: reinforcement learning with the reward `egpo`;
- `egpo_shuffled`: EGPO where each rollout gets the entropy of another one of its group: what is left of a gain is not
  due to entropy;
- `references`: reference answers to as many queries as SRML kept, by category.

Every arm of rewards draws `--steps` × `--prompts` × `--group` samples a round, SRML as many on a fourth as many tasks.
Groups without a signal are not replaced. The gate keeps every update, so that nothing is hidden by a refusal; besides
its items, every set of weights answers 200 fresh items that no gate ever reads.

A run that is there already is read back; a run that was interrupted is resumed. Seeds can be played one at a time and
put together by a last call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from evidence import FRESH, KEEP_ALL, difference, summary

from funreason.config import load_config
from funreason.experiments.player import commit
from funreason.loops.self_refinement import config_of, new_run, play
from funreason.record.folder import RunFolder
from funreason.stop import StopRequest

ARMS = ("srml", "grpo", "egpo", "egpo_shuffled", "references")
SAMPLES_PER_TASK = 4
"""Of SRML."""
SHOWN = ("reward", "refusal_rate", "entropy", "entropy_think", "entropy_group_sd", "bonus", "bonus_bound_share", "kl")


def main() -> None:
    options = parse()
    rows = [row for seed in options.seeds for row in one_seed(seed, options)]
    kept = [{name: value for name, value in row.items() if name != "warm_folder"} for row in rows]
    text = "\n\n".join([said(options), table(rows), what_was_learned(rows), differences(rows)])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text + "\n")
    made = {"command": said(options), "commit": options.commit or commit(), "rows": kept}
    options.out.with_suffix(".json").write_text(json.dumps(made))
    print(text)


def one_seed(seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The arms of one seed; SRML's run has the supervised start that all of them begin with."""
    samples = options.steps * options.prompts * options.group
    common: dict[str, Any] = {
        "seed": seed,
        "rounds": options.rounds,
        "run_dir": str(options.runs),
        "gate.suites.fresh": FRESH,
        "tasks.per_round": samples // SAMPLES_PER_TASK,
        "sample.samples_per_task": SAMPLES_PER_TASK,
        "fcdr.regenerate": [],
        "fcdr.max_attempts": 1,
        **KEEP_ALL,
        **dict(options.set),
    }
    rows = [run("srml", common, seed, options)]
    begun = common | {"start.references": None, "model.path": rows[0]["warm_folder"]}
    rewards = {
        "reinforcement.steps_per_round": options.steps,
        "reinforcement.prompts_per_step": options.prompts,
        "reinforcement.group_size": options.group,
        "reinforcement.max_resample": 0,
        "reinforcement.update.lr": options.lr,
    }
    changes = {
        "grpo": begun | rewards | {"method": "grpo"},
        "egpo": begun | rewards | {"method": "egpo"},
        "egpo_shuffled": begun | rewards | {"method": "egpo", "reinforcement.loss.bonus": {"shuffle_entropy": True}},
        "references": begun
        | {
            "train.data": "references",
            "train.exact_counts": rows[0]["by_category"][1:],
            "train.max_category_share": {},
            "train.max_per_task": 99,
        },
    }
    return rows + [run(arm, changes[arm], seed, options) for arm in options.arms if arm != "srml"]


def run(arm: str, changes: dict[str, Any], seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Play one run, resume it where it was interrupted, or read it back."""
    name = f"{options.tag}-{arm}-{seed}"
    folder = RunFolder(options.runs / name)
    cost = folder.path / "cost.json"
    if not cost.exists():
        started = time.process_time(), time.perf_counter()
        resumed = folder.path.exists()
        config = config_of(folder) if resumed else load_config(options.config, changes | {"name": name})
        asyncio.run(play(config, folder if resumed else new_run(config), StopRequest(), resume=resumed))
        cpu, wall = time.process_time() - started[0], time.perf_counter() - started[1]
        cost.write_text(json.dumps({"cpu_s": round(cpu), "wall_s": round(wall), "resumed": resumed}))
    state = folder.state()
    drawn = [sum(r.fates.values()) for k, r in sorted(state.rounds.items()) if k]
    steps = {name: [r.mean(name) for k, r in sorted(state.rounds.items()) if k] for name in SHOWN}
    row = summary(arm, seed, folder) | json.loads(cost.read_text()) | {"drawn": drawn, "steps": steps}
    print(json.dumps({key: value for key, value in row.items() if key != "marks"}), flush=True)
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """One line a run."""
    lines = [
        "| arm | seed | samples drawn | learned from | new tools: start → rounds | fresh items | old tools |"
        " irrelevance, last | CPU-s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        # The first value is the model before the supervised start, or the start itself once more.
        paths = {name: values[1:] for name, values in row["accuracy"].items()}
        new, fresh, old = (" → ".join(f"{value:.1f}" for value in paths[name]) for name in ("new", "fresh", "old"))
        counts = [", ".join(map(str, numbers)) for numbers in (row["drawn"], row["trained"][1:])]
        lines.append(
            f"| {row['arm']} | {row['seed']} | {counts[0]} | {counts[1]} | {new} | {fresh} | {old} "
            f"| {row['irrelevance'][-1]:.0f} | {row['cpu_s']}{' since it was resumed' * row['resumed']} |"
        )
    return "\n".join(lines)


def what_was_learned(rows: list[dict[str, Any]]) -> str:
    """Means over the steps of each round, for the arms of rewards."""
    lines = ["| arm | seed | " + " | ".join(SHOWN) + " |", "|---" * (2 + len(SHOWN)) + "|"]
    for row in rows:
        if any(value is not None for value in row["steps"]["reward"]):
            cells = [
                ", ".join("–" if value is None else f"{value:.3f}" for value in row["steps"][name]) for name in SHOWN
            ]
            lines.append(f"| {row['arm']} | {row['seed']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def differences(rows: list[dict[str, Any]]) -> str:
    """Differences paired by item: the interval treats items as drawn; the seeds are listed apart."""
    by = {arm: [row for row in rows if row["arm"] == arm] for arm in dict.fromkeys(row["arm"] for row in rows)}
    lines = ["| difference, points | suite | mean | 95 % over items | each seed |", "|---|---|---|---|---|"]
    pairs = [("egpo", "grpo"), ("egpo", "egpo_shuffled"), ("egpo", "srml"), ("grpo", "srml"), ("egpo", "references")]
    for suite in ("new", "fresh", "old"):
        for arm in by:
            lines.append(difference(f"{arm}, last round − start", suite, by[arm], "last", by["srml"], "warm"))
        for one, other in pairs:
            if one in by and other in by:
                lines.append(difference(f"{one} − {other}, last round", suite, by[one], "last", by[other], "last"))
    return "\n".join(lines)


def said(options: argparse.Namespace) -> str:
    """The command, with everything that a reader needs to run it again."""
    arms = [] if options.arms == list(ARMS) else ["--arms", *options.arms]
    given = ["--seeds", *map(str, options.seeds), *arms, "--rounds", options.rounds, "--steps", options.steps]
    given += ["--prompts", options.prompts, "--group", options.group, "--lr", options.lr]
    given += [f"--set {key}={value}" for key, value in options.set]
    return f"`python benchmarks/egpo.py {' '.join(map(str, given))}`, configuration `{options.config}`"


def parse() -> argparse.Namespace:
    from funreason.config import parse_setting

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12, help="optimizer steps a round, of the arms of rewards")
    parser.add_argument("--prompts", type=int, default=64, help="prompts a step")
    parser.add_argument("--group", type=int, default=8, help="answers to a prompt")
    parser.add_argument("--lr", type=float, default=2e-4, help="of the arms of rewards")
    parser.add_argument("--config", default="default")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/egpo.md"))
    parser.add_argument("--commit", help="that played the runs, where they are only read back")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--tag", default="egpo")
    parser.add_argument("--set", type=parse_setting, action="append", default=[])
    return parser.parse_args()


if __name__ == "__main__":
    main()
