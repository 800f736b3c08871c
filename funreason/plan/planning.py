"""What a configuration will need before anything of it starts: memory of each phase, tokens and hours of each round.

Computed from the model's config.json and the settings alone. What depends on unread data (how long prompts and answers
are, how many samples pass) is an assumption, reported with the result. Times are of the work on GPUs; judging overlaps
with sampling and is not counted. A plan also says what will not work and what to change.
"""

from __future__ import annotations

from typing import NamedTuple

from funreason.config import OWN_TASKS, Config, Update
from funreason.errors import ModelError
from funreason.plan.architecture import Architecture, read_architecture
from funreason.plan.cost_model import (
    CHIPS,
    CPU_PASS_TOKENS,
    LAYER_LAUNCH_S,
    PASS_SHARE,
    Chip,
    LoraShape,
    Parts,
    ReachedSpeed,
    SamplingShape,
    UpdateShape,
    decoding_rate,
    pass_tokens,
    reading_seconds,
    sampling_memory,
    update_memory,
    update_seconds,
    usual_mfu,
)
from funreason.policies.factory import SamplerChoice, choose_sampler, model_path
from funreason.policies.gguf_files import converted_folder, gguf_of
from funreason.policies.protocol import MOST_ROWS
from funreason.sources.tasks import HELD_OUT, HELD_OUT_MOST, TOOLBOX, TOOLBOX_PER_ROUND

ITEM = {"float32": 4, "bfloat16": 2}
"""Bytes of a number."""


class Assumed(NamedTuple):
    """What is unknown before the run: mean lengths in tokens, and the speed that is reached.

    The answer's length is the papers' mean, 350.74 tokens of thinking and 31.07 of result. Without a `pace` an update
    reaches what was measured for models of its size.
    """

    prompt_tokens: int = 400
    answer_tokens: int = 382
    pace: ReachedSpeed | None = None


class Hardware(NamedTuple):
    """The GPUs, all alike."""

    name: str
    chip: Chip
    gpus: int


class Phase(NamedTuple):
    """One phase: bytes on its fullest GPU by part, tokens and seconds of a round.

    `gpus` is how many it is configured for; memory and seconds are of those that there are. `each` is the bytes on each
    of the configured ones. `pass_tokens` is the most tokens of one forward pass of an update.
    """

    name: str
    memory: Parts
    gpus: int
    tokens: float
    seconds: float
    each: float = 0.0
    pass_tokens: int = 0

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
    sampler: SamplerChoice
    pace: ReachedSpeed

    def fits(self, phase: Phase) -> bool:
        """Whether a phase stays within one GPU's memory."""
        return phase.total <= self.hardware.chip.memory * 2**30

    @property
    def verdict(self) -> str:
        """Whether it works, in one line: the fullest phase and the time of a round, or how much is missing."""
        memory = self.hardware.chip.memory
        fullest = max(self.phases, key=lambda phase: (round(phase.total / 2**30, 1), phase.name == "update"))
        most = f"{fullest.total / 2**30:.1f} of {memory:g} GiB ({fullest.name})"
        if not self.fits(fullest):
            return f"✗ does not fit: needs {most} on each GPU"
        if self.problems:
            return f"✗ will not work: memory would do, at most {most}, but not the rest"
        seconds = sum(phase.seconds for phase in self.phases if phase.name != "start")
        return f"✓ everything fits: at most {most}, {duration(seconds)} a round"

    def __str__(self) -> str:
        hardware, rows = self.hardware, []
        for phase in self.phases:
            fits = "fits" if self.fits(phase) else "does not fit"
            rows.append(f"{phase.name:<8} {phase.total / 2**30:8.1f} GiB  {phase.seconds:10,.0f} s  {fits}")
        head = f"{self.model.name} on {hardware.gpus} × {hardware.name}, {hardware.chip.memory:g} GiB each"
        return "\n".join([self.verdict, head, *rows, *(f"✗ {problem}" for problem in self.problems)])


