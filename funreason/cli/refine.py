"""`funreason refine`: FCDR over a data file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from funreason.bus.agent import BrokenAgent
from funreason.bus.workers import Limits
from funreason.cli import terminal
from funreason.cli.app import RUNS, DataFile, InputMap, NoCache, Setting, Strict
from funreason.cli.config import OUTSIDE, read_config, require_same_judges
from funreason.cli.watch import CONSOLE
from funreason.cli.whatif import check_options, run_replay
from funreason.config import Config, ConfigError
from funreason.data.input_map import parse_input_map
from funreason.display.funnel import funnel
from funreason.display.progress import LiveProgress
from funreason.display.table import account, asked_table, health_table, stage_table, yield_table
from funreason.loops.refine import ROUND, SHAREGPT, XLAM, records_file, refine_file
from funreason.policies.endpoint import event_loop as turns
from funreason.policies.endpoint.budget import BudgetSpent
from funreason.record.folder import REFINED, RecordError, RunFolder, command_to_resume, open_run
from funreason.record.plain import plain
from funreason.record.sample_files import MANIFEST
from funreason.record.state import State
from funreason.stop import STOPPED, StopRequest

UNJUDGED = 1
"""The exit code of a refining that ended with a judge which answered nothing but errors."""


def refine(
    file: DataFile | None = None,
    /,
    *,
    out: Path | None = None,
    resume: str | None = None,
    replay: str | None = None,
    config: str | None = None,
    strict: Strict = False,
    input_map: InputMap = None,
    turns: Literal["each", "last"] | None = None,
    no_cache: NoCache = False,
    settings: Setting = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Judge and repair the samples of a data file with the five stages (FCDR), by default without any model.

    With --replay: route the recorded verdicts of a run under other settings. No model is asked, nothing is written.

    Parameters
    ----------
    out
        A new folder for what is kept, what is not and why.
    resume
        Resume a run that was stopped: its folder, in place of FILE and --out. Can be combined with FILE (if it was
        moved), --set budget.…, --set sample.endpoints=… and --set fcdr.llm.endpoints=….
    replay
        A run, by name or folder, in place of FILE and --out: its verdicts are routed again as --set says, such as
        --set fcdr.llm.threshold=0.8, --set fcdr.skip=[cot] or --set fcdr.move={query_tool: cot}.
    config
        A YAML file, or a name in configs/; its `fcdr` part is used. Default: `own-data`, with --replay the run's own.
    turns
        Which answers of a dialogue are judged: each turn that calls and the last answer, or the last answer alone.
        Default: each.
    settings
        Change one setting, such as --set fcdr.require_thinking=true.
    json
        With --replay: the numbers as JSON.
    """
    if resume is not None:
        refused = {"--out": out, "--replay": replay, "--config": config, "--strict": strict}
        refused |= {"--turns": turns, "--input-map": input_map, "--no-cache": no_cache, "--json": json}
        return resume_refine(resume, RUNS, file, refused, settings or [])
    given: dict[str, object] = {"tasks.strict": True} if strict else {}
    given |= {"data.input_map": parse_input_map(input_map)} if input_map else {}
    given |= {"fcdr.llm.cache": False} if no_cache else {}
    given |= {"data.turns": turns} if turns else {}
    switches = {"--strict": strict, "--turns": bool(turns), "--input-map": bool(input_map), "--no-cache": no_cache}
    check_options(replay, {"FILE": file, "--out": out}, switches, as_json=json)
    if replay is not None or file is None or out is None:
        return run_replay(replay, RUNS, config, settings or [], as_json=json)
    return run_refine(file, out, config or "own-data", given, settings or [])


def run_refine(file: Path, out: Path, name: str, given: dict[str, object], settings: list[str]) -> int:
    """Refine a file into the folder `out`; the exit code."""
    config = read_config(name, given, settings)
    folder = RunFolder(out)
    if (out / "run.json").exists():
        raise RecordError(f"{out} holds a run already; choose another --out, or resume it: {command_to_resume(folder)}")
    return _refine(config, file, folder, resume=False)


