"""What a large and a long run cost: memory, open files and threads must not grow with them.

    python benchmarks/load.py [--samples 100000] [--hours 24]

Large: samples through the whole FCDR graph with the five rule judges and the regenerator, texts, log and recall
included; the answers are right, wrong, or badly written in fixed shares, so the counts are known beforehand. Long:
hours of a slow run on a clock that runs faster than the wall's: a sample judged now and then, heartbeats, a doorbell
that is rung, a viewer that reads along, phases and rounds; what a run holds is compared after an hour and at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from funreason.agents.judges.registry import judges
from funreason.agents.regenerator import Regenerator
from funreason.agents.sinks import DeadLetterSink, KeptSink, Sink
from funreason.bus.scheduler import Bus
from funreason.config import Config, Fcdr
from funreason.record import events as ev
from funreason.record.control import ControlRequest, Verb, socket_address
from funreason.record.folder import RunFolder
from funreason.record.state import State
from funreason.runtime import journal as journals
from funreason.runtime.agents import configured_bus
from funreason.runtime.control_server import ControlServer
from funreason.runtime.graph import refine_graph
from funreason.runtime.journal import Journal
from funreason.runtime.resume import RecordedVerdicts
from funreason.stop import StopRequest
from funreason.tui.feed import LiveFeed
from funreason.types import Sample, Task

ROUND_MINUTES, PER_MINUTE = 240, 2
SETTINGS = Config(fcdr=Fcdr(require_thinking=False))
TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather of a place.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TASK = Task.of("task", "What is the weather in Bonn?", [TOOL], category="simple")
ANSWERS = {
    "kept": "[get_weather(city='Bonn')]",
    "re-rendered": '[{"name": "get_weather", "arguments": {"city": "Bonn"}}]',
    "text": "The sun shines.",
    "dropped": "[get_wether(city='Bonn')]",
    "dead": "[get_weather(town='Bonn')]",
}
"""A way to end, and an answer that ends so when no model can be asked again."""


class HeldOut(NamedTuple):
    """What a process holds."""

    rss_mb: float
    files: int
    threads: int
    objects: int


def held() -> HeldOut:
    """What this process holds now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    files = len(os.listdir("/proc/self/fd"))
    return HeldOut(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, files, threading.active_count(), len(gc.get_objects()))


def samples(count: int, k: int = 1) -> Iterator[Sample]:
    """Samples whose answers take turns."""
    answers = list(ANSWERS.values())
    for i in range(count):
        yield Sample.of(f"r{k}/{i}", TASK, answers[i % len(answers)], "", round=k)


def bus_of(folder: RunFolder, journal: Journal, k: int, past: State) -> Bus:
    """The five stages and the regenerator over one round's texts."""
    end = Sink(folder.texts(k), journal.write)
    recall = RecordedVerdicts(journal, folder.texts(k), k, past)
    agents: dict[str, Any] = {
        **judges(SETTINGS),
        "regenerator": Regenerator(None, max_attempts=SETTINGS.fcdr.max_attempts),
        "trainer": KeptSink(end),
        "dead_letter": DeadLetterSink(end),
    }
    return configured_bus(refine_graph(SETTINGS), agents, SETTINGS, recall.observe)


async def large(folder: RunFolder, count: int) -> dict[str, Any]:
    """`count` samples; memory is looked at every tenth of them."""
    journal, seen = Journal(folder), []
    journal.write(ev.RunStarted(run=folder.name, rounds=1, nodes=list(refine_graph(SETTINGS).order)))

    def watched() -> Iterator[Sample]:
        for i, sample in enumerate(samples(count)):
            if i % (count // 10) == 0:
                seen.append(held())
            yield sample

    cpu = time.process_time()
    flow = await bus_of(folder, journal, 1, State()).drain(watched())
    cpu = time.process_time() - cpu
    seen.append(held())
    folder.seal(1)
    journal.end("finished")
    return {
        "samples": count,
        "ended": flow.ended,
        "cpu_s": round(cpu, 1),
        "rss_mb": [round(h.rss_mb, 1) for h in seen],
        "peak_rss_mb": round(peak_mb(), 1),
        "files": [seen[1].files, seen[-1].files],
    }


def exact(folder: RunFolder, count: int) -> dict[str, int]:
    """How the samples ended; AssertionError when it is not as it must be."""
    share, r = count // len(ANSWERS), folder.state().rounds[1]
    found = dict(r.fates)
    expected = {"kept": 2 * share, "text": share, "dropped": share, "dead": share}
    assert found == expected, f"expected {expected}; found {found}"
    assert r.origins["rerendered"] == share, r.origins
    lines = {name: sum(1 for _ in (folder.round(1) / f"{name}.jsonl").open("rb")) for name in expected}
    assert lines == expected, lines
    return found


async def long(folder: RunFolder, hours: float) -> dict[str, Any]:
    """A day in the life of a run: one step of the loop stands for a minute."""
    journals.HEARTBEAT_S = 0.01
    folder.acquire()
    stop, journal = StopRequest(), Journal(folder)
    journal.write(ev.RunStarted(run=folder.name, rounds=1000, nodes=list(refine_graph(SETTINGS).order)))
    feed, seen = LiveFeed(folder, time.time), {}
    async with journal.heartbeat(), ControlServer(folder.path, stop, journal.write):
        for minute in range(int(hours * 60)):
            await _minute(folder, journal, stop, minute)
            feed.poll(1.0)
            if minute % 60 == 59:
                seen[(minute + 1) // 60] = held()
    journal.end("finished")
    marks = [1, 2, max(seen) // 2, max(seen)]
    return {"hours": hours, "held": {str(hour): seen[hour]._asdict() for hour in marks}}


async def _minute(folder: RunFolder, journal: Journal, stop: StopRequest, minute: int) -> None:
    k = 1 + minute // ROUND_MINUTES
    bus = bus_of(folder, journal, k, State())
    with journal.phase(k, "sample", todo=PER_MINUTE), stop.calling(bus.stop):
        made = enumerate(samples(PER_MINUTE))
        await bus.drain(Sample.of(f"r{k}/{minute}/{i}", TASK, sample.answer, round=k) for i, sample in made)
    verbs: tuple[Verb, ...] = ("pause", "resume")
    for verb in verbs:
        await ring(folder.path, verb)
    if minute % ROUND_MINUTES == ROUND_MINUTES - 1:
        folder.texts(k).delete_verdicts()
        folder.seal(k)
        journal.write(ev.RoundEnded(round=k, weights="w"))


async def ring(folder: Path, verb: Verb) -> None:
    """Ask the run for something, as a viewer does."""
    with socket_address(folder) as address:
        reader, writer = await asyncio.open_unix_connection(address)
    writer.write(msgspec.json.encode(ControlRequest(verb)) + b"\n")
    assert json.loads(await reader.readline())["ok"]
    writer.close()
    await writer.wait_closed()


def peak_mb() -> float:
    """The most memory this process has had resident (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def main() -> None:
    """Measure both and print them as JSON."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--samples", type=int, default=100_000)
    arguments.add_argument("--hours", type=float, default=24)
    given = arguments.parse_args()
    print(f"$ python benchmarks/load.py --samples {given.samples} --hours {given.hours:g}\n")
    with tempfile.TemporaryDirectory() as root:
        folder = RunFolder(Path(root) / "large")
        found = asyncio.run(large(folder, given.samples))
        print(json.dumps(found | {"fates": exact(folder, given.samples)}, indent=1), flush=True)
        print(json.dumps(asyncio.run(long(RunFolder(Path(root) / "long"), given.hours)), indent=1))


if __name__ == "__main__":
    main()
