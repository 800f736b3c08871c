"""A plan: what each phase needs of which GPUs, what will not work and what to change, and what had to be assumed."""

from __future__ import annotations

from typing import NamedTuple

from funreason.config import OWN_TASKS, Config
from funreason.plan.architecture import Architecture
from funreason.plan.cost_model import Chip, Parts, ReachedSpeed
from funreason.sources.tasks import TOOLBOX, TOOLBOX_PER_ROUND

ITEM = {"float32": 4, "bfloat16": 2}
"""Bytes of a number."""


class Assumed(NamedTuple):
    """What is unknown before the run: mean lengths in tokens, and the speed that is reached.

    The answer's length is the papers' mean, 350.74 tokens of thinking and 31.07 of result.
    """

    prompt_tokens: int = 400
    answer_tokens: int = 382
    pace: ReachedSpeed = ReachedSpeed()


class Hardware(NamedTuple):
    """The GPUs, all alike."""

    name: str
    chip: Chip
    gpus: int


class Phase(NamedTuple):
    """One phase: bytes on its fullest GPU by part, how many GPUs work, tokens and seconds of a round."""

    name: str
    memory: Parts
    gpus: int
    tokens: float
    seconds: float

    @property
    def total(self) -> float:
        """Bytes needed."""
        return sum(self.memory.values())


class Plan(NamedTuple):
    """The needs of a configuration. `problems` lists what will not work, each with what to change."""

    model: Architecture
    hardware: Hardware
    assumed: Assumed
    phases: list[Phase]
    problems: list[str]
    notes: list[str]

    def fits(self, phase: Phase) -> bool:
        """Whether a phase stays within one GPU's memory."""
        return phase.total <= self.hardware.chip.memory * 2**30


def engine_samples(config: Config) -> bool:
    """Whether a vLLM engine samples on the GPU."""
    return config.model.sampler == "vllm" and config.model.device.startswith("cuda")


def problems(config: Config, found: Plan) -> list[str]:
    """Everything that will not work, each with what to change."""
    memory = found.hardware.chip.memory
    lines = []
    for phase in found.phases:
        if not found.fits(phase):
            over = phase.total / 2**30 - memory
            lines.append(f"{phase.name} needs {over:.1f} GiB more than a GPU has: {remedy(config, phase)}")
        if phase.gpus > found.hardware.gpus:
            count = found.hardware.gpus
            there = "there is 1 GPU" if count == 1 else f"there are {count} GPUs"
            lines.append(f"{phase.name} asks for {phase.gpus} processes, and {there}.")
    if engine_samples(config):
        room = config.model.vllm.gpu_memory_utilization * memory
        if found.model.parameters * ITEM[config.model.dtype] / config.model.vllm.tensor_parallel > room * 2**30:
            lines.append(
                f"the engine's {room:.1f} GiB do not hold the weights: raise model.vllm.gpu_memory_utilization."
            )
    longest = found.assumed.prompt_tokens + config.sample.max_new_tokens
    if longest > found.model.context:
        lines.append(f"a prompt and an answer take {longest} tokens, and the model's context is {found.model.context}.")
    return lines


def remedy(config: Config, phase: Phase) -> str:
    """The settings to change when a phase does not fit, by the part of its memory that is largest."""
    largest = max(phase.memory, key=lambda part: phase.memory[part])
    update = config.start.update if phase.name == "start" else config.train.update
    if phase.name in ("sample", "gate") and engine_samples(config):
        return "lower model.vllm.max_num_seqs, or raise model.vllm.tensor_parallel."
    if phase.name in ("sample", "gate"):
        lower = "lower sample.batch_tokens, sample.samples_per_task or sample.max_new_tokens"
        return f"{lower}." if largest == "keys and values" else f"{lower}, or use model.dtype=bfloat16."
    tries = ["lower model.vllm.gpu_memory_utilization"] if engine_samples(config) else []
    if config.model.dtype == "float32":
        tries.append("use model.dtype=bfloat16")
    if not update.gradient_checkpointing:
        tries.append("set gradient_checkpointing")
    if largest in ("activations", "backward", "head") and update.micro_tokens > update.max_length:
        tries.append("lower micro_tokens")
    elif largest in ("activations", "backward", "head"):
        tries.append("lower max_length")
    if largest in ("weights", "gradients", "optimiser") and update.lora is None:
        tries.append("train adapters (lora)")
        if update.launch.strategy not in ("zero3", "fsdp2"):
            tries.append("shard over several GPUs (launch: {strategy: zero3, processes: 8})")
    return (", or ".join(tries) or "take a larger GPU, or a smaller model") + "."


def notes(config: Config, found: Plan) -> list[str]:
    """What the plan assumes."""
    assumed, pace = found.assumed, found.assumed.pace
    chip = found.hardware.chip
    lines = [
        f"assumed: prompts of {assumed.prompt_tokens} and answers of {assumed.answer_tokens} tokens on average",
        f"assumed: {pace.mfu:.0%} of {chip.tflops:g} TFLOP/s while training (MFU), "
        f"{pace.bandwidth_share:.0%} of {chip.bandwidth:g} TB/s while decoding",
        "the update is counted with every sample it may take; judges drop some, and those cost nothing",
    ]
    if config.tasks.per_round is None and not config.tasks.path.startswith(TOOLBOX):
        lines.append(f"tasks.per_round is not set: counted with {TOOLBOX_PER_ROUND} tasks a round")
    if engine_samples(config):
        share = config.model.vllm.gpu_memory_utilization
        lines.append(f"the engine keeps its {share:.0%} of the first GPU's memory while updates run")
    if config.sample.endpoints:
        lines.append("answers come from endpoints: sampling runs on their machines and is not counted")
    references = config.start.references
    if references is not None and references.path == OWN_TASKS:
        lines.append("the supervised start is counted with as many references as it asks for")
    return lines
