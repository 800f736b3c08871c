"""What the dashboard costs: opening a long run, following a fast one, and what the run feels of it.

    python benchmarks/tui.py [--events 1000000] [--rate 2000] [--seconds 20]

The viewer is the real command in a real pseudo-terminal of 120 × 40; its CPU and memory are the kernel's count for that
process. The lag is measured in a second viewer, headless, that notes the age of the oldest event at each repaint.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import pty
import random
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from funreason.record import events as ev
from funreason.record.folder import HEARTBEAT_S, RunFolder
from funreason.record.log import EventLog

NODES = ["generator", "response", "query_tool", "cot", "parameters", "format", "regenerator", "trainer", "dead_letter"]
JUDGES = NODES[1:6]
EDGES = [("generator", "sampled", "response"), *((a, "pass", b) for a, b in pairwise(JUDGES))]


def stream(seed: int = 0) -> Iterator[ev.Event]:
    """Events of an endless round, as the scheduler writes them."""
    draw, i = random.Random(seed), 0
    while True:
        i += 1
        name = f"r1/new_train_simple_{i // 8}/{i % 8}"
        yield ev.Judged(round=1, sample=name, attempt=0, node="generator", outcome="sampled", us=9000.0)
        for judge in JUDGES:
            fails = draw.random() < 0.15
            reason = f"{judge}.reason_{draw.randrange(6)}" if fails else ""
            word = "drop" if fails else "pass"
            yield ev.Judged(round=1, sample=name, attempt=0, node=judge, outcome=word, reason=reason, us=31.5)
            if fails:
                yield ev.SampleEnded(round=1, sample=name, attempt=0, fate="dropped", node=judge, reason=reason)
                break
        else:
            yield ev.SampleEnded(round=1, sample=name, attempt=0, fate="kept", origin="sampled", category="simple")


def begin(path: Path, status: str) -> tuple[RunFolder, EventLog]:
    """A run's folder with its first events."""
    path.mkdir(parents=True)
    folder, log = RunFolder(path), EventLog(path / "events")
    log.write(ev.RunStarted(run=path.name, rounds=3, nodes=NODES, edges=EDGES))
    log.write(ev.PhaseStarted(round=1, phase="sample", todo=10**7))
    folder.heartbeat(status)
    return folder, log


def write_long(path: Path, count: int) -> RunFolder:
    """A finished run of `count` events."""
    import msgspec

    folder, log = begin(path, "finished")
    source, now = stream(), time.time()
    for i in range(count):
        log.append(msgspec.structs.replace(next(source), at=now + i / 2000))
    log.close()
    return folder


def write_fast(path: Path, rate: float, seconds: float) -> None:
    """Write `rate` events a second for `seconds`, then say what CPU that took: the run's side of the benchmark."""
    import msgspec

    folder, log = begin(path, "running")
    source, start, written, beats = stream(), time.time(), 0, 0
    before = time.process_time()
    while (passed := time.time() - start) < seconds:
        while written < passed * rate:
            log.append(msgspec.structs.replace(next(source), at=time.time()))
            written += 1
        if passed > beats * HEARTBEAT_S:
            folder.heartbeat("running")
            beats += 1
        time.sleep(0.002)
    print(json.dumps({"events": written, "cpu_us_per_event": 1e6 * (time.process_time() - before) / written}))


class Terminal:
    """`funreason watch` in a pseudo-terminal that somebody reads."""

    def __init__(self, run: Path) -> None:
        self.started = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm-256color"
            os.execv(sys.executable, [sys.executable, "-m", "funreason", "watch", str(run)])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))

    def read(self, seconds: float, until: bytes = b"\0never") -> float | None:
        """Read what it paints; seconds since the start when `until` was painted, None when it was not."""
        end, seen = time.perf_counter() + seconds, b""
        while (left := end - time.perf_counter()) > 0:
            if select.select([self.fd], [], [], left)[0]:
                seen = seen[-200:] + os.read(self.fd, 65536)
                if until in seen:
                    return time.perf_counter() - self.started
        return None

    def cpu_s(self) -> float:
        """CPU seconds it has taken so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def close(self) -> None:
        """Kill it, as somebody closing a window does."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def measure_open(path: Path, count: int) -> dict[str, float]:
    """Seconds from starting the command until the whole log is on the screen."""
    folder = write_long(path, count)
    viewer = Terminal(folder.path)
    took = viewer.read(60, b"FINISHED") or float("nan")
    viewer.read(1.0)
    found = {"open_s": took, "open_cpu_s": viewer.cpu_s(), "open_rss_mb": viewer.rss_mb()}
    viewer.close()
    return found


def measure_follow(path: Path, rate: float, seconds: float) -> dict[str, float]:
    """The viewer's share of a core while `rate` events a second are written, after its start has settled."""
    writer = start_writer(path, rate, seconds + 5)
    viewer = Terminal(path)
    viewer.read(4.0)
    cpu, wall = viewer.cpu_s(), time.perf_counter()
    viewer.read(seconds)
    share = (viewer.cpu_s() - cpu) / (time.perf_counter() - wall)
    found = {"follow_core_percent": 100 * share, "follow_rss_mb": viewer.rss_mb()}
    viewer.close()
    return found | {"writer_watched_us": finish(writer)}


def measure_alone(path: Path, rate: float, seconds: float) -> float:
    """The writer's CPU per event with nobody watching."""
    return finish(start_writer(path, rate, seconds))


def start_writer(path: Path, rate: float, seconds: float) -> subprocess.Popen[str]:
    """The writing process, once its run can be opened."""
    command = [sys.executable, __file__, "--write", str(path), "--rate", str(rate), "--seconds", str(seconds)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not (path / "run.json").exists():
        time.sleep(0.02)
    return writer


def finish(writer: subprocess.Popen[str]) -> float:
    """CPU microseconds per event, as the writer tells when it is done."""
    out, _ = writer.communicate()
    return float(json.loads(out)["cpu_us_per_event"])


async def measure_lag(path: Path, rate: float, seconds: float) -> dict[str, float]:
    """The age of the oldest event that a repaint shows for the first time."""
    from funreason.tui.app import Dashboard
    from funreason.tui.feed import LiveFeed

    ages: list[float] = []

    class EventLoopGuard(Dashboard):
        def tick(self) -> None:
            before = self.feed.state.last_at
            super().tick()
            if before and self.feed.state.last_at > before:
                ages.append(time.time() - before - 1 / rate)

    writer = start_writer(path, rate, seconds + 2)
    app = EventLoopGuard(LiveFeed(RunFolder(path), time.time), open_feed=lambda found: LiveFeed(found, time.time))
    async with app.run_test(size=(120, 40)):
        await asyncio.sleep(seconds)
    finish(writer)
    settled = sorted(ages[4:])
    return {"lag_p50_s": settled[len(settled) // 2], "lag_max_s": settled[-1]}


def main() -> None:
    """Measure everything and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=2000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        write_fast(given.write, given.rate, given.seconds)
        return
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        found = measure_open(root / "long", given.events)
        found["writer_alone_us"] = measure_alone(root / "alone", given.rate, given.seconds)
        found |= measure_follow(root / "fast", given.rate, given.seconds)
        found |= asyncio.run(measure_lag(root / "lag", given.rate, given.seconds))
    print(json.dumps({"cpus": os.cpu_count(), **{name: round(value, 3) for name, value in found.items()}}, indent=1))


if __name__ == "__main__":
    main()
