"""Does judging its own samples make the model better? The default run and two controls, over several seeds.

    python benchmarks/evidence.py --seeds 0 1 2 --out benchmarks/results/evidence

For each seed: the default run (a supervised start on references, then rounds on the model's own judged samples), and
from the same start the two controls, each with as many samples a round, category by category, as the default
run trained on: `unfiltered` takes its own first attempts at random (none that was cut off), `references` takes
reference answers to the same queries. The gate's decisions count only in the default run; the controls keep every
update, so that nothing is hidden by a refusal.

A run that is there already is read back, so seeds can be played side by side and put together by a last call.

Besides the gate's items, every set of weights answers 200 fresh items over the same tools that no gate ever read
(suite `fresh`): a gate that is read several times flatters the weights it lets through.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

from funreason.config import load_config
from funreason.loops.self_refinement import new_run, play
from funreason.record.folder import RunFolder
from funreason.stop import StopRequest

FRESH = {"path": "toolbox:new_gate", "count": 200, "seed": 1, "role": "report"}
KEEP_ALL = {
    "gate.min_gain": -101,
    "gate.promote_p": 1,
    "gate.p_value": 0,
    "gate.max_category_loss": 100,
    "gate.max_guard_loss": 100,
}
SUITES = ("new", "fresh", "old")


def main() -> None:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [row for seed in options.seeds for row in one_seed(seed, options)]
    kept = [{name: value for name, value in row.items() if name != "warm_folder"} for row in rows]
    (options.out / "evidence.json").write_text(json.dumps(kept, indent=1))
    text = "\n\n".join([command(options), table(rows), verdicts(rows)])
    (options.out / "evidence.md").write_text(text + "\n")
    print(text)


def one_seed(seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The default run and its controls on one seed."""
    common = {"seed": seed, "run_dir": str(options.runs), "gate.suites.fresh": FRESH, **dict(options.set)}
    judged = run("judged", seed, common, options)
    control = common | KEEP_ALL | {"start.references": None, "model.path": judged["warm_folder"]}
    control |= {
        "train.exact_counts": judged["by_category"][1:],
        "train.max_category_share": {},
        "train.max_per_task": 99,
    }
    rows = [judged]
    for arm in ("unfiltered", "references"):
        extra = {"train.data": arm, "fcdr.regenerate": []}
        rows.append(run(arm, seed, control | extra, options))
    same = [row["trained"][1:] for row in rows]
    if same != [same[0]] * len(same):
        print(f"seed {seed}: the arms did not train on the same number of samples: {same}", flush=True)
    return rows


