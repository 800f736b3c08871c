"""`funreason runs`: list runs, verify their files, remove what no run needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from funreason.cli import terminal
from funreason.cli.app import RUNS, AnyRun, RunDir
from funreason.record.folder import RecordError, RunFolder, open_run
from funreason.record.log import FormatError
from funreason.record.manifest import prunable, prune, size_of, verify
from funreason.record.plain import plain

OK, FAILED = 0, 1


def runs_list(*, run_dir: RunDir = RUNS) -> int:
    """List runs: name, status, rounds, accuracy of the last accepted weights, size."""
    table = Table(box=None, pad_edge=False)
    for name, side in (("run", "left"), ("status", "left"), ("rounds", "right"), ("accuracy", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    table.add_column("size", justify="right")
    for folder in all_runs(run_dir):
        size = _megabytes(size_of(folder.path))
        try:
            state, life = folder.state(), folder.writer_status()
        except FormatError as error:
            table.add_row(*(Text(plain(cell)) for cell in (folder.name, f"format {error.found}", "–", "–", size)))
            continue
        status = life.status if life else state.status
        played = sum(1 for k, r in state.rounds.items() if k and r.ended)
        gates = [r.gate for _, r in sorted(state.rounds.items()) if r.gate is not None]
        accuracy = "–"
        if gates and (score := gates[-1].overall).total:
            right = score.new if gates[-1].decision == "promote" else score.old
            accuracy = f"{100 * right / score.total:.1f} %"
        cells = (folder.name, status, f"{played}/{state.rounds_planned}", accuracy, size)
        table.add_row(*(Text(plain(cell)) for cell in cells))
    terminal.console().print(table)
    return OK


def runs_verify(run: AnyRun = None, /, *, run_dir: RunDir = RUNS) -> int:
    """Compare a run's files with the hashes in its manifests; name the first file that does not match."""
    code = OK
    console = terminal.console(soft_wrap=True)
    for folder in _chosen(run, run_dir):
        try:
            found = verify(folder)
        except FormatError as error:
            if run is not None:
                raise
            console.print(plain(f"{folder.name}: not compared: {error}"))
            continue
        if found.wrong:
            code = FAILED
            more = f" ({len(found.wrong) - 1} more)" if len(found.wrong) > 1 else ""
            console.print(plain(f"{folder.name}: {found.wrong[0]}{more}"))
        else:
            later = f"; {len(found.unlisted)} in no manifest yet: {found.unlisted[0]}, …" if found.unlisted else ""
            console.print(plain(f"{folder.name}: {found.files} files verified{later}"))
    return code


def runs_prune(
    run: AnyRun = None, /, *, yes: Annotated[bool, Parameter(negative="")] = False, run_dir: RunDir = RUNS
) -> int:
    """Remove weights that no gate promoted, and leftovers of interrupted updates. Without --yes: only list them.

    Parameters
    ----------
    yes
        Remove them.
    """
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
    found = sorted(runs.glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RecordError(f"no run in {runs}. Start one with `funreason loop`, or name the folder with --run-dir.")
    return [RunFolder(path.parent) for path in found]


def _chosen(run: str | None, runs: Path) -> list[RunFolder]:
    return all_runs(runs) if run is None else [open_run(run, runs)]


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
