"""Builds a world: the one place where configuration meets libraries.

Order matters for whoever made a mistake: what is cheap to check (tasks, graph, judges) comes before what is slow
(torch, the model).
"""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from funreason.agents.evaluator import Evaluator
from funreason.agents.gate import Rule
from funreason.agents.messages import Accepted
from funreason.agents.references import usable_references
from funreason.config import OWN_TASKS, Config, ConfigError, Gate
from funreason.data.refusal import DataError, Refusal
from funreason.loops.contamination import Finding, Screen
from funreason.loops.endpoints import budget_of, endpoint_sampler, speaker_of
from funreason.loops.gates import gate_suites
from funreason.loops.graphs import loop_graph
from funreason.loops.interrupt import StopRequest
from funreason.loops.journal import Journal
from funreason.loops.judging import check_judges
from funreason.loops.panels import build_panel
from funreason.loops.sources import Pool, hold_out, read_pool, references, warmup_tasks
from funreason.loops.updating import Updating
from funreason.loops.world import World
from funreason.models.policy import Policy
from funreason.models.protocol import Sampler, Sync
from funreason.models.vllm_environment import prepare
from funreason.record.folder import RunFolder
from funreason.record.state import State
from funreason.record.types import Task

EMBEDDED_MODEL = "toolbox"


def build_world(config: Config, folder: RunFolder, journal: Journal, stop: StopRequest, past: State) -> World:
    """Everything a run needs; ConfigError, DataError, GraphError, PluginError or ModelError say what is wrong."""
    loop_graph(config.fcdr)
    check_judges(config.fcdr)
    require_learnable(config)
    pool = read_pool(config.tasks, config.rounds, config.seed)
    held = hold_out(pool, config.gate.suites.values())
    suites = gate_suites(config.gate.suites, held.gate, folder.gate_items)
    if not any(suite.role == "decide" for suite in suites):
        raise ConfigError("gate.suites has none with the role `decide`: nothing could say whether new weights stay.")
    pool = replace(pool, tasks=held.train, refusals=[*pool.refusals, *_held_out(held.gate)])
    screen = Screen([task.query for suite in suites for task in suite.tasks], config.gate.contamination)
    pool = screened(pool, screen, _supervised(config))
    require_something_to_learn(config, pool, screen)
    budget = budget_of(config, past)
    served = endpoint_sampler(config, budget)
    policy, base = build_policy(config)
    require_room_to_think(policy, pool, config)
    return World(
        config,
        journal,
        stop,
        policy,
        speaker_of(config, policy, served, journal.write),
        pool,
        Evaluator(policy, suites, rule_of(config.gate), folder.path / "gate", journal.write),
        Updating(policy, folder, journal.write, stop, config),
        base,
        past,
        screen,
        build_panel(config, policy, budget),
    )


def build_policy(config: Config) -> tuple[Policy, Accepted]:
    """The model in use, and which weights those are."""
    wait_passively()
    if config.model.sampler == "vllm":
        prepare(config.model.device, compiled=config.model.vllm.enforce_eager is False)
    from funreason.models.loading import load_model, load_tokenizer, weights_id_of
    from funreason.models.threads import use_threads

    use_threads(config.model.threads)
    path = model_path(config.model.path)
    model = load_model(path, config.model.device, config.model.dtype)
    tokenizer = load_tokenizer(path, model)
    base = Accepted(weights_id_of(model), path)
    sampler, started = _sampler(config, base, model, tokenizer)
    policy = Policy(
        sampler,
        tokenizer,
        style=config.model.prompt,
        seed=config.seed,
        tags=config.model.think_tags,
        variables=config.model.template,
        started=started,
    )
    return policy, base


