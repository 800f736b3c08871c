"""How busy `funreason refine` keeps the servers that judge for it: its wall time over the ideal one.

    python benchmarks/judging_http.py [--samples 2000] [--judging llm both] [--runs 3] [--set …] [--profile FILE]

A server in a process of its own on loopback answers each question 50 ms after its last byte came, over connections that
stay open, and says yes to everything: with `llm` each sample then meets all five stages, the most questions there can
be. 64 questions may be under way at once. The ideal is what 64 lanes that never wait would need: questions times 50 ms
over 64. Questions are those the server answered; asking twice and canaries are left as they are set by default, and the
verdict cache is on and begins empty. `wall` is the whole command: `before` the first question, `asking` until the last
answer, as the server saw it, and `after` that. `busy` is how many questions the server had in its hands on average
while asking. `bare` is as many questions over 64 plain sockets: what the server and the machine allow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import judging_server
from judging_server import LATENCY_S, Seen

from funreason.calls.render import render_calls
from funreason.calls.thinking import join_thinking
from funreason.data.toolbox import generate
from funreason.record.folder import RunFolder
from funreason.types import Task

LANES = 64
CALLS = {"simple": 0.2, "multiple": 0.2, "parallel": 0.6}
"""Categories of the toolbox whose answer is a call."""


class Run(NamedTuple):
    """One refinement; its times, and those of the server, are of one clock."""

    started: float
    ended: float
    cpu_s: float
    seen: Seen

    @property
    def wall_s(self) -> float:
        """All of it."""
        return self.ended - self.started

    @property
    def asking_s(self) -> float:
        """From the first question to the last answer."""
        return self.seen.last - self.seen.first

    @property
    def ideal_s(self) -> float:
        """What lanes that never wait would need."""
        return self.seen.questions * LATENCY_S / LANES


class Serving:
    """The server's process while the block lasts; `seen` afterwards."""

    def __enter__(self) -> Serving:
        command = [sys.executable, judging_server.__file__]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.seen = Seen(*json.loads(self.process.communicate()[0]))


def write_records(path: Path, count: int) -> None:
    """Records of the toolbox with their own thinking and answer.

    No two have the same answer: stage 1 is shown nothing else, and what is asked once would be found in the cache.
    """
    tasks = {_answer(task): task for task in generate("new_train", 3 * count, 0, quotas=CALLS)}
    with path.open("w") as file:
        for answer, task in list(tasks.items())[:count]:
            turns = [{"from": "human", "value": task.query}, {"from": "gpt", "value": answer}]
            file.write(json.dumps({"id": task.id, "conversations": turns, "tools": json.dumps(task.tools)}) + "\n")
    assert len(tasks) >= count, f"only {len(tasks)} different answers"


def _answer(task: Task) -> str:
    return join_thinking(task.reference_thinking, render_calls(task.reference or []))


def refine(file: Path, folder: Path, judging: str, more: list[str], profile: str | None) -> Run:
    """One `funreason refine` in a process of its own, from nothing."""
    with Serving() as server:
        endpoint = json.dumps([{"url": f"http://127.0.0.1:{server.port}/v1", "concurrency": LANES}])
        start = ["-m", "funreason"] if profile is None else ["-m", "cProfile", "-o", profile, "-m", "funreason"]
        command = [sys.executable, *start, "refine", str(file), "--out", str(folder / "out")]
        for setting in (f"fcdr.stages={judging}", f"fcdr.llm.endpoints={endpoint}", *more):
            command += ["--set", setting]
        started = time.perf_counter()
        environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        ended = time.perf_counter()
    assert status == 0, f"refine ended with {os.waitstatus_to_exitcode(status)}"
    return Run(started, ended, usage.ru_utime + usage.ru_stime, server.seen)


def require_whole(folder: Path, count: int, judging: str, run: Run) -> None:
    """AssertionError unless each sample was kept once, and each question to the server stands in the record."""
    found = RunFolder(folder / "out").state().rounds[1]
    fates = {**dict(found.fates), "all": found.fates.total()}
    assert fates["all"] == fates.get("kept", 0) + fates.get("text", 0) == count, fates
    asked, paid = sum(each.requests for each in found.asked.values()), found.paid["judges"]
    assert asked == paid["requests"] == run.seen.questions, (asked, paid, run.seen)
    assert paid["retries"] == paid["failed"] == sum(each.unreadable for each in found.asked.values()) == 0
    assert judging != "llm" or asked >= 5 * count, asked


def bare(count: int) -> Run:
    """The same number of questions over 64 sockets, nothing read but that an answer came."""
    body = json.dumps({"messages": [{"role": "user", "content": "x" * 2500 + " between <judge> and"}]}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    class Client(asyncio.Protocol):
        left = count

        def __init__(self, over: asyncio.Future[None]) -> None:
            self.over = over

        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.send()

        def send(self) -> None:
            if Client.left:
                Client.left -= 1
                self.transport.write(request)
            else:
                self.over.set_result(None)
                self.transport.close()

        def data_received(self, data: bytes) -> None:
            if data.endswith(b"}"):
                self.send()

    async def run(port: int) -> None:
        loop = asyncio.get_running_loop()
        ends = [loop.create_future() for _ in range(LANES)]
        for over in ends:
            await loop.create_connection(lambda over=over: Client(over), "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.gather(*ends)

    with Serving() as server:
        started, cpu = time.perf_counter(), time.process_time()
        asyncio.run(run(server.port))
        ended, cpu = time.perf_counter(), time.process_time() - cpu
    return Run(started, ended, cpu, server.seen)


def told(name: str, run: Run) -> str:
    """A line of the table."""
    seen, each = run.seen, 1e6 / run.seen.questions
    return (
        f"{name:5} {seen.questions:9d} {run.ideal_s:6.2f} {run.wall_s:6.2f} {seen.first - run.started:7.2f} "
        f"{run.asking_s:7.2f} {run.ended - seen.last:6.2f} {run.wall_s / run.ideal_s:7.3f} "
        f"{run.asking_s / run.ideal_s:8.3f} {seen.busy:6.1f} {1000 * seen.took:6.2f} {run.cpu_s:6.2f} "
        f"{run.cpu_s * each:6.0f} {seen.cpu_s * each:7.0f}"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--samples", type=int, default=2000)
    arguments.add_argument("--judging", nargs="+", default=["llm", "both"])
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--set", action="append", default=[], help="a setting more, as `funreason refine` takes it")
    arguments.add_argument("--profile", help="write the profile of one run there")
    given = arguments.parse_args()
    where = f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}"
    print(f"$ python {' '.join(sys.argv)}   ({where})\n")
    print(f"{given.samples} samples; seconds; CPU and us/q are the command's, server's us/q last\n")
    print("      questions  ideal   wall  before  asking  after   wall/  asking/   busy  took    CPU   us/q  server")
    with tempfile.TemporaryDirectory() as root:
        write_records(Path(root) / "records.jsonl", given.samples)
        print(told("bare", bare(5 * given.samples)), flush=True)
        for judging in given.judging:
            ratios = []
            for i in range(1 if given.profile else given.runs):
                folder = Path(root) / f"{judging}-{i}"
                run = refine(Path(root) / "records.jsonl", folder, judging, given.set, given.profile)
                require_whole(folder, given.samples, judging, run)
                ratios.append(run.wall_s / run.ideal_s)
                print(told(judging, run), flush=True)
            print(f"{judging}: wall over ideal: best {min(ratios):.3f}, median {statistics.median(ratios):.3f}\n")


if __name__ == "__main__":
    main()
