"""Kills runs with SIGKILL at seeded random moments of every phase, takes them up again, and compares what comes out.

    python benchmarks/kills.py --kills 200 [--seed 0] [--out benchmarks/results/kills.md]

Each life of a run is a process of its own that plays `funreason loop`; it is forked from this one, which has loaded the
libraries, because loading them takes longer than the run. Half of the kills come by the clock, at a random moment of
a phase; the other half when the process is about to touch its n-th file: moments too short for a clock to hit. A run is
killed a few times, then left to end, and must be the run that was never killed: the same samples with the same
verdicts, ends, weights, gate numbers, counts and files, and no judgement twice in its log.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lives import PHASES, Plan, after, live, load_libraries, phase_at_death
from outcome import differences, outcome

from funreason.config import CONFIGS
from funreason.record.log import LogReader

JUDGE = Path(__file__).with_name("slow_judge.py")
SETTINGS = [
    *("fcdr.max_in_flight=3", "fcdr.self_agreement_share=0.3"),
    *("tasks.path=toolbox:old_replay", "tasks.per_round=6", "start.references.count=12", "model.threads=1"),
    *("gate.suites.new.count=4", "gate.suites.old.count=4", "rounds=2", "fcdr.max_attempts=3"),
    *(
        "start.update.checkpoint_every=1",
        "train.update.checkpoint_every=1",
        "train.update.batch_size=4",
        "train.max_category_share={}",
    ),
    f"agents=[{{name: slow, agent: '{JUDGE}:slow', after: query_tool}}]",
    *("sample.samples_per_task=3", "sample.temperature=1.3"),
    # Every update is accepted, so that each round is drawn by other weights than the one before.
    *(
        "gate.min_gain=-100",
        "gate.promote_p=1",
        "gate.max_calls_loss=100",
        "gate.max_refusals_loss=100",
        "gate.max_guard_loss=100",
        "gate.max_category_loss=100",
    ),
]
IN_ORDER = ("base", "start", "gate of the start", "weight sync", "sample and judge", "train", "gate")
"""Phases that a run which has come further does not come to again (but for the second round)."""
WEIGHTS = {"sample and judge": 4, "weight sync": 2, "train": 2}
KILLS_A_RUN = 8
FILES = 140
"""About as many as a whole run touches."""


class Kill(NamedTuple):
    """A kill that landed: in which phase, and whether by the clock or at a file."""

    phase: str
    how: str


class Trial:
    """Kills and compares until enough kills have landed."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.draw = root, random.Random(seed)
        self.landed: Counter[Kill] = Counter()
        self.runs: list[tuple[list[Kill], list[str]]] = []
        self.seconds: dict[str, float] = {}
        self.graph = root / "graph.yaml"
        # In small batches, so that drawing and judging go on at the same time for a while.
        graph, found = re.subn(r"(\n  generator: .*max_batch:) \d+", r"\1 2", (CONFIGS / "fcdr.yaml").read_text())
        assert found == 1, "the generator's max_batch is not where it was"
        self.graph.write_text(graph)

    def loop(self, folder: Path) -> Callable[[], int]:
        """What a life plays: a new run, or the one that is there."""
        from funreason.cli.loop import run_loop

        given: dict[str, object] = {"run_dir": str(folder.parent)}
        settings = [*SETTINGS, f"name={folder.name}", f"fcdr.graph={self.graph}"]
        if (folder / "run.json").exists():
            return lambda: run_loop(None, given, [], str(folder))
        if folder.exists():  # killed before it was a run: a person would begin anew, too
            shutil.rmtree(folder)
        return lambda: run_loop("smoke", given, settings, None)

    def reference(self) -> dict[str, Any]:
        """The run that is never killed; how long its phases take and how many files it touches are noted."""
        folder = self.root / "reference" / "run"
        folder.parent.mkdir()
        code = live(folder, self.loop(folder), Plan())
        assert code in (0, 3), folder.with_suffix(".out").read_text()
        self.note_lengths(folder)
        return outcome(folder)

    def note_lengths(self, folder: Path) -> None:
        """How long each phase of an undisturbed run takes."""
        phase, since = "begin", None
        for event in LogReader(folder / "events").events():
            if since is not None:
                self.seconds[phase] = self.seconds.get(phase, 0.0) + event.at - since
            phase, since = after(phase, event), event.at

    def plan(self, hits: list[Kill]) -> Plan:
        """The next moment, drawn: at a file, or by the clock in a phase to come that had few kills so far."""
        if self.draw.random() < 0.4:
            return Plan(file=self.draw.randrange(1, FILES))
        had: Counter[str] = Counter(kill.phase for kill in hits)
        for kill, count in self.landed.items():
            had[kill.phase] += count
        reached = max((PHASES.index(kill.phase) for kill in hits if kill.phase in IN_ORDER), default=0)
        phases = [p for p in PHASES[:-1] if p not in IN_ORDER or PHASES.index(p) >= reached]
        phase = min(phases, key=lambda p: had[p] / WEIGHTS.get(p, 1) + self.draw.random() * 2)
        return Plan(phase, self.draw.uniform(0, max(0.002, self.seconds.get(phase, 0.0))))

    def play(self, number: int, expected: dict[str, Any], kills: int) -> None:
        """One run, killed up to `kills` times and then left to end; what differs is kept."""
        folder = self.root / f"{number:03d}" / "run"
        folder.parent.mkdir()
        hits: list[Kill] = []
        while True:
            plan = self.plan(hits) if len(hits) < kills else Plan()
            before = len(list((folder / "events").glob("*.jsonl")))
            code = live(folder, self.loop(folder), plan)
            if code != -signal.SIGKILL:
                break
            hits.append(Kill(phase_at_death(folder, before), "file" if plan.file else "clock"))
        hits += self.report(folder, kills - len(hits))
        wrong = differences(expected, outcome(folder)) if code in (0, 3) else [f"exit code {code}"]
        self.landed.update(hits)
        self.runs.append((hits, wrong))
        if wrong:
            print(f"run {number}: {', '.join(f'{k.phase} ({k.how})' for k in hits)}")
            print("\n".join(f"  {line}" for line in wrong), flush=True)
        else:
            shutil.rmtree(folder.parent)

    def report(self, folder: Path, kills: int) -> list[Kill]:
        """Write the report, killed once on the way when a kill is left; a half report is no file at all."""
        from funreason.cli.export import report as write_report

        hits: list[Kill] = []
        out = folder.parent / "report"

        def write() -> int:
            return write_report(str(folder), out=out, run_dir=folder.parent)

        if kills > 0:
            code = live(out, write, Plan(file=self.draw.randrange(1, 7)))
            hits += [Kill("report", "file")] * (code == -signal.SIGKILL)
        code = live(out, write, Plan())
        assert code == 0, out.with_suffix(".out").read_text()
        assert sorted(p.name for p in out.iterdir()) == ["report.html", "report.md"], list(out.iterdir())
        return hits


