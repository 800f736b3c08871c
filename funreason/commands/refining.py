"""`funreason refine`: FCDR over a data file."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rich.console import Console

from funreason.commands import terminal
from funreason.commands.settings import read_config
from funreason.commands.viewing import CONSOLE, speak_into
from funreason.loops.interrupt import STOPPED, StopRequest
from funreason.loops.refine import refine_file
from funreason.record.folder import RecordError, RunFolder
from funreason.tui.progress import LiveProgress
from funreason.tui.table import account, asked_table, health_table, stage_table, yield_table


def run_refine(file: Path, out: Path, name: str, given: dict[str, object], settings: list[str]) -> int:
    """Refine a file into the folder `out`; the exit code."""
    config = read_config(name, given, settings)
    folder = RunFolder(out)
    if (out / "run.json").exists():
        raise RecordError(f"{out} holds a run already; choose another --out")
    console = terminal.console()
    stop = StopRequest()
    stop.listen()
    stop.on_hangup(lambda: speak_into(out / CONSOLE))
    stop.on_leave(lambda: _say_interrupted(console, out))
    try:
        with LiveProgress(folder, console):
            asyncio.run(refine_file(config, file, folder, stop))
    except STOPPED:
        _say_interrupted(console, out)
        return 130
    finally:
        stop.deafen()
    state = folder.state()
    console.print(stage_table(state))
    for table in (asked_table(state), health_table(state)):
        if table.row_count:
            console.print(table)
    console.print(yield_table(state))
    console.print(account(state))
    console.print(f"kept records: {out / 'refined-sharegpt.json'}, {out / 'refined-xlam.jsonl'}")
    return 0


def _say_interrupted(console: Console, out: Path) -> None:
    console.show_cursor()
    console.print(f"interrupted; what was judged lies in {out}", soft_wrap=True)
