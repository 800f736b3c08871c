"""`funreason status`, `graph`, `show`: look at a run or at the graph, touching nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from funreason.commands.settings import read_config
from funreason.record.folder import RecordError, RunFolder, open_run
from funreason.record.log import LogReader
from funreason.record.state import State
from funreason.record.texts import ENDS
from funreason.record.types import Sample
from funreason.tui.table import account, run_tables


def show_status(run: str | None, runs: Path, *, as_json: bool) -> int:
    """Print where a run stands."""
    folder = open_run(run, runs)
    reader = LogReader(folder.events)
    state = State().fold(reader.events())
    life = folder.life()
    if as_json:
        extra = {"process": life._asdict() if life else None, "unknown_events": reader.unknown}
        print(json.dumps(state.summary() | extra, indent=1))
        return 0
    console = Console()
    if life:
        console.print(f"run {folder.path} · {life.status.upper()} · process {life.pid} on {life.host}")
    console.print(f"round {state.round}/{state.rounds_planned} · {state.phase or state.status} · {state.reason}")
    if reader.unknown:
        console.print(f"{reader.unknown} lines of the log are of a kind this version does not know")
    console.print(run_tables(state))
    console.print(account(state))
    return 0


def show_graph(name: str, settings: list[str], *, mermaid: bool) -> int:
    """Draw the graph of a configuration; a graph that cannot run is a GraphError."""
    from funreason.bus.drawing import to_mermaid, to_text
    from funreason.loops.graphs import loop_graph

    graph = loop_graph(read_config(name, {}, settings).fcdr)
    print(to_mermaid(graph) if mermaid else to_text(graph))
    return 0


def show_sample(wanted: str, run: str | None, runs: Path) -> int:
    """Print everything about one sample; RecordError when no or several samples end in `wanted`."""
    folder = open_run(run, runs)
    found = {s.id: s for s in _all_samples(folder) if s.id == wanted or s.id.endswith(wanted)}
    if not found:
        raise RecordError(f"no sample of {folder.path} is called {wanted} or ends so")
    if len(found) > 1:
        some = ", ".join(sorted(found)[:8])
        raise RecordError(f"{len(found)} samples of {folder.path} end in {wanted}: {some} … Name one whole.")
    console = Console(soft_wrap=True)
    (sample_id,) = found
    attempts = [s for s in _all_samples(folder) if s.id == sample_id]
    for line in _story(attempts):
        console.print(line)
    return 0


def _all_samples(folder: RunFolder) -> Iterator[Sample]:
    for path in sorted(folder.path.glob("round-*")):
        texts = folder.texts(int(path.name.removeprefix("round-")))
        for kind in ("sampled", *ENDS):
            yield from texts.get(kind)


def _story(attempts: list[Sample]) -> Iterator[Text]:
    first = attempts[0]
    yield Text(f"{first.id}  ({first.task.category or 'no category'})", style="bold")
    yield Text(f"query  {first.task.query}")
    for tool in first.task.tools:
        yield Text(f"tool   {tool['name']}({', '.join(tool['parameters'].get('properties', {}))})", style="dim")
    shown = set()
    for sample in attempts:
        key = (sample.attempt, sample.thinking, sample.answer, len(sample.verdicts))
        if key in shown:
            continue
        shown.add(key)
        yield Text(f"\nattempt {sample.attempt} · {sample.origin} · weights {sample.weights_id or '–'}", style="bold")
        yield Text(f"think  {sample.thinking if sample.thinking is not None else '(none)'}")
        yield Text(f"answer {sample.answer}")
        for v in sample.verdicts:
            yield Text(f"  {v.stage}: {v.outcome} {v.reason}  {v.evidence}".rstrip())
