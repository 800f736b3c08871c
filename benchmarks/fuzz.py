"""Damaged records and outputs through readers, judges, regenerator, writers and reports; counts what must not happen.

    python benchmarks/fuzz.py [--shared ../shared] [--mutations 10000] [--seed 0]

Half of the mutations are records: they are read from a file and refined, and each line must come out as a sample that
ended or as a refusal. The other half are model outputs: answers of real models to real tasks whose references are
known, judged and repaired. No agent may raise, no judgement may take longer than a second, nothing may be lost, and
nothing of it may reach a terminal, a Markdown table or an HTML page as anything but text.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import io
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mutations import NESTED, damaged, huge, mutated_record
from rich.console import Console

from funreason.agents.judges.registry import judges
from funreason.agents.regenerator import Regenerator
from funreason.agents.sinks import DeadLetterSink, KeptSink, Sink
from funreason.calls.render import CallRenderError, render_calls
from funreason.calls.thinking import split_thinking
from funreason.cli.show import story
from funreason.config import Config, Fcdr
from funreason.data.reading import read_tasks
from funreason.display.report import report_html, report_markdown
from funreason.display.table import account, run_tables
from funreason.loops.refine import refine_file
from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.record.log import LogReader
from funreason.record.sample_files import ENDS
from funreason.runtime.agents import configured_bus
from funreason.runtime.graph import refine_graph
from funreason.runtime.journal import Journal
from funreason.stop import StopRequest
from funreason.types import Sample, Task

SLOW_US = 1e6
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
MARKUP = re.compile(r"<script>alert|<judge>|<think>", re.IGNORECASE)
STORIES = 40
FILES = 10


class Found:
    """What was put in, what came out, and what was wrong."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.slowest_us = 0.0

    def look(self, folder: RunFolder, put_in: int) -> None:
        """Hold one run to account."""
        state = folder.state()
        ended, refused = len(state.ended), state.refused.total()
        self.counts += Counter({"mutations": put_in, "ended": ended, "refused": refused})
        if ended + refused != put_in:
            self.wrong.append(f"{folder.name}: {put_in} were put in, {ended} ended and {refused} were refused")
        texts = [sample for kind in ENDS for sample in folder.texts(1).get(kind)]
        if len(texts) != ended:
            self.wrong.append(f"{folder.name}: {ended} ends, but {len(texts)} texts of them")
        for sample in texts:
            bad = [v for v in sample.verdicts if v.reason.startswith("agent.")]
            self.wrong += [f"{sample.id!r}: {v.stage} raised {v.reason}: {v.evidence[-300:]}" for v in bad]
        for event in LogReader(folder.events).events():
            if isinstance(event, ev.Judged):
                self.counts["judgements"] += 1
                self.slowest_us = max(self.slowest_us, event.us)
                if event.us > SLOW_US:
                    self.wrong.append(f"{event.sample!r}: {event.node} took {event.us / 1e6:.1f} s")
        self.show(folder, texts)

    def show(self, folder: RunFolder, texts: list[Sample]) -> None:
        """Whatever a person may look at, printed and searched for what is not text."""
        state, out = folder.state(), io.StringIO()
        console = Console(file=out, force_terminal=True, color_system=None, width=120, markup=False, emoji=False)
        console.print(run_tables(state))
        console.print(account(state))
        for sample in texts[:: max(1, len(texts) // STORIES)]:
            for line in story([], sample, "dropped"):
                console.print(line)
        for name, text in (
            ("terminal", out.getvalue()),
            ("Markdown", report_markdown(state, folder, "finished")),
            ("HTML", report_html(state, folder, "finished")),
        ):
            self.counts[f"{name} characters"] += len(text)
            patterns = [CONTROL] if name == "terminal" else [CONTROL, MARKUP]
            for pattern in patterns:
                if hit := pattern.search(text):
                    around = text[max(0, hit.start() - 60) : hit.end() + 20]
                    self.wrong.append(f"{folder.name}: {name} holds {hit[0]!r}: {around!r}")


def fuzz_records(lines: list[str], count: int, draw: random.Random, root: Path, found: Found) -> None:
    """Damaged records through `refine`, in several files."""
    for number in range(FILES):
        share = [mutated_record(draw.choice(lines), draw) for _ in range(count // FILES)]
        if number < 2:
            share.append(json.dumps({"id": "huge", "query": huge(draw), "tools": "[]", "answers": "[]"}).encode())
        path, out = root / f"records-{number}.jsonl", RunFolder(root / f"records-{number}")
        path.write_bytes(b"\n".join(share) + b"\n")
        asyncio.run(refine_file(Config(fcdr=Fcdr(require_thinking=number % 2 == 0)), path, out, StopRequest()))
        found.look(out, len(share))


def fuzz_outputs(
    tasks: list[Task], outputs: list[str], count: int, draw: random.Random, root: Path, found: Found
) -> None:
    """Damaged outputs as samples of real tasks, references known, through the judges and the regenerator."""
    drawn = [draw.choice(tasks) for _ in range(count)]
    made = [_sample(i, task, _output(task, outputs, draw, i), draw) for i, task in enumerate(drawn)]
    folder = RunFolder(root / "outputs")
    asyncio.run(judge(made, folder))
    found.look(folder, count)


async def judge(samples: Iterable[Sample], folder: RunFolder) -> None:
    """The five stages and the regenerator, as a loop has them, without a model to ask again."""
    config = Config(fcdr=Fcdr(require_thinking=False))
    graph, journal = refine_graph(config), Journal(folder)
    journal.write(ev.RunStarted(run=folder.name, rounds=1, nodes=list(graph.order)))
    end = Sink(folder.texts(1), journal.write)
    agents: dict[str, Any] = {
        **judges(config),
        "regenerator": Regenerator(None, max_attempts=config.fcdr.max_attempts),
        "trainer": KeptSink(end),
        "dead_letter": DeadLetterSink(end),
    }
    await configured_bus(graph, agents, config, journal.observe).drain(samples)
    folder.close()
    journal.end("finished")


def _output(task: Task, outputs: list[str], draw: random.Random, i: int) -> str:
    text = draw.choice(outputs)
    if draw.random() < 0.5:
        try:
            text = render_calls(task.reference or [])  # its own, or no stage behind the second would see it
        except CallRenderError:
            text = draw.choice(outputs)
    if draw.random() < 0.5:
        text = f"<think>{damaged('So I call f with x, because the query says so.', draw)}</think>\n\n{text}"
    return huge(draw) if i % 1000 == 0 else damaged(text, draw)


def _sample(i: int, task: Task, text: str, draw: random.Random) -> Sample:
    thinking, answer, closed = split_thinking(text)
    return Sample.of(f"{i}/{task.id}", task, answer, thinking, round=1, truncated=not closed and draw.random() < 0.5)


def read_lines(path: Path, limit: int) -> list[str]:
    """The first lines of a file, packed or not."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [line for _, line in zip(range(limit), file, strict=False)]


def fuzz(shared: Path, mutations: int, seed: int, root: Path) -> Found:
    """All of it."""
    found, draw = Found(), random.Random(seed)
    real = shared / "data" / "real"
    lines = read_lines(real / "nasty.jsonl", 10**6)
    nasty = RunFolder(root / "nasty")
    asyncio.run(refine_file(Config(), real / "nasty.jsonl", nasty, StopRequest()))
    found.look(nasty, len(lines))
    whole = lines + read_lines(real / "open-dev.jsonl.gz", 2000) + read_lines(real / "open-nested.jsonl.gz", 300)
    whole += [NESTED] * 300
    fuzz_records(whole, mutations // 2, draw, root, found)
    tasks = read_tasks(real / "open-dev.jsonl.gz").tasks
    parity = read_lines(shared / "data" / "bfcl" / "parity_open.jsonl.gz", 5000)
    outputs = [str(json.loads(line)["output"]) for line in parity]
    fuzz_outputs(tasks, outputs, mutations // 2, draw, root, found)
    return found


def main() -> None:
    """Fuzz, print the counts; exit code 1 when something was wrong."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--shared", type=Path, default=Path("../shared"))
    arguments.add_argument("--mutations", type=int, default=10_000)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    started = time.process_time()
    with tempfile.TemporaryDirectory() as root:
        found = fuzz(given.shared, given.mutations, given.seed, Path(root))
    print(f"$ python benchmarks/fuzz.py --mutations {given.mutations} --seed {given.seed}\n")
    for name, count in found.counts.items():
        print(f"{name:22} {count:>12,}")
    print(f"{'slowest judgement':22} {found.slowest_us / 1000:>9,.1f} ms")
    print(f"{'CPU':22} {time.process_time() - started:>10,.1f} s")
    print(f"{'wrong':22} {len(found.wrong):>12,}")
    print("\n".join(f"  {line[:1500]}" for line in found.wrong[:20]))
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
