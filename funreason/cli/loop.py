"""`funreason loop` and `demo`: run the loop under a live view and print its verdict and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import Parameter
from rich.console import Console

from funreason.cli import terminal
from funreason.cli.app import (
    RUNS,
    RUNS_VARIABLE,
    AnySetting,
    Download,
    DryRun,
    InputMap,
    NoCache,
    Quiet,
    RunDir,
    Trust,
    Verbose,
)
from funreason.record.plain import plain
from funreason.trust import rule

if TYPE_CHECKING:
    from funreason.record.folder import RunFolder
    from funreason.record.state import State

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
    run_dir: Annotated[Path | None, Parameter(env_var=RUNS_VARIABLE)] = None,
    seed: int | None = None,
    strict: bool = False,
    input_map: InputMap = None,
    settings: AnySetting = None,
    resume: str | None = None,
    trust: Trust = False,
    no_cache: NoCache = False,
    download: Download = False,
    allow_code_execution: bool = False,
    tui: bool = False,
    track: Annotated[list[str] | None, Parameter(consume_multiple=False)] = None,
    name: str | None = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
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
        Your data file or folder: xLAM, share-gpt, OpenAI or BFCL form; JSON lines, JSON, CSV, Parquet, Arrow. Or
        hf:ORG/NAME[:SPLIT][@REVISION], a data set on a hub.
    model
        A model folder: safetensors, config and tokenizer. Or ORG/NAME[@REVISION], a model on a hub.
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
        Send the run to tensorboard, wandb, trackio or mlflow, from a separate process. Can be given several times.
    name
        The name of the run's folder. Default: date and time.
    """
    from funreason.config import ConfigError
    from funreason.data.normalising import parse_input_map

    terminal.library_logs(verbose=verbose)
    changes: dict[str, object] = {
        "method": method,
        "rounds": rounds,
        "tasks.path": tasks,
        "tasks.strict": strict or None,
    }
    changes |= {"model.path": model, "run_dir": run_dir, "seed": seed, "name": name}
    changes |= {"fcdr.llm.cache": False if no_cache else None, "download": download or None}
    changes |= {"data.input_map": parse_input_map(input_map)} if input_map else {}
    given = {
        key: str(value) if isinstance(value, Path) else value for key, value in changes.items() if value is not None
    }
    if dry_run:
        if resume is not None:
            raise ConfigError("--dry-run is for a new run; `funreason status RUN` says how far one has come")
        return say_what_would_run(config, given, settings or [])
    shown = Shown(tui, quiet, verbose)
    run_code = allow_code_execution
    if resume is None:
        return run_loop(config, given, settings or [], None, shown, track=track or [], run_code=run_code)
    with rule("remembered"):
        return run_loop(config, given, settings or [], resume, shown, track=track or [], run_code=run_code, trust=trust)


def demo(*, seed: int = 0, name: str | None = None, run_dir: RunDir = RUNS, quiet: Quiet = False) -> int:
    """See one round in about half a minute: a small model meets new tools, judges its own calls, learns, is tested.
    Needs no data, no GPU and no key.

    Parameters
    ----------
    seed
        The seed of everything random.
    name
        The name of the run's folder. Default: date and time.
    """
    given: dict[str, object] = {"run_dir": str(run_dir), "seed": seed}
    given |= {"name": name} if name is not None else {}
    code = run_loop("demo", given, [], None, Shown(quiet=quiet))
    if code == REFUSED:
        terminal.console().print("The gate kept the earlier weights this time; --seed gives another round.")
    return OK if code == REFUSED else code


class Shown(NamedTuple):
    """How a run is shown: in the dashboard, or as its result alone, or with every table."""

    tui: bool = False
    quiet: bool = False
    verbose: bool = False


LIVE = Shown()


