"""Training tokens per CPU-second: SRML against a bare torch loop and TRL's SFTTrainer, one after the other.

    sh benchmarks/trl.sh build/trl
    OMP_NUM_THREADS=1 python benchmarks/train.py --trl build/trl/bin/python [--out benchmarks/results/train.md]
    OMP_NUM_THREADS=1 python benchmarks/train.py --groups [--out benchmarks/results/shared_prompts.md]

`--groups` measures GRPO steps over groups of rollouts of one prompt, with shared prompts and with separate rows: their
CPU time, and for groups of 4, 8 and 16 the memory of a step in a process of its own (the peak of resident memory less
what was resident before the step, on Linux).

Same weights (the embedded base), same samples, AdamW at the same constant rate, 32 samples a step, one epoch, float32,
one thread. Each runs in a process of its own; only the training is timed, in CPU time, and tokens are those of the
samples, padding not counted. TRL and the bare loop learn the completion with plain cross-entropy: neither has weights
for thinking and answer. The bare loop is what one would write by hand: samples sorted by length, batches shuffled,
logits at every position. TRL runs at its defaults but for the rate, the batch, float32, no checkpoints and no
gradient checkpointing, which would make it slower.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

BATCH, RATE, SEED = 32, 1e-4, 0
PROMPT_TOKENS, ANSWER_TOKENS = 600, 100
PASS_TOKENS, MEMORY_PROMPTS = 7000, 8
"""Passes of whole groups fill nearly as much of it with 4, 8 and 16 answers: 7, 5 and 3 rows."""
RUNS = ("ours", "bare", "trl", "trl group_by_length")


def samples(count: int) -> list[dict[str, object]]:
    """Texts and token ids of `count` references of the embedded domain."""
    from funreason.agents.references import usable_references
    from funreason.data.toolbox import generate
    from funreason.policies.factory import model_path
    from funreason.policies.model_files import load_model, load_tokenizer
    from funreason.policies.policy import Policy
    from funreason.training import encode_sample

    folder = model_path("toolbox")
    model = load_model(folder, "cpu", "float32")
    tokenizer = load_tokenizer(folder, model)
    policy = Policy(None, tokenizer, style="native", seed=0)  # type: ignore[arg-type]
    found, _ = usable_references(generate("new_train", count, seed=SEED), 0, prefix="bench")
    rows = []
    for sample in found:
        prompt = policy.prompt(sample.task)
        ids, labels, _ = encode_sample(prompt, sample.thinking, sample.answer, tokenizer)
        row = {"id": sample.id, "prompt": prompt, "thinking": sample.thinking, "answer": sample.answer}
        rows.append(row | {"ids": ids, "learnt": [int(label != -100) for label in labels]})
    return rows


def ours(folder: Path, rows: list[dict[str, object]]) -> float:
    from funreason.config import Update
    from funreason.objectives import Example
    from funreason.policies.model_files import load_model, load_tokenizer
    from funreason.training import train

    model = load_model(folder, "cpu", "float32")
    tokenizer = load_tokenizer(folder, model)
    examples = [Example(row["id"], row["prompt"], row["thinking"], row["answer"]) for row in rows]  # type: ignore[arg-type]
    update = Update(batch_size=BATCH, lr=RATE, lr_warmup_steps=0, schedule="constant")
    start = time.process_time()
    report = train(model, tokenizer, examples, update, seed=SEED)
    print(report.how, file=sys.stderr)
    return time.process_time() - start


def bare(folder: Path, rows: list[dict[str, object]]) -> float:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    start = time.process_time()
    for batch in sorted_batches(rows):
        ids, labels = padded([row["ids"] for row in batch], 0), padded([labels_of(row) for row in batch], -100)
        logits = model(input_ids=ids, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.process_time() - start


def sorted_batches(rows: list[dict[str, object]]) -> list[list[dict[str, object]]]:
    ordered = sorted(rows, key=lambda row: len(row["ids"]))  # type: ignore[arg-type]
    batches = [ordered[at : at + BATCH] for at in range(0, len(ordered), BATCH)]
    random.Random(SEED).shuffle(batches)
    return batches


def labels_of(row: dict[str, object]) -> list[int]:
    return [token if learnt else -100 for token, learnt in zip(row["ids"], row["learnt"], strict=True)]  # type: ignore[call-overload]


def padded(lists: Sequence[Sequence[int]], fill: int) -> object:
    import torch

    longest = max(map(len, lists))
    return torch.tensor([[*values, *[fill] * (longest - len(values))] for values in lists])


def trl(folder: Path, rows: list[dict[str, object]], sampling: str) -> float:
    import tempfile

    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_list([{"input_ids": row["ids"], "completion_mask": row["learnt"]} for row in rows])
    with tempfile.TemporaryDirectory() as out:
        settings = SFTConfig(
            output_dir=out, per_device_train_batch_size=BATCH, learning_rate=RATE, num_train_epochs=1, seed=SEED,
            lr_scheduler_type="constant", train_sampling_strategy=sampling, use_cpu=True, bf16=False, max_length=2048,
            gradient_checkpointing=False, report_to="none", save_strategy="no", disable_tqdm=True,
            adam_beta2=0.98, completion_only_loss=True,
        )  # fmt: skip
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
            args=settings,
            train_dataset=data,
            processing_class=AutoTokenizer.from_pretrained(folder),
        )
        start = time.process_time()
        trainer.train()
        return time.process_time() - start


def one(name: str, folder: Path, file: Path) -> None:
    import torch

    torch.set_num_threads(1)
    rows = json.loads(file.read_text())
    if name.startswith("trl"):
        seconds = trl(folder, rows, "group_by_length" if name.endswith("length") else "random")
    else:
        seconds = {"ours": ours, "bare": bare}[name](folder, rows)
    print("seconds", seconds)


def step_of(
    examples: list[object], model: object, tokenizer: object, sharing: str, **fields: object
) -> tuple[dict[str, float], str]:
    """Metrics and description of one GRPO step."""
    from funreason.config import Update
    from funreason.config.reinforcement import GrpoSettings
    from funreason.objectives import Grpo
    from funreason.training import train

    steps: list[object] = []
    update = Update(batch_size=len(examples), lr=RATE, lr_warmup_steps=0, prefix_sharing=sharing, **fields)  # type: ignore[arg-type]
    report = train(model, tokenizer, examples, update, objective=Grpo(GrpoSettings()), on_step=steps.append)  # type: ignore[arg-type]
    return steps[0].metrics, report.how  # type: ignore[attr-defined]


def rollouts(tokenizer: object, prompts: int, size: int) -> list[object]:
    """`size` random answers to each of some prompts."""
    from funreason.objectives import Example, Rollout

    ids = [token for row in samples(400) for token in row["ids"]]  # type: ignore[attr-defined]
    draws, examples = random.Random(SEED), []
    for at in range(prompts):
        text = tokenizer.decode(ids[at * PROMPT_TOKENS : (at + 1) * PROMPT_TOKENS])  # type: ignore[attr-defined]
        for number in range(size):
            tokens = tuple(draws.choice(ids) for _ in range(ANSWER_TOKENS))
            rollout = Rollout(tokens, draws.choice([-1.0, 1.0]), 1.0, str(at), (-7.0,) * ANSWER_TOKENS)
            examples.append(Example(f"{at}/{number}", text, None, "", rollout=rollout))
    return examples


def resident(field: str) -> float:
    """MiB of this process: `VmRSS`, now, or `VmHWM`, at most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status: memory is measured on Linux only")


