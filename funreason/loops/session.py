"""Everything a run needs, put together from its configuration: model, tasks, gate, graph, agents, record.

`play_round` asks it for the seeds and the bus of a round and knows nothing of files or libraries.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from funreason.agents.evaluator import Evaluator
from funreason.agents.generator import Drawn, Generator, ReferenceGenerator
from funreason.agents.judges.canary_check import CanaryCheck, with_self_agreement
from funreason.agents.judges.llm.factory import build_panel, shared_weights
from funreason.agents.judges.llm.panel import Panel
from funreason.agents.judges.registry import check_judges, judges, make_bus
from funreason.agents.references import replay_samples, usable_references
from funreason.agents.regenerator import Regenerator
from funreason.agents.sinks import DeadLetterSink, KeptSink, Sink
from funreason.agents.staleness import WeightsHistory
from funreason.agents.trainer import SelectionSettings, Trainer, UpdateRequest
from funreason.bus.graph import Graph
from funreason.bus.scheduler import Bus
from funreason.config import OWN_TASKS, Config, ConfigError, Gate
from funreason.data.form import DataError, Refusal
from funreason.gate.contamination import ContaminationCheck, Finding
from funreason.gate.items import gate_suites
from funreason.gate.rule import Rule
from funreason.loops.updating import Updating
from funreason.policies.factory import PolicyForRound, budget_of, build_policy, endpoint_sampler, policy_for_round
from funreason.policies.policy import Policy
from funreason.record.events import ContaminationChecked, TrainingSetSelected
from funreason.record.folder import RunFolder
from funreason.record.manifest import seal_run
from funreason.record.state import State
from funreason.runtime.graph import loop_graph
from funreason.runtime.journal import Journal
from funreason.runtime.resume import RecordedVerdicts, backfill_end_events, first_attempts
from funreason.sources.tasks import Pool, hold_out, read_pool, references, warmup_tasks
from funreason.stop import StopRequest
from funreason.types import Candidate, Sample, Task, Weights


class Session:
    """The parts of one run. `accepted` are the weights the next round starts from; `base` those of the start."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        stop: StopRequest,
        policy: Policy,
        speaker: PolicyForRound,
        pool: Pool,
        evaluator: Evaluator,
        updating: Updating,
        base: Weights,
        past: State,
        screen: ContaminationCheck,
        panel: Panel | None,
    ) -> None:
        self.config = config
        self.journal = journal
        self.stop = stop
        self.policy = policy
        self.speaker = speaker
        self.pool = pool
        self.evaluator = evaluator
        self.updating = updating
        self.base = base
        self.past = past
        self.screen = screen
        self.panel = panel
        self.graph: Graph = loop_graph(config.fcdr)
        self.lineage = WeightsHistory([base.id, *[r.weights for _, r in sorted(past.rounds.items()) if r.ended]])

    @property
    def accepted(self) -> Weights:
        """The weights accepted last."""
        return self.evaluator.accepted or self.base

    @property
    def samples_per_task(self) -> int:
        """How many samples a seed becomes."""
        return 1 if self.config.train.learn_from == "references" else self.config.sample.k

    def seeds(self, k: int) -> list[Sample]:
        """A message for each task of round `k`: only the task, nothing answered yet."""
        tasks = self.pool.round(k)
        self._note_screened(k, self._replay_tasks(k), self.pool.contaminated_in(k))
        return [Sample.of(f"r{k}/{task.id}", task, round=k) for task in tasks]

    def bus(self, k: int) -> Bus:
        """The agents of round `k` on the bus."""
        texts = self.journal.folder.texts(k)
        end = Sink(texts, self.journal.write)
        backfill_end_events(end, self.past, k, self._requeued(k))
        recall = RecordedVerdicts(self.journal, texts, k, self.past)
        generator, resample = self._generator(k)
        agents: dict[str, Any] = {
            **self._recalling(recall),
            "generator": generator,
            "regenerator": Regenerator(
                resample, order=tuple(self.config.fcdr.regenerate), max_attempts=self.config.fcdr.max_attempts
            ),
            "trainer": self._trainer(k, KeptSink(end)),
            "evaluator": self.evaluator,
            "dead_letter": DeadLetterSink(end),
        }
        return make_bus(self.graph, agents, self.config.fcdr, recall.observe)

    def _recalling(self, recall: RecordedVerdicts) -> dict[str, Any]:
        """The judges, asked only for what the record does not hold."""
        batched = {node.name for node in self.graph.nodes if node.max_batch > 1}
        found = with_self_agreement(self.judges, self.config, self.journal.write)
        return {name: recall.judge(name, agent, batched=name in batched) for name, agent in found.items()}

    @cached_property
    def judges(self) -> dict[str, Any]:
        """The judges that stand in the graph, by node."""
        found = judges(self.config.fcdr, self.panel)
        return {name: found[name] for name in self.graph.order if name in found}

    async def examine_judges(self, k: int, seeds: list[Sample]) -> None:
        """Try the judges on canaries before round `k` draws samples; UnfitJudge stops the round."""
        past = self.past.rounds.get(k)
        if past is not None and "sample" in past.whole:
            return  # they have judged the whole round already
        tasks, samples = [seed.task for seed in seeds], len(seeds) * self.samples_per_task
        examiner = CanaryCheck(self.config, self.journal.write, self.stop)
        await examiner.examine(self.judges, tasks, samples, k, self.journal.folder.texts(k))

    def weights(self, weights_id: str) -> Weights:
        """Weights by id: those of the start, or saved in the run's folder."""
        if weights_id == self.base.id:
            return self.base
        return Weights(weights_id, self.journal.folder.weights / weights_id)

    async def warm_up(self, round: int) -> Candidate:
        """Train on references before any sampling; the candidate for the first gate."""
        settings = self.config.warmup
        assert settings.references is not None
        found = warmup_tasks(settings.references, self.pool, self.config.seed)
        replay = settings.update.replay
        again = references(replay, self.config.seed, round) if replay else []
        self._note_screened(round, [*found, *again])
        tasks, old = self.screen.clean(found), self.screen.clean(again)
        samples, unusable = usable_references(tasks, round)
        lesson = UpdateRequest(round, samples, replay_samples(old, round), self.base)
        weights, updated, refused = await asyncio.to_thread(self.updating, settings.update, lesson)
        self.journal.write(
            TrainingSetSelected(
                round=round,
                kept=len(tasks),
                trained=len(samples) - refused,
                refused=refused + unusable,
                replay=len(old),
            )
        )
        self.journal.write(updated)
        return Candidate(round, weights.id, weights.folder)

    def finish_sampling(self, k: int) -> None:
        """Every sample of the round has ended: the verdicts on those in flight are of no more use."""
        self.journal.folder.texts(k).delete_verdicts()

    def warn_of_shared_weights(self, k: int) -> None:
        """Say so where a judge of round `k` has the very weights that are about to be judged."""
        noted = shared_weights(self.panel, self.speaker(k).weights_id, k) if self.panel is not None else None
        if noted is not None:
            self.journal.write(noted)

    def finish_round(self, k: int) -> None:
        """Seal the round's texts and the weights; what judging it cost is told, its checkpoint is of no more use."""
        if self.panel is not None:
            self.panel.tally.flush()
        shutil.rmtree(self.journal.folder.checkpoint(k), ignore_errors=True)
        self.journal.folder.seal(k)
        seal_run(self.journal.folder)

    def _generator(self, k: int) -> tuple[Any, Any]:
        ended = {sample for round, sample in self.past.ended if round == k}
        if self.config.train.learn_from == "references":
            return ReferenceGenerator(self.policy, ended), None
        texts = self.journal.folder.texts(k)
        generator = Generator(
            self.speaker(k),
            texts,
            self.config.sample.k,
            drawn(texts.get("sampled")),
            ended=ended,
            requeued=self._requeued(k),
        )
        return generator, generator.resample

    def _requeued(self, k: int) -> dict[str, int]:
        return first_attempts(self.past, k, self.config.fcdr.max_attempts)

    def _trainer(self, k: int, keeper: KeptSink) -> Trainer:
        self.lineage.add(self.accepted.id)
        settings = self.config.train
        counts = settings.counts[k - 1] if 1 <= k <= len(settings.counts) else None
        start = self.accepted if settings.init_from == "accepted" else self.base
        diet = SelectionSettings(
            settings.learn_from,
            settings.per_task,
            dict(settings.quotas),
            counts,
            settings.most_solved,
            self.config.seed,
            self.lineage.youngest(self.config.sample.max_staleness),
        )
        return Trainer(
            keeper,
            self.journal.folder.texts(k),
            diet,
            self._replay(k),
            start,
            self.accepted,
            partial(self.updating, settings.update),
            self.journal.write,
        )

    def _replay(self, k: int) -> list[Sample]:
        return replay_samples(self.screen.clean(self._replay_tasks(k)), k)

    def _replay_tasks(self, k: int) -> list[Task]:
        source = self.config.train.update.replay
        if source is None or not source.count:
            return []
        # Others each round: the same few old items again and again would be learnt by heart.
        return references(source, self.config.seed, k)

    def _note_screened(self, round: int, tasks: list[Task], before: Counter[str] | None = None) -> None:
        """Write how many of these tasks stand in the gate, on top of those found `before`."""
        found = Counter(finding.kind for finding in self.screen.find(tasks)) + Counter(before)
        dropped = self.screen.settings.mode == "drop"
        self.journal.write(ContaminationChecked(round=round, exact=found["exact"], near=found["near"], dropped=dropped))


