"""`funreason refine`: FCDR over a data file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from funreason.cli import terminal
from funreason.cli.app import (
    RUNS,
    RUNS_VARIABLE,
    DataFile,
    Download,
    DryRun,
    InputMap,
    NoCache,
    Quiet,
    Setting,
    Strict,
    Trust,
    Verbose,
)
from funreason.record.plain import plain
from funreason.trust import rule

if TYPE_CHECKING:
    from funreason.config import Config
    from funreason.record.folder import RunFolder

REFUSALS_SHOWN = 5
UNJUDGED = 1
"""The exit code of a refining that ended with a judge which answered nothing but errors."""


def refine(
    file: DataFile | None = None,
    /,
    *,
    out: Path | None = None,
    resume: str | None = None,
    trust: Trust = False,
    config: str | None = None,
    strict: Strict = False,
    input_map: InputMap = None,
    turns: Literal["each", "last"] | None = None,
    no_cache: NoCache = False,
    download: Download = False,
    settings: Setting = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Judge and repair the samples of a data file with the five stages (FCDR), by default without any model.

    Parameters
    ----------
    out
        A new folder for what is kept, what is not and why.
    resume
        Resume a run that was stopped: its folder, in place of FILE and --out. Can be combined with FILE (if it was
        moved), --set budget.…, --set sample.endpoints=… and --set fcdr.llm.endpoints=….
    config
        A YAML file, or a name in configs/; its `fcdr` part is used. Default: `own-data`.
    turns
        Which answers of a dialogue are judged: each turn that calls and the last answer, or the last answer alone.
        Default: each.
    settings
        Change one setting, such as --set fcdr.require_thinking=true.
    """
    from funreason.config import ConfigError
    from funreason.data.normalising import parse_input_map

    terminal.library_logs(verbose=verbose)
    if resume is not None:
        refused = {"--out": out, "--config": config, "--strict": strict, "--dry-run": dry_run}
        refused |= {"--turns": turns, "--input-map": input_map, "--no-cache": no_cache}
        with rule("remembered"):
            runs = Path(os.environ.get(RUNS_VARIABLE) or RUNS)
            return resume_refine(
                resume,
                runs,
                file,
                refused,
                settings or [],
                trust=trust,
                download=download,
                quiet=quiet,
                verbose=verbose,
            )
    given: dict[str, object] = {"tasks.strict": True} if strict else {}
    given |= {"data.input_map": parse_input_map(input_map)} if input_map else {}
    given |= {"fcdr.llm.cache": False} if no_cache else {}
    given |= {"data.turns": turns} if turns else {}
    given |= {"download": True} if download else {}
    if file is None or (out is None and not dry_run):
        missing = [name for name, value in {"FILE": file, "--out": out}.items() if value is None]
        raise ConfigError(f"refine needs FILE and --out, or --resume OUT. Missing: {', '.join(missing)}.")
    if dry_run or out is None:
        return say_what_would_be_refined(file, config or "own-data", given, settings or [])
    shown = {"quiet": quiet, "verbose": verbose}
    return run_refine(file, out, config or "own-data", given, settings or [], **shown)


def say_what_would_be_refined(file: Path, name: str, given: dict[str, object], settings: list[str]) -> int:
    """Read every record of a file, check graph and judges, and print what would be judged; the exit code."""
    from funreason.agents.judges.registry import check_judges
    from funreason.cli.config import read_config
    from funreason.loops.refine import survey
    from funreason.runtime.graph import refine_graph

    config = read_config(name, given, settings)
    found = survey(config, file)
    graph = refine_graph(config)
    check_judges(config)
    out = terminal.console(soft_wrap=True)
    out.print(plain(f"records: {found.summary}"))
    out.print(f"samples: {found.samples}, one for each answer that is judged")
    out.print(plain(f"graph: {' → '.join(node.name for node in graph.nodes)}; the judges can be used"))
    for refusal in found.refusals[:REFUSALS_SHOWN]:
        out.print(plain(f"  line {refusal.line}: {refusal.reason}: {refusal.message}"))
    out.print("Nothing was judged or written.")
    return 0


def run_refine(
    file: Path,
    out: Path,
    name: str,
    given: dict[str, object],
    settings: list[str],
    *,
    quiet: bool = False,
    verbose: bool = False,
) -> int:
    """Refine a file into the folder `out`; the exit code."""
    from funreason.cli.config import read_config
    from funreason.cli.fetching import fetched_file, with_fetched
    from funreason.record.folder import RecordError, RunFolder, command_to_resume

    config, notices = read_config(name, given, settings), terminal.notices(quiet=quiet)
    folder = RunFolder(out)
    if (out / "run.json").exists():
        raise RecordError(f"{out} holds a run already; choose another --out, or resume it: {command_to_resume(folder)}")
    file, config = fetched_file(file, notices, download=config.download), with_fetched(config, notices)
    return _refine(config, file, folder, resume=False, quiet=quiet, verbose=verbose)


