"""`funreason runs` and `dlq`: list runs, verify their files, free disk space; count, show and requeue dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from funreason.cli import terminal
from funreason.cli.app import RUNS, AnyRun, AsJson, Reason, RunDir, RunName
from funreason.record.plain import plain

if TYPE_CHECKING:
    from funreason.record.folder import RunFolder
    from funreason.types import Sample

OK, FAILED = 0, 1
REFINED_ALREADY = "A finished refining has written what it kept: refine the records again into another --out."
TRAINED_ALREADY = "A round that has ended has been trained on already."
LEARNS_FROM_REWARDS = (
    "{path} learns from rewards, and its steps take no dead letter back: a group counts with the answers that were "
    "drawn first or not at all, and other prompts replace it (reinforcement.max_resample). Resume with `{resume}`."
)


def runs_list(*, json: AsJson = False, run_dir: RunDir = RUNS) -> int:
    """List runs: name, status, rounds, accuracy of the last accepted weights, size, beginning, model and tasks."""
    from funreason.record.folder import readable_settings
    from funreason.record.log import FormatError
    from funreason.record.manifest import size_of

    table = Table(box=None, pad_edge=False)
    for name, side in (("run", "left"), ("status", "left"), ("rounds", "right"), ("accuracy", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    table.add_column("size", justify="right")
    table.add_column("began")
    table.add_column("model, tasks", overflow="fold")
    rows: list[dict[str, Any]] = []
    for folder in all_runs(run_dir):
        size = size_of(folder.path)
        row: dict[str, Any] = {"run": folder.name, "path": str(folder.path), "bytes": size}
        rows.append(row)
        try:
            state, life = folder.state(), folder.writer_status()
        except FormatError as error:
            row["status"] = f"format {error.found}"
            cells = [folder.name, row["status"], "–", "–", _megabytes(size), "–", ""]
            table.add_row(*(Text(plain(cell)) for cell in cells))
            continue
        status = life.status if life else state.status
        played = sum(1 for k, r in state.rounds.items() if k and r.ended)
        gates = [r.gate for _, r in sorted(state.rounds.items()) if r.gate is not None]
        accuracy = "–"
        row |= {"status": status, "rounds": played, "rounds_planned": state.rounds_planned, "accuracy": None}
        if gates and (score := gates[-1].overall).total:
            right = score.new if gates[-1].decision == "promote" else score.old
            row["accuracy"] = right / score.total
            accuracy = f"{100 * right / score.total:.1f} %"
        began = datetime.fromtimestamp(state.started_at) if state.started_at else None
        settings = readable_settings(folder)
        inputs = [settings[part].get("path") for part in ("model", "tasks") if isinstance(settings.get(part), dict)]
        named = [str(name) for name in inputs if name]
        row |= {"began": began.isoformat() if began else None, "model_and_tasks": named}
        cells = [folder.name, status, f"{played}/{state.rounds_planned}", accuracy, _megabytes(size)]
        cells += [f"{began:%Y-%m-%d %H:%M}" if began else "–", ", ".join(named)]
        table.add_row(*(Text(plain(cell)) for cell in cells))
    if json:
        terminal.print_json(rows)
    else:
        terminal.console().print(table)
    return OK


def runs_verify(run: AnyRun = None, /, *, json: AsJson = False, run_dir: RunDir = RUNS) -> int:
    """Compare a run's files with the hashes in its manifests; name the first file that does not match."""
    from funreason.record.log import FormatError
    from funreason.record.manifest import verify

    code = OK
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    for folder in _chosen(run, run_dir):
        try:
            found = verify(folder)
        except FormatError as error:
            if run is not None:
                raise
            rows.append({"run": folder.name, "not_compared": str(error)})
            lines.append(f"{folder.name}: not compared: {error}")
            continue
        rows.append({"run": folder.name, "files": found.files, "wrong": found.wrong, "in_no_manifest": found.unlisted})
        if found.wrong:
            code = FAILED
            more = f" ({len(found.wrong) - 1} more)" if len(found.wrong) > 1 else ""
            lines.append(f"{folder.name}: {found.wrong[0]}{more}")
        else:
            later = f"; {len(found.unlisted)} in no manifest yet: {found.unlisted[0]}, …" if found.unlisted else ""
            lines.append(f"{folder.name}: {found.files} files verified{later}")
    if json:
        terminal.print_json(rows)
    for line in lines if not json else ():
        terminal.console(soft_wrap=True).print(plain(line))
    return code


def runs_prune(run: AnyRun = None, /, *, yes: bool = False, run_dir: RunDir = RUNS) -> int:
    """Remove weights that no gate promoted, and leftovers of interrupted updates. Without --yes: only list them.

    Parameters
    ----------
    yes
        Remove them.
    """
    from funreason.record.folder import RecordError
    from funreason.record.manifest import prunable, prune

    console = terminal.console(soft_wrap=True)
    freed = 0
    for folder in _chosen(run, run_dir):
        try:
            gone = prune(folder) if yes else prunable(folder)
        except RecordError as error:
            if run is not None:
                raise
            console.print(plain(f"{folder.name}: left alone: {error}"))
            continue
        freed += sum(thing.bytes for thing in gone)
        for thing in gone:
            size = _megabytes(thing.bytes)
            console.print(plain(f"{folder.name}: {thing.path.relative_to(folder.path)}  {size}  {thing.why}"))
    if yes:
        console.print(f"{_megabytes(freed)} freed")
    else:
        console.print(f"{_megabytes(freed)} would be freed; nothing was removed. With --yes it is.")
    return OK


