"""Make docs/results.md and the README's small table from the results that are kept beside this file.

    python benchmarks/results_page.py            # --check: write nothing, exit code 1 where they differ

Nothing is run: every number is read from results/evidence/evidence.json, results/egpo.json and
results/reproduce/*.json. A test compares page and table with what this script makes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from egpo import differences
from evidence import verdicts

from funreason.experiments.published import page

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- this table is made by benchmarks/results_page.py -->", "<!-- end of the table -->"
SHOWN = {"judged": "**judged**"}
"""Arms that are written in another way than their name."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = [path for path, text in made(RESULTS).items() if not path.exists() or path.read_text() != text]
    if not options.check:
        for path, text in made(RESULTS).items():
            path.write_text(text)
    for path in stale:
        print(f"{path.relative_to(ROOT)} {'differs' if options.check else 'is written'}")
    sys.exit(bool(options.check and stale))


def made(results: Path) -> dict[Path, str]:
    """The two files with the text that they should have."""
    rows, command, commit = evidence(results / "evidence")
    readme = (ROOT / "README.md").read_text()
    head, found, rest = readme.partition(BEGIN)
    if not found or END not in rest:
        raise SystemExit(f"README.md has no lines {BEGIN} and {END}: put them around its table of the evidence.")
    small = small_table(rows)
    section = [
        "## Does judging help? The default run and its controls",
        f"{command}, {commit}. Items that no gate read.",
        small,
        verdicts(rows),
        "Every run: [benchmarks/results/evidence/evidence.md](../benchmarks/results/evidence/evidence.md).",
    ]
    rewards = json.loads((results / "egpo.json").read_text())
    seeds = sorted({row["seed"] for row in rewards["rows"]})
    rounds = [
        "## EGPO, GRPO and SRML at equal sampling budgets",
        f"{rewards['command']}, commit {rewards['commit']}; {len(seeds)} seeds.",
        differences(rewards["rows"]),
        "What it says, and every run: [benchmarks/results/egpo.md](../benchmarks/results/egpo.md).",
    ]
    return {
        ROOT / "README.md": f"{head}{BEGIN}\n{small}\n{END}{rest.partition(END)[2]}",
        ROOT / "docs" / "results.md": page(results / "reproduce", ["\n\n".join(section), "\n\n".join(rounds)]),
    }


def evidence(folder: Path) -> tuple[list[dict[str, Any]], str, str]:
    """The rows of evidence.json, the command that made them, and the commit where it is kept."""
    kept = json.loads((folder / "evidence.json").read_text())
    said = (folder / "evidence.md").read_text().partition("\n")[0]
    if isinstance(kept, list):
        return kept, said, "commit not recorded"
    return kept["rows"], kept.get("command", said), f"commit {kept.get('commit', 'not recorded')}"


def small_table(rows: list[dict[str, Any]]) -> str:
    """One line an arm, on items that no gate read: new tools by seed, old tools as means over the seeds."""
    new, old = (len(rows[0]["marks"][suite]["last"]) for suite in ("fresh", "old"))
    lines = [
        f"| arm | new tools, {new} items: start → last round, by seed | mean | old tools, {old} items |",
        "|---|---|---|---|",
    ]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row["accuracy"] for row in rows if row["arm"] == arm]
        by_seed = " · ".join(f"{each['fresh'][1]:.1f} → {each['fresh'][-1]:.1f}" for each in mine)
        means = [
            f"{fmean(each[suite][1] for each in mine):.1f} → {fmean(each[suite][-1] for each in mine):.1f}"
            for suite in ("fresh", "old")
        ]
        lines.append(f"| {SHOWN.get(arm, arm)} | {by_seed} | {' | '.join(means)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