def table(trial: Trial) -> str:
    """The kills by phase, as Markdown."""
    rows = ["| killed in | by the clock | at a file | runs that ended as if never killed |", "|---|---|---|---|"]
    for phase in PHASES:
        clock, file = (trial.landed[Kill(phase, how)] for how in ("clock", "file"))
        hit = [wrong for kills, wrong in trial.runs if any(kill.phase == phase for kill in kills)]
        rows.append(f"| {phase} | {clock} | {file} | {sum(not wrong for wrong in hit)} of {len(hit)} |")
    same = sum(not wrong for _, wrong in trial.runs)
    kills = trial.landed.total()
    rows.append(f"| **all** | {_sum(trial, 'clock')} | {_sum(trial, 'file')} | {same} of {len(trial.runs)} |")
    return f"{kills} kills in {len(trial.runs)} runs\n\n" + "\n".join(rows)


def _sum(trial: Trial, how: str) -> int:
    return sum(count for kill, count in trial.landed.items() if kill.how == how)


def trial(kills: int, seed: int, root: Path) -> Trial:
    """Play until `kills` have landed."""
    load_libraries()
    found = Trial(root, seed)
    expected = found.reference()
    number = 0
    while found.landed.total() < kills:
        found.play(number, expected, min(KILLS_A_RUN, kills - found.landed.total()))
        number += 1
    return found


def main() -> None:
    """Kill, compare, print the table; exit code 1 when a run came out otherwise."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=200)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--keep", type=Path, help="leave the runs that differ in this folder")
    given = arguments.parse_args()
    root = given.keep or Path(tempfile.mkdtemp(prefix="kills-"))
    root.mkdir(parents=True, exist_ok=True)
    found = trial(given.kills, given.seed, root)
    text = f"$ python benchmarks/kills.py --kills {given.kills} --seed {given.seed}\n\n{table(found)}\n"
    print(text)
    if given.out:
        given.out.write_text(text)
    if given.keep is None:
        shutil.rmtree(root)
    sys.exit(any(wrong for _, wrong in found.runs))


if __name__ == "__main__":
    main()
