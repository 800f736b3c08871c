"""`funreason reproduce`: play the experiment of one of the papers' tables or figures, and write its table."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from funreason.cli import terminal
from funreason.cli.app import RUNS, AnySetting, AsJson

if TYPE_CHECKING:
    from rich.console import Console

    from funreason.experiments.experiment import Arm, Scale
    from funreason.experiments.player import Player
    from funreason.plan.planning import Plan

GIB = 2**30
OK, DOES_NOT_FIT, INTERRUPTED = 0, 1, 130


def reproduce(
    name: str | None = None,
    /,
    *,
    scale: Literal["toolbox", "smollm2", "paper"] = "toolbox",
    seeds: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    arm: Annotated[list[str] | None, Parameter(consume_multiple=False)] = None,
    config: str | None = None,
    dry_run: bool = False,
    list_all: Annotated[bool, Parameter(name="--list")] = False,
    out: Path | None = None,
    run_dir: Path = RUNS / "reproduce",
    json: AsJson = False,
    allow_code_execution: bool = False,
    settings: AnySetting = None,
) -> int:
    """Play the experiment of a table or figure of the papers: all its arms, with intervals and the paper's numbers.

    An arm that has been played is read back, one that was interrupted is resumed.

    Parameters
    ----------
    name
        table2, table3, table4, table5, figure4, ssb, hdr or egpo; --list says what each asks.
    scale
        `toolbox`: the embedded model, any CPU. `smollm2`: SmolLM2-135M on one GPU. `paper`: the papers' bases on eight.
    seeds
        The seeds of every arm. Default: 0 1 2.
    arm
        Play only this arm, and those that it begins with. Can be given several times.
    config
        Another configuration than the scale's: a YAML file, or a name in configs/.
    dry_run
        Play nothing: say which arms are there and what the others would take. Exit code 1: one does not fit.
    list_all
        List the experiments.
    out
        Where to write results, table and picture. Default: the folder `results` in --run-dir.
    run_dir
        Where arms are kept.
    json
        Print as JSON.
    allow_code_execution
        Let suites of kind humaneval and mbpp run the programs that the model writes, in a sandbox.
    """
    from funreason.config import ConfigError, parse_setting
    from funreason.experiments.papers import EXPERIMENTS, SCALES
    from funreason.experiments.player import Player
    from funreason.experiments.published import Publication, markdown, save
    from funreason.stop import STOPPED

    console = terminal.console(soft_wrap=True)
    if list_all:
        _list(console, json)
        return OK
    experiment = EXPERIMENTS.get(name or "")
    if experiment is None:
        raise ConfigError(f"no experiment {name or 'named'}: expected one of {', '.join(EXPERIMENTS)}.")
    unknown = [given for given in arm or [] if given not in {each.name for each in experiment.arms}]
    if unknown:
        known = ", ".join(each.name for each in experiment.arms)
        raise ConfigError(f"--arm {unknown[0]}: {experiment.name} has the arms {known}.")
    at = SCALES[scale]
    wanted = [each for each in experiment.arms if not arm or each.name in arm]
    asked = list(dict.fromkeys([0, 1, 2] if seeds is None else seeds))
    said = {"scale": scale, "config": config, "allow-code-execution": "" if allow_code_execution else None}
    words = [f"--{option} {value}".rstrip() for option, value in said.items() if value not in (None, "toolbox")]
    words += [f"--seeds {' '.join(map(str, asked))}", *(f"--arm {quote(each)}" for each in arm or [])]
    command = " ".join(["funreason reproduce", experiment.name, *words, *(f"--set {quote(s)}" for s in settings or [])])
    players = [
        Player(
            experiment,
            at,
            chosen,
            run_dir,
            dict(map(parse_setting, settings or [])),
            command,
            allow_code_execution,
            listens=not dry_run,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
        for chosen in ([config] if config else at.configs if dry_run else at.configs[:1])
    ]
    if dry_run:
        return _dry_run(console, players, wanted, asked, json)
    player = players[0]
    try:
        for seed in asked:  # seed by seed, so that a cut leaves whole comparisons
            for each in wanted:
                player.result(each, seed)
    except STOPPED:
        print("interrupted; the same command resumes it", file=sys.stderr)
        return INTERRUPTED
    played = {
        (each.name, seed): result
        for each in experiment.arms
        for seed in asked
        if (result := player.finished(each, seed)) is not None
    }
    found = Publication(experiment, at, player.config, played)
    paths = save(found, out or run_dir / "results")
    console.print(paths[0].read_text(encoding="utf-8") if json else markdown(found), end="")
    print(f"written: {', '.join(map(str, paths))}", file=sys.stderr)
    return OK


def _list(console: Console, json: bool) -> None:
    from funreason.experiments.papers import EXPERIMENTS, SCALES

    if json:
        about = {e.name: {"title": e.title, "question": e.question, "source": e.source} for e in EXPERIMENTS.values()}
        terminal.print_json(about)
        return
    for e in EXPERIMENTS.values():
        console.print(f"{e.name:8} {e.title}. {e.question}")
        console.print(f"         arms: {'; '.join(each.name for each in e.arms)}")
    for scale in SCALES.values():
        console.print(f"--scale {scale.name}: {scale.text}")


def _dry_run(console: Console, players: list[Player], arms: list[Arm], seeds: list[int], json: bool) -> int:
    """Each arm with its state and, on GPUs, what the plan says of one seed; the exit code."""
    from rich.table import Table

    from funreason.config import ConfigError

    lines: list[dict[str, Any]] = []
    for player in players:
        for each in arms:
            line: dict[str, Any] = {"config": player.config, "arm": each.name, "seeds": {}, "problems": []}
            try:
                for seed in seeds:
                    done = player.finished(each, seed)
                    begun = (player.folder(each, seed).path / "config.yaml").exists()
                    state = "played" if done else "interrupted" if begun else "not played"
                    line["seeds"][str(seed)] = {"key": player.key(each, seed), "state": state}
                    line["seeds"][str(seed)] |= {"cpu_s": done.cpu_s} if done else {}
                plan = _plan(player.scale, player, each, seeds[0])
            except ConfigError as error:
                line["problems"].append(str(error))
            else:
                if plan is not None:
                    rounds = [phase for phase in plan.phases if phase.name != "start"]
                    start = sum(phase.seconds for phase in plan.phases if phase.name == "start")
                    config = player.resolved(each, seeds[0])
                    count = getattr(config, "planned_rounds", config.rounds)  # a method may have its own number
                    hours = (start + count * sum(phase.seconds for phase in rounds)) / 3600
                    line["gpus"], line["gpu"] = plan.hardware.gpus, plan.hardware.name
                    line["hours_a_seed"] = round(hours, 2)
                    line["gib"] = round(max(phase.total for phase in plan.phases) / GIB, 1)
                    line["problems"] += plan.problems
            lines.append(line)
    if json:
        terminal.print_json(lines)
    else:
        table = Table(box=None, pad_edge=False, header_style="")
        for head in ("configuration", "arm", "seeds", "GPUs", "GiB of the fullest", "hours a seed"):
            table.add_column(head)
        for line in lines:
            states = "; ".join(
                f"{state} {' '.join(seed for seed, found in line['seeds'].items() if found['state'] == state)}"
                for state in dict.fromkeys(found["state"] for found in line["seeds"].values())
            )
            gpus = f"{line['gpus']} × {line['gpu']}" if "gpu" in line else "–"
            table.add_row(
                line["config"], line["arm"], states, gpus, *(str(line.get(k, "–")) for k in ("gib", "hours_a_seed"))
            )
        console.print(table)
        for line in lines:
            for problem in line["problems"]:
                console.print(f"✗ {line['config']}, {line['arm']}: {problem}")
        total = sum(line.get("hours_a_seed", 0) for line in lines) * len(seeds)
        if total:
            console.print(f"together {total:.1f} hours, measurements of the suites not counted")
    return DOES_NOT_FIT if any(line["problems"] for line in lines) else OK


def _plan(scale: Scale, player: Player, arm: Arm, seed: int) -> Plan | None:
    """What `funreason plan` says of an arm; None on a CPU."""
    if not scale.gpu:
        return None
    from funreason.plan.cost_model import CHIPS
    from funreason.plan.planning import Assumed, Hardware
    from funreason.plan.planning import plan as make_plan

    config = player.resolved(arm, seed)
    gpus = max(config.round_update.launch.processes, config.start.update.launch.processes)
    return make_plan(config, Hardware(scale.gpu, CHIPS[scale.gpu], gpus), Assumed())