def run(arm: str, seed: int, changes: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Play one run, or read it back when it is there already."""
    name = f"{options.tag}-{arm}-{seed}"
    config = load_config(options.config, changes | {"name": name})
    started = time.process_time(), time.perf_counter()
    folder = RunFolder(Path(config.run_dir) / name)
    cost = folder.path / "cost.json"
    if not cost.exists():
        folder = new_run(config)
        asyncio.run(play(config, folder, StopRequest()))
        cpu, wall = time.process_time() - started[0], time.perf_counter() - started[1]
        cost.write_text(json.dumps({"cpu_s": round(cpu), "wall_s": round(wall)}))
    row = summary(arm, seed, folder) | json.loads(cost.read_text())
    print(json.dumps({k: v for k, v in row.items() if k != "marks"}), flush=True)
    return row


def summary(arm: str, seed: int, folder: RunFolder) -> dict[str, Any]:
    """Accuracies along a run: the start, the supervised start, and the weights in force after each round."""
    state = folder.state()
    rounds = [state.rounds[k] for k in sorted(state.rounds)]
    first = rounds[0].gate
    assert first is not None
    path = [first.old_weights, *[r.weights for r in rounds]]
    marks = {w: json.loads((folder.path / "gate" / f"{w}.json").read_text()) for w in path}
    return {
        "arm": arm,
        "seed": seed,
        "decisions": [r.gate.decision if r.gate else "–" for r in rounds],
        "trained": [r.chosen.trained if r.chosen else 0 for r in rounds],
        "by_category": [r.chosen.by_category if r.chosen else {} for r in rounds],
        "accuracy": {s: [percent(marks[w][s][1]) for w in path] for s in SUITES},
        "irrelevance": [percent(of_category(marks[w]["new"], "irrelevance")) for w in path],
        "warm_folder": str(folder.weights / path[1]),
        "marks": {s: {"warm": marks[path[1]][s][1], "last": marks[path[-1]][s][1]} for s in SUITES},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """One line a run, in Markdown."""
    lines = [
        "| arm | seed | trained on | new tools: base → start → rounds | fresh items | old tools | irrelevance, last |"
        " decisions | CPU-s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        skip = 0 if r["arm"] == "judged" else 1
        arrows = {s: " → ".join(f"{a:.1f}" for a in r["accuracy"][s][skip:]) for s in SUITES}
        trained = ", ".join(str(n) for n in r["trained"][1:])
        decisions = ", ".join(r["decisions"][1:])
        lines.append(
            f"| {r['arm']} | {r['seed']} | {trained} | {arrows['new']} | {arrows['fresh']} | {arrows['old']} "
            f"| {r['irrelevance'][-1]:.0f} | {decisions} | {r['cpu_s']} |"
        )
    return "\n".join(lines)


def verdicts(rows: list[dict[str, Any]]) -> str:
    """The aims, each with its measured value and a 95 % interval over items (and, with several seeds, the seeds)."""
    by = {arm: [r for r in rows if r["arm"] == arm] for arm in ("judged", "unfiltered", "references")}
    lines = ["| difference, points | suite | mean | 95 % over items | each seed |", "|---|---|---|---|---|"]
    for suite in ("new", "fresh"):
        lines.append(
            difference("judged, last round − its supervised start", suite, by["judged"], "last", by["judged"], "warm")
        )
        for arm in ("unfiltered", "references"):
            lines.append(difference(f"judged − {arm}, last round", suite, by["judged"], "last", by[arm], "last"))
    lines.append(
        difference("old tools, last round − supervised start", "old", by["judged"], "last", by["judged"], "warm")
    )
    return "\n".join(lines)


def difference(name: str, suite: str, a: list[dict], at_a: str, b: list[dict], at_b: str) -> str:
    """Paired by item, averaged over seeds; the interval treats items as drawn, the seeds are listed apart."""
    per_seed = [
        [x - y for x, y in zip(one["marks"][suite][at_a], other["marks"][suite][at_b], strict=True)]
        for one, other in zip(a, b, strict=True)
    ]
    items = [100 * statistics.fmean(column) for column in zip(*per_seed, strict=True)]
    mean, half = statistics.fmean(items), 1.96 * statistics.stdev(items) / math.sqrt(len(items))
    seeds = ", ".join(f"{100 * statistics.fmean(s):+.1f}" for s in per_seed)
    return f"| {name} | {suite} | {mean:+.1f} | {mean - half:+.1f} to {mean + half:+.1f} | {seeds} |"


def percent(right: list[bool]) -> float:
    return 100 * sum(right) / len(right)


def of_category(marks: list[list[Any]], category: str) -> list[bool]:
    return [right for name, right in zip(marks[0], marks[1], strict=True) if name == category]


def command(options: argparse.Namespace) -> str:
    said = " ".join(["--seeds", *map(str, options.seeds), *(f"--set {key}={value}" for key, value in options.set)])
    return f"`python benchmarks/evidence.py {said}`, configuration `{options.config}`"


def parse() -> argparse.Namespace:
    from funreason.config import parse_setting

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--config", default="default")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/evidence"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--tag", default="evidence")
    parser.add_argument("--set", type=parse_setting, action="append", default=[])
    return parser.parse_args()


if __name__ == "__main__":
    main()
