"""What a configuration will need before anything of it starts: memory of each phase, tokens and hours of each round.

Computed from the model's config.json and the settings alone. What depends on data nobody has read yet (how long prompts
and answers are, how many samples pass) is an assumption, stated with the result. Times are of the work on GPUs;
judging overlaps with sampling and is not counted.
"""

from __future__ import annotations

from typing import NamedTuple

from funreason.config import OWN_TASKS, Config, Update
from funreason.loops.building import model_path
from funreason.loops.sources import HELD_OUT, HELD_OUT_MOST, TOOLBOX, TOOLBOX_PER_ROUND
from funreason.models import footprint, workload
from funreason.models.architecture import Architecture, read_architecture
from funreason.models.errors import ModelError
from funreason.models.footprint import Lora, Parts, SamplingShape, UpdateShape
from funreason.models.workload import CHIPS, Chip, Pace

ITEM = {"float32": 4, "bfloat16": 2}
MAX_ROWS = 512  # the most rows the in-process sampler decodes at once
HEAD_CHUNK_BYTES = 2**29
ANY_CHIP = "a100-80"  # speed does not matter where only memory is asked for
SUITE_COUNT = 200  # cases of a suite whose size is not configured


class Assumed(NamedTuple):
    """What nobody knows before the run. The answer's length is the papers' mean, 350.74 thinking and 31.07 result."""

    prompt_tokens: int = 400
    answer_tokens: int = 382
    pace: Pace = Pace()


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
    """A configuration's needs. `problems` says what will not work as it stands, and what to change."""

    model: Architecture
    hardware: Hardware
    assumed: Assumed
    phases: list[Phase]
    problems: list[str]
    notes: list[str]

    def fits(self, phase: Phase) -> bool:
        """Whether a phase stays within one GPU's memory."""
        return phase.total <= self.hardware.chip.memory * 2**30


def plan(config: Config, hardware: Hardware, assumed: Assumed) -> Plan:
    """The plan of a configuration; ModelError when its model's sizes cannot be known."""
    model = read_architecture(model_path(config.model.path))
    found = Plan(model, hardware, assumed, [], [], [])
    if not config.sample.endpoints:
        found.phases.append(_sampling(config, found))
    if config.warmup.references is not None:
        update = config.warmup.update
        count = config.warmup.references.count + _replay(update)
        found.phases.append(_update("warm-up", config, update, count, found))
    update = config.train.update
    most = _tasks(config) * min(config.sample.k, config.train.per_task) + _replay(update)
    found.phases.append(_update("update", config, update, most, found))
    found.phases.append(_gate(config, found))
    found.problems.extend(_problems(config, found))
    found.notes.extend(_notes(config, found))
    return found


def foreseen(config: Config) -> list[str]:
    """What will not fit on the GPUs that a run is about to use; nothing on a CPU, or where no sizes can be known."""
    if not config.model.device.startswith("cuda"):
        return []
    import torch

    memory = torch.cuda.get_device_properties(config.model.device).total_memory / 2**30
    chip = CHIPS[ANY_CHIP]._replace(memory=memory)
    try:
        return plan(config, Hardware("this GPU", chip, torch.cuda.device_count()), Assumed()).problems
    except ModelError:  # a family whose sizes nobody counted: no reason not to try
        return []


def _sampling(config: Config, found: Plan) -> Phase:
    model, chip, assumed, item = found.model, found.hardware.chip, found.assumed, ITEM[config.model.dtype]
    shape = _sampling_shape(config, assumed, item)
    tasks, k = _tasks(config), config.sample.k
    length = assumed.prompt_tokens + assumed.answer_tokens / 2
    rate = workload.decoding_rate(model, chip, assumed.pace, rows=shape.rows, length=length, item=item)
    written, read = float(tasks * k * assumed.answer_tokens), float(tasks * assumed.prompt_tokens)
    seconds = written / rate + workload.reading_seconds(model, chip, assumed.pace, tokens=read)
    return Phase("sample", footprint.sampling_memory(model, shape), 1, written + read, seconds)


def _engine(config: Config) -> bool:
    """Whether a vLLM engine samples on the GPU."""
    return config.model.sampler == "vllm" and config.model.device.startswith("cuda")


