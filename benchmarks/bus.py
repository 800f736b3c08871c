"""The bus on the shared workload of five judges and a regenerate loop, typed messages and event log on.

Says, for the same verdicts on the same samples (the counts are asserted): samples per CPU-second and CPU time per
judgement with judges that cost nothing; wall time beside a bare pool of 64 workers with judges that take 5 ms; and
peak memory at 20,000 and at 200,000 samples. CPU time, best and median of several runs, because machines are noisy.

    python benchmarks/bus.py [--shared ../shared] [--runs 3] [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from funreason.bus.agent import Emit
from funreason.bus.graph import Graph
from funreason.bus.scheduler import Bus
from funreason.bus.workers import Flow
from funreason.record.folder import RunFolder
from funreason.runtime.journal import Journal
from funreason.types import Sample, Task, Verdict, changed

STAGES = 5


def workload_graph() -> Graph:
    """Five judges in a row; what fails is regenerated, at most twice, and judged again from the first."""
    judges = [f"judge{s}" for s in range(STAGES)]
    nodes: dict[str, Any] = {name: {"outcomes": ["pass", "regenerate", "exhausted", "error"]} for name in judges}
    edges = [f"{a} pass {b}" for a, b in zip(judges, [*judges[1:], "accepted"], strict=True)]
    edges += [f"{name} regenerate regenerator retry" for name in judges]
    edges += [f"{name} {outcome} dead" for name in judges for outcome in ("exhausted", "error")]
    nodes |= {"regenerator": {"outcomes": ["again", "error"]}, "accepted": {}, "dead": {}}
    edges += ["regenerator again judge0", "regenerator error dead"]
    return Graph.from_mapping({"start": "judge0", "nodes": nodes, "edges": edges})


def agents(workload: ModuleType, delay: float) -> dict[str, Any]:
    """The workload's own verdict, as agents of the bus."""
    verdict = workload.verdict

    def judge(stage: int) -> Any:
        name = f"judge{stage}"

        def said(sample: Sample) -> Verdict:
            passed = verdict(int(sample.id), stage, sample.attempt)
            return Verdict(name, "pass") if passed else Verdict(name, "regenerate", "workload.failed")

        async def quick(sample: Sample) -> Verdict:
            return said(sample)

        async def slow(sample: Sample) -> Verdict:
            await asyncio.sleep(delay)
            return said(sample)

        return slow if delay else quick

    async def regenerator(sample: Sample) -> Emit:
        return Emit("again", changed(sample, answer=sample.answer + " ", origin="resampled"))

    async def end(sample: Sample) -> None:
        return None

    return {f"judge{s}": judge(s) for s in range(STAGES)} | {"regenerator": regenerator, "accepted": end, "dead": end}


def samples(workload: ModuleType, n: int) -> Iterator[Sample]:
    """The workload's samples as typed messages, made as they are pulled."""
    for i in range(n):
        made = workload.make_sample(i)
        task = Task.of(id=str(i), query=made["query"], tools=made["tools"])
        yield Sample.of(id=str(i), task=task, answer=made["answer"], thinking=made["cot"])


def play(workload: ModuleType, n: int, delay: float) -> dict[str, float]:
    """One run; CPU and wall seconds, once the counts are those that must come out."""
    judgements, accepted, dead = workload.expected(n)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(RunFolder(Path(folder)))
        bus = Bus(workload_graph(), agents(workload, delay), observe=journal.observe)
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        flow = asyncio.run(bus.drain(samples(workload, n)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        lines = sum(1 for _ in journal.log.path.open("rb")) - 1  # the first says the format
    found = counts(flow)
    assert found == (judgements, accepted, dead), f"expected {(judgements, accepted, dead)}; found {found}"
    assert lines == judgements + flow.nodes["regenerator"].entered, f"{lines} lines in the log"
    return {"cpu": cpu, "wall": wall, "judgements": judgements, "peak": flow.peak}


def counts(flow: Flow) -> tuple[int, int, int]:
    """Judgements, accepted, dead."""
    judged = sum(flow.nodes[f"judge{s}"].entered for s in range(STAGES))
    return judged, flow.nodes["accepted"].entered, flow.nodes["dead"].entered


def told_speed(workload: ModuleType, n: int, runs: int) -> str:
    found = sorted((play(workload, n, 0.0) for _ in range(runs)), key=lambda run: run["cpu"])
    best, median = found[0]["cpu"], statistics.median(run["cpu"] for run in found)
    each = found[0]["judgements"]
    return (
        f"{n} samples, {each:.0f} judgements, event log on\n"
        f"  samples per CPU-second   best {n / best:8.0f}   median {n / median:8.0f}\n"
        f"  CPU µs per judgement     best {best / each * 1e6:8.2f}   median {median / each * 1e6:8.2f}"
    )


def told_pool(workload: ModuleType, shared: Path, n: int, delay_ms: float, runs: int) -> str:
    ours, pool = [], []
    for _ in range(runs):
        ours.append(play(workload, n, delay_ms / 1e3)["wall"])
        pool.append(raw_pool(shared, n, delay_ms))
    ratios = [a / b for a, b in zip(ours, pool, strict=True)]
    return (
        f"{n} samples, judges of {delay_ms:g} ms, 64 at once, bus and bare pool by turns\n"
        f"  wall s                   bus  {min(ours):8.2f}   pool   {min(pool):8.2f}   (best)\n"
        f"  bus / pool               best {min(ratios):8.3f}   median {statistics.median(ratios):8.3f}"
    )


def raw_pool(shared: Path, n: int, delay_ms: float) -> float:
    """Wall seconds of the bare pool on the same workload."""
    command = [sys.executable, "raw_pool.py", str(n), str(delay_ms)]
    told = subprocess.run(command, cwd=shared / "bench", capture_output=True, text=True, check=True).stdout
    found = json.loads(told)
    assert found["same_result"], told
    return float(found["wall_s"])


def told_memory(shared: Path, sizes: tuple[int, ...]) -> str:
    """Peak memory of a fresh process per size."""
    rows = [f"peak memory, a process each: {', '.join(map(str, sizes))} samples"]
    for n in sizes:
        command = [sys.executable, __file__, "--shared", str(shared), "--peak", str(n)]
        rows.append("  " + subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    return "\n".join(rows)


def peak(workload: ModuleType, n: int) -> str:
    run = play(workload, n, 0.0)
    return f"{n:7d} samples   {resident_mb():6.1f} MB at most, {run['peak']:.0f} messages in flight at most"


def resident_mb() -> float:
    """The most memory this process has had resident (Linux; `ru_maxrss` would carry over the parent's)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM in /proc/self/status: peak memory is measured on Linux only")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--shared", type=Path, default=Path("../shared"))
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--profile", action="store_true", help="profile 20,000 samples instead")
    arguments.add_argument("--peak", type=int, help="only the peak memory of that many samples")
    given = arguments.parse_args()
    sys.path.insert(0, str(given.shared / "bench"))
    workload = importlib.import_module("bus_workload")
    if given.peak:
        print(peak(workload, given.peak))
    elif given.profile:
        cProfile.runctx("play(workload, 20_000, 0.0)", globals(), {"workload": workload, "play": play}, sort="tottime")
    else:
        version = sys.version.split()[0]
        where = f"Python {version}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}"
        print(f"$ python benchmarks/bus.py --runs {given.runs}   ({where})")
        print(told_speed(workload, 20_000, given.runs), flush=True)
        print(told_pool(workload, given.shared, 2_000, 5.0, given.runs), flush=True)
        print(told_memory(given.shared, (20_000, 200_000)), flush=True)


if __name__ == "__main__":
    main()