def drawn(samples: Any) -> Drawn:
    """Samples by id and attempt."""
    return {(sample.id, sample.attempt): sample for sample in samples}


# Builds a world: the one place where configuration meets libraries.
#
# Order matters for whoever made a mistake: what is cheap to check (tasks, graph, judges) comes before what is slow
# (torch, the model).


def build_session(config: Config, folder: RunFolder, journal: Journal, stop: StopRequest, past: State) -> Session:
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
    screen = ContaminationCheck([task.query for suite in suites for task in suite.tasks], config.gate.contamination)
    pool = screened(pool, screen, _supervised(config))
    require_something_to_learn(config, pool, screen)
    budget = budget_of(config, past)
    served = endpoint_sampler(config, budget)
    policy, base = build_policy(config)
    require_room_to_think(policy, pool, config)
    return Session(
        config,
        journal,
        stop,
        policy,
        policy_for_round(config, policy, served, journal.write),
        pool,
        Evaluator(policy, suites, rule_of(config.gate), folder.path / "gate", journal.write),
        Updating(policy, folder, journal.write, stop, config),
        base,
        past,
        screen,
        build_panel(config, policy, budget),
    )


def require_learnable(config: Config) -> None:
    """ConfigError when another model answers, and only samples of the learning model's weights may be learnt."""
    if config.sample.endpoints and config.sample.max_staleness is not None:
        raise ConfigError(
            f"sample.endpoints answer in place of the model that learns, and sample.max_staleness is "
            f"{config.sample.max_staleness}: every sample would be refused as stale. To learn from another model's "
            "samples: --set sample.max_staleness=null."
        )


def require_something_to_learn(config: Config, pool: Pool, screen: ContaminationCheck) -> None:
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
    if config.fcdr.require_thinking and pool.tasks and policy.template_closes_thinking(pool.tasks[0]):
        raise ConfigError(
            "the model's chat template puts an empty thinking into every prompt, and answers without thinking are "
            "dropped. Let it think (such as --set model.template={enable_thinking: true}), or do without thinking: "
            "--set fcdr.require_thinking=false."
        )


def rule_of(gate: Gate) -> Rule:
    """The gate's rule as configured."""
    return Rule(gate.min_gain, gate.significant, gate.p, gate.max_category_loss, gate.max_guard_loss)


def screened(pool: Pool, screen: ContaminationCheck, supervised: list[Task]) -> Pool:
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