def resume_refine(
    run: str,
    runs: Path,
    file: Path | None,
    refused: Mapping[str, object],
    settings: list[str],
    *,
    trust: bool = False,
    download: bool = False,
    quiet: bool = False,
    verbose: bool = False,
) -> int:
    """Resume a run that was stopped, with its records in `file` if they were moved; the exit code."""
    from funreason.cli.config import OUTSIDE, read_config, require_same_judges, require_trusted
    from funreason.cli.fetching import fetched_file, with_fetched
    from funreason.config import ConfigError
    from funreason.loops.refine import records_file
    from funreason.record.folder import REFINED, open_run
    from funreason.record.integrity import require_settings_unchanged
    from funreason.record.sample_files import MANIFEST

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
        terminal.notices(quiet=quiet).print(
            f"Nothing to do: {folder.path} is finished; every sample has ended, and what was kept is written.",
            markup=False, highlight=False,
        )  # fmt: skip
        return 0
    require_settings_unchanged(folder)
    old, config = (read_config(str(folder.path / REFINED), {}, changes) for changes in ([], settings))
    require_same_judges(old, config)
    require_trusted(config, trust=trust)
    config, notices = config.model_copy(update={"download": config.download or download}), terminal.notices(quiet=quiet)
    file = fetched_file(file or recorded, notices, download=config.download)
    return _refine(with_fetched(config, notices), file, folder, resume=True, quiet=quiet, verbose=verbose)


def _refine(config: Config, file: Path, folder: RunFolder, *, resume: bool, quiet: bool, verbose: bool) -> int:
    from funreason.bus.agent import BrokenAgent
    from funreason.bus.workers import Limits
    from funreason.cli.watch import CONSOLE
    from funreason.display.funnel import funnel
    from funreason.display.progress import LiveProgress
    from funreason.display.table import account, asked_table, health_table, stage_table, verdict_text, yield_table
    from funreason.display.verdict import evidence_in, verdict
    from funreason.loops.refine import ROUND, refine_file
    from funreason.policies.endpoint import event_loop as turns
    from funreason.policies.endpoint.budget import BudgetSpent
    from funreason.record.folder import command_to_resume
    from funreason.stop import STOPPED, StopRequest

    out, console, notices = folder.path, terminal.console(), terminal.notices(quiet=quiet)
    stop = StopRequest()
    stop.listen()
    stop.on_hangup(lambda: terminal.redirect_output(out / CONSOLE))
    stop.on_stop(lambda: notices.print("Finishing current work, then saving. Press Ctrl-C again to stop now."))
    stop.on_leave(lambda: _say_interrupted(console, folder))
    try:
        with LiveProgress(folder, notices) as shown:
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
    console.print(verdict_text(verdict(state, evidence_in(folder))), crop=False)
    judges = [health_table(state)] if verbose else []
    console.print(stage_table(state))
    for table in (asked_table(state), *judges, yield_table(state), account(state)):
        if table.row_count:
            console.print()
            console.print(table)
    if (counts := funnel(state.rounds[ROUND], folder.texts(ROUND))) is not None:
        console.print(counts.text(), soft_wrap=True)
    exit_code, r, limits = 0, state.rounds[ROUND], Limits(error_limit=config.fcdr.max_error_rate)
    for name, node in r.nodes.items():
        errors = node.outcomes["error"]
        if limits.only_errs(errors, node.answered, r.fates.total()):
            why = ", ".join(reason for reason, _ in node.reasons.most_common(3))
            warning = (
                f"warning: nothing was judged by {name!r}: {errors} of {node.answered} answers were errors ({why})"
            )
            terminal.notices().print(plain(warning), soft_wrap=True)
            exit_code = UNJUDGED
    return exit_code


def _say_interrupted(console: Console, folder: RunFolder) -> None:
    from funreason.record.folder import command_to_resume

    console.show_cursor()
    begun = (folder.path / "run.json").exists()
    saved = (
        f"verdicts are saved in {folder.path}. Resume with: {command_to_resume(folder)}"
        if begun
        else "nothing was begun"
    )
    console.print(f"interrupted; {saved}", soft_wrap=True)
