"""What one GPU does with this project: updates, LM head, sampling, sync; each part of each model one after another.

    python benchmarks/gpu.py                                    # a CUDA machine, under five minutes
    python benchmarks/gpu.py --device cpu --quick --out FILE    # any CPU, half a minute: every part, at no useful size

Three models: `smollm2-135m` (its weights where `funreason models fetch` has them, else random ones of its sizes), and
Qwen2 of 0.5B and 7B with random weights, all in bf16. Updates run through `funreason.training.train` as a run's do:
passes sized to the free memory, the LM head measured, layers plain and compiled. Sampling runs through the project's
samplers, with eager and with recorded steps, and through vLLM where it is installed. MFU counts the model's own
arithmetic, not what checkpointing computes twice, over the data sheet's bf16 peak (over a measured matrix product where
the card is unknown). What the card cannot hold is found by the plan before it is tried: then adapters learn instead.

Each figure is appended to the file as soon as it is known, so a run that is cut keeps what it has. A part that would
begin after `--seconds` is not run, and the file says so.
"""

from __future__ import annotations

import argparse
import gc
import random
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from funreason.config import Lora as LoraConfig
from funreason.config import Update
from funreason.objectives import Example
from funreason.plan import cost_model as footprint
from funreason.plan.architecture import Architecture, architecture_of
from funreason.plan.cost_model import CHIPS, LoraShape, UpdateShape, flops_per_token
from funreason.policies.fetched_models import fetched_folder
from funreason.policies.huggingface.sampler import HuggingFaceSampler
from funreason.policies.model_files import load_model, save_model
from funreason.policies.protocol import Request
from funreason.policies.vllm.engine import prepare
from funreason.training import StepReport, layer_compile, train
from funreason.training.chunked_cross_entropy import chunk_for
from funreason.training.head_choice import fastest_that_fits, measure_heads
from funreason.training.pass_size import EXPECTED_TOKENS, free_bytes

GIB = 2**30
RESULTS = Path(__file__).parent / "results" / "gpu.md"
RANK = 16
PEAK_SIZE = 8192  # of the matrix product that stands in for a data sheet
TIME_FORMAT = "%Y-%m-%d"
SECONDS = 230.0  # when the last part may begin, so that all of it stays under five minutes
SYNC_PARAMETERS = 1e9  # larger models would spend the time on writing to disk


class Width(NamedTuple):
    """One model, and how much of each thing is measured with it."""

    name: str
    sizes: dict[str, Any]
    fetched: str = ""
    length: int = 4096
    samples: int = 16
    steps: int = 5
    rows: int = 256
    new_tokens: int = 128
    head_tokens: int = 2048


SMOLLM2 = {
    "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49_152, "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}  # fmt: skip
HALF = {
    "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151_936, "max_position_embeddings": 32_768,
    "tie_word_embeddings": True,
}  # fmt: skip
SEVEN = {
    "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152_064, "max_position_embeddings": 32_768,
    "tie_word_embeddings": False,
}  # fmt: skip
WIDTHS = {
    "135m": Width("smollm2-135m", SMOLLM2, fetched="smollm2-135m", length=768, samples=64),
    "0.5b": Width("0.5B", HALF),
    "7b": Width("7B", SEVEN, samples=4, steps=4, rows=64),
}
TINY = {
    "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 6,
    "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 512,
}  # fmt: skip


def quick(width: Width) -> Width:
    """The same model at no size worth a number."""
    return width._replace(
        sizes=width.sizes | TINY, fetched="", length=64, samples=2, steps=3, rows=8, new_tokens=24, head_tokens=64
    )


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
    return architecture_of(width.sizes, width.name, Path("config.json"))


def build(width: Width, here: Machine, dtype: torch.dtype | None = None) -> Any:
    """The fetched model where there is one, else random weights of its sizes."""
    kind = dtype or here.dtype
    folder = fetched_folder(width.fetched) if width.fetched else None
    if folder is not None and folder.is_dir():
        return load_model(folder, here.device, str(kind).removeprefix("torch."))
    torch.manual_seed(0)
    sizes = {name: value for name, value in width.sizes.items() if name != "model_type"}
    config = AutoConfig.for_model(width.sizes["model_type"], **sizes, eos_token_id=1, pad_token_id=0, bos_token_id=None)
    with torch.device(here.device):
        return AutoModelForCausalLM.from_config(config, dtype=kind).eval()


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


