"""`funreason whatif`: how a run's samples would have ended under other settings, from its recorded verdicts.

It only reads. `--set` changes the run's own configuration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from funreason.cli import terminal
from funreason.cli.app import RUNS, AsJson, RunDir, RunName, Setting
from funreason.record.plain import plain

if TYPE_CHECKING:
    from funreason.config import Config
    from funreason.record.folder import RunFolder
    from funreason.replay import Recorded, Routing, StageCounts, WhatIf

UNKNOWN = "unknown"
"""As `funreason.replay` calls it, which a help page need not load."""
FATES = ("kept", "text", "dropped", "dead", UNKNOWN)
DEFAULT = "own-data"


def whatif(
    run: RunName = None,
    /,
    *,
    config: str | None = None,
    settings: Setting = None,
    json: AsJson = False,
    run_dir: RunDir = RUNS,
) -> int:
    """Say how a run's samples would have ended under other settings, from its recorded verdicts. No model is asked,
    nothing is written.

    Parameters
    ----------
    config
        A YAML file, or a name in configs/, in place of the run's own configuration.
    settings
        Change one setting of the run, such as --set fcdr.llm.threshold=0.8, --set fcdr.skip=[cot] or
        --set fcdr.move={query_tool: cot}.
    """
    from funreason.cli.config import read_config
    from funreason.record.folder import open_run, settings_file
    from funreason.replay import Recorded, what_if

    folder = open_run(run, run_dir)
    own = settings_file(folder)
    old = read_config(str(own or config or DEFAULT), {}, [])
    new = read_config(str(config or own or DEFAULT), {}, settings)
    recorded = Recorded(folder)
    found = asyncio.run(what_if(recorded, old, new))
    notes = list(_notes(folder, recorded, old, new, found, config or DEFAULT))
    if json:
        summary = {
            "run": recorded.name,
            "samples": found.samples,
            "then": _way(found.then),
            "now": _way(found.now),
            "never_recorded": found.never,
            "unknown": {stage: dict(reasons) for stage, reasons in found.missing.items()},
            "notes": notes,
        }
        terminal.print_json(summary)
    else:
        _show(terminal.console(), recorded, found, notes)
    return 0


def _show(console: Console, recorded: Recorded, found: WhatIf, notes: list[str]) -> None:
    kept = [way.fates["kept"] + way.fates["text"] for way in (found.then, found.now)]
    spared = _total(found.then)["judgements"] - _total(found.now)["judgements"]
    change = f"kept {kept[1]} ({kept[1] - kept[0]:+d}) · unknown {found.now.fates[UNKNOWN]}"
    console.print(f"{change} · {abs(spared)} judgements {'fewer' if spared >= 0 else 'more'}", style="bold")
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
    then, now = kept
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
    from funreason.record.folder import settings_file

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
