"""What a configuration will need before anything of it starts: memory of each phase, tokens and hours of each round.

Computed from the model's config.json and the settings alone. What depends on data nobody has read yet (how long prompts
and answers are, how many samples pass) is an assumption, stated with the result. Times are of the work on GPUs;
judging overlaps with sampling and is not counted.
"""

from __future__ import annotations

from funreason.config import Config, Update
from funreason.loops.advising import notes, problems
from funreason.loops.building import model_path
from funreason.loops.planned import ITEM, Assumed, Hardware, Phase, Plan, engine_samples
from funreason.loops.sources import HELD_OUT, HELD_OUT_MOST, TOOLBOX_PER_ROUND
from funreason.models import footprint, workload
from funreason.models.architecture import Architecture, read_architecture
from funreason.models.errors import ModelError
from funreason.models.footprint import MOST_ROWS, Lora, SamplingShape, UpdateShape
from funreason.models.workload import CHIPS

HEAD_CHUNK_BYTES = 2**29
ANY_CHIP = "a100-80"  # speed does not matter where only memory is asked for
SUITE_COUNT = 200  # cases of a suite whose size is not configured


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
    found.problems.extend(problems(config, found))
    found.notes.extend(notes(config, found))
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


def _sampling_shape(config: Config, assumed: Assumed, item: int) -> SamplingShape:
    if engine_samples(config):  # pages hold what is there, not the longest there may be
        rows = config.model.vllm.max_num_seqs
        return SamplingShape(rows * (assumed.prompt_tokens + assumed.answer_tokens), rows, item)
    # A batch is filled up to its token budget, and every row counts with the longest completion there may be.
    k, longest = config.sample.k, config.sample.max_new_tokens
    per_task = assumed.prompt_tokens + k * longest
    tasks = max(1, min(config.sample.batch_tokens // per_task, MOST_ROWS // k))
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
    if engine_samples(config):  # it keeps its share while others work
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
    # What `training.lm_head` takes at a time on a GPU by default; asking it would load torch.
    if update.lm_head == "naive":
        return None
    return update.lm_head_chunk or max(32, HEAD_CHUNK_BYTES // (4 * model.vocabulary) // 32 * 32)


def _tasks(config: Config) -> int:
    return config.tasks.per_round or TOOLBOX_PER_ROUND


def _replay(update: Update) -> int:
    return update.replay.count if update.replay is not None else 0


def _cases(path: str, count: int | None) -> int:
    return count or (HELD_OUT_MOST if path == HELD_OUT else SUITE_COUNT)
