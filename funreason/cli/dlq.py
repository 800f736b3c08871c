"""`funreason dlq`: dead letters (failed samples): count them, show them, put them back."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch

from rich.table import Table

from funreason.cli import terminal
from funreason.cli.app import RUNS, Reason, RunDir, RunName
from funreason.cli.show import story
from funreason.record.events import SampleRequeued
from funreason.record.folder import RecordError, RunFolder, command_to_resume, is_refining, open_run
from funreason.record.log import EventLog
from funreason.record.plain import plain
from funreason.record.state import FAILED
from funreason.types import Sample

REFINED_ALREADY = "A finished refining has written what it kept: refine the records again into another --out."
TRAINED_ALREADY = "A round that has ended has been trained on already."


def dlq_list(run: RunName = None, /, *, reason: Reason = "*", run_dir: RunDir = RUNS) -> int:
    """Count dead letters by reason."""
    folder = open_run(run, run_dir)
    counts: Counter[tuple[int, str, str]] = Counter()
    example: dict[tuple[int, str, str], str] = {}
    for sample in dead(folder, reason):
        key = (sample.round, *_why(sample))
        counts[key] += 1
        example.setdefault(key, sample.id)
    table = Table(title=f"Dead letters of {folder.name}: {counts.total()}", title_justify="left", box=None)
    for name in ("round", "node", "reason", "count", "for example"):
        table.add_column(name, justify="right" if name in ("round", "count") else "left")
    for key, count in counts.most_common():
        table.add_row(str(key[0]), plain(key[1]), plain(key[2]), str(count), plain(example[key]))
    terminal.console().print(table)
    return 0


def dlq_show(run: RunName = None, /, *, reason: Reason = "*", limit: int = 3, run_dir: RunDir = RUNS) -> int:
    """Show dead letters in full: query, tools, each attempt, every verdict.

    Parameters
    ----------
    limit
        Maximum per reason.
    """
    folder = open_run(run, run_dir)
    console = terminal.console(soft_wrap=True)
    shown: Counter[tuple[str, str]] = Counter()
    for sample in dead(folder, reason):
        shown[_why(sample)] += 1
        if shown[_why(sample)] > limit:
            continue
        texts = folder.texts(sample.round).find(sample.id)
        drawn = [each for kind, each in texts if kind == "sampled"]
        fate = next((kind for kind, each in reversed(texts) if each == sample), "")
        for line in story(drawn, sample, fate):
            console.print(line)
        console.print()
    left = sum(max(0, count - limit) for count in shown.values())
    if left:
        console.print(f"{left} more; --limit shows more of each reason, --reason fewer reasons")
    if not shown:
        console.print(plain(f"no dead letter of {folder.name} matches {reason}"))
    return 0


def dlq_requeue(run: RunName = None, /, *, reason: Reason = "*", run_dir: RunDir = RUNS) -> int:
    """Put the tasks of dead letters back; they are sampled again when the run is resumed."""
    folder = open_run(run, run_dir)
    count = put_back(folder, reason)
    terminal.console().print(f"{count} samples put back. Resume with: {command_to_resume(folder)}", soft_wrap=True)
    return 0


def put_back(folder: RunFolder, pattern: str) -> int:
    """Requeue the dead letters whose reason matches `pattern`; returns how many. RecordError when none can be."""
    with folder.locked():
        life = folder.writer_status()
        if life and life.status in ("running", "stale"):
            raise RecordError(f"{folder.path} is being written by process {life.pid}; stop it before requeueing")
        open_rounds = {k for k, r in folder.state().rounds.items() if not r.ended}
        chosen = [sample for sample in dead(folder, pattern) if sample.round in open_rounds]
        if not chosen:
            raise RecordError(
                f"nothing to requeue in {folder.path}: no dead letter of a round that is still open matches "
                f"{pattern!r}. {REFINED_ALREADY if is_refining(folder) else TRAINED_ALREADY}"
            )
        log = EventLog(folder.events, "requeue")
        for sample in chosen:
            log.write(SampleRequeued(sample=sample.id, round=sample.round))
        log.close()
        for k in {sample.round for sample in chosen}:  # its update began without the samples that may now be kept
            shutil.rmtree(folder.checkpoint(k), ignore_errors=True)
        return len(chosen)


def dead(folder: RunFolder, pattern: str) -> Iterator[Sample]:
    """The samples that are dead letters now and whose reason matches `pattern`, each as it failed last."""
    ends = folder.state().ended
    for path in sorted(folder.path.glob("round-*")):
        k = int(path.name.removeprefix("round-"))
        for kind in FAILED:
            last = {sample.id: sample for sample in folder.texts(k).get(kind)}
            for sample in last.values():
                end = ends.get((k, sample.id))
                if end is not None and end.fate == kind and fnmatch(_why(sample)[1], pattern):
                    yield sample


def _why(sample: Sample) -> tuple[str, str]:
    last = sample.verdicts[-1] if sample.verdicts else None
    return (last.stage, last.reason) if last else ("", "")
