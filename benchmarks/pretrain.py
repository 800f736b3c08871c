"""Remakes the embedded base model: tokenizer, model, pre-training on the familiar themes, a folder to load.

    python benchmarks/pretrain.py --seed 7 --steps 7500 --out DIR [--log FILE]

One thread; the result depends on the seed and the number of steps only. The learning rate falls to zero at the last
step, and half of what is learned is learned while it falls: a run that was cut short is not a shorter run.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from pretrain_model import new_model
from pretrain_tokenizer import prompt_text, target_text, train_tokenizer
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from funreason.data.toolbox import generate
from funreason.types import Task


class Stage(NamedTuple):
    """A part of the pre-training: its split, its share of the steps, the categories, where its rate starts to fall."""

    split: str
    share: float
    quotas: dict[str, float]
    plateau: float


STAGES = (
    Stage("pretrain", 0.4, {"simple": 0.25, "multiple": 0.33, "parallel": 0.3, "irrelevance": 0.12}, 1.0),
    Stage("pretrain_harder", 0.6, {"simple": 0.28, "multiple": 0.33, "parallel": 0.33, "irrelevance": 0.06}, 0.0),
)
"""First plain parameter names at a constant rate, then made-up ones too while the rate falls to zero."""
PEAK_RATE = {"adamw": 1.5e-3, "muon": 1e-2}
WARM_UP_STEPS = 100
POOL = 3072
"""Tasks drawn at a time; sorted by length within a pool, batches shuffled."""


def encode(tasks: list[Task], tokenizer: PreTrainedTokenizerFast) -> list[tuple[list[int], int]]:
    """Token ids of prompt and target, and the length of the prompt, for each task."""
    prompts = tokenizer([prompt_text(task, tokenizer) for task in tasks])["input_ids"]
    targets = tokenizer([target_text(task) for task in tasks])["input_ids"]
    end = [tokenizer.eos_token_id]
    return [(prompt + target + end, len(prompt)) for prompt, target in zip(prompts, targets, strict=True)]


def batches(
    tokenizer: PreTrainedTokenizerFast, stage: Stage, seed: int, tokens: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless `(ids, labels)` of about `tokens` tokens, each of samples of like length; labels -100 on the prompt."""
    pool = 0
    while True:
        tasks = generate(stage.split, POOL, seed * 100_000 + pool, quotas=stage.quotas)
        rows = sorted(encode(tasks, tokenizer), key=lambda row: len(row[0]))
        groups: list[list[tuple[list[int], int]]] = [[]]
        for row in rows:
            if len(row[0]) * (len(groups[-1]) + 1) > tokens:
                groups.append([])
            groups[-1].append(row)
        random.Random(seed * 100_000 + pool).shuffle(groups)
        for group in groups:
            yield padded(group, tokenizer.pad_token_id)
        pool += 1


def padded(rows: list[tuple[list[int], int]], pad: int) -> tuple[Tensor, Tensor]:
    """Right-padded ids and labels [B, T]; a causal model needs no mask for padding on the right."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), -100)
    for row, (tokens, prompt) in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, prompt : len(tokens)] = torch.tensor(tokens[prompt:])
    return ids, labels


def loss_of(model: nn.Module, ids: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the target tokens; the vocabulary is only computed where there is a target."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels[:, 1:]
    kept = wanted != -100
    return nn.functional.cross_entropy(model.lm_head(hidden[kept]), wanted[kept])


def optimizers(model: nn.Module, kind: str) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the layers' matrices and AdamW for the rest."""
    everything = list(model.parameters())
    if kind == "adamw":
        return [torch.optim.AdamW(everything, lr=PEAK_RATE["adamw"], betas=(0.9, 0.98), weight_decay=0.01)]
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    chosen = {id(p) for p in matrices}
    rest = [p for p in everything if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=PEAK_RATE["muon"], momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=PEAK_RATE["adamw"], betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate_share(step: int, steps: int, plateau: float) -> float:
    """The share of the peak rate at `step`: a short rise, a plateau, then down to zero in a line."""
    fall = (steps - step) / ((1 - plateau) * steps) if plateau < 1 else 1.0
    return min((step + 1) / WARM_UP_STEPS, 1.0, fall)


def train(model: nn.Module, tokenizer: PreTrainedTokenizerFast, stage: Stage, args: argparse.Namespace, log) -> None:
    """Trains one stage in place; writes a line of loss, tokens and seconds every 50 steps."""
    steps = round(args.steps * stage.share)
    chosen = optimizers(model, args.optimizer)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in chosen]
    model.train()
    began, seen, total = time.process_time(), 0, 0.0
    for step, (ids, labels) in zip(range(steps), batches(tokenizer, stage, args.seed, args.tokens), strict=False):
        for optimizer, peak in zip(chosen, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * rate_share(step, steps, stage.plateau)
        loss = loss_of(model, ids, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in chosen:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen, total = seen + ids.numel(), total + loss.item()
        if (step + 1) % 50 == 0:
            spent = round(time.process_time() - began, 1)
            log({"stage": stage.split, "step": step + 1, "loss": round(total / 50, 4), "tokens": seen, "cpu_s": spent})
            total = 0.0
        if args.save_every and (step + 1) % args.save_every == 0:
            save(model, tokenizer, args.out.with_name(f"{args.out.name}-{stage.split}"))


def save(model: nn.Module, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """A folder that transformers loads: safetensors, tokenizer with its template, generation settings."""
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, default=7500)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens of a batch")
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="muon")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--log", type=Path, default=None)
    parser.add_argument("--save-every", type=int, default=0, help="steps between savings of the running model")
    parser.add_argument("--from-stage", type=int, default=0, help="start with this stage, from the weights in --init")
    parser.add_argument("--init", type=Path, default=None, help="a folder saved at the end of an earlier stage")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(args.seed)
    if args.from_stage:
        model = AutoModelForCausalLM.from_pretrained(args.init, dtype=torch.float32)
    else:
        model = new_model(args.seed, len(tokenizer), tokenizer.pad_token_id, tokenizer.eos_token_id, args.width)
    lines = args.log.open("w", encoding="utf-8", buffering=1) if args.log else None

    def log(line: dict[str, object]) -> None:
        print(json.dumps(line), file=lines, flush=True)

    parameters = sum(p.numel() for p in model.parameters())
    log(
        {
            "seed": args.seed,
            "steps": args.steps,
            "batch_tokens": args.tokens,
            "optimizer": args.optimizer,
            "parameters": parameters,
        }
    )
    for stage in STAGES[args.from_stage :]:
        train(model, tokenizer, stage, args, log)
    save(model, tokenizer, args.out)


if __name__ == "__main__":
    main()
