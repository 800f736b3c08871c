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
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from outcome import differences, outcome

from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.record.log import LogReader

JUDGE = Path(__file__).with_name("slow_judge.py")
SETTINGS = [
    "fcdr.workers=3",
    *("tasks.path=toolbox:old_replay", "tasks.per_round=6", "warmup.references.count=12", "model.threads=1"),
    *("gate.suites.new.count=4", "gate.suites.old.count=4", "rounds=2", "fcdr.max_attempts=3"),
    *("warmup.update.checkpoint_every=1", "train.update.checkpoint_every=1", "train.update.batch=4", "train.quotas={}"),
    f"fcdr.judges=[{{name: slow, agent: '{JUDGE}:slow', after: query_tool}}]",
    *("sample.k=3", "sample.temperature=1.3"),
    # Every update is accepted, so that each round is drawn by other weights than the one before.
    *("gate.min_gain=-100", "gate.max_guard_loss=100", "gate.max_category_loss=100"),
]
PHASES = (
    *("start", "base", "warm-up", "gate of the warm-up", "weight sync", "sample and judge", "train", "gate"),
    *("between phases", "manifest", "last link", "report"),
)
KILLS_A_RUN = 5
LONGEST_S = 120.0


class Kill(NamedTuple):
    """A kill that landed: in which phase, and whether by the clock or at a file."""

    phase: str
    how: str


class Plan(NamedTuple):
    """When to kill: at the `file`-th file, or `wait` seconds into `phase`; never with neither."""

    phase: str = ""
    wait: float = 0.0
    file: int = 0


def load_libraries() -> None:
    """Import what a run imports; without a parallel computation, so that children may be forked."""
    from funreason.loops.building import wait_passively

    wait_passively()
    import torch
    import transformers  # noqa: F401

    import funreason.commands.looping
    import funreason.commands.reporting
    import funreason.models.huggingface
    import funreason.srml.training  # noqa: F401

    torch.set_num_threads(1)


def live(folder: Path, play: Callable[[], int], plan: Plan) -> int:
    """Play in a process of its own, killed as planned; its exit code, -9 when the kill landed."""
    pid = os.fork()
    if pid == 0:
        _child(folder, play, plan.file)
    if plan.phase:
        _kill_in(pid, folder, plan)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _child(folder: Path, play: Callable[[], int], file: int) -> None:
    code = 70
    try:
        said = os.open(folder.with_suffix(".out"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(said, 1)
        os.dup2(said, 2)
        if file:
            _die_at(folder, file)
        code = play()
    except BaseException as error:  # a forked child must never come back into its parent's code
        print(f"{type(error).__name__}: {error}", flush=True)
    finally:
        sys.stdout.flush()
        os._exit(code)


def _die_at(folder: Path, file: int) -> None:
    """Kill this process when it is about to touch its `file`-th file of the run."""
    left, inside = file, os.fsencode(folder)
    touching = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.truncate"}

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        path = arguments[0] if event in touching and arguments else None
        if isinstance(path, str | bytes | os.PathLike) and os.fsencode(path).startswith(inside):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def _kill_in(pid: int, folder: Path, plan: Plan) -> None:
    seen, before = LogReader(folder / "events"), len(list((folder / "events").glob("*.jsonl")))
    phase, end = "start", time.monotonic() + LONGEST_S
    while time.monotonic() < end and not _gone(pid):
        if len(list((folder / "events").glob("*.jsonl"))) > before:
            for event in seen.events():
                phase = _after(phase, event)
        else:
            for _ in seen.events():
                pass  # what earlier lives wrote
        if phase == plan.phase:
            time.sleep(plan.wait)
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.001)


def _gone(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _after(phase: str, event: ev.AnyEvent) -> str:
    """The phase after `event`, in the words of the table."""
    match event:
        case ev.PhaseStarted(phase="warmup"):
            return "warm-up"
        case ev.PhaseStarted(phase="gate", round=0):
            return "gate of the warm-up"
        case ev.PhaseStarted(phase="sample"):
            return "weight sync"
        case ev.PhaseStarted():
            return event.phase
        case ev.PhaseEnded(phase="gate") if event.round:
            return "manifest"
        case ev.PhaseEnded() | ev.RunStarted():
            return "between phases"
        case ev.RoundEnded(round=2):
            return "last link"
        case ev.RoundEnded():
            return "between phases"
        case ev.Judged() | ev.Ended():
            return "sample and judge"
    return phase


def phase_at_death(folder: Path, before: int) -> str:
    """In which phase the last life ended; `before` is how many log files there were before it."""
    logs = sorted((folder / "events").glob("*.jsonl"))
    if len(logs) <= before:
        return "start"
    first = RunFolder(folder).events
    phase, reader = "start", LogReader(first)
    for event in reader.events():
        phase = "start" if isinstance(event, ev.RunStarted) else phase
        phase = _after(phase, event)
    return phase


class Trial:
    """Kills and compares until enough kills have landed."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.draw = root, random.Random(seed)
        self.landed: Counter[Kill] = Counter()
        self.runs: list[tuple[list[Kill], list[str]]] = []
        self.seconds: dict[str, float] = {}
        self.files = 0

    def loop(self, folder: Path) -> Callable[[], int]:
        """What a life plays: a new run, or the one that is there."""
        from funreason.commands.looping import run_loop

        given: dict[str, object] = {"run_dir": str(folder.parent)}
        settings = [*SETTINGS, f"name={folder.name}"]
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
        phase, since = "start", None
        for event in LogReader(folder / "events").events():
            if since is not None:
                self.seconds[phase] = self.seconds.get(phase, 0.0) + event.at - since
            phase, since = _after(phase, event), event.at

    def plan(self) -> Plan:
        """The next moment, drawn: by the clock in a phase that had few kills, or at a file."""
        if self.draw.random() < 0.5:
            return Plan(file=self.draw.randrange(1, 140))
        by_phase = Counter[str]()
        for kill, count in self.landed.items():
            by_phase[kill.phase] += count
        phases = [p for p in PHASES if p != "report"]
        phase = min(phases, key=lambda p: (by_phase[p] + self.draw.random() * 4, p))
        return Plan(phase, self.draw.uniform(0, max(0.002, self.seconds.get(phase, 0.0))))

    def play(self, number: int, expected: dict[str, Any], kills: int) -> None:
        """One run, killed up to `kills` times and then left to end; what differs is kept."""
        folder = self.root / f"{number:03d}" / "run"
        folder.parent.mkdir()
        hits: list[Kill] = []
        while True:
            plan = self.plan() if len(hits) < kills else Plan()
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
        from funreason.commands.reporting import write_report

        hits: list[Kill] = []
        out = folder.parent / "report"

        def write() -> int:
            return write_report(str(folder), folder.parent, out)

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
