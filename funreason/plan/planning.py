"""What a configuration will need before anything of it starts: memory of each phase, tokens and hours of each round.

Computed from the model's config.json and the settings alone. What depends on unread data (how long prompts and answers
are, how many samples pass) is an assumption, reported with the result. Times are of the work on GPUs; judging overlaps
with sampling and is not counted.
"""

from __future__ import annotations

from funreason.config import Config, Update
from funreason.errors import ModelError
from funreason.plan.advice import ITEM, Assumed, Hardware, Phase, Plan, engine_samples, notes, problems
from funreason.plan.architecture import read_architecture
from funreason.plan.cost_model import (
    CHIPS,
    LoraShape,
    SamplingShape,
    UpdateShape,
    decoding_rate,
    reading_seconds,
    sampling_memory,
    update_memory,
    update_seconds,
)
from funreason.policies.factory import model_path
from funreason.policies.protocol import MOST_ROWS
from funreason.sources.tasks import HELD_OUT, HELD_OUT_MOST, TOOLBOX_PER_ROUND

HEAD_CHUNK_BYTES = 2**29
ANY_CHIP = "a100-80"  # speed does not matter where only memory is asked for
SUITE_COUNT = 200  # cases of a suite whose size is not configured


def plan(config: Config, hardware: Hardware, assumed: Assumed) -> Plan:
    """The plan of a configuration; ModelError when its model's sizes cannot be known."""
    model = read_architecture(model_path(config.model.path))
    found = Plan(model, hardware, assumed, [], [], [])
    if not config.sample.endpoints:
        each = config.sample.samples_per_task
        found.phases.append(_decoding("sample", config, found, prompts=_tasks(config), k=each))
    if config.start.references is not None:
        update = config.start.update
        count = config.start.references.count + _replay(update)
        found.phases.append(_update("start", config, update, count, found))
    update = config.train.update
    most = _tasks(config) * min(config.sample.samples_per_task, config.train.max_per_task) + _replay(update)
    found.phases.append(_update("update", config, update, most, found))
    cases = 0
    for suite in config.gate.suites.values():
        cases += suite.count or (HELD_OUT_MOST if suite.path == HELD_OUT else SUITE_COUNT)
    # Old weights are not asked again: a round measures one candidate.
    found.phases.append(_decoding("gate", config, found, prompts=cases, k=1))
    found.problems.extend(problems(config, found))
    found.notes.extend(notes(config, found))
    return found


def warn_if_it_will_not_fit(config: Config) -> list[str]:
    """What will not fit on the GPUs that a run is about to use; nothing on a CPU, or where no sizes can be known."""
    if not config.model.device.startswith("cuda"):
        return []
    import torch

    memory = torch.cuda.get_device_properties(config.model.device).total_memory / 2**30
    chip = CHIPS[ANY_CHIP]._replace(memory=memory)
    try:
        return plan(config, Hardware("this GPU", chip, torch.cuda.device_count()), Assumed()).problems
    except ModelError:  # a family whose sizes are not counted here may still fit
        return []


def _decoding(name: str, config: Config, found: Plan, *, prompts: int, k: int) -> Phase:
    """A phase that writes `k` answers to each of `prompts`: sampling, or a gate's measurement."""
    model, chip, assumed, item = found.model, found.hardware.chip, found.assumed, ITEM[config.model.dtype]
    shape = _sampling_shape(config, assumed, item)
    if name == "gate":
        shape = shape._replace(rows=max(1, min(prompts, shape.rows)))
    length = assumed.prompt_tokens + assumed.answer_tokens / 2
    rate = decoding_rate(model, chip, assumed.pace, rows=shape.rows, length=length, item=item)
    written, read = float(prompts * k * assumed.answer_tokens), float(prompts * assumed.prompt_tokens)
    seconds = written / rate + reading_seconds(model, chip, assumed.pace, tokens=read)
    return Phase(name, sampling_memory(model, shape), 1, written + read, seconds)


def _sampling_shape(config: Config, assumed: Assumed, item: int) -> SamplingShape:
    if engine_samples(config):  # pages hold what is there, not the longest there may be
        rows = config.model.vllm.max_num_seqs
        return SamplingShape(rows * (assumed.prompt_tokens + assumed.answer_tokens), rows, item)
    # A batch is filled up to its token budget, and every row counts with the longest completion there may be.
    k, longest = config.sample.samples_per_task, config.sample.max_new_tokens
    per_task = assumed.prompt_tokens + k * longest
    tasks = max(1, min(config.sample.batch_tokens // per_task, MOST_ROWS // k))
    return SamplingShape(tokens=tasks * per_task, rows=tasks * k, item=item)


def _update(name: str, config: Config, update: Update, samples: int, found: Plan) -> Phase:
    model, hardware, assumed = found.model, found.hardware, found.assumed
    # The chunk that the loss's head takes at a time on a GPU by default; asking it would load torch.
    chunk = update.lm_head_chunk or max(32, HEAD_CHUNK_BYTES // (4 * model.vocabulary) // 32 * 32)
    shape = UpdateShape(
        tokens=max(update.micro_tokens, update.max_length),  # a sample longer than the budget is a batch of its own
        item=ITEM[config.model.dtype],
        checkpointing=update.gradient_checkpointing,
        lora=None if update.lora is None else LoraShape(update.lora.rank, tuple(update.lora.targets)),
        strategy=update.launch.strategy,
        processes=update.launch.processes,
        head_chunk=None if update.lm_head == "naive" else chunk,
    )
    memory = update_memory(model, shape)
    if engine_samples(config):  # it keeps its share while others work
        memory["engine"] = config.model.vllm.gpu_memory_utilization * hardware.chip.memory * 2**30
    length = assumed.prompt_tokens + assumed.answer_tokens
    tokens = float(samples * update.epochs * length)
    seconds = update_seconds(model, shape, hardware.chip, assumed.pace, tokens=tokens, length=length)
    return Phase(name, memory, shape.processes, tokens, seconds)


def _tasks(config: Config) -> int:
    return config.tasks.per_round or TOOLBOX_PER_ROUND


def _replay(update: Update) -> int:
    return update.replay.count if update.replay is not None else 0
