"""`funreason status`, `graph`, `show`: look at a run or at the graph, touching nothing."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path

from funreason.commands.settings import read_config
from funreason.commands.story import story
from funreason.commands.terminal import console
from funreason.display.table import account, run_tables
from funreason.record.folder import RecordError, RunFolder, open_run
from funreason.record.log import LogReader
from funreason.record.plain import plain
from funreason.record.sample_files import ENDS
from funreason.record.state import State
from funreason.types import Sample


def show_status(run: str | None, runs: Path, *, as_json: bool) -> int:
    """Print where a run stands."""
    folder = open_run(run, runs)
    reader = LogReader(folder.events)
    state = State().fold(reader.events())
    life = folder.writer_status()
    if as_json:
        extra = {"process": life._asdict() if life else None, "unknown_events": reader.unknown}
        print(json.dumps(state.summary() | extra, indent=1))
        return 0
    out = console()
    if life:
        out.print(plain(f"run {folder.path} · {life.status.upper()} · process {life.pid} on {life.host}"))
    where = [f"round {state.round}/{state.rounds_planned}", state.phase or state.status, state.reason]
    out.print(plain(" · ".join(part for part in where if part)))
    if reader.unknown:
        out.print(f"{reader.unknown} lines of the log are of a kind this version does not know")
    out.print(run_tables(state))
    out.print(account(state))
    return 0


def show_graph(name: str, settings: list[str], *, mermaid: bool) -> int:
    """Draw the graph of a configuration; a graph that cannot run is a GraphError."""
    from funreason.agents.judges.llm.factory import judged_by, uses_llm
    from funreason.bus.drawing import to_mermaid, to_text
    from funreason.runtime.graph import loop_graph

    config = read_config(name, {}, settings)
    graph, fcdr = loop_graph(config), config.fcdr
    print(plain(to_mermaid(graph) if mermaid else to_text(graph), lines=True))
    if uses_llm(fcdr) and not mermaid:
        print("\n".join(plain(f"judge of {stage}: {who}") for stage, who in judged_by(fcdr).items()))
    return 0


def show_sample(wanted: str, run: str | None, runs: Path) -> int:
    """Print everything about the sample called `wanted`, or the only one whose id ends so; else a RecordError."""
    folder = open_run(run, runs)
    drawn, ended = _all_samples(folder)
    sample_id = _the_one(wanted, drawn.keys() | ended.keys(), folder)
    sample, end = ended.get(sample_id, (None, ""))
    out = console(soft_wrap=True)
    for line in story(drawn.get(sample_id, []), sample, end):
        out.print(line)
    return 0


def _the_one(wanted: str, ids: Set[str], folder: RunFolder) -> str:
    if wanted in ids:
        return wanted
    found = sorted(name for name in ids if name.endswith(wanted))
    if not found:
        raise RecordError(f"no sample of {folder.path} is called {wanted} or ends so")
    if len(found) > 1:
        some = ", ".join(found[:8]) + (" …" if len(found) > 8 else "")
        raise RecordError(f"{len(found)} samples of {folder.path} end in {wanted}: {some}. Name one whole.")
    return found[0]


def _all_samples(folder: RunFolder) -> tuple[dict[str, list[Sample]], dict[str, tuple[Sample, str]]]:
    """By id: every drawn attempt in the order of drawing, and the last end with its name."""
    drawn: dict[str, list[Sample]] = {}
    ended: dict[str, tuple[Sample, str]] = {}
    for path in sorted(folder.path.glob("round-*")):
        texts = folder.texts(int(path.name.removeprefix("round-")))
        for sample in texts.get("sampled"):
            drawn.setdefault(sample.id, []).append(sample)
        for end in ENDS:
            ended.update((sample.id, (sample, end)) for sample in texts.get(end))
    return drawn, ended
