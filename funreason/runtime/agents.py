"""From the nodes of a graph to agents at work: the one registry, and the one place where a bus is built.

Each node has an `AgentSpec`: the name of a factory and its settings. `FACTORIES` holds what the package brings; a
custom agent of the configuration is loaded by its own name (`agents.judges.plugins`). Loop and `refine` build their bus
here; what only a loop has (a model that learns, weights, a gate) is in `Run.learner`, which is None in `refine`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from funreason.agents.approval import Approval
from funreason.agents.evaluator import Evaluator
from funreason.agents.generator import Generator, ReferenceGenerator
from funreason.agents.judges.canary_check import with_self_agreement
from funreason.agents.judges.custom import CustomJudge, load_agent
from funreason.agents.judges.llm.labels import LabelRepair
from funreason.agents.judges.llm.panel import Panel
from funreason.agents.judges.registry import judges
from funreason.agents.policy_trainer import PolicyTrainer, StepOutcome, StepRequest
from funreason.agents.regenerator import Regenerator
from funreason.agents.reward import RewardAgent
from funreason.agents.selection import TrainingSet
from funreason.agents.sinks import DeadLetterSink, Ending, KeptSink, Sink
from funreason.agents.trainer import Trainer, UpdateRequest
from funreason.bus.agent import Agent, Observer
from funreason.bus.graph import Graph
from funreason.bus.scheduler import Bus
from funreason.config import AgentEntry, Config
from funreason.objectives.rewards import Reward, load_reward
from funreason.policies.native_format import call_format_of
from funreason.policies.policy import Policy
from funreason.record.events import WeightsTrained
from funreason.record.sample_files import SampleFiles
from funreason.record.state import State
from funreason.runtime.journal import Journal
from funreason.runtime.resume import RecordedVerdicts, backfill_end_events, first_attempts
from funreason.stop import StopRequest, cancelled_by_stop
from funreason.types import Weights
from funreason.weights import START, WeightStore


class AgentSpec(NamedTuple):
    """The agent of a node: the factory that makes it, or the custom agent it loads, and its settings."""

    node: str
    factory: str
    entry: AgentEntry | None = None


class Learner(NamedTuple):
    """What only a loop has: a model that learns."""

    policy: Policy
    weights: WeightStore
    evaluator: Evaluator
    training_set: Callable[[int], Callable[[int], TrainingSet]]
    """For a round: what chooses its training set."""
    update: Callable[[int], Callable[[UpdateRequest], tuple[Weights, WeightsTrained, int]]]
    """For a round: what trains and saves."""
    learn: Callable[[StepRequest], StepOutcome] | None = None
    """One optimizer step of reinforcement learning; None where the method is none of those."""


@dataclass(kw_only=True)
class Run:
    """What the agents of a run are built from."""

    config: Config
    graph: Graph
    journal: Journal
    stop: StopRequest
    past: State
    """What the record held when the run was started or resumed."""
    panel: Panel | None = None
    sampler: Callable[[int], Policy] | None = None
    """For a round: who answers queries, the model that learns or endpoints. None: no model samples."""
    learner: Learner | None = None

    def samples_per_task(self, round: int) -> int:
        """How many samples a task of a round becomes; in the supervised start, how many answers of a teacher."""
        if round == START:
            return self.config.start.teacher.samples_per_reference
        if self.config.learns_from_rewards:
            return self.config.reinforcement.group_size
        if self.config.samples_hard_tasks(round):
            return self.config.hdr.samples
        return 1 if self.config.answers_with_references(round) else self.config.sample.samples_per_task

    @cached_property
    def judges(self) -> dict[str, Any]:
        """The judges in the graph, by node: the five stages and the custom agents that samples meet."""
        found = judges(self.config, self.panel)
        once = self.graph.round_nodes
        return {name: found[name] for name in self.graph.order if name in found and name not in once}

    @cached_property
    def round_agents(self) -> dict[str, CustomJudge]:
        """The custom agents on round edges, by node. Loaded once a run, as judges are, so they may keep state."""
        return {
            entry.name: CustomJudge(entry.name, load_agent(entry.agent, entry.settings), entry.timeout_s)
            for entry in self.config.agents
            if entry.name in self.graph.round_nodes and entry.agent not in FACTORIES
        }

    @cached_property
    def reward(self) -> Reward:
        """What a sample earns. PluginError when it cannot be loaded."""
        config = self.config
        return load_reward(
            config.reinforcement.reward,
            form=call_format_of(config.model),
            require_thinking=config.fcdr.require_thinking,
            think_tags=config.model.think_tags,
        )

    def first_attempts(self, round: int) -> dict[str, int]:
        """Of the samples of a round that were requeued, the attempt each begins at."""
        return first_attempts(self.past, round, self.config.fcdr.max_attempts)


class RoundContext:
    """What the agents of one round share."""

    def __init__(self, run: Run, round: int, end: Ending, verdicts: RecordedVerdicts) -> None:
        self.run, self.round, self.end = run, round, end
        self.files: SampleFiles = run.journal.folder.texts(round)
        batched = {node.name for node in run.graph.nodes if node.max_batch > 1}
        asked = with_self_agreement(run.judges, run.config, run.journal.write)
        self.judges = {name: verdicts.judge(name, agent, batched=name in batched) for name, agent in asked.items()}

    @cached_property
    def generator(self) -> Generator | ReferenceGenerator | None:
        """Who answers this round's queries; the regenerator asks it too."""
        run = self.run
        if run.sampler is None:
            return None
        ended = {sample for round, sample in run.past.ended if round == self.round}
        taught = self.round == START and run.config.start.thinking == "model"
        if run.learner is not None and run.config.answers_with_references(self.round) and not taught:
            return ReferenceGenerator(run.learner.policy, ended)
        rewarded = run.learner is not None and run.config.learns_from_rewards and self.round != START
        drawn = {(sample.id, sample.attempt): sample for sample in self.files.get("sampled")}
        return Generator(
            run.sampler(self.round),
            self.files,
            run.samples_per_task(self.round) if run.learner is not None else 1,
            drawn,
            ended=ended,
            requeued=run.first_attempts(self.round),
            rollouts=rewarded,
        )


