"""What one GPU does with this project: update tokens/s and MFU, the head's memory, sampling, seconds of a sync.

Two widths of Qwen2 with random weights, 0.5B and 7B, bf16, sequences of 4,096 tokens of which nearly all are learnt. An
update runs through `funreason.training.train`, sampling through the project's samplers (vLLM where installed).
What the card cannot hold is found by the plan before it is tried: then adapters learn instead, and the table says so.
MFU counts the model's own arithmetic, not what checkpointing computes twice, over the data sheet's bf16 peak (over a
measured matrix product where the card is unknown).

    python benchmarks/gpu.py                       # a CUDA machine; writes benchmarks/results/gpu.md
    python benchmarks/gpu.py --tiny --out FILE     # any CPU, seconds: the same path at no size worth a number
"""

from __future__ import annotations

import argparse
import gc
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn import functional
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config
from transformers.utils import logging

from funreason.config import Lora as LoraConfig
from funreason.config import Update
from funreason.objectives import Example
from funreason.plan import cost_model as footprint
from funreason.plan.architecture import Architecture
from funreason.plan.cost_model import CHIPS, LoraShape, UpdateShape, flops_per_token
from funreason.policies.huggingface.sampler import HuggingFaceSampler
from funreason.policies.model_files import save_model
from funreason.policies.protocol import Request
from funreason.policies.vllm.engine import prepare
from funreason.training import StepReport, train
from funreason.training.chunked_cross_entropy import best_method, token_losses

GIB = 2**30
RESULTS = Path(__file__).parent / "results" / "gpu.md"
RANK = 16
PEAK_SIZE = 8192  # of the matrix product that stands in for a data sheet
TIME_FORMAT = "%Y-%m-%d"


class Width(NamedTuple):
    """One size of model, and how much of each thing is measured with it."""

    name: str
    sizes: dict[str, Any]
    length: int = 4096
    samples: int = 4
    steps: int = 6
    rows: int = 256
    new_tokens: int = 128
    head_tokens: int = 2048


HALF = {
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "vocab_size": 151_936, "max_position_embeddings": 32_768, "tie_word_embeddings": True,
}  # fmt: skip
SEVEN = {
    "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "vocab_size": 152_064, "max_position_embeddings": 32_768, "tie_word_embeddings": False,
}  # fmt: skip
TINY = {
    "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 512, "tie_word_embeddings": True,
}  # fmt: skip
WIDTHS = {
    "0.5b": Width("0.5B", HALF),
    "7b": Width("7B", SEVEN),
    "tiny": Width("tiny", TINY, length=128, samples=2, steps=3, rows=8, new_tokens=8, head_tokens=64),
}


class Machine(NamedTuple):
    """Where it runs: the device, its name, its peak in FLOP/s and where that number is from, and its bytes."""

    device: str
    name: str
    peak: float
    peak_from: str
    memory: float

    @property
    def dtype(self) -> torch.dtype:
        """bf16 on a GPU; a CPU has no use for it."""
        return torch.bfloat16 if self.device == "cuda" else torch.float32


def machine(device: str) -> Machine:
    """The machine at hand."""
    if device == "cpu":
        return Machine(device, "CPU", measured_peak(device, 512), "a measured matrix product, float32", 8 * GIB)
    name, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
    for chip, numbers in CHIPS.items():
        if re.search(rf"\b{chip.split('-')[0].replace('rtx', 'rtx ')}\b", name.lower()):
            return Machine(device, name, numbers.tflops * 1e12, "its data sheet", memory)
    return Machine(device, name, measured_peak(device, PEAK_SIZE), "a measured matrix product, bf16", memory)


def measured_peak(device: str, size: int) -> float:
    """FLOP/s of a square matrix product, best of ten."""
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    return 2 * size**3 / min(timed(lambda: left @ right, device)[1] for _ in range(10))