def duration(seconds: float) -> str:
    """`40 s`, `69 min` or `1.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def engine_samples(config: Config) -> bool:
    """Whether a vLLM engine samples on the GPU."""
    return choose_sampler(config.model).name == "vllm" and config.model.device.startswith("cuda")


def problems(config: Config, found: Plan) -> list[str]:
    """Everything that will not work, each with what to change."""
    memory = found.hardware.chip.memory
    lines = []
    for phase in found.phases:
        if not found.fits(phase):
            over = phase.total / 2**30 - memory
            need = f"{phase.name} needs {phase.total / 2**30:.1f} GiB on each GPU, {over:.1f} GiB more than a GPU has"
            lines.append(f"{need}: {remedy(config, phase)}")
        if phase.gpus > found.hardware.gpus:
            count = found.hardware.gpus
            there = "there is 1 GPU" if count == 1 else f"there are {count} GPUs"
            lines.append(
                f"{phase.name} asks for {phase.gpus} GPUs, with {phase.each / 2**30:.1f} GiB on each and "
                f"{phase.gpus * phase.each / 2**30:.0f} GiB in all, and {there}."
            )
    if engine_samples(config):
        room = config.model.vllm.gpu_memory_utilization * memory
        if found.model.heads % config.model.vllm.tensor_parallel:
            parts = config.model.vllm.tensor_parallel
            lines.append(f"an engine cannot split {found.model.heads} heads over model.vllm.tensor_parallel={parts}.")
        split = min(config.model.vllm.tensor_parallel, found.hardware.gpus)
        if found.model.parameters * ITEM[config.model.dtype] / split > room * 2**30:
            lines.append(
                f"the engine's {room:.1f} GiB do not hold the weights: raise model.vllm.gpu_memory_utilization."
            )
    elif found.model.sliding:
        lines.append(
            f"{found.model.sliding} of {found.model.layers} layers attend to a sliding window, which the in-process "
            "sampler does not compute: use model.sampler=vllm with model.device=cuda."
        )
    longest = found.assumed.prompt_tokens + config.sample.max_new_tokens
    if longest > found.model.context:
        lines.append(f"a prompt and an answer take {longest} tokens, and the model's context is {found.model.context}.")
    return lines


def remedy(config: Config, phase: Phase) -> str:
    """The settings to change when a phase does not fit, by the part of its memory that is largest."""
    largest = max(phase.memory, key=lambda part: phase.memory[part])
    update = config.start.update if phase.name == "start" else config.round_update
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
    if largest in ("activations", "backward", "head") and (update.micro_tokens or 0) > update.max_length:
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
    assumed, pace = found.assumed, found.pace
    chip = found.hardware.chip
    lines = [
        f"assumed: prompts of {assumed.prompt_tokens} and answers of {assumed.answer_tokens} tokens on average",
        f"assumed: {pace.mfu:.0%} of {chip.tflops:g} TFLOP/s while training (MFU), "
        f"{pace.bandwidth_share:.0%} of {chip.bandwidth:g} TB/s while decoding",
        "the update is counted with every sample it may take; judges drop some, and those cost nothing",
    ]
    if config.resamples_hard_tasks:
        lines.append(
            f"counted is round 1, which sorts all tasks; each of up to {config.hdr.max_rounds} later rounds asks the "
            f"hard ones alone, {config.hdr.samples} times each (3.5 % of the tasks in the paper)"
        )
    if config.tasks.per_round is None and not config.tasks.path.startswith(TOOLBOX):
        lines.append(f"tasks.per_round is not set: counted with {TOOLBOX_PER_ROUND} tasks a round")
    if config.model.device.startswith("cuda"):
        lines.append(str(choose_sampler(config.model)))
    if not engine_samples(config):
        each = LAYER_LAUNCH_S * found.model.layers
        lines.append(f"assumed: a decoding step in process takes {1000 * each:.0f} ms at least, as on an H200")
    if engine_samples(config):
        share = config.model.vllm.gpu_memory_utilization
        lines.append(f"the engine keeps its {share:.0%} of the first GPU's memory while updates run")
    if config.sample.endpoints:
        lines.append("answers come from endpoints: sampling runs on their machines and is not counted")
    references = config.start.references
    if references is not None and references.path == OWN_TASKS:
        lines.append("the supervised start is counted with as many references as it asks for")
    return lines


HEAD_CHUNK_BYTES = 2**29
ANY_CHIP = "a100-80"  # speed does not matter where only memory is asked for
SUITE_COUNT = 200  # cases of a suite whose size is not configured


def plan(config: Config, hardware: Hardware, assumed: Assumed) -> Plan:
    """The plan of a configuration; ModelError when its model's sizes cannot be known.

    A vLLM engine that the settings leave open is counted only where everything fits beside it, or nothing does without.
    """
    found = _counted(config, hardware, assumed)
    if config.model.sampler == "auto" and engine_samples(config) and found.problems:
        model = config.model.model_copy(update={"sampler": "huggingface"})
        alone = _counted(config.model_copy(update={"model": model}), hardware, assumed)
        if not alone.problems:
            alone.notes.remove(str(choose_sampler(model)))
            choice = SamplerChoice("huggingface", "because not everything fits beside a vLLM engine")
            return alone._replace(notes=[*alone.notes, str(choice)], sampler=choice)
    return found


def _counted(config: Config, hardware: Hardware, assumed: Assumed) -> Plan:
    path = model_path(config.model.path)
    file = gguf_of(path)
    if file is not None:
        path = converted_folder(file, config.model.dtype)
        if not path.is_dir():
            raise ModelError(f"{file}: the sizes in a GGUF file are known here once a run has converted it.")
    model = read_architecture(path)
    found = Plan(
        model,
        hardware,
        assumed,
        [],
        [],
        [],
        choose_sampler(config.model),
        assumed.pace or ReachedSpeed(usual_mfu(model)),
    )
    tasks, each, learned = _tasks(config), config.sample.samples_per_task, config.train.max_per_task
    if config.learns_from_rewards:
        rewards = config.reinforcement
        tasks, each = rewards.steps_per_round * rewards.prompts_per_step, rewards.group_size
        learned = each
    if not config.sample.endpoints:
        found.phases.append(_decoding("sample", config, found, prompts=tasks, k=each))
    if config.start.references is not None:
        update = config.start.update
        count = config.start.references.count + _replay(update)
        found.phases.append(_update("start", config, update, count, found))
    update = config.round_update
    most = tasks * min(each, learned) + _replay(update)
    found.phases.append(_update("update", config, update, most, found))
    cases = 0
    for suite in config.gate.suites.values():
        if suite.kind == "text":  # read, not answered
            continue
        cases += suite.count or (HELD_OUT_MOST if suite.path == HELD_OUT else SUITE_COUNT)
    # Old weights are not asked again: a round measures one candidate.
    found.phases.append(_decoding("gate", config, found, prompts=cases, k=1))
    found.problems.extend(problems(config, found))
    found.notes.extend(notes(config, found))
    return found


def fitting_sampler(config: Config) -> SamplerChoice:
    """The sampler of a run that trains on the GPUs at hand: an engine must leave its updates enough memory."""
    choice = choose_sampler(config.model)
    found = plan_here(config) if config.model.sampler == "auto" and choice.name == "vllm" else None
    return choice if found is None else found.sampler


def warn_if_it_will_not_fit(config: Config) -> list[str]:
    """What will not fit on the GPUs that a run is about to use; nothing on a CPU, or where no sizes can be known."""
    found = plan_here(config)
    return [] if found is None else found.problems


def plan_here(config: Config) -> Plan | None:
    """The plan for the GPUs of this machine; None on a CPU, or where no sizes can be known."""
    if not config.model.device.startswith("cuda"):
        return None
    import torch

    if not torch.cuda.is_available():  # loading the model says so
        return None
    memory = torch.cuda.get_device_properties(config.model.device).total_memory / 2**30
    chip = CHIPS[ANY_CHIP]._replace(memory=memory)
    try:
        return plan(config, Hardware("this GPU", chip, torch.cuda.device_count()), Assumed())
    except ModelError:  # a family whose sizes are not counted here may still fit
        return None


def _decoding(name: str, config: Config, found: Plan, *, prompts: int, k: int) -> Phase:
    """A phase that writes `k` answers to each of `prompts`: sampling, or a gate's measurement."""
    model, chip, assumed, item = found.model, found.hardware.chip, found.assumed, ITEM[config.model.dtype]
    if engine_samples(config):  # pages hold what is there, not the longest there may be
        rows = config.model.vllm.max_num_seqs
        tokens = rows * (assumed.prompt_tokens + assumed.answer_tokens)
        shape = SamplingShape(tokens, rows, item, config.model.vllm.tensor_parallel)
    else:
        # A batch is filled up to its token budget, and every row counts with the longest completion there may be.
        group, longest = k if name == "sample" else config.sample.samples_per_task, config.sample.max_new_tokens
        per_task = assumed.prompt_tokens + group * longest
        tasks = max(1, min(config.sample.batch_tokens // per_task, MOST_ROWS // group))
        shape = SamplingShape(tokens=tasks * per_task, rows=tasks * group, item=item)
    if name == "gate":
        shape = shape._replace(rows=max(1, min(prompts, shape.rows)))
    length = assumed.prompt_tokens + assumed.answer_tokens / 2
    launched = not engine_samples(config)
    rate = decoding_rate(model, chip, found.pace, rows=shape.rows, length=length, item=item, launched=launched)
    written, read = float(prompts * k * assumed.answer_tokens), float(prompts * assumed.prompt_tokens)
    gpus = min(shape.split, found.hardware.gpus)
    seconds = (written / rate + reading_seconds(model, chip, found.pace, tokens=read)) / gpus
    memory, each = (sampling_memory(model, shape._replace(split=split)) for split in (gpus, shape.split))
    return Phase(name, memory, shape.split, written + read, seconds, sum(each.values()))


def _update(name: str, config: Config, update: Update, samples: int, found: Plan) -> Phase:
    model, hardware, assumed = found.model, found.hardware, found.assumed
    # The chunk that the loss's head takes at a time on a GPU by default; asking it would load torch.
    chunk = update.lm_head_chunk or max(32, HEAD_CHUNK_BYTES // (4 * model.vocabulary) // 32 * 32)
    shape = UpdateShape(
        tokens=0,
        item=ITEM[config.model.dtype],
        checkpointing=update.gradient_checkpointing,
        lora=None if update.lora is None else LoraShape(update.lora.rank, tuple(update.lora.targets)),
        strategy=update.launch.strategy,
        processes=update.launch.processes,
        head_chunk=None if update.lm_head == "naive" or not model.plain_head else chunk,
    )
    engine = config.model.vllm.gpu_memory_utilization if engine_samples(config) else 0.0

    def counted(processes: int) -> tuple[UpdateShape, Parts]:
        """The update on so many GPUs; a vLLM engine keeps its share of the fullest meanwhile."""
        here = shape._replace(processes=processes)
        room = PASS_SHARE * (1 - engine) * hardware.chip.memory * 2**30
        fitting = pass_tokens(model, here, room) if config.model.device.startswith("cuda") else CPU_PASS_TOKENS
        # A sample longer than a pass may be is a pass of its own.
        here = here._replace(tokens=max(update.micro_tokens or fitting, update.max_length))
        kept = {"engine": engine * hardware.chip.memory * 2**30} if engine else {}
        return here, update_memory(model, here) | kept

    # With fewer GPUs than processes, each of them would have to hold more.
    here, memory = counted(min(shape.processes, hardware.gpus))
    each = sum(counted(shape.processes)[1].values())
    length = assumed.prompt_tokens + assumed.answer_tokens
    tokens = float(samples * update.epochs * length)
    seconds = update_seconds(model, here, hardware.chip, found.pace, tokens=tokens, length=length)
    return Phase(name, memory, shape.processes, tokens, seconds, each, here.tokens)


def _tasks(config: Config) -> int:
    return config.tasks.per_round or TOOLBOX_PER_ROUND


def _replay(update: Update) -> int:
    return update.replay.count if update.replay is not None else 0