def update_rows(
    width: Width, here: Machine, *, compiled: str = "never", dtype: torch.dtype | None = None, name: str = "update"
) -> Iterator[tuple[str, str]]:
    """Tokens/s, MFU and memory of the update; the first two steps warm up and are not counted."""
    model, tokenizer = build(width, here, dtype), word_tokenizer(width)
    shape = fitting(width, here, model.dtype.itemsize)
    update = Update(
        epochs=width.steps,
        batch_size=width.samples,
        max_length=width.length,
        lr=1e-5,
        lr_warmup_steps=1,
        gradient_checkpointing=shape.checkpointing,
        compile=compiled,
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
        report = train(model, tokenizer, examples, update, on_step=note)
    warm = min(2, len(steps) - 1)
    first, last = steps[warm - 1][1], steps[-1][1]
    read = sum(len(tokenizer(e.prompt)["input_ids"]) for e in examples) * (len(steps) - warm)
    tokens = read + sum(step.metrics["think_tokens"] + step.metrics["result_tokens"] for step, _ in steps[warm:])
    rate = tokens / (last - first)
    yield f"{name}: tokens/s", f"{rate:,.0f}"
    yield f"{name}: MFU", f"{rate * arithmetic(width, shape) / here.peak:.1%}"
    yield f"{name}: seconds of the first step", f"{steps[0][0].metrics['seconds']:.1f}"
    yield f"{name}: memory beside the weights, GiB", f"{peak[0] / GIB:.2f}"
    learns = "all weights" if shape.lora is None else f"adapters of rank {RANK}"
    yield f"{name}: how", f"{learns}, activations {'computed twice' if shape.checkpointing else 'kept'}; {report.how}"
    if halved := [step.halved_to for step, _ in steps if step.halved_to]:
        yield f"{name}: memory ran out", f"passes halved to {halved[0]:,} tokens"


def arithmetic(width: Width, shape: UpdateShape) -> float:
    # Frozen weights ask for two thirds: no gradient of their own.
    return flops_per_token(architecture(width), width.length) * (1 if shape.lora is None else 2 / 3)


def fitting(width: Width, here: Machine, item: int) -> UpdateShape:
    """All weights if the plan says one sample's pass fits, activations kept if they do; else the next smaller thing."""
    plain = UpdateShape(width.length, item, head_chunk=512)
    tries = [plain, plain._replace(checkpointing=True), plain._replace(checkpointing=True, lora=LoraShape(RANK))]
    model = architecture(width)
    return next((s for s in tries if sum(footprint.update_memory(model, s).values()) < here.memory), tries[-1])


def head_rows(width: Width, here: Machine) -> Iterator[tuple[str, str]]:
    """Milliseconds and memory of each way to compute the LM head, and which is taken."""
    torch.manual_seed(0)
    sizes = (width.sizes["hidden_size"], width.sizes["vocab_size"])
    head = nn.Linear(*sizes, bias=False, device=here.device, dtype=here.dtype)
    measured = measure_heads(head, chunk_for(sizes[1], head.weight.device), tokens=width.head_tokens)
    for way in measured.found:
        memory = "" if here.device == "cpu" else f", {way.peak / GIB:.2f} GiB"
        yield f"head, {width.head_tokens:,} tokens, {way.method}", f"{way.seconds * 1e3:.1f} ms{memory}"
    for method, why in measured.failed.items():
        yield f"head, {method}", f"left out: {why}"
    room = free_bytes(head.weight.device) if here.device == "cuda" else here.memory
    chosen, _ = fastest_that_fits(measured, tokens=EXPECTED_TOKENS, room=room)
    yield f"head for passes of {EXPECTED_TOKENS:,} tokens on an empty card", chosen


def sampling_rows(width: Width, here: Machine) -> Iterator[tuple[str, str]]:
    """Tokens/s of a full batch with eager and with recorded steps, and the seconds that new weights take to arrive."""
    model, tokenizer = build(width, here), word_tokenizer(width)
    requests = [Request(f"r{i}", words(width, 100, i), 4, 0) for i in range(width.rows // 4)]
    for graphs in (False, True):
        sampler = HuggingFaceSampler(
            model, tokenizer, weights_id="w", max_new_tokens=width.new_tokens, cuda_graphs=graphs
        )
        if here.device == "cpu" and graphs:
            sampler.graphs.on = True  # the same fixed step, computed where it would be replayed
        sampler.sample(requests[:1])
        found, seconds = timed(partial(sampler.sample, requests), here.device)
        tokens = sum(completion.tokens for answer in found for completion in answer)
        name = f"sampling, {width.rows} rows, {'recorded' if graphs else 'eager'} steps"
        yield f"{name}: tokens/s", f"{tokens / seconds:,.0f}"
        if graphs:
            yield f"{name}: how", sampler.graphs.description
    if architecture(width).parameters > SYNC_PARAMETERS:
        return
    with tempfile.TemporaryDirectory() as folder:
        _, saving = timed(lambda: save_model(model, tokenizer, Path(folder) / "m"), here.device)
        _, loading = timed(lambda: sampler.load_weights(Path(folder) / "m", "saved"), here.device)
    yield "sync by files: seconds to write, to read", f"{saving:.2f}, {loading:.2f}"


def engine_rows(width: Width, here: Machine) -> Iterator[tuple[str, str]]:
    """The same with a vLLM engine, where one is installed: its start, its tokens/s, a sync with its proof."""
    if find_spec("vllm") is None:
        yield "vLLM", "not installed"
        return
    prepare(here.device, compiled=here.device == "cuda")
    from funreason.policies.vllm.engine import EngineSettings
    from funreason.policies.vllm.sampler import VllmSampler

    model, tokenizer = build(width, here), word_tokenizer(width)
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


class Part(NamedTuple):
    """Something measured: of which model, under which name."""

    width: Width
    name: str
    rows: Callable[[Width, Machine], Iterator[tuple[str, str]]]


def parts(names: list[str], is_quick: bool) -> list[Part]:
    """What is measured, the most telling first; compiling takes longest and comes after what is certain."""
    widths = [quick(WIDTHS[name]) if is_quick else WIDTHS[name] for name in names]
    in_float32 = partial(update_rows, dtype=torch.float32, name="update in float32 with TF32")
    compiled = partial(update_rows, compiled="always", name="update, layers compiled")
    found = [Part(width, name, rows) for width in widths for name, rows in (
        ("update", update_rows), ("head", head_rows), ("sampling", sampling_rows),
    )]  # fmt: skip
    found += [Part(width, "float32", in_float32) for width in widths[:1]]
    found += [Part(width, "compiled", compiled) for width in widths[:2]]
    return found + [Part(width, "vLLM", engine_rows) for width in widths[:2]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="seconds a part: does the script work")
    parser.add_argument("--widths", nargs="*", default=list(WIDTHS), choices=[*WIDTHS])
    parser.add_argument("--parts", nargs="*", help="only parts of these names: update, head, sampling, float32, …")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="when the last part may begin")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device here. --device cpu --quick tries the script on a CPU; its numbers mean nothing.")
    if options.device == "cpu" and not options.quick:
        parser.error("--device cpu needs --quick: these models take hours on a CPU.")
    if options.quick and options.out == RESULTS:
        parser.error("--quick needs --out FILE: its numbers are no results.")
    logging.disable_progress_bar()
    if options.device == "cpu":  # inductor takes a minute and a half on a CPU; the rest of the path is the same
        layer_compile.BACKEND = "aot_eager"
    begun, here = time.monotonic(), machine(options.device)
    with options.out.open("w", encoding="utf-8") as file:

        def write(line: str) -> None:
            file.write(line + "\n")
            file.flush()
            print(line, flush=True)

        facts = (
            f"{here.name}, {here.memory / GIB:.0f} GiB, peak {here.peak / 1e12:,.1f} TFLOP/s ({here.peak_from}); "
            f"torch {torch.__version__}; {time.strftime(TIME_FORMAT)}; `python benchmarks/gpu.py "
            f"{shlex.join(sys.argv[1:])}`"
        )
        write(f"# One GPU\n\n{facts}\n\n| model | what | measured |\n|---|---|---|")
        for width, name, rows in parts(options.widths, options.quick):
            if options.parts and name not in options.parts:
                continue
            if time.monotonic() - begun > options.seconds:
                write(f"| {width.name} | {name} | not run: {options.seconds:.0f} s were over |")
                continue
            try:
                for what, value in rows(width, here):
                    write(f"| {width.name} | {what} | {value.replace('|', '/')} |")
            except Exception as error:  # the parts after it are worth having
                said = " ".join(str(error).split())[:300].replace("|", "/")
                write(f"| {width.name} | {name}: ended early | {type(error).__name__}: {said} |")
            gc.collect()
            if here.device == "cuda":
                torch.cuda.empty_cache()
        write(f"\n{time.monotonic() - begun:.0f} s in all.")


if __name__ == "__main__":
    main()
