"""Ends commands at chosen system calls, plays them again, and compares what comes out.

    python benchmarks/kill_points.py --kills 1000 [--seed 0] [--out benchmarks/results/kill_points.md]

Each command is played once undisturbed, and every call that changes a file of the run is noted (`kill_points.c`, which
is compiled with `cc` and preloaded). Then commands are ended before or after the n-th call of a kind on a kind of file,
or with half of a write done, are played again, ended again, and at last left to end. What they leave must be what the
undisturbed one left: samples, verdicts, weights to the bit, gate numbers, counts of events, the list of files, hashes.

Kinds of calls and files that had few kills are chosen first. Random moments are the subject of `kills.py`.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from kill_worlds import RAISED, World, differences, make_model, make_records, make_runs, play, warm, worlds
from lives import load_libraries

CALLS = ("open", "write", "fsync", "rename", "unlink", "mkdir", "rmdir", "symlink", "truncate")
HOW = ("before", "after", "torn")
FILES = {
    "new run": ".run.new-*",
    "run folder": "run",
    "events": "run/events/*",
    "verdicts": "run/round-*/judged.jsonl*",
    "round manifest": "run/round-*/*manifest.json*",
    "texts": "run/round-*",
    "manifest": "run/*manifest.json*",
    "marks": "run/*marks.json*",
    "run.json": "run/*run.json*",
    "configuration": "run/*.yaml*",
    "records": "run/*records.json*",
    "gate items": "run/gate-items*",
    "gate results": "run/gate*",
    "checkpoint": "run/weights/checkpoint-*",
    "update folder": "run/weights/update-*",
    "weights": "run/weights*",
    "link": "run/*model*",
    "refined files": "run/refined-*",
    "report": "report*",
    "export": "*out*",
}
"""Kinds of files, by patterns of their path in a case's folder; the first that matches counts."""
KILLS_A_CASE = 9
CODES = (0, 3)
"""Exit codes of commands that have ended: a loop whose last round was refused ends with 3."""


class Point(NamedTuple):
    """Where to kill: at the n-th call of a kind on a kind of file. `how` is before, after, or torn."""

    call: str
    file: str
    nth: int
    how: str
    worker: bool = False
    """Kill the first process of an update, and not the one that plays the command."""


class Kill(NamedTuple):
    """A kill that landed: in which world and command, at which call on which kind of file, and how."""

    world: str
    step: str
    call: str
    file: str
    how: str
    worker: bool