def resume_refine(run: str, runs: Path, file: Path | None, refused: Mapping[str, object], settings: list[str]) -> int:
    """Resume a run that was stopped, with its records in `file` if they were moved; the exit code."""
    said = [name for name, value in refused.items() if value]
    said += [f"--set {text}" for text in settings if not text.startswith(OUTSIDE)]
    if said:
        raise ConfigError(
            f"--resume keeps the settings and the folder that the run began with, so {', '.join(said)} cannot "
            "be given. Only FILE (if it was moved), budget.*, sample.endpoints and fcdr.llm.endpoints may change."
        )
    folder = open_run(run, runs)
    recorded = records_file(folder)
    life, whole = folder.writer_status(), (folder.path / MANIFEST).exists()
    if whole and life is not None and life.status == "finished":
        raise RecordError(f"{folder.path} is finished: every sample has ended, and what was kept is written.")
    old, config = (read_config(str(folder.path / REFINED), {}, changes) for changes in ([], settings))
    require_same_judges(old, config)
    return _refine(config, file or recorded, folder, resume=True)


def _refine(config: Config, file: Path, folder: RunFolder, *, resume: bool) -> int:
    out, console = folder.path, terminal.console()
    stop = StopRequest()
    stop.listen()
    stop.on_hangup(lambda: terminal.redirect_output(out / CONSOLE))
    stop.on_stop(lambda: console.print("Finishing current work, then saving. Press Ctrl-C again to stop now."))
    stop.on_leave(lambda: _say_interrupted(console, folder))
    try:
        with LiveProgress(folder, console) as shown:
            turns.run(refine_file(config, file, folder, stop, resume=resume))
    except STOPPED:
        _say_interrupted(console, folder)
        return 130
    except BaseException as error:
        if folder.is_owner():
            reached = config.budget.model_dump(exclude_none=True) if isinstance(error, BudgetSpent) else {}
            more = "".join(f" --set budget.{what}=MORE" for what in reached)
            console.print(f"it can be resumed: {command_to_resume(folder)}{more}", soft_wrap=True)
            if isinstance(error, BrokenAgent):
                code = error.evidence.partition(" ")[0]
                only = f" --reason '{code}'" if code.startswith(("judge.", "agent.")) else ""
                back = f"funreason dlq requeue {out}{only}"
                console.print(f"put back what it failed on first: {back}", soft_wrap=True)
        raise
    finally:
        stop.ignore_signals()
    state = shown.whole()
    console.print(stage_table(state))
    for table in (asked_table(state), health_table(state)):
        if table.row_count:
            console.print(table)
    console.print(yield_table(state))
    console.print(account(state))
    if (counts := funnel(state.rounds[ROUND], folder.texts(ROUND))) is not None:
        console.print(counts.text(), soft_wrap=True)
    console.print(f"kept records: {out / SHAREGPT}, {out / XLAM}")
    failed = list(_judges_that_only_failed(state, config.fcdr.max_error_rate))
    for line in failed:
        console.print(plain(line), soft_wrap=True)
    return UNJUDGED if failed else 0


def _judges_that_only_failed(state: State, limit: float) -> Iterator[str]:
    """A sentence for each node that answered with nothing but errors, where these exceed `limit`."""
    r, limits = state.rounds[ROUND], Limits(error_limit=limit)
    for name, node in r.nodes.items():
        errors = node.outcomes["error"]
        if limits.only_errs(errors, node.answered, r.fates.total()):
            why = ", ".join(reason for reason, _ in node.reasons.most_common(3))
            yield f"warning: nothing was judged by {name!r}: {errors} of {errors} answers were errors ({why})"


def _say_interrupted(console: Console, folder: RunFolder) -> None:
    console.show_cursor()
    begun = (folder.path / "run.json").exists()
    saved = (
        f"verdicts are saved in {folder.path}. Resume with: {command_to_resume(folder)}"
        if begun
        else "nothing was begun"
    )
    console.print(f"interrupted; {saved}", soft_wrap=True)
