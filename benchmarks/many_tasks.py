"""Growth with the number of tasks: reading, contamination, refining, its record, and opening that record.

    python benchmarks/many_tasks.py [--counts 20000 100000] [--parts read screen refine …] [--out FILE]

The tasks are the toolbox's, each with a number of its own and a reference, in one JSON Lines file; the gate's items are
others of the same templates, which is the worst case for the contamination check. Each part runs in a process of its
own, whose CPU seconds and largest resident memory are the kernel's counts: `read` the tasks, `screen` them against 400
items, `start` a loop up to its first round (random weights of 0.1M parameters), `refine` them by rules. `record` takes
as many samples through the same graph, with log and texts, and `status`, `show`, `verify`, `report` and the `dashboard`
open what it wrote. Growth is the cost of a task in the largest file over that in the smallest: 1 is linear.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from funreason.data import toolbox

ITEMS = 400


def order(query: str, number: int) -> str:
    """A query that is unlike all others of its template in one number."""
    return f"{query} This is order {number}."


def write_records(path: Path, count: int) -> None:
    """`count` records of the xLAM form."""
    tasks = toolbox.generate("new_train", min(count, 5_000), 0)
    with path.open("w") as file:
        for i in range(count):
            task = tasks[i % len(tasks)]
            answers = [{"name": call.name, "arguments": dict(call.arguments)} for call in task.reference or ()]
            record = {"id": f"t{i}", "query": order(task.query, i), "tools": list(task.tools), "answers": answers}
            file.write(json.dumps(record) + "\n")


def read(records: Path, run: Path) -> dict[str, Any]:
    """Read the tasks and hold them."""
    from funreason.data.reading import read_tasks

    return {"tasks": len(read_tasks(records).tasks)}


def screen(records: Path, run: Path) -> dict[str, Any]:
    """Compare the tasks with the gate's items; the time without reading them."""
    from funreason.config import Contamination
    from funreason.data.reading import read_tasks
    from funreason.gate.contamination import ContaminationCheck

    tasks = read_tasks(records).tasks
    items = [order(task.query, i) for i, task in enumerate(toolbox.generate("new_train", ITEMS, 1), start=10**6)]
    start = time.process_time()
    found = ContaminationCheck(items, Contamination()).find(tasks)
    return {"found": len(found), "cpu_s": time.process_time() - start}


def start(records: Path, run: Path) -> dict[str, Any]:
    """Assemble a loop over the tasks, up to its first round; the time includes loading torch."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from tiny import tiny_model, tiny_tokenizer

    from funreason.config import load_config
    from funreason.loops.session import open_session
    from funreason.record.folder import RunFolder
    from funreason.record.state import State
    from funreason.runtime.journal import Journal
    from funreason.stop import StopRequest

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        tiny_model(context=4096).save_pretrained(model)
        tiny_tokenizer().save_pretrained(model)
        settings = {"model.path": str(model), "model.device": "cpu", "tasks.path": str(records)}
        config = load_config("own-data", settings)
        out = RunFolder(Path(folder) / "run")
        out.acquire()
        session = open_session(config, out, Journal(out), StopRequest(), State())
        return {"tasks": len(session.source.tasks)}


def command(*words: str) -> Callable[[Path, Path], dict[str, Any]]:
    """A command of the package on the run that `refine` made."""

    def part(records: Path, run: Path) -> dict[str, Any]:
        from funreason.cli import main

        place = {"RUN": str(run), "RECORDS": str(records), "REFINED": f"{run}-refined"}
        sys.stdout.flush()
        kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        try:
            main([place.get(word, word) for word in words])
        except SystemExit as ended:
            if ended.code:
                raise
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
        return {}

    return part


def recorded(records: Path, run: Path) -> dict[str, Any]:
    """A run of as many samples as there are records."""
    from load import large

    from funreason.record.folder import RunFolder
    from funreason.record.manifest import seal_run

    folder = RunFolder(run)
    folder.acquire()
    found = asyncio.run(large(folder, sum(1 for _ in records.open("rb"))))
    seal_run(folder, ended=True)
    return {"samples": found["ended"]}


def dashboard(records: Path, run: Path) -> dict[str, Any]:
    """Seconds until the dashboard, in a terminal, shows the whole record."""
    from tui import Terminal  # noqa: TID251 -- the benchmark beside this one

    viewer = Terminal(run)
    took = viewer.read(120, b"FINISHED")
    viewer.read(1.0)
    found = {"open_s": took, "cpu_s": viewer.cpu_s(), "peak_mb": viewer.rss_mb()}
    viewer.close()
    return found


PARTS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "read": read,
    "screen": screen,
    "start": start,
    "refine": command("refine", "RECORDS", "--out", "REFINED", "--quiet"),
    "record": recorded,
    "status": command("status", "RUN"),
    "show": command("show", "r1/17", "--run", "RUN"),
    "verify": command("runs", "verify", "RUN"),
    "report": command("report", "RUN"),
    "dashboard": dashboard,
}


def measured(part: str, records: Path, run: Path) -> dict[str, Any]:
    """A part in a process of its own."""
    began = time.perf_counter()
    words = [sys.executable, __file__, "--part", part, str(records), str(run)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return {"wall_s": time.perf_counter() - began} | json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure each part at each count and print a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--counts", type=int, nargs="+", default=[20_000, 100_000])
    options.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options.add_argument("--folder", type=Path, help="keep records and runs there, and use those that are")
    options.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    if given.part:
        part, records, run = given.part
        found = PARTS[part](Path(records), Path(run))
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1e3} | found))
        return
    results: dict[tuple[str, int], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        for count in given.counts:
            records, run = folder / f"{count}.jsonl", folder / f"run-{count}"
            if not records.exists():
                write_records(records, count)
            for part in given.parts:
                found = results[part, count] = measured(part, records, run)
                if part in ("refine", "record"):
                    written = (path for path in Path(f"{run}-refined" if part == "refine" else run).rglob("*"))
                    found["disk_mb"] = sum(path.stat().st_size for path in written if path.is_file()) / 1e6
                print(part, count, json.dumps({k: round(v, 2) for k, v in found.items()}), flush=True)
    small, large = min(given.counts), max(given.counts)
    lines = ["`python benchmarks/many_tasks.py " + " ".join(sys.argv[1:]) + "`", ""]
    lines += ["| part | tasks | CPU s | seconds | peak MB | disk MB | growth |", "|---|---:|---:|---:|---:|---:|---:|"]
    for (part, count), found in results.items():
        growth = found["cpu_s"] / count / (results[part, small]["cpu_s"] / small) if count == large != small else None
        cells = [part, f"{count:,}", f"{found['cpu_s']:.1f}", f"{found.get('open_s', found['wall_s']):.1f}"]
        cells += [f"{found['peak_mb']:.0f}", f"{found['disk_mb']:.0f}" if "disk_mb" in found else ""]
        lines.append(f"| {' | '.join([*cells, f'{growth:.2f}' if growth else ''])} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
