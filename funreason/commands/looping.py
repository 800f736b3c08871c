"""`funreason loop`: play a run under a live view and print its tables."""

from __future__ import annotations

import asyncio

from rich.console import Console

from funreason.commands.settings import read_config
from funreason.commands.viewing import viewed
from funreason.config import Config
from funreason.loops.interrupt import Interrupted, StopRequest
from funreason.loops.run import config_of, new_run, play
from funreason.record.folder import RunFolder, open_run
from funreason.record.state import State
from funreason.tui.progress import LiveProgress
from funreason.tui.table import account, run_tables

OK, REFUSED, INTERRUPTED = 0, 3, 130


def run_loop(name: str, given: dict[str, object], settings: list[str], resume: str | None, *, tui: bool = False) -> int:
    """Start or take up a run, under the dashboard with `tui`; the exit code."""
    config, folder = _taken_up(resume, given) if resume else _fresh(name, given, settings)
    console = Console()
    stop = StopRequest()
    stop.listen()
    stop.on_stop(lambda: console.print("finishing what is in flight, then saving; once more to stop now"))
    console.print(f"run {folder.path}")
    try:
        with viewed(folder, console) if tui else LiveProgress(folder, console):
            state = asyncio.run(play(config, folder, stop))
    except (Interrupted, KeyboardInterrupt):
        console.print(f"interrupted. Go on with: funreason loop --resume {folder.path}")
        return INTERRUPTED
    report(console, folder, state)
    return OK if state.status == "finished" else REFUSED


def report(console: Console, folder: RunFolder, state: State) -> None:
    """The tables of a run that ended, and where its model lies."""
    console.print(run_tables(state))
    console.print(account(state))
    if state.status == "refused":
        console.print("The gate promoted no round: the model is as it was at the start.")
    console.print(f"model {folder.path / 'model'}")


def _fresh(name: str, given: dict[str, object], settings: list[str]) -> tuple[Config, RunFolder]:
    config = read_config(name, given, settings)
    return config, new_run(config)


def _taken_up(name: str, given: dict[str, object]) -> tuple[Config, RunFolder]:
    from pathlib import Path

    folder = open_run(name, Path(str(given.get("run_dir", "runs"))))
    config = config_of(folder)
    rounds = given.get("rounds")
    if isinstance(rounds, int):
        config = config.model_copy(update={"rounds": rounds})
    return config, folder
