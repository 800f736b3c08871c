"""How fast files are read, and how much memory reading, refining and converting take beside the size of the file.

    python benchmarks/reading.py [--mb 200] [--commands] [--folder FOLDER]

Writes made-up records (1.7 kB each, five tools) as JSON lines, a JSON list, packed, CSV and Parquet, and reads each in
a separate process. Prints MB of the file per second of CPU time, and peak memory over the size of the file. With
`--commands` it runs `funreason refine` and `funreason convert` on the JSON lines instead, which takes minutes.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TOOLS = [
    {
        "name": f"{verb}_{noun}",
        "description": f"{verb.title()}s the {noun} of a workshop and says what came of it.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "description": "Where it is"}, "count": {"type": "integer"}},
            "required": ["place"],
        },
    }
    for verb, noun in [("count", "stock"), ("move", "crate"), ("find", "drill"), ("order", "screws"), ("lend", "saw")]
]
READ = """
import re, sys, time
from collections import Counter
from pathlib import Path
from funreason.data.reading import each_sample
def peak():  # ru_maxrss would be the parent's
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before, began = peak(), time.process_time()
count = sum(1 for _ in each_sample(Path(sys.argv[1]), Counter()))
print(count, time.process_time() - began, before, peak())
"""


def records(count: int) -> Iterator[dict[str, Any]]:
    """Records in xLAM's form, tools and answers as JSON text."""
    tools = json.dumps(TOOLS)
    for i in range(count):
        place = f"hall {i}"
        calls = json.dumps([{"name": TOOLS[i % 5]["name"], "arguments": {"place": place, "count": i % 90 + 2}}])
        yield {"id": f"r{i}", "query": f"Please see to {i % 90 + 2} in {place}.", "tools": tools, "answers": calls}


def write_lines(path: Path, count: int) -> None:
    with gzip.open(path, "wt", 1) if path.suffix == ".gz" else path.open("w") as file:
        for record in records(count):
            file.write(json.dumps(record) + "\n")


def write_list(path: Path, count: int) -> None:
    with path.open("w") as file:
        for i, record in enumerate(records(count)):
            file.write((",\n" if i else "[\n") + json.dumps(record, indent=1))
        file.write("\n]\n")


def write_csv(path: Path, count: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "query", "tools", "answers"])
        writer.writeheader()
        writer.writerows(records(count))


def write_parquet(path: Path, count: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in ("id", "query", "tools", "answers")])
    rows = records(count)
    with pq.ParquetWriter(str(path), schema, compression="none", use_dictionary=False) as writer:
        while part := [row for _, row in zip(range(5_000), rows, strict=False)]:
            writer.write_table(pa.Table.from_pylist(part, schema=schema))


KINDS: dict[str, Callable[[Path, int], None]] = {
    "t.jsonl": write_lines,
    "t.json": write_list,
    "t.jsonl.gz": write_lines,
    "t.csv": write_csv,
    "t.parquet": write_parquet,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=50)
    parser.add_argument("--commands", action="store_true")
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    count = int(asked.mb * 1e6 / 1_700)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        for name, write in KINDS.items():
            if asked.commands and name != "t.jsonl":
                continue
            path = Path(folder) / name
            write(path, count)
            size = len(gzip.decompress(path.read_bytes())) / 1e6 if path.suffix == ".gz" else path.stat().st_size / 1e6
            if not asked.commands:
                done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True)
                kept, seconds, before, peak = map(float, done.stdout.split())
                print(f"{name:12} {size:7.1f} MB {kept:9.0f} records {size / seconds:6.1f} MB/CPU-s", end="  ")
                share = (peak - before) / 1000 / size
                print(f"peak {peak / 1000:6.0f} MB ({before / 1000:.0f} before), {share:5.2f} of the file")
                path.unlink()
        if asked.commands:
            convert = ["convert", "t.jsonl", "--format", "openai", "--out", "c.jsonl"]
            for more in (["refine", "t.jsonl", "--out", "refined"], convert):
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                command = [sys.executable, "-m", "funreason", *more]
                subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                peak = after.ru_maxrss / 1000  # of the largest child so far; refine is the first
                print(f"{more[0]:12} {size:7.1f} MB {size / seconds:6.2f} MB/CPU-s", end="  ")
                print(f"peak {peak:6.0f} MB, {peak / size:5.2f} of the file")


if __name__ == "__main__":
    main()
