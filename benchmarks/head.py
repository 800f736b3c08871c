"""CPU time and peak memory of the LM head, forward and backward, by `training.chunked_cross_entropy`'s methods.

    OMP_NUM_THREADS=1 python benchmarks/head.py [--out benchmarks/results/head.md]

Each way runs in a process of its own, since a process's peak never falls; memory is what the peak rises above the
inputs' own. All ways get the same tensors; their losses and gradients are compared by checksums. Liger needs a GPU.
`grpo` is `chunked` under GRPO's rule: a temperature, an entropy for each token, ratios, clips and a KL term.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

WAYS = ("naive", "chunked", "recomputed", "grpo")


def measure(way: str, options: argparse.Namespace) -> dict[str, object]:
    import torch

    from funreason.config.reinforcement import GrpoSettings
    from funreason.objectives.grpo import GrpoRule
    from funreason.training.chunked_cross_entropy import apply_rule, chunk_for, token_losses

    torch.set_num_threads(1)
    torch.manual_seed(0)
    hidden = torch.randn(options.tokens, options.hidden, requires_grad=True)
    weight = torch.empty(options.vocabulary, options.hidden).normal_(std=0.02).requires_grad_()
    targets = torch.randint(0, options.vocabulary, (options.tokens,))
    weights = torch.rand(options.tokens)
    if way == "grpo":
        near = torch.full((options.tokens,), -12.0, dtype=torch.float64) + torch.randn(options.tokens) * 0.2
        ones, settings = torch.ones(options.tokens, dtype=torch.float64), GrpoSettings(beta=1e-3)
        rule = GrpoRule(settings, ones / options.tokens, ones * 0.7, -near.sign() * 0.5, near, near, near)
    warm = [t[:8].detach().requires_grad_() for t in (hidden, weight)]
    token_losses(*warm, targets[:8] % 8, weights=weights[:8], method="chunked").backward(weights[:8])
    before, start = present(), time.process_time()
    if way == "grpo":
        losses = apply_rule(hidden, weight, targets, rule, chunk=options.chunk).losses
        (losses * rule.weights).sum().backward()
    else:
        losses = token_losses(hidden, weight, targets, weights=weights, method=way, chunk=options.chunk)
        (losses * weights).sum().backward()
    seconds, risen = time.process_time() - start, peak() - before
    sums = [
        float(losses.detach().double().sum()),
        float(hidden.grad.double().norm()),
        float(weight.grad.double().norm()),
    ]
    chunk = None if way == "naive" else options.chunk or chunk_for(options.vocabulary, weight.device)
    return {"way": way, "chunk": chunk, "seconds": seconds, "gib": risen, "sums": sums}


def present() -> float:
    """The process's memory now, GiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**30


def peak() -> float:
    """The process's highest memory so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def table(rows: list[dict[str, object]]) -> str:
    naive = rows[0]
    lines = [
        "| way | tokens at a time | CPU-s | × naive | peak GiB above the inputs | × naive |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        time_ratio, memory = (float(row[k]) / float(naive[k]) for k in ("seconds", "gib"))  # type: ignore[arg-type]
        lines.append(
            f"| {row['way']} | {row['chunk'] or 'all'} | {row['seconds']:.1f} | {time_ratio:.2f} "
            f"| {row['gib']:.2f} | {memory:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--hidden", type=int, default=896)
    parser.add_argument("--chunk", type=int)
    parser.add_argument("--ways", nargs="*", default=list(WAYS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", choices=WAYS, help="measure one way in this process")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options)))
        return
    rows = []
    for way in options.ways:
        done = subprocess.run([sys.executable, *sys.argv, "--one", way], capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout))
        print(rows[-1], flush=True)
    alike = [row for row in rows if row["way"] != "grpo"]  # another loss
    worst = max(abs(x / y - 1) for row in alike for x, y in zip(row["sums"], alike[0]["sums"], strict=True))
    text = (
        f"# The vocabulary head: {options.tokens:,} tokens × {options.vocabulary:,}, hidden {options.hidden}, float32, "
        f"one thread, forward and backward\n\n{table(rows)}\n\n"
        f"Summed losses and norms of both gradients of all ways but grpo agree to {worst:.1e} (relative).\n"
    )
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
