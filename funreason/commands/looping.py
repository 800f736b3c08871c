"""`funreason loop`: play a run under a live view and print its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from funreason.commands import terminal
from funreason.commands.settings import OUTSIDE, read_config, require_same_judges
from funreason.commands.tracking import require_known, tracked
from funreason.commands.viewing import CONSOLE, require_terminal, speak_into, viewed
from funreason.config import Config, ConfigError, parse_setting
from funreason.display.progress import LiveProgress
from funreason.display.table import account, run_tables
from funreason.loops.self_refinement import config_of, new_run, play
from funreason.policies.endpoint import event_loop as turns
from funreason.record.folder import RunFolder, open_run
from funreason.record.state import State
from funreason.stop import STOPPED, StopRequest
from funreason.weights import START

OK, REFUSED, INTERRUPTED = 0, 3, 130
OPTIONS = {"tasks.path": "--tasks", "tasks.strict": "--strict", "model.path": "--model", "seed": "--seed"}
OPTIONS |= {"fcdr.llm.cache": "--no-cache"}
"""Options that only a new run can have, by the setting they change."""


def run_loop(
    name: str | None,
    given: dict[str, object],
    settings: list[str],
    resume: str | None,
    *,
    tui: bool = False,
    track: Sequence[str] = (),
) -> int:
    """Start or take up a run, under the dashboard with `tui`, followed by the trackers `track`; the exit code."""
    require_known(track)
    if tui:
        require_terminal()
    if resume is None:
        config, folder = _fresh(name, given, settings)
    else:
        _require_nothing_new(name, given, settings)
        config, folder = _taken_up(resume, given, settings)
    console = terminal.console()
    stop = StopRequest()
    stop.listen()
    stop.on_hangup(lambda: speak_into(folder.path / CONSOLE))
    stop.on_stop(lambda: console.print("finishing what is in flight, then saving; once more to stop now"))
    stop.on_leave(lambda: _say_interrupted(console, folder))
    console.print(f"run {folder.path}")
    try:
        with tracked(folder, track, console), viewed(folder, console) if tui else LiveProgress(folder, console):
            state = turns.run(play(config, folder, stop, resume=resume is not None))
    except STOPPED:
        _say_interrupted(console, folder)
        return INTERRUPTED
    except BaseException:
        if folder.is_owner():
            console.print(f"it can be taken up again: funreason loop --resume {folder.path}", soft_wrap=True)
        raise
    finally:
        stop.ignore_signals()
    try:
        report(console, folder, state)
    except OSError:  # nobody reads any more, as behind `| head`
        speak_into(folder.path / CONSOLE)
        report(console, folder, state)
    return OK if state.status == "finished" else REFUSED


def report(console: Console, folder: RunFolder, state: State) -> None:
    """The tables of a run that ended, and where its model lies."""
    console.print(run_tables(state))
    console.print(account(state))
    if state.status == "refused":
        console.print(refused(state))
    console.print(f"model {folder.path / 'model'}")


def refused(state: State) -> str:
    """What is left when the gate promoted no round."""
    warm = state.rounds[START].gate if START in state.rounds else None
    left = (
        "as the supervised start left it"
        if warm is not None and warm.decision == "promote"
        else "as it was at the start"
    )
    return f"The gate promoted no round: the model is {left}."


def _say_interrupted(console: Console, folder: RunFolder) -> None:
    console.show_cursor()
    console.print(f"interrupted. Go on with: funreason loop --resume {folder.path}", soft_wrap=True)


def _fresh(name: str | None, given: dict[str, object], settings: list[str]) -> tuple[Config, RunFolder]:
    config = read_config(name or ("own-data" if "tasks.path" in given else "default"), given, settings)
    return config, new_run(config)


def _require_nothing_new(name: str | None, given: Mapping[str, object], settings: list[str]) -> None:
    """Raise ConfigError for what a run that has begun can no longer change."""
    said = ["--config"] if name is not None else []
    said += [option for key, option in OPTIONS.items() if key in given]
    said += [f"--set {text}" for text in settings if not text.startswith(OUTSIDE)]
    if said:
        raise ConfigError(
            f"--resume goes on with the settings that the run began with, so {', '.join(said)} cannot be given. "
            "Only --rounds, budget.*, sample.endpoints and fcdr.llm.endpoints may change; anything else is a new run."
        )


def _taken_up(name: str, given: Mapping[str, object], settings: list[str]) -> tuple[Config, RunFolder]:
    folder = open_run(name, Path(str(given.get("run_dir", "runs"))))
    config, state = config_of(folder, dict(map(parse_setting, settings))), folder.state()
    require_same_judges(config_of(folder), config)
    done = max((k for k, r in state.rounds.items() if r.ended), default=START)
    rounds = given.get("rounds", state.rounds_planned or config.rounds)
    if not isinstance(rounds, int) or rounds < max(1, done):
        raise ConfigError(f"--rounds {rounds}: {folder.path} has played {done} rounds, and needs at least one.")
    return config.model_copy(update={"rounds": rounds}), folder
