"""A real small model on a real benchmark: base → supervised start → rounds on its own samples, and three controls.

    funreason models fetch smollm2-135m && funreason bfcl fetch
    python benchmarks/real.py --humaneval HumanEval.jsonl.gz --text held-out.jsonl --allow-code-execution
    python benchmarks/real.py --device cpu --size smoke --out FILE     # any CPU, minutes: the same path, no numbers

For each seed four arms: `judged` is the configuration itself. From the start that it accepted, `unfiltered` trains
each round on as many first attempts, unjudged, and `references` on as many reference answers, category by category;
both keep every update. `sft` is the whole run with plain supervised fine-tuning in place of the two-part loss. BFCL v4
is measured in each run (asked as the model was trained, our exact checker) and never decides. Forgetting is the
likelihood of held-out text and HumanEval's pass@1, of the base model and of the last weights of `judged`.

A run is kept under a name with a hash of its configuration and of the package's code, and read back when it is there;
one that was cut is resumed. A run that would not end within `--minutes` is not started (ten by default: about three
arms of one seed on one H100, so three seeds take six calls); the same command again takes the next ones. `--part SEED`
plays one seed alone, `--arms` some of the arms. The table holds only what has run, and says what has not; without
`--out` it replaces benchmarks/results/real.md.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import statistics
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from evidence import KEEP_ALL, difference
from rich.console import Console

import funreason
from funreason.bfcl import BfclError, check, load_cases
from funreason.bfcl.cases import fetched_data
from funreason.bfcl.categories import has_answers, wants_refusal
from funreason.bfcl.scores import percent, score
from funreason.cli.eval import evaluate
from funreason.cli.forgetting import compare_forgetting
from funreason.config import Config, dump_config, load_config
from funreason.gate.items import spread
from funreason.loops.self_refinement import config_of, new_run, play
from funreason.record.folder import RunFolder
from funreason.stop import StopRequest

ARMS = ("judged", "unfiltered", "references", "sft")
RESULTS = Path(__file__).parent / "results" / "real.md"
SFT = {"start.update.alpha_mode": "proportional", "train.update.alpha_mode": "proportional"}
GROUPS: dict[str, Callable[[str], bool]] = {
    "calls": has_answers,
    "irrelevance": wants_refusal,
    "relevance": lambda name: name == "live_relevance",
}
FORGETTING_S = 40
"""Seconds that HumanEval may take: 512 steps of the in-process sampler at an H200's rate, and the tests."""
COLUMNS = ("non-live", "live", "irrelevance", "relevance", "balanced", "format errors")


class Size(NamedTuple):
    """What is played: a configuration, what is changed in it, BFCL's cases that are asked, seconds an arm may take."""

    config: str
    changes: dict[str, Any]
    items: int
    seconds: dict[str, float]


SIZES = {
    "full": Size(
        "smollm2",
        {"tasks.per_round": 400, "start.references.count": 4000, "gate.suites.composed.count": 200},
        600,
        # Not measured: by the rates in funreason/plan/cost_model.py, which are one H200's.
        {"judged": 240, "unfiltered": 170, "references": 100, "sft": 240},
    ),
    "smoke": Size("smoke", {"rounds": 1}, 26, {}),
}


class Clock:
    """Whether there is time for another run: its expected seconds, corrected by what the last one took."""

    def __init__(self, minutes: float) -> None:
        self.minutes, self.end, self.ratio, self.played = minutes, time.monotonic() + 60 * minutes, 1.0, False

    def allows(self, seconds: float) -> bool:
        """The first run always starts: else a slow machine would never begin."""
        return not self.played or time.monotonic() + self.ratio * seconds < self.end

    def note(self, expected: float, took: float) -> None:
        """A run of `expected` seconds took `took`."""
        self.played, self.ratio = True, took / expected if expected else self.ratio


def main() -> None:
    options = parse()
    clock = Clock(options.minutes)
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        rows += one_seed(seed, options, clock)
    have = {(row["arm"], row["seed"]) for row in rows}
    missing = [f"{arm} {seed}" for seed in options.seeds for arm in options.arms if (arm, seed) not in have]
    said = [f"Not run yet: {', '.join(missing)}."] if missing else []
    text = "\n\n".join(
        [head(options), *said, *([table(rows), verdicts(rows), forgetting(rows, options, clock)] if rows else [])]
    )
    options.out.write_text(text + "\n")
    print(text)


def one_seed(seed: int, options: argparse.Namespace, clock: Clock) -> list[dict[str, Any]]:
    """The arms of one seed that are there already or fit before the deadline."""
    size = SIZES[options.size]
    common = {
        "seed": seed,
        "run_dir": str(options.runs),
        "model.device": options.device,
        "gate.suites.bfcl": {"path": "bfcl-v4", "count": size.items, "role": "report"},
        **size.changes,
        **dict(options.set),
    }
    common |= {"model.dtype": "float32"} if options.device == "cpu" else {}
    rows: list[dict[str, Any]] = []
    judged = run("judged", common, options, clock)
    if judged is None:
        return rows
    if "judged" in options.arms:
        rows.append(judged)
    control = common | KEEP_ALL | {"start.references": None, "model.path": judged["start_folder"]}
    control |= {
        "train.exact_counts": judged["by_category"],
        "train.max_category_share": {},
        "train.max_per_task": 99,
        "train.max_solved_share": 1.0,
        "fcdr.regenerate": [],
    }
    for arm, changes in {
        "unfiltered": control | {"train.data": "unfiltered"},
        "references": control | {"train.data": "references"},
        "sft": common | SFT,
    }.items():
        if arm in options.arms and (row := run(arm, changes, options, clock)) is not None:
            rows.append(row)
    return rows


