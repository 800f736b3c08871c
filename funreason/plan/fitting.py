"""The settings with which a configuration fits the GPUs at hand (`funreason plan --fit`).

First the changes that only cost speed are tried, and the fastest that fit is taken: how many tokens one pass has,
gradient checkpointing, shards over the GPUs, and where answers are sampled. Then those that train otherwise: bfloat16,
adapters, and at last a lower limit on the length of samples. Every try is planned whole, so what is found fits by the
plan's own arithmetic; changes that are not needed are taken back. Tasks, samples of a task and the length of answers
stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import product
from shlex import quote
from typing import Any, NamedTuple

from funreason.config import Config, ConfigError, check_config, with_changes
from funreason.plan.architecture import Architecture
from funreason.plan.cost_model import CHIPS, Chip
from funreason.plan.planning import Assumed, Hardware, Plan, engine_samples, plan

Settings = dict[str, Any]
"""Values by dotted keys."""
LORA_RANK = 16
ENGINE_SHARES = (0.2, 0.3, 0.4, 0.6, 0.8)
SHORTEST = 512
MORE_GPUS = (1, 2, 4, 8)


class Fit(NamedTuple):
    """The changed settings (empty: it fits as it is) and the plan with them.

    Where nothing fits, `plan` is the last try and has problems, and `larger` is the smallest hardware that is known to
    hold it with the settings changed for that; None where that is not known either.
    """

    settings: Settings
    plan: Plan
    larger: Hardware | None = None

    @property
    def found(self) -> bool:
        """Whether everything fits with these settings."""
        return not self.plan.problems

    @property
    def lines(self) -> list[str]:
        """The settings as options of `loop` and `plan`, quoted for a shell."""
        values = {key: json.dumps(value) for key, value in self.settings.items()}  # JSON is YAML
        return [f"--set {quote(f'{key}={value}')}" for key, value in values.items()]


def fit(config: Config, hardware: Hardware, assumed: Assumed) -> Fit:
    """Find the settings that change least and fit. ModelError when the model's sizes are unknown."""
    anywhere, asked = Hardware("any", Chip(2**20, 1, 1), 2**10), plan(config, hardware, assumed)
    samplings = _samplings(config, hardware, asked.model)
    if not any(plan_with(config, changes, anywhere, assumed).found for changes in samplings):
        return Fit({}, asked)  # what is wrong is no matter of memory
    found = _search(config, hardware, assumed)
    if found.found:
        return found
    for gpus in sorted({hardware.gpus, *(count for count in MORE_GPUS if count > hardware.gpus)}):
        for name, chip in sorted(CHIPS.items(), key=lambda item: item[1].memory):
            larger = Hardware(name, chip, gpus)
            if gpus * chip.memory > hardware.gpus * hardware.chip.memory and _search(config, larger, assumed).found:
                return found._replace(larger=larger)
    return found


def changed(config: Config, settings: Settings) -> Config:
    """A configuration with some settings changed, as `--set` does it. Raises ConfigError."""
    data = with_changes(config.model_dump(), settings)
    return check_config(data, "the configuration with the settings that --fit tries")


def plan_with(config: Config, settings: Settings, hardware: Hardware, assumed: Assumed) -> Fit:
    """The plan with some settings changed; settings that exclude each other are a problem of it."""
    try:
        return Fit(settings, plan(changed(config, settings), hardware, assumed))
    except ConfigError as error:
        found = plan(config, hardware, assumed)
        return Fit(settings, found._replace(problems=[*found.problems, str(error)]))


def _search(config: Config, hardware: Hardware, assumed: Assumed) -> Fit:
    def planned(settings: Settings) -> Fit:
        return plan_with(config, settings, hardware, assumed)

    last = Fit({}, plan(config, hardware, assumed))
    if last.found:
        return last
    parts, samplings = _parts(config), list(_samplings(config, hardware, last.plan.model))
    for group in _updates(config, parts, hardware, assumed):
        fitting: list[Fit] = []
        for changes in (update | sampling for update in group for sampling in samplings):
            last = planned(changes)
            if last.found:
                fitting.append(last)
        if fitting:
            fastest = min(fitting, key=_seconds)
            return _with_pass_sizes(_fewest(fastest, planned), parts, planned)
    return last


def _seconds(found: Fit) -> float:
    return sum(phase.seconds for phase in found.plan.phases)