def run_loop(
    name: str | None,
    given: dict[str, object],
    settings: list[str],
    resume: str | None,
    shown: Shown = LIVE,
    *,
    track: Sequence[str] = (),
    run_code: bool = False,
    trust: bool = False,
) -> int:
    """Start or resume a run, `shown` as asked and followed by the trackers `track`; the exit code.

    `run_code` lets the gate run programs of the model, `trust` the code that a resumed run names.
    """
    notices = terminal.notices(quiet=shown.quiet)
    with terminal.starting(notices, "starting"):  # these take a second or more
        from funreason.cli.config import OUTSIDE, read_config, require_same_judges, require_trusted
        from funreason.cli.fetching import with_fetched
        from funreason.cli.track import require_known, tracked
        from funreason.cli.watch import CONSOLE, require_terminal, viewed
        from funreason.config import ConfigError, parse_setting
        from funreason.display.progress import LiveProgress
        from funreason.errors import NothingToLearn
        from funreason.loops.self_refinement import config_of, new_run, play
        from funreason.policies.endpoint import event_loop as turns
        from funreason.record.folder import open_run
        from funreason.stop import STOPPED, StopRequest
        from funreason.weights import START
    if track:
        require_known(track)
    if shown.tui:
        require_terminal()
    if resume is None:
        config = read_config(name or ("own-data" if "tasks.path" in given else "default"), given, settings)
        if "rounds" in given:
            config = config.with_rounds(config.rounds)
        config = with_fetched(config, notices)
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
        changed = dict(map(parse_setting, settings)) | ({"download": True} if "download" in given else {})
        folder = open_run(resume, Path(str(given.get("run_dir", "runs"))))
        config, state = config_of(folder, changed), folder.state()
        require_same_judges(config_of(folder), config)
        require_trusted(config, trust=trust)
        done = max((k for k, r in state.rounds.items() if r.ended), default=START)
        rounds = given.get("rounds", state.rounds_planned or config.planned_rounds)
        if not isinstance(rounds, int) or rounds < max(1, done):
            raise ConfigError(f"--rounds {rounds}: {folder.path} has played {done} rounds, and needs at least one.")
        config = with_fetched(config.with_rounds(rounds), notices)
        if done >= rounds and state.status in ("finished", "refused"):
            notices.print(f"Nothing to do: the run has ended, {done} of {rounds} rounds. --rounds {done + 1} adds one.")
    console = terminal.console()
    stop = StopRequest()
    stop.listen()
    stop.on_hangup(lambda: terminal.redirect_output(folder.path / CONSOLE))
    stop.on_stop(lambda: notices.print("Finishing current work, then saving. Press Ctrl-C again to stop now."))
    stop.on_leave(lambda: _say_interrupted(console, folder))

    def begun() -> None:
        console.print(f"run {folder.path}", soft_wrap=True)

    if shown.tui:
        begun()
    progress = viewed(folder, notices) if shown.tui else LiveProgress(folder, notices, begun)
    try:
        with tracked(folder, track, notices), progress:
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
        report(console, folder, state, all=shown.verbose)
    except OSError:  # the reader of a pipe is gone, as with `| head`
        terminal.redirect_output(folder.path / CONSOLE)
        report(console, folder, state, all=shown.verbose)
    if state.status == "finished":
        return OK
    if name == "smoke":
        console.print(
            "smoke is too small to learn from: it tries the machinery. `funreason demo` is a round that learns."
        )
    return REFUSED


def report(console: Console, folder: RunFolder, state: State, *, all: bool = False) -> None:
    """Whether a run that ended worked, its tables (every one with `all`), and the path of its model."""
    from funreason.display.table import account, run_tables, verdict_text
    from funreason.display.verdict import evidence_in, verdict

    console.print(verdict_text(verdict(state, evidence_in(folder))), crop=False)
    console.print(run_tables(state, all=all))
    console.print(account(state))
    console.print(f"model {folder.path / 'model'}", soft_wrap=True)


def say_what_would_run(name: str | None, given: dict[str, object], settings: list[str]) -> int:
    """Check a configuration, its graph, judges, tasks and model, and print what the run would do; the exit code."""
    from funreason.agents.judges.registry import check_judges
    from funreason.cli.config import read_config
    from funreason.hub import model_name
    from funreason.plan.architecture import read_architecture
    from funreason.policies.factory import model_path
    from funreason.policies.hub_models import hub_folder
    from funreason.runtime.graph import loop_graph
    from funreason.sources.tasks import hold_out, read_pool

    config = read_config(name or ("own-data" if "tasks.path" in given else "default"), given, settings)
    graph = loop_graph(config)
    check_judges(config)
    pool = read_pool(config.tasks, config.rounds, config.seed, config.data.turns, config.data.input_map)
    held = hold_out(pool, config.gate.suites.values())
    on_hub = model_name(config.model.path)
    fetched_first = ", to be fetched with --download" if on_hub and hub_folder(on_hub) is None else ""
    model = read_architecture(model_path(config.model.path))
    train, each = len(held.train), config.tasks.per_round
    lines = [
        f"model: {config.model.path}, {model.parameters / 1e6:,.2f} M parameters{fetched_first}",
        f"tasks: {train} of {config.tasks.path}, {len(held.gate)} held out for the gate, {len(pool.refusals)} refused",
        f"rounds: {config.planned_rounds}, method {config.method}, {min(each or train, train)} tasks in each",
        f"graph: {len(graph.nodes)} nodes, {len(graph.edges)} edges; the judges can be used",
        f"gate: {', '.join(f'{name} ({suite.path})' for name, suite in config.gate.suites.items())}",
        f"folder: {config.run_dir / (config.name or 'DATE-TIME')}",
    ]
    out = terminal.console(soft_wrap=True)
    for line in lines:
        out.print(plain(line))
    out.print("Nothing was started. Memory and hours: funreason plan")
    return OK


def _say_interrupted(console: Console, folder: RunFolder) -> None:
    console.show_cursor()
    console.print(f"interrupted. Resume with: funreason loop --resume {folder.path}", soft_wrap=True)