class Shim:
    """The preloaded library in this process."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(None)

    def arm(self, case: Path, point: Point | None, trace: Path | None = None) -> None:
        """From now on count the calls of this process in the folder of a case, and those of a worker that it starts."""
        place = "-1 0 0 0"
        if point is not None and point.worker:
            place = f"{CALLS.index(point.call)} {list(FILES).index(point.file)} {point.nth} {HOW.index(point.how)}"
        os.environ["KILL_POINT"] = "\n".join([f"{place} {case}", *FILES.values()])
        if trace is not None:
            os.environ["KILL_TRACE"] = f"{trace}-worker"
        self.library.kill_points_root(os.fsencode(case))
        for number, pattern in enumerate(FILES.values()):
            self.library.kill_points_pattern(number, pattern.encode())
        if trace is not None:
            self.library.kill_points_trace(os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644))
        if point is not None and not point.worker:
            numbers = CALLS.index(point.call), list(FILES).index(point.file)
            self.library.kill_points_plan(*numbers, ctypes.c_long(point.nth), HOW.index(point.how))


class Trial:
    """Plays the cases of all worlds until enough kills have landed."""

    def __init__(self, root: Path, seed: int, only: str = "") -> None:
        self.root, self.draw, self.shim = root, random.Random(seed), Shim()
        self.worlds = [world for world in worlds(root) if (only in world.name if only else world.share)]
        self.expected: dict[str, dict[str, Any]] = {}
        self.points: dict[tuple[str, str], Counter[tuple[str, str, bool]]] = {}
        """By world and command: how many calls of which kind on which files an undisturbed one makes, and whether in a
        worker process."""
        self.landed: Counter[Kill] = Counter()
        self.cases: Counter[str] = Counter()
        self.resumed_again = 0
        self.failures: list[str] = []

    def reference(self) -> None:
        """Play each world undisturbed."""
        for earlier in ("reference", "cases"):
            shutil.rmtree(self.root / earlier, ignore_errors=True)
        for world in self.worlds:
            case = self.root / "reference" / re.sub("[ ,]+", "-", world.name)
            world.prepare(case)
            for name, step in world.steps:
                trace = Path(f"{case}-{name}.trace")
                code = play(step, case, partial(self.shim.arm, case, None, trace))
                assert code in CODES, Path(f"{case}.out").read_text()
                points = self.points[world.name, name] = Counter()
                for path, worker in ((trace, False), (Path(f"{trace}-worker"), True)):
                    for line in path.read_text().splitlines() if path.exists() else ():
                        call, file, _ = line.split(" ", 2)
                        if int(file) < len(FILES):
                            points[CALLS[int(call)], list(FILES)[int(file)], worker] += 1
            self.expected[world.name] = world.found(case)

    def choose(self, world: str, step: str, life: int) -> Point:
        """A call on a kind of file that had few kills so far; in a later life often one of the first."""
        had: Counter[tuple[str, str, bool]] = Counter()
        for kill, count in self.landed.items():
            if (kill.world, kill.step) == (world, step):
                had[kill.call, kill.file, kill.worker] += count
        points = self.points[world, step]
        # Writes can be ended in three ways, and some are many.
        weights = {p: (1 + min(n, 40)) ** 0.5 * (3 if p[0] == "write" else 1) for p, n in points.items()}
        chosen = min(points, key=lambda p: had[p] / weights[p] + self.draw.random() / 2)
        count, (call, file, worker) = points[chosen], chosen
        nth = self.draw.randint(1, max(1, count if life == 0 or self.draw.random() < 0.5 else count // 4))
        return Point(call, file, nth, self.draw.choice(HOW if call == "write" else HOW[:2]), worker)

    def play(self, world: World, number: int, kills: int) -> int:
        """One case of a world, killed up to `kills` times and then left to end; how many kills have landed."""
        case = self.root / "cases" / f"{number:04d}"
        world.prepare(case)
        hits: list[tuple[Kill, Point]] = []
        code = 0
        for name, step in world.steps:
            # The commands before the last are short, and the last one is to be killed as well.
            most = kills if (name, step) == world.steps[-1] else min(kills, self.draw.randint(0, 2))
            for life in range(most + 1):
                point = self.choose(world.name, name, life) if len(hits) < kills and life < most else None
                code = play(step, case, partial(self.shim.arm, case, point))
                if point is None or code != (RAISED if point.worker else -9):
                    break
                hits.append((Kill(world.name, name, point.call, point.file, point.how, point.worker), point))
            if code not in CODES:
                break
        self.landed.update(kill for kill, _ in hits)
        self.cases[world.name] += 1
        self.resumed_again += max(0, len(hits) - 1)
        if code in CODES:
            wrong = differences(self.expected[world.name], world.found(case))
        else:
            said = Path(f"{case}.out").read_text().rstrip().splitlines()[-3:]
            wrong = [f"exit code {code}: {' '.join(said)}"]
        if wrong:
            at = "; ".join(f"{kill.step} {point.how} {point.call} {point.nth} of {point.file}" for kill, point in hits)
            self.failures.append(f"{world.name}, case {number}: {at}\n" + "\n".join(f"    {line}" for line in wrong))
            print(self.failures[-1], flush=True)
        else:
            shutil.rmtree(case)
        return len(hits)

    def run(self, kills: int, note: Callable[[], None]) -> None:
        """Play until `kills` have landed; `note` is called now and then."""
        number = 0
        while (total := self.landed.total()) < kills:
            had = Counter[str]()
            for kill, count in self.landed.items():
                had[kill.world] += count
            world = min(self.worlds, key=lambda w: (had[w.name] + self.cases[w.name]) / (w.share or 1))
            number += 1
            self.play(world, number, min(self.draw.randint(1, KILLS_A_CASE), kills - total))
            if number % 20 == 0:
                print(f"{self.landed.total()} kills in {number} cases, {len(self.failures)} differ", flush=True)
                note()


def table(trial: Trial) -> str:
    """The kills by world and command, and by call and kind of file, as Markdown."""
    total, cases = trial.landed.total(), trial.cases.total()
    rows = [
        f"{total} kills in {cases} cases; {trial.resumed_again} of them hit a command that was played again. "
        f"{len(trial.failures)} cases ended otherwise than undisturbed.",
        "",
        "| world | command | " + " | ".join(HOW) + " | kills | cases |",
        "|---|---|" + "---:|" * 5,
    ]
    for world in trial.worlds:
        for name, _ in world.steps:
            here = {k: n for k, n in trial.landed.items() if (k.world, k.step) == (world.name, name)}
            counts = [sum(n for k, n in here.items() if k.how == how) for how in HOW]
            cells = [*counts, sum(counts), trial.cases[world.name]]
            rows.append(f"| {world.name} | {name} | " + " | ".join(map(str, cells)) + " |")
    rows += ["", "| file | " + " | ".join(CALLS) + " |", "|---|" + "---:|" * len(CALLS)]
    for file in FILES:
        counts = [sum(n for k, n in trial.landed.items() if (k.file, k.call) == (file, call)) for call in CALLS]
        if any(counts):
            rows.append(f"| {file} | " + " | ".join(str(count or "") for count in counts) + " |")
    return "\n".join([*rows, *(["", "```", *trial.failures, "```"] if trial.failures else [])]) + "\n"


def prepare(root: Path) -> None:
    """The model, tasks and records of all worlds, and the runs that commands on runs are played on."""
    if (root / "open").exists():
        return
    (root / "setup").mkdir(parents=True)

    def model(_: Path) -> int:
        make_model(root / "model", root / "tasks.jsonl", root / "gate")
        make_records(root / "records.jsonl")
        return 0

    code = play(model, root / "setup", lambda: None)
    assert code == 0, (root / "setup.out").read_text()
    make_runs(root, Shim().arm, Point, list(FILES))


def preloaded(arguments: list[str]) -> None:
    """Compile the library and start this program again with it."""
    folder = Path(tempfile.mkdtemp(prefix="kill-points-"))
    library, source = folder / "kill_points.so", Path(__file__).with_suffix(".c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    environment = os.environ | {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    environment["TOKENIZERS_PARALLELISM"] = "false"  # its threads would not be there in a forked process
    os.execve(sys.executable, [sys.executable, __file__, *arguments], environment)


def main() -> None:
    """Kill, compare, print the table; exit code 1 when a case came out otherwise."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=1000)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--only", default="", help="worlds whose name contains this")
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--keep", type=Path, help="leave the cases that differ in this folder")
    given = arguments.parse_args()
    if "kill_points.so" not in os.environ.get("LD_PRELOAD", ""):
        preloaded(sys.argv[1:])
    root = (given.keep or Path(tempfile.mkdtemp(prefix="kills-"))).resolve()
    os.environ |= {"XDG_CACHE_HOME": str(root / "cache"), "XDG_STATE_HOME": str(root / "state")}
    load_libraries()
    prepare(root)
    warm(root)
    found = Trial(root, given.seed, given.only)
    found.reference()
    command = f"$ python benchmarks/kill_points.py --kills {given.kills} --seed {given.seed}"
    command += f" --only {given.only!r}" if given.only else ""

    def note() -> None:
        if given.out:
            given.out.write_text(f"{command}\n\n{table(found)}")

    found.run(given.kills, note)
    note()
    print(f"{command}\n\n{table(found)}")
    if given.keep is None:
        shutil.rmtree(root)
    sys.exit(bool(found.failures))


if __name__ == "__main__":
    main()