def _parts(config: Config) -> dict[str, str]:
    """The sections that say how weights are trained, by the phase of a plan."""
    rounds = "reinforcement.update" if config.learns_from_rewards else "train.update"
    return {"update": rounds} | ({} if config.start.references is None else {"start": "start.update"})


def _updates(config: Config, parts: dict[str, str], hardware: Hardware, assumed: Assumed) -> Iterator[list[Settings]]:
    """Groups of changes to how weights are trained; those of one group teach the same."""
    updates = [config.round_update, *([config.start.update] if "start" in parts else [])]

    def all_parts(key: str, value: object) -> Settings:
        return {f"{part}.{key}": value for part in parts.values()}

    made: Settings = {}
    if any(update.launch.processes > hardware.gpus for update in updates):
        strategy = updates[0].launch.strategy if hardware.gpus > 1 else "none"
        made = all_parts("launch", {"processes": hardware.gpus, "strategy": strategy})
    same = [made]
    if any(update.lm_head == "naive" for update in updates):
        same.append(made := made | all_parts("lm_head", "auto"))
    same.append(made := made | all_parts("micro_tokens", None))
    same.append(made := made | all_parts("gradient_checkpointing", True))
    if hardware.gpus > 1:
        sharded = all_parts("launch", {"processes": hardware.gpus, "strategy": "fsdp2"})
        same += [each | sharded for each in same]
        made |= sharded
    yield same
    if config.model.dtype == "float32" and config.model.device.startswith("cuda"):
        made |= {"model.dtype": "bfloat16"}
        same = [each | {"model.dtype": "bfloat16"} for each in same]
        yield same
    if any(update.lora is None for update in updates):
        made |= all_parts("lora.rank", LORA_RANK)
        yield [each | all_parts("lora.rank", LORA_RANK) for each in same]
    length = max(update.max_length for update in updates)
    while length // 2 >= max(SHORTEST, assumed.prompt_tokens + assumed.answer_tokens):
        length //= 2
        yield [made | all_parts("max_length", length)]  # longer samples are refused then


def _samplings(config: Config, hardware: Hardware, model: Architecture) -> Iterator[Settings]:
    """Changes to how answers are sampled, one at a time; a model with sliding windows needs an engine."""
    yield {}
    if model.sliding and config.model.device == "cuda" and not engine_samples(config):
        yield from ({"model.sampler": "vllm", "model.vllm.gpu_memory_utilization": share} for share in ENGINE_SHARES)
    if engine_samples(config):
        engine, names = config.model.vllm, ("tensor_parallel", "max_num_seqs", "gpu_memory_utilization")
        usual = {
            min(engine.tensor_parallel, hardware.gpus),
            hardware.gpus,
            *(n for n in MORE_GPUS if n < hardware.gpus),
        }
        splits = sorted(count for count in usual if model.heads % count == 0)
        rows = sorted({engine.max_num_seqs, max(1, engine.max_num_seqs // 4)}, reverse=True)
        for values in product(splits, rows, sorted({engine.gpu_memory_utilization, *ENGINE_SHARES})):
            both = zip(names, values, strict=True)
            yield {f"model.vllm.{name}": value for name, value in both if value != getattr(engine, name)}
    tokens = config.sample.batch_tokens
    alone = {"model.sampler": "huggingface"} if engine_samples(config) else {}
    while tokens >= config.sample.max_new_tokens:
        yield alone | ({} if tokens == config.sample.batch_tokens else {"sample.batch_tokens": tokens})
        tokens //= 2


def _fewest(found: Fit, planned: Callable[[Settings], Fit]) -> Fit:
    """Without the changes that neither fitting nor speed needs; those that change most are taken back first."""
    for key in reversed(list(found.settings)):
        fewer = planned({name: value for name, value in found.settings.items() if name != key})
        if fewer.found and _seconds(fewer) <= _seconds(found):
            found = fewer
    return found


def _with_pass_sizes(found: Fit, parts: dict[str, str], planned: Callable[[Settings], Fit]) -> Fit:
    """With the tokens of a pass as a number where they were left to the free memory, so that a record holds it."""
    sizes = {f"{parts[p.name]}.micro_tokens": p.pass_tokens for p in found.plan.phases if p.name in parts}
    named = planned(found.settings | {key: size for key, size in sizes.items() if key in found.settings})
    return named if named.found else found
