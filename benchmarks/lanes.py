"""What lanes are worth on a CPU: the same training and sampling, pieces one after the other and side by side.

    python benchmarks/lanes.py [--runs 3] [--threads 2]

The embedded model. Training: 25 steps of 8 references. Sampling: 1,024 completions of 128 prompts, then one of each of
400 prompts. Both ways take turns in one process with the same threads; seconds are of the clock, for lanes exist to use
threads that would idle. Of all runs the fastest counts on both sides.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from funreason.policies.factory import wait_passively


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    chosen = options.parse_args()
    wait_passively()
    works = works_of(chosen.threads)
    print(f"{'work':34} one by one  in lanes  ratio   ({chosen.threads} threads, seconds)")
    for name, work in works.items():
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(chosen.runs):
            for lanes in times:
                with at_most(None if lanes else 1):
                    started = time.perf_counter()
                    work()
                    times[lanes].append(time.perf_counter() - started)
        alone, beside = min(times[False]), min(times[True])
        print(f"{name:34} {alone:10.2f} {beside:9.2f} {alone / beside:6.2f}")


def works_of(threads: int) -> dict[str, Callable[[], object]]:
    import torch

    from funreason.agents.references import usable_references
    from funreason.config import Update
    from funreason.data.toolbox import generate
    from funreason.objectives import Example
    from funreason.policies.factory import model_path
    from funreason.policies.huggingface.sampler import HuggingFaceSampler
    from funreason.policies.model_files import load_model, load_tokenizer
    from funreason.policies.policy import Policy
    from funreason.policies.protocol import Request
    from funreason.training import train

    torch.set_num_threads(threads)
    folder = model_path("toolbox")
    model = load_model(folder, "cpu", "float32")
    tokenizer = load_tokenizer(folder, model)
    policy = Policy(None, tokenizer, style="native", seed=0)  # type: ignore[arg-type]
    found, _ = usable_references(generate("new_train", 400, seed=0), 0, prefix="bench")
    examples = [Example(s.id, policy.prompt(s.task), s.thinking, s.answer or "") for s in found[:200]]
    update = Update(epochs=1, batch_size=8, lr=8e-4)
    sampler = HuggingFaceSampler(model, tokenizer, weights_id="base")
    many = [Request(s.id, policy.prompt(s.task), 8, seed=0) for s in found[:128]]
    single = [Request(s.id, policy.prompt(s.task), 1, seed=0) for s in found]
    return {
        "25 steps of training": lambda: train(load_model(folder, "cpu", "float32"), tokenizer, examples, update),
        "1,024 completions of 128 prompts": lambda: sampler.sample(many),
        f"{len(single)} completions of as many prompts": lambda: sampler.sample(single),
    }


@contextmanager
def at_most(lanes: int | None) -> Iterator[None]:
    """No more lanes than this inside the block."""
    from funreason.policies import cpu_threads as threads

    before = threads.MAX_WORKERS
    threads.MAX_WORKERS = before if lanes is None else lanes
    try:
        yield
    finally:
        threads.MAX_WORKERS = before


if __name__ == "__main__":
    main()
