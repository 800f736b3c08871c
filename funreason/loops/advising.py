"""What is told beside a plan's numbers: what will not work and what to change, and what was taken for granted."""

from __future__ import annotations

from funreason.config import OWN_TASKS, Config
from funreason.loops.planned import ITEM, Phase, Plan, engine_samples
from funreason.loops.sources import TOOLBOX, TOOLBOX_PER_ROUND


def problems(config: Config, found: Plan) -> list[str]:
    """Everything that will not work, each with what to change."""
    memory = found.hardware.chip.memory
    said = []
    for phase in found.phases:
        if not found.fits(phase):
            over = phase.total / 2**30 - memory
            said.append(f"{phase.name} needs {over:.1f} GiB more than a GPU has: {_advice(config, phase)}")
        if phase.gpus > found.hardware.gpus:
            there = (
                f"there is {found.hardware.gpus} GPU"
                if found.hardware.gpus == 1
                else f"there are {found.hardware.gpus} GPUs"
            )
            said.append(f"{phase.name} asks for {phase.gpus} processes, and {there}.")
    if engine_samples(config):
        room = config.model.vllm.gpu_memory_utilization * memory
        if found.model.parameters * ITEM[config.model.dtype] / config.model.vllm.tensor_parallel > room * 2**30:
            said.append(
                f"the engine's {room:.1f} GiB do not hold the weights: raise model.vllm.gpu_memory_utilization."
            )
    longest = found.assumed.prompt_tokens + config.sample.max_new_tokens
    if longest > found.model.context:
        said.append(f"a prompt and an answer take {longest} tokens, and the model's context is {found.model.context}.")
    return said


def _advice(config: Config, phase: Phase) -> str:
    largest = max(phase.memory, key=lambda part: phase.memory[part])
    update = config.warmup.update if phase.name == "warm-up" else config.train.update
    if phase.name in ("sample", "gate") and engine_samples(config):
        return "lower model.vllm.max_num_seqs, or raise model.vllm.tensor_parallel."
    if phase.name in ("sample", "gate"):
        lower = "lower sample.batch_tokens, sample.k or sample.max_new_tokens"
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
            tries.append("lie over several GPUs (launch: {strategy: zero3, processes: 8})")
    return (", or ".join(tries) or "take a larger GPU, or a smaller model") + "."


def notes(config: Config, found: Plan) -> list[str]:
    """What was taken for granted."""
    assumed, pace = found.assumed, found.assumed.pace
    chip = found.hardware.chip
    told = [
        f"assumed: prompts of {assumed.prompt_tokens} and answers of {assumed.answer_tokens} tokens on average",
        f"assumed: {pace.mfu:.0%} of {chip.tflops:g} TFLOP/s while training (MFU), "
        f"{pace.bandwidth_share:.0%} of {chip.bandwidth:g} TB/s while decoding",
        "the update is counted with every sample it may take; judges drop some, and those cost nothing",
    ]
    if config.tasks.per_round is None and not config.tasks.path.startswith(TOOLBOX):
        told.append(f"tasks.per_round is not set: counted with {TOOLBOX_PER_ROUND} tasks a round")
    if engine_samples(config):
        share = config.model.vllm.gpu_memory_utilization
        told.append(f"the engine keeps its {share:.0%} of the first GPU's memory while updates run")
    if config.sample.endpoints:
        told.append("answers come from endpoints: sampling is their machines' work and is not counted")
    references = config.warmup.references
    if references is not None and references.path == OWN_TASKS:
        told.append("the warm-up is counted with as many references as it asks for")
    return told
