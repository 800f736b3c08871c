"""`funreason loop`: run the loop under a live view and print its verdict and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from funreason.cli import terminal
from funreason.cli.app import AnySetting, InputMap, NoCache, Trust
from funreason.cli.config import OUTSIDE, read_config, require_same_judges, require_trusted
from funreason.cli.track import require_known, tracked
from funreason.cli.watch import CONSOLE, require_terminal, viewed
from funreason.config import ConfigError, parse_setting
from funreason.data.normalising import parse_input_map
from funreason.display.progress import LiveProgress
from funreason.display.table import account, run_tables, verdict_text
from funreason.display.verdict import evidence_in, verdict
from funreason.errors import NothingToLearn
from funreason.loops.self_refinement import config_of, new_run, play
from funreason.policies.endpoint import event_loop as turns
from funreason.record.folder import RunFolder, open_run
from funreason.record.state import State
from funreason.stop import STOPPED, StopRequest
from funreason.trust import rule
from funreason.weights import START

OK, REFUSED, INTERRUPTED = 0, 3, 130
OPTIONS = {
    "method": "--method",
    "tasks.path": "--tasks",
    "tasks.strict": "--strict",
    "model.path": "--model",
    "seed": "--seed",
}
OPTIONS |= {"data.input_map": "--input-map", "fcdr.llm.cache": "--no-cache"}
"""Options that only a new run can have, by the setting they change."""


def loop(
    *,
    config: str | None = None,
    method: Literal["srml", "grpo", "egpo", "hdr"] | None = None,
    rounds: int | None = None,
    tasks: Path | None = None,
    model: str | None = None,
    run_dir: Path | None = None,
    seed: int | None = None,
    strict: bool = False,
    input_map: InputMap = None,
    settings: AnySetting = None,
    resume: str | None = None,
    trust: Trust = False,
    no_cache: NoCache = False,
    allow_code_execution: Annotated[bool, Parameter(negative="")] = False,
    tui: Annotated[bool, Parameter(negative="")] = False,
    track: Annotated[list[str] | None, Parameter(negative="", consume_multiple=False)] = None,
) -> int:
    """Sample, judge, train and gate, round after round. Without options: the embedded tasks and model, on any CPU.

    Parameters
    ----------
    config
        A YAML file, or a name in configs/. Default: `default`, or `own-data` with --tasks.
    method
        How a round learns: `srml` from samples that passed all judges, `grpo` and `egpo` from rewards, `hdr` from hard
        tasks that are sampled again. Default: srml.
    rounds
        Number of rounds. With `hdr` the first one, which sorts the tasks, is counted.
    tasks
        Your data file or folder: xLAM, share-gpt, OpenAI or BFCL form; JSON lines, JSON, CSV, Parquet, Arrow.
    model
        A model folder: safetensors, config and tokenizer.
    run_dir
        Directory for run folders. Default: runs.
    seed
        The seed of everything random.
    strict
        Refuse a task file with one malformed record, instead of leaving that record out.
    resume
        Resume an interrupted run, by name or folder. Can be combined with --rounds, --run-dir,
        --set budget.…, sample.endpoints=… and fcdr.llm.endpoints=….
    allow_code_execution
        Let gate suites of kind humaneval and mbpp run the programs that the model writes, in a sandbox. Say it again
        with --resume.
    tui
        Show the run in the dashboard, as `funreason watch` does. Quitting it leaves the run going.
    track
        Send the run to tensorboard, wandb or trackio, from a separate process. Can be given several times.
    """
    changes: dict[str, object] = {
        "method": method,
        "rounds": rounds,
        "tasks.path": tasks,
        "tasks.strict": strict or None,
    }
    changes |= {"model.path": model, "run_dir": run_dir, "seed": seed, "fcdr.llm.cache": False if no_cache else None}
    changes |= {"data.input_map": parse_input_map(input_map)} if input_map else {}
    given = {
        key: str(value) if isinstance(value, Path) else value for key, value in changes.items() if value is not None
    }
    if resume is None:
        return run_loop(config, given, settings or [], None, tui=tui, track=track or [], run_code=allow_code_execution)
    with rule("remembered"):
        run_code = allow_code_execution
        return run_loop(
            config, given, settings or [], resume, tui=tui, track=track or [], run_code=run_code, trust=trust
        )


def run_loop(
    name: str | None,
    given: dict[str, object],
    settings: list[str],
    resume: str | None,
    *,
    tui: bool = False,
    track: Sequence[str] = (),
    run_code: bool = False,
    trust: bool = False,
) -> int:
    """Start or resume a run, under the dashboard with `tui`, followed by the trackers `track`; the exit code.

    `run_code` lets the gate run programs of the model, `trust` the code that a resumed run names.
    """
    require_known(track)
    if tui:
        require_terminal()
    if resume is None:
        config = read_config(name or ("own-data" if "tasks.path" in given else "default"), given, settings)
        if "rounds" in given:
            config = config.with_rounds(config.rounds)
        folder = new_run(config)
    else:
        said = ["--config"] if name is not None else []
        said += [option for key, option in OPTIONS.items() if key in given]
        said += [f"--set {text}" for text in settings if not text.startswith(OUTSIDE)]
        if said:
            raise ConfigError(
                f"--resume keeps the settings that the run began with, so {', '.join(said)} cannot be given. "
                "Only --rounds, budget.*, sample.endpoints and fcdr.llm.endpoints may change; anything else is a new "
                "run."
            )
        folder = open_run(resume, Path(str(given.get("run_dir", "runs"))))
        config, state = config_of(folder, dict(map(parse_setting, settings))), folder.state()
        require_same_judges(config_of(folder), config)
        require_trusted(config, trust=trust)
        done = max((k for k, r in state.rounds.items() if r.ended), default=START)
        rounds = given.get("rounds", state.rounds_planned or config.planned_rounds)
        if not isinstance(rounds, int) or rounds < max(1, done):
            raise ConfigError(f"--rounds {rounds}: {folder.path} has played {done} rounds, and needs at least one.")
        config = config.with_rounds(rounds)
    console = terminal.console()
    stop = StopRequest()
    stop.listen()
    stop.on_hangup(lambda: terminal.redirect_output(folder.path / CONSOLE))
    stop.on_stop(lambda: console.print("Finishing current work, then saving. Press Ctrl-C again to stop now."))
    stop.on_leave(lambda: _say_interrupted(console, folder))
    console.print(f"run {folder.path}")
    try:
        with tracked(folder, track, console), viewed(folder, console) if tui else LiveProgress(folder, console):
            state = turns.run(play(config, folder, stop, resume=resume is not None, allow_code_execution=run_code))
    except STOPPED:
        _say_interrupted(console, folder)
        return INTERRUPTED
    except BaseException as error:
        if folder.is_owner() and not isinstance(error, NothingToLearn):  # which says itself how to resume
            console.print(f"it can be resumed: funreason loop --resume {folder.path}", soft_wrap=True)
        raise
    finally:
        stop.ignore_signals()
    try:
        report(console, folder, state)
    except OSError:  # the reader of a pipe is gone, as with `| head`
        terminal.redirect_output(folder.path / CONSOLE)
        report(console, folder, state)
    return OK if state.status == "finished" else REFUSED


def report(console: Console, folder: RunFolder, state: State) -> None:
    """Whether a run that ended worked, its tables, and the path of its model."""
    console.print(verdict_text(verdict(state, evidence_in(folder))))
    console.print(run_tables(state))
    console.print(account(state))
    console.print(f"model {folder.path / 'model'}")


def _say_interrupted(console: Console, folder: RunFolder) -> None:
    console.show_cursor()
    console.print(f"interrupted. Resume with: funreason loop --resume {folder.path}", soft_wrap=True)
