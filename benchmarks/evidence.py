"""Does judging its own samples make the model better? The default run and two controls, over several seeds.

    python benchmarks/evidence.py --seeds 0 1 2 --out benchmarks/results/evidence

For each seed: the default run (a supervised start on references, then rounds on the model's own judged samples), and
from the same start the two controls, each with as many samples a round, category by category, as the default
run trained on: `unfiltered` takes its own first attempts at random (none that was cut off), one of each query,
`references` takes reference answers to the same queries. The gate's decisions count only in the default run; the
controls keep every update, so that nothing is hidden by a refusal, and their gate reads a few items only.

A run that is there already is read back, so seeds can be played side by side and put together by a last call.

What counts is measured apart: before and after the supervised start and after the last round every arm answers fresh
items that no gate ever read, over the unseen tools (`fresh`) and the familiar ones (`old`). A gate that is read
several times flatters the weights it lets through. A refusal is right if it attempts no call (`gate.refusals: strict`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from funreason.agents.evaluator import Evaluator
from funreason.config import Config, Suite, load_config
from funreason.gate.items import GateSuite, gate_suites
from funreason.loops.self_refinement import new_run, play
from funreason.policies.factory import build_policy
from funreason.record.folder import RunFolder
from funreason.stop import StopRequest
from funreason.weights import WeightStore

FRESH = {"path": "toolbox:new_gate", "count": 200, "seed": 1, "role": "report"}
KEEP_ALL = {
    "gate.min_gain": -101,
    "gate.promote_p": 1,
    "gate.p_value": 0,
    "gate.max_category_loss": 100,
    "gate.max_guard_loss": 100,
}
SUITES = ("new", "fresh", "old")
UNREAD = {
    "fresh": Suite(path="toolbox:new_gate", count=600, seed=1, role="report"),
    "old": Suite(path="toolbox:old_gate", count=400, seed=1, role="report"),
}
"""Items that no gate reads: another seed of the gate's splits."""
CONTROLS = {"unfiltered": " (+8)", "references": ""}
CATEGORIES = ("simple_python", "multiple", "parallel", "irrelevance")


def main() -> None:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [row for seed in options.seeds for row in one_seed(seed, options)]
    said = command(options)
    kept = {"command": said, "commit": options.commit or commit(), "rows": [without_folder(row) for row in rows]}
    (options.out / "evidence.json").write_text(json.dumps(kept, indent=1) + "\n")
    text = "\n\n".join([f"{said}, commit {kept['commit']}", table(rows), verdicts(rows)])
    (options.out / "evidence.md").write_text(text + "\n")
    print(text)


def commit() -> str:
    """The commit of the code that was run."""
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "not recorded"


def without_folder(row: dict[str, Any]) -> dict[str, Any]:
    """What the JSON file keeps of a run."""
    return {name: value for name, value in row.items() if name != "warm_folder"}


