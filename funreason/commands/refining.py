"""`funreason refine`: FCDR over a data file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console

from funreason.bus.agent import BrokenAgent
from funreason.bus.workers import Limits
from funreason.commands import terminal
from funreason.commands.settings import OUTSIDE, read_config, require_same_judges
from funreason.commands.viewing import CONSOLE, speak_into
from funreason.config import Config, ConfigError
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


def run_refine(file: Path, out: Path, name: str, given: dict[str, object], settings: list[str]) -> int:
    """Refine a file into the folder `out`; the exit code."""
    config = read_config(name, given, settings)
    folder = RunFolder(out)
    if (out / "run.json").exists():
        raise RecordError(f"{out} holds a run already; choose another --out, or resume it: {command_to_resume(folder)}")
    return _refine(config, file, folder, resume=False)


def resume_refine(run: str, runs: Path, file: Path | None, refused: Mapping[str, object], settings: list[str]) -> int:
    """Go on with a run that was stopped, its records in `file` by now if that is given; the exit code."""
    said = [name for name, value in refused.items() if value]
    said += [f"--set {text}" for text in settings if not text.startswith(OUTSIDE)]
    if said:
        raise ConfigError(
            f"--resume goes on with the settings and the folder that the run began with, so {', '.join(said)} cannot "
            "be given. Only FILE, where it was moved, budget.*, sample.endpoints and fcdr.llm.endpoints may change."
        )
    folder = open_run(run, runs)
    lay = records_file(folder)
    life, whole = folder.writer_status(), (folder.path / MANIFEST).exists()
    if whole and life is not None and life.status == "finished":
        raise RecordError(f"{folder.path} is finished: every sample has ended, and what was kept is written.")
    old, config = (read_config(str(folder.path / REFINED), {}, changes) for changes in ([], settings))
    require_same_judges(old, config)
    return _refine(config, file or lay, folder, resume=True)


def _refine(config: Config, file: Path, folder: RunFolder, *, resume: bool) -> int:
    out, console = folder.path, terminal.console()
    stop = StopRequest()
    stop.listen()
    stop.on_hangup(lambda: speak_into(out / CONSOLE))
    stop.on_stop(lambda: console.print("finishing what is in flight, then saving; once more to stop now"))
    stop.on_leave(lambda: _say_interrupted(console, folder))
    try:
        with LiveProgress(folder, console) as shown:
            turns.run(refine_file(config, file, folder, stop, resume=resume))
    except STOPPED:
        _say_interrupted(console, folder)
        return 130
    except BaseException as error:
        if folder.is_owner():
            more = _more_budget(config) if isinstance(error, BudgetSpent) else ""
            console.print(f"it can be taken up again: {command_to_resume(folder)}{more}", soft_wrap=True)
            if isinstance(error, BrokenAgent):
                back = f"funreason dlq requeue {out}{_why(error)}"
                console.print(f"what it failed on is put back before that by: {back}", soft_wrap=True)
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
    console.print(f"kept records: {out / SHAREGPT}, {out / XLAM}")
    unheard = list(_unheard(state, config.fcdr.max_error_rate))
    for line in unheard:
        console.print(plain(line), soft_wrap=True)
    return UNJUDGED if unheard else 0


def _unheard(state: State, limit: float) -> Iterator[str]:
    """A sentence for each node that answered with nothing but errors, where these are more than may be."""
    r, limits = state.rounds[ROUND], Limits(error_limit=limit)
    for name, node in r.nodes.items():
        errors = node.outcomes["error"]
        if limits.only_errs(errors, node.answered, r.fates.total()):
            why = ", ".join(reason for reason, _ in node.reasons.most_common(3))
            yield f"warning: nothing was judged by {name!r}: {errors} of {errors} answers were errors ({why})"


def _why(error: BrokenAgent) -> str:
    """The option that chooses what an agent failed on, where its last error has a code."""
    code = error.evidence.partition(" ")[0]
    return f" --reason '{code}'" if code.startswith(("judge.", "agent.")) else ""


def _more_budget(config: Config) -> str:
    """What to add to the command where the budget was reached."""
    bounds = config.budget.model_dump(exclude_none=True)
    return "".join(f" --set budget.{what}=MORE" for what in bounds)


def _say_interrupted(console: Console, folder: RunFolder) -> None:
    console.show_cursor()
    begun = (folder.path / "run.json").exists()
    told = (
        f"what was judged lies in {folder.path}. Go on with: {command_to_resume(folder)}"
        if begun
        else "nothing was begun"
    )
    console.print(f"interrupted; {told}", soft_wrap=True)