Factory = Callable[[RoundContext, AgentSpec], Agent]


def _trainer(context: RoundContext, spec: AgentSpec) -> Agent:
    learner, run = context.run.learner, context.run
    if learner is None:
        return KeptSink(context.end)
    if run.config.learns_from_rewards and context.round != START:
        settings = run.config.reinforcement
        assert learner.learn is not None
        return PolicyTrainer(
            KeptSink(context.end),
            learner.learn,
            context.files,
            settings,
            settings.loss_of(run.config.method),
            learner.weights,
            run.journal.write,
            run.past.rounds.get(context.round),
            call_format_of(run.config.model),
        )
    return Trainer(
        KeptSink(context.end),
        learner.training_set(context.round),
        learner.update(context.round),
        learner.weights,
        run.journal.write,
        init_from="accepted" if context.round == START else run.config.init_from(context.round),
    )


def _custom(context: RoundContext, spec: AgentSpec) -> Agent:
    """A custom agent on a round edge: it may take its time, and a request to stop ends its waiting."""
    agent, stop = context.run.round_agents[spec.node], context.run.stop

    async def interruptible(message: Any) -> Any:
        return await cancelled_by_stop(agent(message), stop)

    return interruptible


FACTORIES: Mapping[str, Factory] = {
    "generator": lambda context, spec: context.generator,  # type: ignore[dict-item,return-value]
    "judge": lambda context, spec: context.judges[spec.node],
    "reward": lambda context, spec: RewardAgent(context.run.config.reinforcement.reward, context.run.reward),
    "regenerator": lambda context, spec: Regenerator(
        getattr(context.generator, "resample", None),
        order=tuple(context.run.config.fcdr.regenerate),
        max_attempts=context.run.config.fcdr.max_attempts,
        form=call_format_of(context.run.config.model),
    ),
    "labels": lambda context, spec: LabelRepair(
        context.run.panel, context.run.config.hdr, context.files, context.run.journal.write
    ),
    "trainer": _trainer,
    "evaluator": lambda context, spec: context.run.learner.evaluator,  # type: ignore[union-attr]
    "dead_letter": lambda context, spec: DeadLetterSink(context.end),
    "approval": lambda context, spec: Approval(
        spec.node, context.run.journal.folder.path, context.run.journal.write, context.run.stop
    ),
    "custom": _custom,
}
"""Every kind of agent, by name: what makes one for a node of a round."""


def specs(run: Run) -> list[AgentSpec]:
    """The agent of each node of the run's graph."""
    entries = {entry.name: entry for entry in run.config.agents}
    found = []
    for name in run.graph.names:
        entry = entries.get(name)
        if name in run.judges:
            factory = "judge"
        elif entry is None:
            factory = name
        else:
            factory = entry.agent if entry.agent in FACTORIES else "custom"
        found.append(AgentSpec(name, factory, entry))
    return found


def round_sink(run: Run, round: int) -> Sink:
    """Where the samples of a round end; ends whose event a kill has lost are logged now."""
    sink = Sink(run.journal.folder.texts(round), run.journal.write)
    backfill_end_events(sink, run.past, round, run.first_attempts(round))
    return sink


def build_bus(run: Run, round: int, end: Ending | None = None) -> Bus:
    """The bus of a round, with an agent at every node. `end` takes samples where they end; default: `round_sink`."""
    verdicts = RecordedVerdicts(run.journal, run.journal.folder.texts(round), round, run.past)
    context = RoundContext(run, round, end or round_sink(run, round), verdicts)
    agents = {spec.node: FACTORIES[spec.factory](context, spec) for spec in specs(run)}
    return configured_bus(run.graph, agents, run.config, verdicts.observe)


def configured_bus(graph: Graph, agents: Mapping[str, Agent], config: Config, observe: Observer) -> Bus:
    """A bus over the nodes of `graph`, with the limits of a configuration. Agents of other nodes are left out."""
    fcdr = config.fcdr
    return Bus(
        graph,
        {name: agents[name] for name in graph.names},
        workers=fcdr.samples_at_once,
        max_attempts=fcdr.max_attempts,
        observe=observe,
        error_limit=fcdr.max_error_rate,
        check_at_end=True,
    )