def one_seed(seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The default run and its controls on one seed."""
    common = {"seed": seed, "run_dir": str(options.runs), **dict(options.set)}
    judged = run("judged", seed, common, options)
    control = common | KEEP_ALL | {"start.references": None, "model.path": judged["warm_folder"]}
    control |= {
        "train.exact_counts": judged["by_category"][1:],
        "train.max_category_share": {},
        "train.max_per_task": 99,
        "train.max_solved_share": 1.0,
        "sample.samples_per_task": 1,
        "tasks.per_round": 1200,
        "fcdr.regenerate": [],
        "gate.suites": {name: {"path": f"toolbox:{name}_gate", "count": 20} for name in ("new", "old")},
    }
    arms = [arm for arm in options.controls if not options.report or finished(arm, seed, options)]
    rows = [judged, *(run(arm, seed, control | {"train.data": arm}, options) for arm in arms)]
    same = [row["trained"][1:] for row in rows]
    if same != [same[0]] * len(same):
        print(f"seed {seed}: the arms did not train on the same number of samples: {same}", flush=True)
    return rows


def finished(arm: str, seed: int, options: argparse.Namespace) -> bool:
    """Whether the run is there to be read back."""
    return (options.runs / f"{options.tag}-{arm}-{seed}" / "cost.json").exists()


def run(arm: str, seed: int, changes: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Play one run, or read it back when it is there already."""
    name = f"{options.tag}-{arm}-{seed}"
    config = load_config(options.config, changes | {"name": name})
    started = time.process_time(), time.perf_counter()
    folder = RunFolder(Path(config.run_dir) / name)
    cost = folder.path / "cost.json"
    if not finished(arm, seed, options):
        folder = new_run(config)
        asyncio.run(play(config, folder, StopRequest()))
        cpu, wall = time.process_time() - started[0], time.perf_counter() - started[1]
        cost.write_text(json.dumps({"cpu_s": round(cpu), "wall_s": round(wall)}))
    row = summary(arm, seed, folder, ("new", "old")) | json.loads(cost.read_text())
    row |= unread(config, folder, unread_suites(options), {"gate": row["accuracy"]["new"]} if arm == "judged" else {})
    print(json.dumps({k: v for k, v in row.items() if k != "marks"}), flush=True)
    return row


def unread_suites(options: argparse.Namespace) -> list[GateSuite]:
    """`UNREAD` without the few items that the configured gate happens to ask too."""
    configured = load_config(options.config, dict(options.set)).gate.suites
    items = options.runs / "unread" / "items"
    asked = {task.query for suite in gate_suites(configured, [], items / "gate") for task in suite.tasks}
    suites = []
    for suite in gate_suites(UNREAD, [], items):
        pairs = [(c, t) for c, t in zip(suite.cases, suite.tasks, strict=True) if t.query not in asked]
        suites.append(replace(suite, cases=[c for c, _ in pairs], tasks=[t for _, t in pairs]))
    return suites


def unread(config: Config, folder: RunFolder, suites: list[GateSuite], gate: dict[str, list[float]]) -> dict[str, Any]:
    """What the base, the start's weights and the last ones reach on these suites. No weights are measured twice.

    `accuracy` has percents by suite, with those of the gate's items (`gate`); `shares` has percents by category;
    `marks` has one digit an item, in the order of the suite.
    """
    state = folder.state()
    rounds = [state.rounds[k] for k in sorted(state.rounds)]
    assert rounds[0].gate is not None
    ids = {"base": rounds[0].gate.old_weights, "warm": rounds[0].weights, "last": rounds[-1].weights}
    policy, base = build_policy(config)
    store = WeightStore(base, folder.weights)
    evaluator = Evaluator(policy, suites, config.gate, Path(config.run_dir) / "unread", store, print)
    found = {at: asyncio.run(evaluator.measure(store.get(id))) for at, id in ids.items()}
    names = [suite.name for suite in suites]
    return {
        "accuracy": {name: [percent(found[at][name].strict) for at in ids] for name in names} | gate,
        "shares": {
            name: {at: {c: percent(of_category(found[at][name], c)) for c in CATEGORIES} for at in ids}
            for name in names
        },
        "marks": {
            name: {at: "".join(str(int(right)) for right in found[at][name].strict) for at in ids} for name in names
        },
    }


def summary(arm: str, seed: int, folder: RunFolder, suites: Sequence[str] = SUITES) -> dict[str, Any]:
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
        "accuracy": {s: [percent(marks[w][s][1]) for w in path] for s in suites},
        "irrelevance": [percent(of_category(marks[w]["new"], "irrelevance")) for w in path],
        "warm_folder": str(folder.weights / path[1]),
        "marks": {s: {"warm": marks[path[1]][s][1], "last": marks[path[-1]][s][1]} for s in suites},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """One line a run, in Markdown. For the default run also what its gate read."""
    lines = [
        "| arm | seed | trained on | fresh items: start → last | last, by category "
        "| old tools, fresh: base → start → last | the gate's items: base → start → rounds | decisions | CPU-s |",
        "|---" * 9 + "|",
    ]
    for r in rows:
        judged = r["arm"] == "judged"
        shares = r["shares"]["fresh"]["last"]
        by = " ".join(f"{name} {shares[name]:.0f}" for name in CATEGORIES)
        fresh, old, gate = (" → ".join(f"{a:.1f}" for a in r["accuracy"].get(s, [])) for s in ("fresh", "old", "gate"))
        fresh = fresh.partition(" → ")[2]
        old = old if judged else old.partition(" → ")[2]
        trained = ", ".join(str(n) for n in r["trained"][1:])
        decisions = ", ".join(r["decisions"][1:]) if judged else "–"
        lines.append(
            f"| {r['arm']} | {r['seed']} | {trained} | {fresh} | {by} | {old} | {gate or '–'} | {decisions} "
            f"| {r['cpu_s']} |"
        )
    return "\n".join(lines)


def verdicts(rows: list[dict[str, Any]]) -> str:
    """The aims and what was measured, with 95 % intervals over items (and, with several seeds, the seeds)."""
    by = {arm: [r for r in rows if r["arm"] == arm] for arm in ("judged", *CONTROLS)}

    def share(name: str, at: str, category: str) -> str:
        each = [r["shares"]["fresh"][at][category] for r in by["judged"]]
        seeds = ", ".join(f"{one:.1f}" for one in each)
        return f"| {name} | fresh | {statistics.fmean(each):.1f} | – | {seeds} |"

    def gain(name: str, suite: str, a: str, at_a: str, b: str, at_b: str) -> str:
        both = {r["seed"] for r in by[a]} & {r["seed"] for r in by[b]}
        one, other = (
            [{"marks": {suite: {at: list(map(int, r["marks"][suite][at]))}}} for r in by[arm] if r["seed"] in both]
            for arm, at in ((a, at_a), (b, at_b))
        )
        return difference(name, suite, one, at_a, other, at_b)

    starts = [r["accuracy"]["fresh"][1] for r in by["judged"]]
    return "\n".join(
        [
            "| measured, points (aim) | suite | mean | 95 % over items | each seed |",
            "|---|---|---|---|---|",
            f"| the start (over 40) | fresh | {statistics.fmean(starts):.1f} | – "
            f"| {', '.join(f'{one:.1f}' for one in starts)} |",
            gain("judged, last round − its start (+8)", "fresh", "judged", "last", "judged", "warm"),
            *(
                gain(f"judged − {arm}, last round{aim}", "fresh", "judged", "last", arm, "last")
                for arm, aim in CONTROLS.items()
                if by[arm]
            ),
            gain("old tools, last round − base (−5 at most)", "old", "judged", "last", "judged", "base"),
            gain("old tools, start − base", "old", "judged", "warm", "judged", "base"),
            *(share(f"{name}, start", "warm", name) for name in CATEGORIES),
            *(share(f"{name}, last round{' (over 30)' * (name == 'parallel')}", "last", name) for name in CATEGORIES),
        ]
    )


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


def of_category(marks: Sequence[list[Any]], category: str) -> list[bool]:
    """Which items of a category are right; of all items for "". `marks` has the categories and the results."""
    return [right for name, right in zip(marks[0], marks[1], strict=True) if category in ("", name)]


def command(options: argparse.Namespace) -> str:
    controls = [] if options.controls == list(CONTROLS) else ["--controls", *options.controls]
    said = " ".join(
        ["--seeds", *map(str, options.seeds), *controls, *(f"--set {key}={value}" for key, value in options.set)]
    )
    return f"`python benchmarks/evidence.py {said}`, configuration `{options.config}`"


def parse() -> argparse.Namespace:
    from funreason.config import parse_setting

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--controls", nargs="*", choices=CONTROLS, default=list(CONTROLS))
    parser.add_argument("--report", action="store_true", help="leave out the controls of a seed that were not played")
    parser.add_argument("--commit", help="of the code that played runs which are read back; default: the present one")
    parser.add_argument("--config", default="default")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/evidence"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--tag", default="evidence")
    parser.add_argument("--set", type=parse_setting, action="append", default=[])
    return parser.parse_args()


if __name__ == "__main__":
    main()