def _sampler(config: Config, base: Accepted, model: Any, tokenizer: Any) -> tuple[Sampler, Sync | None]:
    settings, sampling = config.model, config.sample
    given: dict[str, Any] = {
        "weights_id": base.weights_id,
        "max_new_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if settings.sampler == "huggingface":
        from funreason.models.huggingface import HuggingFaceSampler

        return HuggingFaceSampler(model, tokenizer, token_budget=sampling.batch_tokens, **given), None
    from funreason.models.vllm import VllmSampler
    from funreason.models.vllm_engine import EngineSettings

    engine = EngineSettings(**settings.vllm.model_dump())
    sampler = VllmSampler(
        base.folder, model, tokenizer, device=settings.device, dtype=settings.dtype, settings=engine, **given
    )
    return sampler, sampler.started


def require_learnable(config: Config) -> None:
    """ConfigError when another model answers, and only samples of the learning model's weights may be learnt."""
    if config.sample.endpoints and config.sample.max_staleness is not None:
        raise ConfigError(
            f"sample.endpoints answer in place of the model that learns, and sample.max_staleness is "
            f"{config.sample.max_staleness}: every sample would be refused as stale. To learn from another model's "
            "samples: --set sample.max_staleness=null."
        )


def require_something_to_learn(config: Config, pool: Pool, screen: Screen) -> None:
    """DataError when no task is left for the rounds, ConfigError when the warm-up would have no reference."""
    if not pool.tasks:
        raise DataError(
            f"{pool.summary or config.tasks.path}: no task is left to train on, since all are held back for the "
            "gate or ask what it asks. Give more records, or name a suite of your own in gate.suites."
        )
    source, replay = config.warmup.references, config.warmup.update.replay
    if source is None or (replay is not None and replay.count):
        return
    samples, unusable = usable_references(screen.clean(warmup_tasks(source, pool, config.seed)), 0)
    if not samples:
        own = source.path == OWN_TASKS
        raise ConfigError(
            f"warmup.references.path is {source.path}, and "
            + (f"of the {len(pool.tasks)} tasks to train on " if own else "of its records ")
            + "none has a reference answer to learn from"
            + (f" ({unusable} have one that is neither a call nor a text)" if unusable else "")
            + ". Go without a warm-up: --set warmup.references=null"
        )


def require_room_to_think(policy: Policy, pool: Pool, config: Config) -> None:
    """ConfigError when thinking is asked for, and the chat template ends it before the model can begin."""
    if config.fcdr.require_thinking and pool.tasks and policy.leaves_no_thinking(pool.tasks[0]):
        raise ConfigError(
            "the model's chat template puts an empty thinking into every prompt, and answers without thinking are "
            "dropped. Let it think (such as --set model.template={enable_thinking: true}), or do without thinking: "
            "--set fcdr.require_thinking=false."
        )


def wait_passively() -> None:
    """Let idle OpenMP threads sleep: spinning ones cost a shared machine most of its speed. Before torch is loaded."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("KMP_BLOCKTIME", "0")


def model_path(name: str) -> Path:
    """The folder of a model: a path, or the one that comes with the package."""
    if name == EMBEDDED_MODEL:
        return Path(str(files("funreason.data.toolbox") / "base"))
    return Path(name)


def rule_of(gate: Gate) -> Rule:
    """The gate's rule as configured."""
    return Rule(gate.min_gain, gate.significant, gate.p, gate.max_category_loss, gate.max_guard_loss)


def screened(pool: Pool, screen: Screen, supervised: list[Task]) -> Pool:
    """The pool without tasks whose query stands in the gate, or with them where they are only reported.

    Each that is left out is refused with its reason, those among the `supervised` tasks as well.
    """
    found = screen.find(pool.tasks)
    tasks = screen.clean(pool.tasks)
    refusals = pool.refusals
    if screen.settings.mode == "drop":
        known = {finding.task.id for finding in found}
        more = {f.task.id: f for f in screen.find(supervised) if f.task.id not in known}
        refusals = [*refusals, *map(_contaminated, [*found, *more.values()])]
    return replace(pool, tasks=tasks, refusals=refusals, contaminated=_places(pool.tasks, tasks, found))


def _places(before: list[Task], after: list[Task], found: list[Finding]) -> list[tuple[int, str]]:
    """For each finding, how many of the tasks that stay stand before it."""
    staying, kinds = {id(task) for task in after}, {id(finding.task): finding.kind for finding in found}
    places: list[tuple[int, str]] = []
    passed = 0
    for task in before:
        if id(task) in kinds:
            places.append((passed, kinds[id(task)]))
        passed += id(task) in staying
    return places


def _supervised(config: Config) -> list[Task]:
    """The tasks behind warm-up and replay, except those that are the run's own."""
    warmup, rounds = config.warmup, config.train.update.replay
    sources = [(source, 0) for source in (warmup.references, warmup.update.replay) if warmup.references]
    sources += [(rounds, k) for k in range(1, config.rounds + 1)]
    return [
        task
        for source, k in sources
        if source is not None and source.count and source.path != OWN_TASKS
        for task in references(source, config.seed, k)
    ]


def _contaminated(finding: Finding) -> Refusal:
    message = f"the gate asks the same: {finding.query[:200]}"
    return Refusal(0, finding.task.id, f"contamination.{finding.kind}", message)


def _held_out(tasks: list[Task]) -> list[Refusal]:
    return [Refusal(0, task.id, "held_out", "held back for the gate") for task in tasks]