def timed(work: Callable[[], Any], device: str) -> tuple[Any, float]:
    """What `work` gives and its seconds, the GPU's queue emptied on both sides."""
    settle(device)
    start = time.perf_counter()
    found = work()
    settle(device)
    return found, time.perf_counter() - start


def settle(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


@contextmanager
def peak_memory(device: str) -> Iterator[list[float]]:
    """Bytes allocated at the height of the block above its beginning: the GPU's own count, or the process's."""
    found = [0.0]
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before: float = torch.cuda.memory_allocated()
        yield found
        found[0] = torch.cuda.max_memory_allocated() - before
        return
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the high-water mark begins anew
    before = resident("VmRSS")
    yield found
    found[0] = resident("VmHWM") - before


def resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def architecture(width: Width) -> Architecture:
    sizes = width.sizes
    return Architecture(
        name=width.name, source="", hidden=sizes["hidden_size"], layers=sizes["num_hidden_layers"],
        heads=sizes["num_attention_heads"], key_heads=sizes["num_key_value_heads"],
        head_size=sizes["hidden_size"] // sizes["num_attention_heads"], feed_forward=sizes["intermediate_size"],
        vocabulary=sizes["vocab_size"], context=sizes["max_position_embeddings"], tied=sizes["tie_word_embeddings"],
        attention_bias=True, output_bias=False, mlp_bias=False, qk_norm=False,
    )  # fmt: skip


def random_model(width: Width, here: Machine) -> Any:
    torch.manual_seed(0)
    config = Qwen2Config(**width.sizes, eos_token_id=1, pad_token_id=0, bos_token_id=None)
    with torch.device(here.device):
        return AutoModelForCausalLM.from_config(config, dtype=here.dtype).eval()


def word_tokenizer(width: Width) -> PreTrainedTokenizerFast:
    """One token per word, as many words as the model knows."""
    words = {"<pad>": 0, "<end>": 1} | {f"w{i}": i for i in range(2, width.sizes["vocab_size"])}
    core = Tokenizer(models.WordLevel(words, unk_token="w2"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<end>", pad_token="<pad>", chat_template="{{ messages[0].content }}"
    )


def words(width: Width, count: int, seed: int) -> str:
    rng = random.Random(seed)
    return " ".join(f"w{rng.randrange(3, width.sizes['vocab_size'])}" for _ in range(count))


def update_rows(width: Width, here: Machine) -> Iterator[tuple[str, str]]:
    """Tokens/s, MFU and memory of the update; the first step warms up and is not counted."""
    model, tokenizer = random_model(width, here), word_tokenizer(width)
    shape = fitting(width, here)
    update = Update(
        epochs=width.steps,
        batch_size=width.samples,
        micro_tokens=width.length,
        max_length=width.length,
        lr_warmup_steps=1,
        gradient_checkpointing=shape.checkpointing,
        lora=None if shape.lora is None else LoraConfig(rank=RANK),
    )
    examples = [
        Example(f"e{i}", words(width, 16, i), words(width, width.length - 24, i), "[f()]") for i in range(width.samples)
    ]
    steps: list[tuple[StepReport, float]] = []

    def note(step: StepReport) -> None:
        settle(here.device)
        steps.append((step, time.perf_counter()))

    with peak_memory(here.device) as peak:
        train(model, tokenizer, examples, update, on_step=note)
    first, last = steps[0][1], steps[-1][1]
    read = sum(len(tokenizer(e.prompt)["input_ids"]) for e in examples) * (len(steps) - 1)
    tokens = read + sum(step.metrics["think_tokens"] + step.metrics["result_tokens"] for step, _ in steps[1:])
    rate = tokens / (last - first)
    yield "update: what learns", "all weights" if shape.lora is None else f"adapters of rank {RANK}"
    yield "update: activations", "computed twice" if shape.checkpointing else "kept"
    yield "update: tokens/s", f"{rate:,.0f}"
    yield "update: MFU", f"{rate * arithmetic(width, shape) / here.peak:.1%}"
    planned = sum(footprint.update_memory(architecture(width), shape).values())
    yield "update: memory beside the weights, GiB", f"{peak[0] / GIB:.2f}"
    yield "update: memory in all, as planned, GiB", f"{planned / GIB:.2f}"


def arithmetic(width: Width, shape: UpdateShape) -> float:
    # Frozen weights ask for two thirds: no gradient of their own.
    return flops_per_token(architecture(width), width.length) * (1 if shape.lora is None else 2 / 3)


def fitting(width: Width, here: Machine) -> UpdateShape:
    """All weights if the plan says they fit, activations kept if they do; else the next smaller thing."""
    plain = UpdateShape(width.length, here.dtype.itemsize)
    tries = [plain, plain._replace(checkpointing=True), plain._replace(checkpointing=True, lora=LoraShape(RANK))]
    model = architecture(width)
    return next((s for s in tries if sum(footprint.update_memory(model, s).values()) < here.memory), tries[-1])


def head_rows(width: Width, here: Machine) -> Iterator[tuple[str, str]]:
    """Memory and seconds of loss and gradient from hidden states, with all the logits and in chunks."""
    hidden_size, vocabulary, count = width.sizes["hidden_size"], width.sizes["vocab_size"], width.head_tokens
    kind = {"device": here.device, "dtype": here.dtype}
    weight = torch.randn(vocabulary, hidden_size, **kind).mul_(0.02).requires_grad_()
    labels = torch.randint(vocabulary, (count,), device=here.device)

    def naive() -> None:
        hidden = torch.randn(count, hidden_size, **kind, requires_grad=True)
        functional.cross_entropy((hidden @ weight.T).float(), labels).backward()
        weight.grad = None

    naive()
    with peak_memory(here.device) as peak:
        _, seconds = timed(naive, here.device)
    yield f"head, all logits of {count:,} tokens: GiB", f"{peak[0] / GIB:.2f}"
    yield f"head, all logits of {count:,} tokens: ms", f"{seconds * 1e3:.1f}"

    def chunked() -> None:
        hidden = torch.randn(count, hidden_size, **kind, requires_grad=True)
        share = torch.full((count,), 1 / count, device=here.device)
        (
            token_losses(hidden, weight, labels, weights=share, method=best_method(labels.device)) * share
        ).sum().backward()
        weight.grad = None

    chunked()
    with peak_memory(here.device) as peak:
        _, seconds = timed(chunked, here.device)
    yield f"head, {best_method(labels.device)}: GiB", f"{peak[0] / GIB:.2f}"
    yield f"head, {best_method(labels.device)}: ms", f"{seconds * 1e3:.1f}"


def sampling_rows(width: Width, here: Machine) -> Iterator[tuple[str, str]]:
    """Tokens/s of a full batch, and the seconds that new weights take to reach the sampler."""
    model, tokenizer = random_model(width, here), word_tokenizer(width)
    sampler = HuggingFaceSampler(model, tokenizer, weights_id="random", max_new_tokens=width.new_tokens)
    requests = [Request(f"r{i}", words(width, 100, i), 4, 0) for i in range(width.rows // 4)]
    sampler.sample(requests[:1])
    found, seconds = timed(lambda: sampler.sample(requests), here.device)
    tokens = sum(completion.tokens for answer in found for completion in answer)
    yield f"sampling, in process, {width.rows} rows: tokens/s", f"{tokens / seconds:,.0f}"
    with tempfile.TemporaryDirectory() as folder:
        _, saving = timed(lambda: save_model(model, tokenizer, Path(folder) / "m"), here.device)
        _, loading = timed(lambda: sampler.load_weights(Path(folder) / "m", "saved"), here.device)
    yield "sync by files: seconds to write, to read", f"{saving:.2f}, {loading:.2f}"
    _, direct = timed(lambda: sampler.load_weights(model, "direct"), here.device)
    yield "sync of the trainer's own model: seconds", f"{direct:.3f}"


def engine_rows(width: Width, here: Machine) -> Iterator[tuple[str, str]]:
    """The same with a vLLM engine, where one is installed: its start, its tokens/s, a sync with its proof."""
    if find_spec("vllm") is None:
        yield "vLLM", "not installed"
        return
    prepare(here.device, compiled=here.device == "cuda")
    from funreason.policies.vllm.engine import EngineSettings
    from funreason.policies.vllm.sampler import VllmSampler

    model, tokenizer = random_model(width, here), word_tokenizer(width)
    kind = str(here.dtype).removeprefix("torch.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        save_model(model, tokenizer, path)
        settings = EngineSettings(max_model_len=min(1024, width.sizes["max_position_embeddings"]))
        sampler, starting = timed(
            lambda: VllmSampler(
                path, model, tokenizer, weights_id="random", device=here.device, dtype=kind,
                max_new_tokens=width.new_tokens, settings=settings,
            ),
            here.device,
        )  # fmt: skip
        requests = [Request(f"r{i}", words(width, 100, i), 4, 0) for i in range(width.rows // 4)]
        sampler.sample(requests[:1])
        found, seconds = timed(lambda: sampler.sample(requests), here.device)
        tokens = sum(completion.tokens for answer in found for completion in answer)
        _, syncing = timed(lambda: sampler.load_weights(path, "again"), here.device)
    yield "vLLM: seconds to start", f"{starting:.1f}"
    yield f"vLLM, {width.rows} rows: tokens/s", f"{tokens / seconds:,.0f}"
    yield "vLLM: seconds of a sync, proof included", f"{syncing:.2f}"


PARTS = (update_rows, head_rows, sampling_rows, engine_rows)


def measure(width: Width, here: Machine) -> dict[str, str]:
    """All rows of one width; what runs out of memory says so and the rest goes on."""
    rows: dict[str, str] = {}
    for part in PARTS:
        try:
            for name, value in part(width, here):
                rows[name] = value
                print(f"{width.name:5} {name}: {value}", flush=True)
        except torch.OutOfMemoryError:
            rows[f"{part.__name__.removesuffix('_rows')}: ended"] = "out of memory"
        gc.collect()
        if here.device == "cuda":
            torch.cuda.empty_cache()
    return rows


def table(here: Machine, found: dict[str, dict[str, str]], command: str) -> str:
    """The results as Markdown."""
    names = list(dict.fromkeys(name for rows in found.values() for name in rows))
    head = f"| | {' | '.join(found)} |\n|---|{'---|' * len(found)}"
    body = "\n".join(f"| {name} | {' | '.join(rows.get(name, '–') for rows in found.values())} |" for name in names)
    facts = (
        f"{here.name}, {here.memory / GIB:.0f} GiB, peak {here.peak / 1e12:,.1f} TFLOP/s ({here.peak_from}); "
        f"torch {torch.__version__}; {time.strftime(TIME_FORMAT)}. Random weights. `{command}`"
    )
    return f"# One GPU\n\n{facts}\n\n{head}\n{body}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="on the CPU, seconds: does the script work")
    parser.add_argument("--widths", nargs="*", default=["0.5b", "7b"], choices=[*WIDTHS])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        parser.error("no CUDA device here. --tiny tries the script on a CPU; its numbers mean nothing.")
    if options.tiny and options.out == RESULTS:
        parser.error("--tiny needs --out FILE: its numbers are no results.")
    logging.disable_progress_bar()
    here = machine("cpu" if options.tiny else "cuda")
    widths = ["tiny"] if options.tiny else options.widths
    found = {WIDTHS[name].name: measure(WIDTHS[name], here) for name in widths}
    command = "python benchmarks/gpu.py" + (" --tiny" if options.tiny else f" --widths {' '.join(widths)}")
    options.out.write_text(table(here, found, command))
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
