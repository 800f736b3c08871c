"""`funreason refine`: FCDR over a data file.

With `--replay`: what the recorded verdicts of a run would give under other settings. That only reads; `--set` changes
the run's own configuration.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from funreason.bus.agent import BrokenAgent
from funreason.bus.workers import Limits
from funreason.cli import terminal
from funreason.cli.app import RUNS, DataFile, InputMap, NoCache, Setting, Strict, Trust
from funreason.cli.config import OUTSIDE, read_config, require_same_judges, require_trusted
from funreason.cli.watch import CONSOLE
from funreason.config import Config, ConfigError
from funreason.data.normalising import parse_input_map
from funreason.display.funnel import funnel
from funreason.display.progress import LiveProgress
from funreason.display.table import account, asked_table, health_table, stage_table, verdict_text, yield_table
from funreason.display.verdict import evidence_in, verdict
from funreason.loops.refine import ROUND, records_file, refine_file
from funreason.policies.endpoint import event_loop as turns
from funreason.policies.endpoint.budget import BudgetSpent
from funreason.record.folder import REFINED, RecordError, RunFolder, command_to_resume, open_run, settings_file
from funreason.record.plain import plain
from funreason.record.sample_files import MANIFEST
from funreason.replay import UNKNOWN, Recorded, Routing, StageCounts, WhatIf, what_if
from funreason.stop import STOPPED, StopRequest
from funreason.trust import rule

UNJUDGED = 1
"""The exit code of a refining that ended with a judge which answered nothing but errors."""
FATES = ("kept", "text", "dropped", "dead", UNKNOWN)
DEFAULT = "own-data"


def refine(
    file: DataFile | None = None,
    /,
    *,
    out: Path | None = None,
    resume: str | None = None,
    trust: Trust = False,
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
        with rule("remembered"):
            return resume_refine(resume, RUNS, file, refused, settings or [], trust=trust)
    given: dict[str, object] = {"tasks.strict": True} if strict else {}
    given |= {"data.input_map": parse_input_map(input_map)} if input_map else {}
    given |= {"fcdr.llm.cache": False} if no_cache else {}
    given |= {"data.turns": turns} if turns else {}
    switches = {"--strict": strict, "--turns": bool(turns), "--input-map": bool(input_map), "--no-cache": no_cache}
    check_options(replay, {"FILE": file, "--out": out}, switches, as_json=json)
    if replay is not None or file is None or out is None:
        with rule("remembered"):
            return run_replay(replay, RUNS, config, settings or [], as_json=json)
    return run_refine(file, out, config or "own-data", given, settings or [])


def run_refine(file: Path, out: Path, name: str, given: dict[str, object], settings: list[str]) -> int:
    """Refine a file into the folder `out`; the exit code."""
    config = read_config(name, given, settings)
    folder = RunFolder(out)
    if (out / "run.json").exists():
        raise RecordError(f"{out} holds a run already; choose another --out, or resume it: {command_to_resume(folder)}")
    return _refine(config, file, folder, resume=False)


def resume_refine(
    run: str,
    runs: Path,
    file: Path | None,
    refused: Mapping[str, object],
    settings: list[str],
    *,
    trust: bool = False,
) -> int:
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
    require_trusted(config, trust=trust)
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
    console.print(verdict_text(verdict(state, evidence_in(folder))))
    console.print(stage_table(state))
    for table in (asked_table(state), health_table(state)):
        if table.row_count:
            console.print(table)
    console.print(yield_table(state))
    console.print(account(state))
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
            console.print(plain(warning), soft_wrap=True)
            exit_code = UNJUDGED
    return exit_code


def _say_interrupted(console: Console, folder: RunFolder) -> None:
    console.show_cursor()
    begun = (folder.path / "run.json").exists()
    saved = (
        f"verdicts are saved in {folder.path}. Resume with: {command_to_resume(folder)}"
        if begun
        else "nothing was begun"
    )
    console.print(f"interrupted; {saved}", soft_wrap=True)


def check_options(
    replay: str | None, needed: Mapping[str, object], refused: Mapping[str, bool], *, as_json: bool
) -> None:
    """Raise ConfigError for options that do not go together."""
    if replay is None:
        missing = [name for name, value in needed.items() if value is None]
        if missing:
            raise ConfigError(
                f"refine needs FILE and --out, or --resume OUT, or --replay RUN alone. Missing: {', '.join(missing)}."
            )
        if as_json:
            raise ConfigError("--json belongs to --replay; for a refined file use `funreason status OUT --json`")
        return
    given = [name for name, value in {**needed, **refused}.items() if value]
    if given:
        raise ConfigError(f"--replay neither reads nor writes a data file: leave {' and '.join(given)} out")


def run_replay(run: str | None, runs: Path, name: str | None, settings: list[str], *, as_json: bool) -> int:
    """Route the verdicts of a run again; the exit code."""
    folder = open_run(run, runs)
    own = settings_file(folder)
    old = read_config(str(own or name or DEFAULT), {}, [])
    new = read_config(str(name or own or DEFAULT), {}, settings)
    recorded = Recorded(folder)
    found = asyncio.run(what_if(recorded, old, new))
    notes = list(_notes(folder, recorded, old, new, found, name or DEFAULT))
    if as_json:
        summary = {
            "run": recorded.name,
            "samples": found.samples,
            "then": _way(found.then),
            "now": _way(found.now),
            "never_recorded": found.never,
            "unknown": {stage: dict(reasons) for stage, reasons in found.missing.items()},
            "notes": notes,
        }
        print(json.dumps(summary, indent=1))
    else:
        _show(terminal.console(), recorded, found, notes)
    return 0


def _show(console: Console, recorded: Recorded, found: WhatIf, notes: list[str]) -> None:
    head = f"{recorded.name}: {found.samples} samples, their recorded verdicts routed again; no model was asked"
    console.print(plain(head), soft_wrap=True)
    console.print()
    console.print(_stages(found))
    console.print()
    table = _table("Samples: outcome")
    table.add_column("end")
    for name in ("then", "now", "change"):
        table.add_column(name, justify="right")
    for fate in FATES:
        before, after = found.then.fates[fate], found.now.fates[fate]
        table.add_row(fate, str(before), str(after), f"{after - before:+d}" if after != before else "0")
    console.print(table)
    console.print()
    then, now = (way.fates["kept"] + way.fates["text"] for way in (found.then, found.now))
    total, unknown = found.samples or 1, found.now.fates[UNKNOWN]
    least, most = 100 * now / total, 100 * (now + unknown) / total
    span = f"{least:.1f} to {most:.1f} %, as the unknown ones turn out" if unknown else f"{least:.1f} %"
    old, new = _total(found.then), _total(found.now)
    cost = f"judgements: {old['judgements']} → {new['judgements']}"
    if old["requests"] or new["requests"]:
        cost += f"; requests to models: {old['requests']} → about {new['requests']}"
        cost += f"; tokens: {old['tokens']} → about {new['tokens']}"
    for line in (f"yield, text included: {100 * then / total:.1f} → {span}", cost, *notes):
        console.print(plain(line), soft_wrap=True)


def _stages(found: WhatIf) -> Table:
    then, now = found.then.stages, found.now.stages
    table = _table("Stages: judged and passed, then and now")
    asked = any(stage.spent.requests for stage in (*then.values(), *now.values()))
    names = ["stage", "judged", "now", "% passed", "now", "unknown", *["tokens", "now"] * asked]
    for i, name in enumerate(names):
        table.add_column(name, justify="right" if i else "left", no_wrap=i > 0)
    for name in dict.fromkeys((*now, *then)):
        old, new = then.get(name), now.get(name)
        cells = [_judged(old), _judged(new), _share(old), _share(new), str(new.unknown) if new else "–"]
        table.add_row(plain(name), *cells, *[_tokens(old), _tokens(new)] * asked)
    if asked:
        spent = [_total(way) for way in (found.then, found.now)]
        table.add_row("all", "", "", "", "", "", *[f"{each['tokens']}" for each in spent])
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)


def _judged(stage: StageCounts | None) -> str:
    return str(stage.judged) if stage else "–"


def _share(stage: StageCounts | None) -> str:
    return f"{100 * stage.passed / stage.judged:.1f}" if stage and stage.judged else "–"


def _tokens(stage: StageCounts | None) -> str:
    return f"{stage.spent.tokens:.0f}" if stage else "–"


def _total(way: Routing) -> dict[str, int]:
    stages = way.stages.values()
    return {
        "judgements": sum(stage.outcomes.total() for stage in stages),
        "requests": round(sum(stage.spent.requests for stage in stages)),
        "tokens": round(sum(stage.spent.tokens for stage in stages)),
    }


def _notes(folder: RunFolder, recorded: Recorded, old: Config, new: Config, found: WhatIf, base: str) -> Iterator[str]:
    if settings_file(folder) is None:
        yield f"{folder.path} holds no configuration: it is taken to have been made with {base}"
    if old.fcdr == new.fcdr:
        yield "no setting of fcdr is changed, so every way is as it was"
    if new.fcdr.llm.threshold != old.fcdr.llm.threshold and new.fcdr.llm.vote != "mean":
        yield "fcdr.llm.threshold counts only with fcdr.llm.vote=mean, so here it changes nothing"
    if recorded.unfinished:
        yield f"{recorded.unfinished} samples had been judged and had not ended; they are left out"
    for stage in found.never:
        yield f"{stage}: never recorded; its verdicts can only be had by judging again"
    for stage, reasons in found.missing.items():
        if stage not in found.never:
            for why, count in reasons.most_common():
                yield f"{stage}: unknown for {count} samples: {why}"
    if found.missing:
        yield "unknown judgements are in the cost, what would follow them is not"


def _way(way: Routing) -> dict[str, Any]:
    stages = {
        name: {
            "judged": stage.judged,
            "passed": stage.passed,
            "unknown": stage.unknown,
            "outcomes": {word: n for word, n in stage.outcomes.items() if word != UNKNOWN},
            "requests": round(stage.spent.requests, 1),
            "tokens": round(stage.spent.tokens, 1),
        }
        for name, stage in way.stages.items()
    }
    return {"stages": stages, "fates": {fate: way.fates[fate] for fate in FATES}, "cost": _total(way)}
