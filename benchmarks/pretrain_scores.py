"""Scores a base model on the toolbox's dev splits, greedily, under BFCL's rules, with Wilson intervals.

    python benchmarks/pretrain_scores.py DIR [--items 400] [--out FILE]

Dev splits only: the gate's items are for the gate.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from pretrain_tokenizer import prompt_text

from funreason.bfcl import check, load_cases
from funreason.bfcl.intervals import wilson
from funreason.bfcl.suites import write_suite
from funreason.calls.thinking import split_thinking
from funreason.data.toolbox import generate
from funreason.policies.huggingface.sampler import HuggingFaceSampler
from funreason.policies.model_files import load_model, load_tokenizer
from funreason.policies.protocol import Request
from funreason.types import Task


def verdicts(tasks: list[Task], sampler: HuggingFaceSampler) -> dict[str, list[bool]]:
    """Right or wrong for each task, by category."""
    by_category: dict[str, list[Task]] = {}
    for task in tasks:
        by_category.setdefault(task.category, []).append(task)
    return {category: _verdicts(group, sampler) for category, group in by_category.items()}


def _verdicts(tasks: list[Task], sampler: HuggingFaceSampler) -> list[bool]:
    with tempfile.TemporaryDirectory() as folder:
        write_suite(tasks, folder, "toolbox")
        cases = list(load_cases(folder).values())
    requests = [Request(id=t.id, prompt=prompt_text(t, sampler.tokenizer), n=1, seed=0, greedy=True) for t in tasks]
    answers = [split_thinking(completions[0].text).answer for completions in sampler.sample(requests)]
    return [check(case, answer).valid for case, answer in zip(cases, answers, strict=True)]


def table(verdicts: dict[str, list[bool]]) -> dict[str, dict[str, float]]:
    """Percent right with a 95 % interval, for each category and for all."""
    everything = {**verdicts, "all": [one for group in verdicts.values() for one in group]}
    return {category: _row(group) for category, group in sorted(everything.items())}


def _row(group: list[bool]) -> dict[str, float]:
    low, high = wilson(sum(group), len(group))
    share = sum(group) / len(group)
    return {"items": len(group), "percent": _percent(share), "low": _percent(low), "high": _percent(high)}


def _percent(share: float) -> float:
    return round(100 * share, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(args.model)
    sampler = HuggingFaceSampler(model, load_tokenizer(args.model, model), weights_id="base", max_new_tokens=160)
    began = time.process_time()
    scores = {split: table(verdicts(generate(split, args.items, 1), sampler)) for split in ("old_dev", "new_dev")}
    text = json.dumps({**scores, "cpu_s": round(time.process_time() - began, 1)}, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
