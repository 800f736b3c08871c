"""How fast BFCL outputs are scored here, and beside the official code.

    python benchmarks/bfcl.py [--rows FILE.jsonl.gz] [--official ENV/bin/python] [--out benchmarks/results/bfcl.txt]

Rows are {"category", "id", "output"}; without a file they are made from the possible answers. With `--official` (the
environment of bfcl_official.sh) the same rows go through the official functions in one process, and two full result
sets through the official command: verdicts and published numbers must be equal. CPU seconds, best of three.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from funreason.bfcl import Case, check, fetch, load_cases
from funreason.bfcl.scores import export_results, percent, score_outputs
from funreason.bfcl.suites import solution

Made = TypeVar("Made")
UNSOLVABLE = {"live_simple_106-63-0", "live_simple_112-68-0", "live_multiple_862-181-3", "live_multiple_964-207-0"}
PROSE = "None of these functions fits; please tell me more."


def outputs_for(cases: dict[str, Case], seed: int) -> dict[str, str]:
    """A whole made-up result set: right, nearly right, misformed and prose, by a seeded draw."""
    rng = random.Random(seed)
    return {case.id: made_output(case, rng) for case in cases.values()}


def made_output(case: Case, rng: random.Random) -> str:
    right = written(case)
    kinds = [
        right,
        right,
        right,
        right.replace("=", "= ", 1),
        right[:-2],
        right.replace("'", "", 1),
        f"```\n{right}\n```",
    ]
    kinds += [PROSE, right.replace("(", "(extra=1, ", 1), f"{right[:-1]}, {right[1:]}", right.replace("1", "2"), ""]
    return rng.choice([PROSE, PROSE, "[f(x=1)]"] if case.category == "irrelevance" else kinds)


def written(case: Case) -> str:
    """Its own answer as a call, in the case's language as far as a plain rendering goes."""
    if case.answer is None or case.id in UNSOLVABLE:
        return "[f(x=1)]"
    if case.language == "python":
        return solution(case)
    [(name, possible)] = case.answer[0].items()
    given = [f"{key}={values[0] if values[0] != '' else '1'}" for key, values in possible.items() if values]
    return f"[{name}({', '.join(given)})]"


def best_of(rounds: int, work: Callable[[], Made]) -> tuple[float, Made]:
    """The fewest CPU seconds that `work` took, and what it made."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        made = work()
        best = min(best, time.process_time() - start)
    return best, made


def read_rows(path: Path | None, cases: dict[str, Case]) -> list[dict[str, str]]:
    if path is None:
        outputs = outputs_for(cases, seed=0)
        return [{"category": cases[name].category, "id": name, "output": text} for name, text in outputs.items()]
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def official_rows(python: str, rows: list[dict[str, str]], ours: list[list[object]]) -> float:
    """CPU seconds of the official functions on the same rows; ends the run if a verdict differs."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows)
        file.flush()
        script = Path(__file__).with_name("bfcl_official.py")
        done = subprocess.run([python, script, file.name], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    different = [
        row["id"]
        for row, mine, theirs in zip(rows, ours, found["verdicts"], strict=True)
        if mine != theirs and not (str(theirs[1]).startswith("crash:") and not mine[0])
    ]
    if different:
        sys.exit(f"{len(different)} verdicts differ from the official ones, the first for {different[0]}")
    return found["seconds"]


def official_command(python: str, cases: dict[str, Case], seed: int) -> tuple[float, float, str]:
    """Official and own CPU seconds for a whole result set, and the numbers; ends the run if they differ."""
    with tempfile.TemporaryDirectory() as root:
        export_results(root, outputs_for(cases, seed), cases)
        seconds, scored = best_of(3, lambda: score_outputs(root, cases))
        command = [str(Path(python).with_name("bfcl")), "evaluate", "--model", "Qwen/Qwen3-8B"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [*command, "--test-category", "single_turn"],
            env={**os.environ, "BFCL_PROJECT_ROOT": root},
            capture_output=True,
            text=True,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(f"bfcl evaluate ended with {done.returncode}:\n{done.stderr[-2000:]}")
        theirs = published(Path(root) / "score")
    ours = {"Non-Live": f"{percent(scored.scores.non_live())}%", "Live": f"{percent(scored.scores.live())}%"}
    ours |= {name: f"{percent(count.accuracy)}%" for name, count in scored.scores.counts.items()}
    different = {name: (mine, theirs.get(name)) for name, mine in ours.items() if theirs.get(name) != mine}
    if different:
        sys.exit(f"published numbers differ, ours first: {different}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, seconds, f"Non-Live {ours['Non-Live']}, Live {ours['Live']}, {len(ours)} numbers equal"


def published(folder: Path) -> dict[str, str]:
    """Category accuracies from the score files, and the two means from the tables."""
    found = {}
    for path in folder.rglob("*_score.json"):
        first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
        category = path.name.removeprefix("BFCL_v4_").removesuffix("_score.json")
        found[category] = f"{100 * first['accuracy']:.2f}%"
    for name, column in (("non_live", "Non-Live Overall Acc"), ("live", "Live Overall Acc")):
        with (folder / f"data_{name}.csv").open(encoding="utf-8", newline="") as file:
            found["Non-Live" if name == "non_live" else "Live"] = next(csv.DictReader(file))[column]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--official", metavar="PYTHON")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cases = load_cases(fetch())
    rows = read_rows(options.rows, cases)
    pairs = [(cases[row["id"]], row["output"]) for row in rows]
    seconds, results = best_of(3, lambda: [check(case, output) for case, output in pairs])
    lines = [f"rows            {len(rows)}, {seconds:.3f} s CPU, {len(rows) / seconds:,.0f} rows/s"]
    for language in ("python", "java", "javascript"):
        part = [(case, output) for case, output in pairs if case.language == language]
        if part:
            used, _ = best_of(3, lambda part=part: [check(case, output) for case, output in part])
            lines.append(f"  {language:13} {len(part)}, {1e6 * used / len(part):.1f} µs each")
    if options.official:
        verdicts = [[result.valid, result.error_type] for result in results]
        theirs = official_rows(options.official, rows, verdicts)
        lines.append(
            f"official code   the same rows and verdicts, {theirs:.3f} s CPU, {len(rows) / theirs:,.0f} rows/s"
        )
        lines.append(f"                ours in {theirs / seconds:.1f} times fewer CPU seconds")
        for seed in (1, 2):
            used, own, numbers = official_command(options.official, cases, seed)
            lines.append(
                f"result set {seed}    {len(cases)} cases: bfcl evaluate {used:.1f} s CPU, ours {own:.2f} s; {numbers}"
            )
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