def _sampling_shape(config: Config, assumed: Assumed, item: int) -> SamplingShape:
    if _engine(config):  # pages hold what is there, not the longest there may be
        rows = config.model.vllm.max_num_seqs
        return SamplingShape(rows * (assumed.prompt_tokens + assumed.answer_tokens), rows, item)
    # A batch is filled up to its token budget, and every row counts with the longest completion there may be.
    k, longest = config.sample.k, config.sample.max_new_tokens
    per_task = assumed.prompt_tokens + k * longest
    tasks = max(1, min(config.sample.batch_tokens // per_task, MAX_ROWS // k))
    return SamplingShape(tokens=tasks * per_task, rows=tasks * k, item=item)


def _gate(config: Config, found: Plan) -> Phase:
    """Old and new weights are never asked twice: a round measures one candidate."""
    model, chip, assumed, item = found.model, found.hardware.chip, found.assumed, ITEM[config.model.dtype]
    cases = sum(_cases(suite.path, suite.count) for suite in config.gate.suites.values())
    shape = _sampling_shape(config, assumed, item)
    length = assumed.prompt_tokens + assumed.answer_tokens / 2
    rows = max(1, min(cases, shape.rows))
    rate = workload.decoding_rate(model, chip, assumed.pace, rows=rows, length=length, item=item)
    written, read = float(cases * assumed.answer_tokens), float(cases * assumed.prompt_tokens)
    seconds = written / rate + workload.reading_seconds(model, chip, assumed.pace, tokens=read)
    return Phase("gate", footprint.sampling_memory(model, shape._replace(rows=rows)), 1, written + read, seconds)


def _update(name: str, config: Config, update: Update, samples: int, found: Plan) -> Phase:
    model, hardware, assumed = found.model, found.hardware, found.assumed
    shape = _update_shape(config, update, model)
    memory = footprint.update_memory(model, shape)
    if _engine(config):  # it keeps its share while others work
        memory["engine"] = config.model.vllm.gpu_memory_utilization * hardware.chip.memory * 2**30
    length = assumed.prompt_tokens + assumed.answer_tokens
    tokens = float(samples * update.epochs * length)
    seconds = workload.update_seconds(model, shape, hardware.chip, assumed.pace, tokens=tokens, length=length)
    return Phase(name, memory, shape.processes, tokens, seconds)


def _update_shape(config: Config, update: Update, model: Architecture) -> UpdateShape:
    lora = None if update.lora is None else Lora(update.lora.rank, tuple(update.lora.targets))
    return UpdateShape(
        tokens=max(update.micro_tokens, update.max_length),  # a sample longer than the budget stands alone
        item=ITEM[config.model.dtype],
        checkpointing=update.gradient_checkpointing,
        lora=lora,
        strategy=update.launch.strategy,
        processes=update.launch.processes,
        head_chunk=_head_chunk(update, model),
    )


def _head_chunk(update: Update, model: Architecture) -> int | None:
    # What `srml.head` takes at a time on a GPU by default; asking it would load torch.
    if update.head == "naive":
        return None
    return update.head_chunk or max(32, HEAD_CHUNK_BYTES // (4 * model.vocabulary) // 32 * 32)


def _tasks(config: Config) -> int:
    return config.tasks.per_round or TOOLBOX_PER_ROUND


def _replay(update: Update) -> int:
    return update.replay.count if update.replay is not None else 0


def _cases(path: str, count: int | None) -> int:
    return count or (HELD_OUT_MOST if path == HELD_OUT else SUITE_COUNT)


def _problems(config: Config, found: Plan) -> list[str]:
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
    if _engine(config):
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
    if phase.name in ("sample", "gate") and _engine(config):
        return "lower model.vllm.max_num_seqs, or raise model.vllm.tensor_parallel."
    if phase.name in ("sample", "gate"):
        lower = "lower sample.batch_tokens, sample.k or sample.max_new_tokens"
        return f"{lower}." if largest == "keys and values" else f"{lower}, or use model.dtype=bfloat16."
    tries = ["lower model.vllm.gpu_memory_utilization"] if _engine(config) else []
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


def _notes(config: Config, found: Plan) -> list[str]:
    """What was taken for granted."""
    assumed, pace = found.assumed, found.assumed.pace
    chip = found.hardware.chip
    notes = [
        f"assumed: prompts of {assumed.prompt_tokens} and answers of {assumed.answer_tokens} tokens on average",
        f"assumed: {pace.mfu:.0%} of {chip.tflops:g} TFLOP/s while training (MFU), "
        f"{pace.bandwidth_share:.0%} of {chip.bandwidth:g} TB/s while decoding",
        "the update is counted with every sample it may take; judges drop some, and those cost nothing",
    ]
    if config.tasks.per_round is None and not config.tasks.path.startswith(TOOLBOX):
        notes.append(f"tasks.per_round is not set: counted with {TOOLBOX_PER_ROUND} tasks a round")
    if _engine(config):
        share = config.model.vllm.gpu_memory_utilization
        notes.append(f"the engine keeps its {share:.0%} of the first GPU's memory while updates run")
    if config.sample.endpoints:
        notes.append("answers come from endpoints: sampling is their machines' work and is not counted")
    references = config.warmup.references
    if references is not None and references.path == OWN_TASKS:
        notes.append("the warm-up is counted with as many references as it asks for")
    update = config.train.update
    if config.model.dtype == "bfloat16" and update.lora is None and update.launch.strategy == "none":
        notes.append("in one process weights and moments are bfloat16 too, which loses small changes of weights")
    return notes