def all_runs(runs: Path) -> list[RunFolder]:
    """Every run under `runs`, the last written one last; RecordError when there is none."""
    from funreason.record.folder import RecordError, runs_in

    found = runs_in(runs)
    if not found:
        raise RecordError(f"no run in {runs}. Start one with `funreason loop`, or name the folder with --run-dir.")
    return found


def _chosen(run: str | None, runs: Path) -> list[RunFolder]:
    from funreason.record.folder import open_run

    return all_runs(runs) if run is None else [open_run(run, runs)]


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def dlq_list(run: RunName = None, /, *, reason: Reason = "*", json: AsJson = False, run_dir: RunDir = RUNS) -> int:
    """Count dead letters by reason."""
    from funreason.record.folder import open_run

    folder = open_run(run, run_dir)
    counts: Counter[tuple[int, str, str]] = Counter()
    example: dict[tuple[int, str, str], str] = {}
    for sample in dead(folder, reason):
        key = (sample.round, *_why(sample))
        counts[key] += 1
        example.setdefault(key, sample.id)
    if json:
        names = ("round", "node", "reason", "count", "example")
        terminal.print_json([dict(zip(names, (*key, n, example[key]), strict=True)) for key, n in counts.most_common()])
        return 0
    table = Table(title=f"Dead letters of {folder.name}: {counts.total()}", title_justify="left", box=None)
    for name in ("round", "node", "reason", "count", "for example"):
        table.add_column(name, justify="right" if name in ("round", "count") else "left")
    for key, count in counts.most_common():
        table.add_row(str(key[0]), plain(key[1]), plain(key[2]), str(count), plain(example[key]))
    terminal.console().print(table)
    return 0


def dlq_show(
    run: RunName = None, /, *, reason: Reason = "*", limit: int = 3, json: AsJson = False, run_dir: RunDir = RUNS
) -> int:
    """Show dead letters in full: query, tools, each attempt, every verdict.

    Parameters
    ----------
    limit
        Maximum per reason.
    """
    from msgspec import to_builtins

    from funreason.cli.show import story
    from funreason.record.folder import open_run

    folder = open_run(run, run_dir)
    console = terminal.console(soft_wrap=True)
    shown: Counter[tuple[str, str]] = Counter()
    rows: list[dict[str, Any]] = []
    for sample in dead(folder, reason):
        shown[_why(sample)] += 1
        if shown[_why(sample)] > limit:
            continue
        texts = folder.texts(sample.round).find(sample.id)
        drawn = [each for kind, each in texts if kind == "sampled"]
        fate = next((kind for kind, each in reversed(texts) if each == sample), "")
        if json:
            rows.append({"id": sample.id, "end": fate, "last": to_builtins(sample)})
            rows[-1]["attempts"] = [to_builtins(each) for each in drawn]
            continue
        for line in story(drawn, sample, fate):
            console.print(line)
        console.print()
    if json:
        terminal.print_json(rows)
        return 0
    left = sum(max(0, count - limit) for count in shown.values())
    if left:
        console.print(f"{left} more; --limit shows more of each reason, --reason fewer reasons")
    if not shown:
        console.print(plain(f"no dead letter of {folder.name} matches {reason}"))
    return 0


def dlq_requeue(run: RunName = None, /, *, reason: Reason = "*", run_dir: RunDir = RUNS) -> int:
    """Put the tasks of dead letters back; they are sampled again when the run is resumed."""
    from funreason.record.folder import command_to_resume, open_run

    folder = open_run(run, run_dir)
    count = put_back(folder, reason)
    terminal.console().print(f"{count} samples put back. Resume with: {command_to_resume(folder)}", soft_wrap=True)
    return 0


def put_back(folder: RunFolder, pattern: str) -> int:
    """Requeue the dead letters whose reason matches `pattern`; returns how many. RecordError when none can be."""
    from funreason.config import read_yaml_file
    from funreason.record.events import SampleRequeued
    from funreason.record.folder import LOOP, RecordError, command_to_resume, is_refining, remove_folder
    from funreason.record.log import EventLog
    from funreason.weights import START

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
        config = read_yaml_file(folder.path / LOOP) if (folder.path / LOOP).exists() else {}
        if config.get("method") in ("grpo", "egpo") and any(sample.round != START for sample in chosen):
            raise RecordError(LEARNS_FROM_REWARDS.format(path=folder.path, resume=command_to_resume(folder)))
        log = EventLog(folder.events, "requeue")
        for sample in chosen:
            log.write(SampleRequeued(sample=sample.id, round=sample.round))
        log.close()
        for k in {sample.round for sample in chosen}:  # its update began without the samples that may now be kept
            remove_folder(folder.checkpoint(k))
        return len(chosen)


def dead(folder: RunFolder, pattern: str) -> Iterator[Sample]:
    """The samples that are dead letters now and whose reason matches `pattern`, each as it failed last."""
    from funreason.record.state import FAILED as FAILED_FATES

    ends = folder.state().ended
    for path in sorted(folder.path.glob("round-*")):
        k = int(path.name.removeprefix("round-"))
        for kind in FAILED_FATES:
            last = {sample.id: sample for sample in folder.texts(k).get(kind)}
            for sample in last.values():
                end = ends.get((k, sample.id))
                if end is not None and end.fate == kind and fnmatch(_why(sample)[1], pattern):
                    yield sample


def _why(sample: Sample) -> tuple[str, str]:
    last = sample.verdicts[-1] if sample.verdicts else None
    return (last.stage, last.reason) if last else ("", "")
