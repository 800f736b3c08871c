"""The vLLM sampler: seconds to start, seconds to take new weights, tokens per CPU-second against transformers.

All in one process and one run, by the embedded model: 64 prompts of 400 tokens, at most 128 new tokens each, once with
turns that end and once with none that does. Only what stands in a turn is counted, its end included; a static batch
goes on computing the rows that ended until the last one has. A trial is one run of each way, one after the other, and
a ratio is of the two runs of one trial. The engine's start is measured in a process of its own, imports included, as a
restart would be. With --compiled the engine is too (model.vllm.enforce_eager: false).

    OMP_NUM_THREADS=1 .venv-vllm/bin/python benchmarks/vllm_sampler.py
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from funreason.policies.vllm.engine import prepare

COMPILED = "--compiled" in sys.argv  # asked before torch reads its environment
prepare("cpu", compiled=COMPILED)

import torch  # noqa: E402  # behind the environment it reads
from transformers import GenerationConfig  # noqa: E402

from funreason.data.toolbox import BASE, generate  # noqa: E402
from funreason.policies.huggingface.sampler import HuggingFaceSampler  # noqa: E402
from funreason.policies.model_files import load_model, load_tokenizer, save_model  # noqa: E402
from funreason.policies.prompts import prompt_text  # noqa: E402
from funreason.policies.protocol import Request  # noqa: E402
from funreason.policies.vllm.engine import EngineSettings  # noqa: E402
from funreason.policies.vllm.sampler import VllmSampler  # noqa: E402

PROMPTS, PROMPT_TOKENS, NEW = 64, 400, 128
NO_END = 1279
"""An id of the embedded model that is never said: turns end at the limit, so that all sides decode the same."""
LINE_END = 206
"""The id of a newline. After 400 tokens the embedded model, trained on shorter prompts, hardly ever ends a turn itself.
Turns that end with their first line last 73 to 80 of 128 tokens, about as its turns after its own prompts do (73)."""
GENERATE, STATIC, OURS, VLLM = "generate", "generate, static cache", "HuggingFaceSampler", "VllmSampler"


def started(folder: Path = BASE) -> VllmSampler:
    model = load_model(folder)
    settings = EngineSettings(enforce_eager=not COMPILED)
    return VllmSampler(
        folder, model, load_tokenizer(folder, model), weights_id="base", max_new_tokens=NEW, settings=settings
    )


def endless(folder: Path) -> Path:
    """The embedded model with another end of turn: vLLM reads it from the folder."""
    shutil.copytree(BASE, folder)
    for name in ("config.json", "generation_config.json"):
        said = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(said | {"eos_token_id": NO_END}))
    return folder


def moved(tokenizer: Any, folder: Path) -> Path:
    """The embedded model a little further on, as after an update."""
    model = load_model(BASE)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    save_model(model, tokenizer, folder)
    return folder


def prompts(tokenizer: Any) -> list[str]:
    """Texts of exactly 400 tokens, cut from real prompts that follow each other."""
    ids = tokenizer("".join(prompt_text(t, tokenizer) for t in generate("new_gate", 400, 0)), verbose=False)[
        "input_ids"
    ]
    texts = []
    while len(texts) < PROMPTS:
        piece, ids = ids[:PROMPT_TOKENS], ids[PROMPT_TOKENS:]
        text = tokenizer.decode(piece, skip_special_tokens=False)
        if len(tokenizer(text)["input_ids"]) == PROMPT_TOKENS:
            texts.append(text)
    return texts


def timed(work: Callable[[], int]) -> tuple[int, float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    tokens = work()
    return tokens, time.process_time() - cpu, time.perf_counter() - wall


def by_sampler(sampler: Any, texts: list[str], seed: int) -> int:
    requests = [Request(f"p{i}", text, 1, seed) for i, text in enumerate(texts)]
    return sum(completion.tokens for answer in sampler.sample(requests) for completion in answer)


def by_generate(model: Any, tokenizer: Any, texts: list[str], end: int, cache: str | None = None) -> int:
    settings = GenerationConfig(
        do_sample=True, max_new_tokens=NEW, eos_token_id=end, pad_token_id=0, top_k=0, cache_implementation=cache
    )
    inputs = tokenizer(texts, return_tensors="pt")
    with torch.inference_mode():
        output = model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], generation_config=settings
        )
    turns = output[:, inputs["input_ids"].shape[1] :].tolist()
    return sum(turn.index(end) + 1 if end in turn else len(turn) for turn in turns)


def restart() -> tuple[float, float]:
    """Wall and CPU seconds from an empty process to the first proved engine."""
    before, wall = os.times(), time.perf_counter()
    code = "import sys; sys.path.insert(0, 'benchmarks'); import vllm_sampler as b; b.started()"
    subprocess.run([sys.executable, "-c", code, *sys.argv[1:]], check=True, capture_output=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--syncs", type=int, default=10)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--compiled", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"load average before: {os.getloadavg()[0]:.1f}")
    wall, cpu = restart()
    offloaded = TemporaryDirectory()
    folder = endless(Path(offloaded.name) / "endless")
    sampler = started(folder)
    print(f"start in a fresh process: {wall:.1f} s ({cpu:.1f} CPU-s); engine alone {sampler.started.seconds:.1f} s")
    sync(sampler, options.syncs, cpu)
    throughput(sampler, folder, options.runs)
    offloaded.cleanup()
    print(f"load average after: {os.getloadavg()[0]:.1f}")


def sync(sampler: VllmSampler, count: int, start: float) -> None:
    """Weights there and back; the ratio is of CPU seconds, which a loaded machine does not stretch."""
    spent, weights, proofs = [], [], []
    with TemporaryDirectory() as offloaded:
        folders = [moved(sampler.tokenizer, Path(offloaded) / "moved"), BASE]
        for i in range(count):
            before = time.process_time()
            done = sampler.load_weights(folders[i % 2], f"w{i}")
            spent.append(time.process_time() - before)
            weights.append(done.seconds)
            proofs.append(done.proof_seconds)
    whole, alone, proof = (statistics.median(x) for x in (spent, weights, proofs))
    print(f"sync {alone:.3f} s, proof {proof:.3f} s; both and the reference read {whole:.3f} CPU-s (median of {count})")
    print(f"start over sync: {start / alone:.0f} ×; start over sync with proof: {start / whole:.0f} ×")


def throughput(sampler: VllmSampler, folder: Path, runs: int) -> None:
    """Every way by turns, so that a busy minute meets all; other draws in each trial, for their lengths differ."""
    model = load_model(folder)
    texts = prompts(sampler.tokenizer)
    ours = HuggingFaceSampler(model, sampler.tokenizer, weights_id="base", max_new_tokens=NEW)
    for title, end in (("turns end with a line", LINE_END), ("no turn ends", NO_END)):
        sampler.end_ids = (end,)
        ours.settings = ours.settings._replace(end_ids=(end,))
        trials: list[dict[str, tuple[int, float]]] = []
        for seed in range(runs + 1):
            ways = ways_to_sample(sampler, ours, texts, end, seed)
            sampler.load_weights(folder, "base")  # empties the prefix cache: each run reads its prompts
            trials.append({name: timed(work)[:2] for name, work in ways.items()})
        report(title, trials[1:])  # the first one pays for what each side prepares once


def ways_to_sample(
    sampler: VllmSampler, ours: HuggingFaceSampler, texts: list[str], end: int, seed: int
) -> dict[str, Callable[[], int]]:
    model, tokenizer = ours.model, ours.tokenizer
    return {
        GENERATE: lambda: by_generate(model, tokenizer, texts, end),
        STATIC: lambda: by_generate(model, tokenizer, texts, end, "static"),
        OURS: lambda: by_sampler(ours, texts, seed),
        VLLM: lambda: by_sampler(sampler, texts, seed),
    }


def report(title: str, trials: list[dict[str, tuple[int, float]]]) -> None:
    """Medians over the trials, and how many times as many tokens per CPU-second the engine gave in each of them."""
    print(f"{title:28} {'tokens':>8} {'CPU-s':>7} {'tokens per CPU-s':>17}   VllmSampler over it")
    for name in trials[0]:
        tokens, cpu = (statistics.median(trial[name][i] for trial in trials) for i in (0, 1))
        ratios = sorted(speed(trial[VLLM]) / speed(trial[name]) for trial in trials)
        over = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        median = statistics.median(speed(trial[name]) for trial in trials)
        print(f"  {name:26} {tokens:8.0f} {cpu:7.2f} {median:17.0f}   {over if name != VLLM else ''}".rstrip())


def speed(run: tuple[int, float]) -> float:
    return run[0] / run[1]


if __name__ == "__main__":
    main()