def run(arm: str, changes: dict[str, Any], options: argparse.Namespace, clock: Clock) -> dict[str, Any] | None:
    """Play one run, take up one that was cut, or read it back; None when the deadline is past."""
    plain = load_config(SIZES[options.size].config, changes)
    name = f"real-{arm}-{plain.seed}-{digest(plain)}"
    folder = RunFolder(Path(options.runs) / name)
    cost = folder.path / "cost.json"
    if not cost.exists():
        if not clock.allows(SIZES[options.size].seconds.get(arm, 0)):
            print(f"{name}: not started, too little is left of {clock.minutes:g} minutes; run this again", flush=True)
            return None
        started, resumed = time.perf_counter(), folder.path.exists()
        config = config_of(folder) if resumed else load_config(SIZES[options.size].config, changes | {"name": name})
        folder = folder if resumed else new_run(config)
        asyncio.run(play(config, folder, StopRequest(), resume=resumed))
        seconds = round(time.perf_counter() - started)
        clock.note(SIZES[options.size].seconds.get(arm, 0), seconds)
        cost.write_text(json.dumps({"seconds": seconds, "resumed": resumed}))
    row = summary(arm, plain, folder) | json.loads(cost.read_text())
    shown = {key: row[key] for key in ("arm", "seed", "decisions", "trained", "seconds")}
    print(json.dumps(shown | {"scores": row["scores"]}), flush=True)
    return row


def digest(config: Config) -> str:
    """A hash of what a run depends on: its configuration and the package's code."""
    found = hashlib.sha256(dump_config(config).encode())
    root = Path(funreason.__file__).parent
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".txt", ".yaml") and p.is_file()):
        found.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return found.hexdigest()[:10]


