"""What should references without thinking be learnt with: nothing, a rationale by rule, or a teacher's thinking?

    OMP_NUM_THREADS=1 python benchmarks/thinking.py --teacher runs/augment-none-0/model --seeds 0 1

Every arm is a supervised start of the embedded model on the same 300 references over the toolbox's unseen tools,
without the thinking that the toolbox gives them; `toolbox` is the control that keeps it. `model` asks the model in
`--teacher`, which `transformers serve` serves beside the run. Where it gives no usable thinking, a reference learns a
template (`model`), none (`model, none`) or is left out (`model, drop`).
The 150 old references replayed beside them keep their thinking in every arm.
Measured on dev splits, never on the gate's. A run that is there already is read back.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from starts import Start, differences, start_only, table

from funreason.data.toolbox import generate
from funreason.types import Task

MIX = {"simple": 0.25, "multiple": 0.35, "parallel": 0.25, "irrelevance": 0.15}
COUNT = 300
SERVED = "teacher"
"""The server's name for the teacher, and its folder."""
SUITES = {
    "new": {"path": "toolbox:new_dev", "count": 400},
}


def main() -> None:
    options = parse()
    arms: dict[str, dict[str, Any]] = {
        "none": {"start.thinking": "none"},
        "template": {"start.thinking": "template"},
        "model": {"start.thinking": "model", "start.teacher.fallback": "template"},
        "model, none": {"start.thinking": "model", "start.teacher.fallback": "none"},
        "model, drop": {"start.thinking": "model", "start.teacher.fallback": "drop"},
        "toolbox": {"start.thinking": "none"},
    }
    with served(options.teacher.resolve(), options.runs) as url:
        teacher = {"endpoints": [{"url": url, "model": SERVED, "concurrency": 2}], "max_new_tokens": 128}
        starts = [
            start_only(
                arm,
                seed,
                settings(arm, seed, changes, teacher, options),
                config="default",
                runs=options.runs,
                tag="thinking",
            )
            for seed in options.seeds
            for arm, changes in arms.items()
            if arm in options.arms
        ]
    options.out.write_text(text := report(starts, options))
    print(text)


def settings(
    arm: str, seed: int, changes: dict[str, Any], teacher: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """The changes to the default configuration that make an arm."""
    start = {
        "start.references": {"path": str(written(seed, arm == "toolbox", options.runs)), "count": COUNT},
        "start.teacher": teacher if "model" in arm else {},
        "start.update.replay": {"path": "toolbox:old_replay", "count": 150},
        "tasks.per_round": 1,
        "gate.suites": SUITES,
    }
    return start | changes


def written(seed: int, thinking: bool, folder: Path) -> Path:
    """The references of a seed as a file, with or without the toolbox's own thinking."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"references-{'with' if thinking else 'without'}-{seed}.jsonl"
    tasks = generate("new_warmup", COUNT, 1000 * seed, quotas=MIX)
    path.write_text("".join(json.dumps(record(task, thinking)) + "\n" for task in tasks))
    return path


def record(task: Task, thinking: bool) -> dict[str, Any]:
    """A task as a dialogue in OpenAI's form."""
    answer: dict[str, Any] = {"role": "assistant", "content": task.reference_text or ""}
    if task.reference:
        answer["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
            for call in task.reference
        ]
    if thinking:
        answer["reasoning_content"] = task.reference_thinking
    tools = [{"type": "function", "function": tool} for tool in task.tools]
    return {"id": task.id, "messages": [{"role": "user", "content": task.query}, answer], "tools": tools}


@contextmanager
def served(model: Path, scratch: Path) -> Iterator[str]:
    """`transformers serve` with a copy of the model whose thinking tags are ordinary tokens: it drops special ones."""
    home = scratch / "served"
    copy = home / SERVED
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(model, copy)
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    for token in tokenizer["added_tokens"]:
        token["special"] = token["special"] and "think" not in token["content"]
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", SERVED, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu", "--dtype", "float32"]
    with (scratch / "serve.log").open("w") as log:
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=home)
        try:
            until = time.monotonic() + 300
            while time.monotonic() < until and server.poll() is None:
                try:
                    urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.5)
            else:
                raise SystemExit(f"the server did not come up; see {scratch / 'serve.log'}")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait()


def report(starts: list[Start], options: argparse.Namespace) -> str:
    """The page: command, both tables, and what the runs' records say of the thinking."""
    said = " ".join(["--seeds", *map(str, options.seeds), "--arms", *(f"'{arm}'" for arm in options.arms)])
    pairs = [("template", "none"), ("model", "none"), ("model", "template"), ("model, none", "none")]
    pairs += [("model, drop", "none"), ("toolbox", "none"), ("toolbox", "template")]
    pairs = [pair for pair in pairs if {*pair} <= {*options.arms}]
    made = [f"- {start.arm}, seed {start.seed}: {text}" for start in starts for text in start.messages]
    parts = [
        f"`OMP_NUM_THREADS=1 python benchmarks/thinking.py --teacher runs/augment-none-0/model {said}`",
        table(starts, [*SUITES]),
        differences(starts, pairs, [*SUITES]),
        "What the records say:",
        "\n".join(made),
    ]
    return "\n\n".join(parts) + "\n"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="the folder of the teacher's weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument(
        "--arms", nargs="+", default=["none", "template", "model", "model, none", "model, drop", "toolbox"]
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/thinking.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