def peak(size: int, sharing: str, prompts: int = MEMORY_PROMPTS) -> None:
    import torch

    from funreason.policies.factory import model_path
    from funreason.policies.model_files import load_model, load_tokenizer

    torch.set_num_threads(1)
    folder = model_path("toolbox")
    model = load_model(folder, "cpu", "float32")
    tokenizer = load_tokenizer(folder, model)
    examples = rollouts(tokenizer, prompts, size)
    step_of(examples[:2], model, tokenizer, sharing)  # what is loaded late is resident before it counts
    before = resident("VmRSS")
    step_of(examples, model, tokenizer, sharing, micro_tokens=PASS_TOKENS)
    print("peak", resident("VmHWM") - before)


def groups(prompts: int = 8, size: int = 8) -> str:
    """One GRPO step in separate rows and one with shared prompts, from the same weights: two tables."""
    import torch

    from funreason.policies.factory import model_path
    from funreason.policies.model_files import load_model, load_tokenizer

    torch.set_num_threads(1)
    folder = model_path("toolbox")
    tokenizer = load_tokenizer(folder, load_model(folder, "cpu", "float32"))
    examples = rollouts(tokenizer, prompts, size)
    lines = ["| rows | CPU-s of a step | tokens of separate rows per CPU-second | × separate | loss | gradient norm |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    tokens = sum(len(tokenizer(e.prompt, add_special_tokens=False)["input_ids"]) + ANSWER_TOKENS for e in examples)
    speeds: dict[str, float] = {}
    for sharing, name in (("never", "separate"), ("always", "shared prompts")):
        for _ in range(2):  # the second is measured: the first pays for what is loaded late
            model = load_model(folder, "cpu", "float32")
            start = time.process_time()
            metrics, how = step_of(examples, model, tokenizer, sharing)
            seconds = time.process_time() - start
        print(how, file=sys.stderr)
        speeds[name] = tokens / seconds
        lines.append(
            f"| {name} | {seconds:.2f} | {speeds[name]:,.0f} | {speeds[name] / speeds['separate']:.2f} "
            f"| {metrics['loss']:.7f} | {metrics['grad_norm']:.7f} |"
        )
    memory = ["| answers to a prompt | separate rows, MiB | shared prompts, MiB | tokens a pass, separate | shared "
              "| MiB per 1,000 of them, separate | shared |", "|---|---|---|---|---|---|---|"]  # fmt: skip
    for answers in (4, 8, 16):
        peaks = []
        for sharing in ("never", "always"):
            command = [sys.executable, __file__, "--peak", str(answers), sharing]
            # Freed tensors go back to the system at once, or the peak would be that of the allocator's habits.
            environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            if done.returncode:
                raise SystemExit(done.stderr[-3000:])
            peaks.append(float(done.stdout.split("peak")[-1]))
        whole, row = PROMPT_TOKENS + ANSWER_TOKENS, PROMPT_TOKENS + answers * ANSWER_TOKENS
        filled = [PASS_TOKENS // width * width for width in (whole, row)]
        each = " | ".join(f"{1000 * found / held:.1f}" for found, held in zip(peaks, filled, strict=True))
        memory.append(f"| {answers} | {peaks[0]:.0f} | {peaks[1]:.0f} | {filled[0]:,} | {filled[1]:,} | {each} |")
    return "\n".join([
        f"# Shared prompts: {prompts} prompts of about {PROMPT_TOKENS} tokens, {size} answers of {ANSWER_TOKENS} each, "
        "the embedded model, float32, one thread",
        "", "`OMP_NUM_THREADS=1 python benchmarks/train.py --groups`", "", *lines, "",
        f"## Memory of a step of {MEMORY_PROMPTS} prompts, {PASS_TOKENS:,} tokens a pass at most", "", *memory, "",
    ])  # fmt: skip


def table(speeds: dict[str, list[float]]) -> str:
    best = {name: max(values) for name, values in speeds.items()}
    lines = ["| training | tokens per CPU-second, best of its runs | all runs | ours over it |", "|---|---|---|---|"]
    for name, values in speeds.items():
        runs = ", ".join(f"{value:,.0f}" for value in values)
        lines.append(f"| {name} | {best[name]:,.0f} | {runs} | {best['ours'] / best[name]:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", type=Path, help="the Python that benchmarks/trl.sh made")
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=2, help="turns, each training once a turn")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=3, metavar=("TRAINING", "MODEL", "SAMPLES"), help="run one in this process")
    parser.add_argument("--groups", action="store_true", help="measure shared prompts instead")
    parser.add_argument(
        "--peak", nargs=2, metavar=("ANSWERS", "SHARING"), help="the memory of one step in this process"
    )
    options = parser.parse_args()
    if options.peak:
        peak(int(options.peak[0]), options.peak[1])
        return
    if options.groups:
        text = groups()
        print(text)
        if options.out:
            options.out.write_text(text)
        return
    if options.one:
        one(options.one[0], Path(options.one[1]), Path(options.one[2]))
        return
    import tempfile

    from funreason.policies.factory import model_path

    rows = samples(options.samples)
    tokens = sum(len(row["ids"]) for row in rows)  # type: ignore[arg-type]
    names = [name for name in RUNS if options.trl or not name.startswith("trl")]
    speeds: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "samples.json"
        file.write_text(json.dumps(rows))
        for _ in range(options.runs):
            for name in names:
                python = str(options.trl) if name.startswith("trl") else sys.executable
                command = [python, __file__, "--one", name, str(model_path("toolbox")), str(file)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(done.stderr[-3000:])
                speeds[name].append(tokens / float(done.stdout.split("seconds")[-1]))
                print(f"{name:22} {speeds[name][-1]:8,.0f} tokens per CPU-second", flush=True)
    text = f"# Training: {len(rows):,} samples, {tokens:,} tokens, {BATCH} a step\n\n{table(speeds)}\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
