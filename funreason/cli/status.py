"""`funreason status`: the state of a run as tables, or as JSON."""

from __future__ import annotations

from json import dumps

from funreason.cli.app import RUNS, RunDir, RunName
from funreason.cli.terminal import console
from funreason.display.figures import phases_now
from funreason.display.table import account, run_tables
from funreason.record.folder import open_run
from funreason.record.log import LogReader
from funreason.record.plain import plain
from funreason.record.state import State


def status(run: RunName = None, /, *, json: bool = False, run_dir: RunDir = RUNS) -> int:
    """Show the state of a run: the newest one, or one by name or folder.

    Parameters
    ----------
    json
        Print everything as JSON.
    """
    folder = open_run(run, run_dir)
    reader = LogReader(folder.events)
    state = State().fold(reader.events())
    life = folder.writer_status()
    if json:
        extra = {"process": life._asdict() if life else None, "unknown_events": reader.unknown}
        print(dumps(state.summary() | extra, indent=1))
        return 0
    out = console()
    if life:
        out.print(plain(f"run {folder.path} · {life.status.upper()} · process {life.pid} on {life.host}"))
    phases = " + ".join(
        p.phase if p.round == state.round else f"{p.phase} of round {p.round}" for p in phases_now(state)
    )
    where = [f"round {state.round}/{state.rounds_planned}", phases or state.status, state.reason]
    out.print(plain(" · ".join(part for part in where if part)))
    if reader.unknown:
        out.print(f"{reader.unknown} lines of the log are of a kind this version does not know")
    out.print(run_tables(state))
    out.print(account(state))
    return 0