def summary(arm: str, config: Config, folder: RunFolder) -> dict[str, Any]:
    """BFCL along a run: the weights it began with, after the supervised start, and those in force at its end."""
    state = folder.state()
    rounds = [state.rounds[k] for k in sorted(state.rounds)]
    first = rounds[0].gate
    assert first is not None
    weights = {"base": first.old_weights, "start": rounds[0].weights, "last": rounds[-1].weights}
    cases = spread(list(load_cases().values()), config.gate.suites["bfcl"].count)
    marks: dict[str, dict[str, list[bool]]] = {group: {} for group in GROUPS}
    scores = {}
    for at, id in weights.items():
        lines = (folder.path / "gate" / "outputs" / str(id) / "bfcl.jsonl").read_text().splitlines()
        outputs = {line["id"]: line["output"].rpartition("</think>")[2].strip() for line in map(json.loads, lines)}
        asked = [case for case in cases if case.id in outputs]
        results = {case.id: check(case, outputs[case.id]) for case in asked}
        valid = {id: result.valid for id, result in results.items()}
        for group, belongs in GROUPS.items():
            marks[group][at] = [valid[case.id] for case in asked if belongs(case.category)]
        calls = [results[case.id].error_type or "" for case in asked if has_answers(case.category)]
        found = score({case.id: case for case in asked}, valid)
        means = [percent(share) for share in (found.non_live(), found.live(), found.irrelevance(), found.relevance())]
        both = [statistics.fmean(marks[group][at]) for group in ("calls", "irrelevance") if marks[group][at]]
        unread = sum(error.startswith("ast_decoder") for error in calls)
        scores[at] = [
            *(None if mean is None else float(mean) for mean in means),
            100 * statistics.fmean(both),
            100 * unread / len(calls) if calls else None,
        ]
    return {
        "arm": arm,
        "seed": config.seed,
        "decisions": [r.gate.decision if r.gate else "–" for r in rounds],
        "trained": [r.chosen.trained if r.chosen else 0 for r in rounds],
        "by_category": [r.chosen.by_category if r.chosen else {} for r in rounds[1:]],
        "start_folder": str(folder.weights / str(weights["start"]))
        if weights["start"] != weights["base"]
        else config.model.path,
        "last_folder": str((folder.path / "model").resolve()),
        "scores": scores,
        "marks": marks,
        "items": len(asked),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each run and set of weights, in Markdown."""
    lines = [f"| arm | seed | weights | {' | '.join(COLUMNS)} |", "|---|---|---|" + "---:|" * len(COLUMNS)]
    for row in rows:
        begins = ("base", "start", "last") if row["arm"] in ("judged", "sft") else ("last",)
        for at in begins:
            cells = ("not run" if cell is None else f"{cell:.1f}" for cell in row["scores"][at])
            lines.append(f"| {row['arm']} | {row['seed']} | {at} | {' | '.join(cells)} |")
    runs = (
        f"{row['arm']} {row['seed']}: {', '.join(row['decisions'])}; trained on "
        f"{', '.join(map(str, row['trained']))}; {row['seconds']} s{' (resumed)' if row['resumed'] else ''}"
        for row in rows
    )
    return "\n".join([*lines, "", "Decisions, samples and time of each run:", "", *(f"- {line}" for line in runs)])


def verdicts(rows: list[dict[str, Any]]) -> str:
    """Paired differences over the same cases, averaged over the seeds that both arms have, with 95 % intervals."""
    by = {arm: {row["seed"]: row for row in rows if row["arm"] == arm} for arm in ARMS}
    lines = ["| difference, points | cases | mean | 95 % over items | each seed |", "|---|---|---|---|---|"]
    pairs = [("judged", "last", "judged", "start"), ("judged", "start", "judged", "base")]
    pairs += [("judged", "last", arm, "last") for arm in ARMS[1:]]
    for one, at_one, other, at_other in pairs:
        seeds = sorted(by[one].keys() & by[other].keys())
        for group in GROUPS:
            a, b = ([by[arm][seed] for seed in seeds] for arm in (one, other))
            if seeds and len(a[0]["marks"][group][at_one]) > 1:
                lines.append(difference(f"{one} {at_one} − {other} {at_other}", group, a, at_one, b, at_other))
    return "\n".join(lines)


def forgetting(rows: list[dict[str, Any]], options: argparse.Namespace, clock: Clock) -> str:
    """Held-out text and HumanEval before and after the judged runs, or "not run" with the reason."""
    lines = ["Forgetting, base → last weights of `judged`:", ""]
    files = {"text": options.text, "humaneval": options.humaneval}
    for suite, file in files.items():
        if file is None:
            lines.append(f"- {suite}: not run (--{suite} FILE)")
            continue
        if suite == "humaneval" and not options.allow_code_execution:
            lines.append(f"- {suite}: not run (--allow-code-execution)")
            continue
        device = [
            f"model.device={options.device}",
            f"model.dtype={'float32' if options.device == 'cpu' else 'bfloat16'}",
        ]
        for row in (row for row in rows if row["arm"] == "judged"):
            base = load_config(SIZES[options.size].config, SIZES[options.size].changes | dict(options.set)).model.path
            outs = []
            for at, model in (("base", base), ("last", row["last_folder"])):
                made = hashlib.sha256(f"{model}/{file.resolve()}/{options.limit}".encode()).hexdigest()[:10]
                outs.append(Path(options.runs) / f"forgetting-{suite}-{at}-{made}")
                if not (outs[-1] / "scores.json").exists():
                    if not clock.allows(FORGETTING_S):
                        return "\n".join([*lines, f"- {suite}, seed {row['seed']}: not run yet; run this again"])
                    evaluate(
                        model=model,
                        suite=suite,
                        data=file,
                        limit=options.limit,
                        max_new_tokens=512,
                        allow_code_execution=options.allow_code_execution and suite == "humaneval",
                        out=outs[-1],
                        settings=device,
                    )
            said = StringIO()
            compare_forgetting(*outs, Console(file=said, width=200))
            lines.append(f"- seed {row['seed']}: {said.getvalue().strip()}")
    return "\n".join(lines)


def head(options: argparse.Namespace) -> str:
    """What was run, and on what."""
    import torch

    size = SIZES[options.size]
    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else "CPU"
    settings = "".join(f" --set {key}={value}" for key, value in options.set)
    command = f"python benchmarks/real.py --device {options.device} --size {options.size}{settings}"
    seeds = " ".join(map(str, options.seeds))
    return (
        f"# A real model on BFCL v4\n\n`{command} --seeds {seeds}`, configuration `{size.config}`, {where}, torch "
        f"{torch.__version__}, {time.strftime('%Y-%m-%d')}. {size.items} of BFCL's 3,641 cases, each category by its "
        "share; all numbers in %. Asked as the model was trained, which is not the leaderboard's prompt. Balanced: the "
        "mean of all calls and all irrelevance cases; format errors: calls that cannot be read, of the cases that want "
        "one; base, start, last: the weights before the run, after its supervised start, and at its end."
    )


def parse() -> argparse.Namespace:
    from funreason.config import parse_setting

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--part", type=int, help="play this seed alone")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--text", type=Path, help='held-out text: records {"text": …} or a .txt file')
    parser.add_argument("--humaneval", type=Path)
    parser.add_argument("--limit", type=int, help="at most this many texts and programs")
    parser.add_argument("--allow-code-execution", action="store_true", help="run the model's programs in the sandbox")
    parser.add_argument("--set", type=parse_setting, action="append", default=[])
    options = parser.parse_args()
    options.seeds = options.seeds if options.part is None else [options.part]
    if options.size == "smoke" and options.out == RESULTS:
        parser.error("--size smoke needs --out FILE: its numbers are no results.")
    if options.device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            parser.error("no CUDA device here. --device cpu --size smoke --out FILE tries the script on a CPU.")
    try:
        fetched_data()
    except BfclError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    main()
