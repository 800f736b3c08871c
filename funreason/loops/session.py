"""A session: everything a loop needs, put together from its configuration. The only module that knows every part.

The recipe (`self_refinement`) asks it for a round's tasks and bus, and knows nothing of files or libraries. What is
cheap to check (tasks, graph, judges) is checked before what is slow to load (torch, the model), so that a mistake is
reported early.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from funreason.agents.evaluator import Evaluator
from funreason.agents.judges.canary_check import CanaryCheck
from funreason.agents.judges.llm.acceptance import PANEL
from funreason.agents.judges.llm.factory import build_panel, panel_has_models, shared_weights
from funreason.agents.judges.registry import check_judges
from funreason.agents.references import cut_references, replay_samples, usable_references
from funreason.agents.rollouts import seed_id
from funreason.agents.selection import HardSamples, KeptSamples, ReferenceSet, SortedTasks
from funreason.agents.teacher_thinking import asked_of_teacher, with_teacher_thinking
from funreason.agents.updating import PolicyStep, Updating
from funreason.bus.scheduler import Bus, RoundSteps
from funreason.calls.call_format import CallFormat
from funreason.config import OWN_TASKS, Config, ConfigError
from funreason.data.files.repository import part_files
from funreason.data.rationales import FLAG, with_template_thinking
from funreason.data.records import DataError, Refusal
from funreason.gate.contamination import ContaminationCheck, Finding
from funreason.gate.items import gate_suites
from funreason.hub import data_name, model_name
from funreason.objectives.rewards import load_reward
from funreason.plan.planning import fitting_sampler
from funreason.policies.factory import (
    budget_of,
    build_policy,
    endpoint_sampler,
    model_path,
    policy_for_round,
    teacher_config,
)
from funreason.policies.model_files import load_model
from funreason.policies.native_format import call_format_of
from funreason.policies.policy import Policy
from funreason.policies.template_check import check_prompts, thinking_advice
from funreason.record.events import (
    ContaminationChecked,
    LogMessage,
    PoolDrawn,
    RoundEnded,
    RoundMessage,
    WeightsRefused,
)
from funreason.record.folder import RunFolder, remove_folder
from funreason.record.hard_tasks import FIRST, HARD
from funreason.record.manifest import seal_run
from funreason.record.state import State
from funreason.runtime.agents import Learner, Run, build_bus
from funreason.runtime.graph import loop_graph
from funreason.runtime.journal import Journal
from funreason.sources.augmenting import augmented
from funreason.sources.hard_pool import HardPool
from funreason.sources.prompt_stream import CALL, PromptStream
from funreason.sources.tasks import Pool, hold_out, read_pool, references, start_tasks
from funreason.stop import Interrupted, StopRequest, pausable
from funreason.types import Call, Decision, Sample, Stepped, Task, Weights, refusal
from funreason.weights import START, WeightStore

CHECKPOINT_BYTES = 24
"""Bytes of checkpoints for each parameter: itself and two moments in float32, in the new one and in the last."""
PHASES = {("trainer", START): "start", "trainer": "train", "evaluator": "gate", "generator": "sync"}
"""What the record calls the work of a node on a round's message; another node's phase has the node's name."""
TEACHER = "teacher"
"""Who pays for the thinking of references, in the record of what was asked of endpoints."""


@dataclass(kw_only=True)
class Session(Run):
    """One run of a loop."""

    learner: Learner
    source: Pool
    screen: ContaminationCheck
    notes: list[str] = field(default_factory=list)
    """How the model's folder and chat template are used, for the record."""
    learned: bool = True
    """Whether the last decision was about new weights."""

    @property
    def weights(self) -> WeightStore:
        """Which weights are which."""
        return self.learner.weights

    @property
    def call_format(self) -> CallFormat:
        """How the model is taught to write calls."""
        return self.learner.policy.call_format

    def played(self, round: int) -> bool:
        """Whether the record says that a round is over."""
        past = self.past.rounds.get(round)
        return past is not None and past.ended

    def bus(self, round: int) -> Bus:
        """The bus of a round, with an agent at every node."""
        return build_bus(self, round)

    def draw(self, round: int) -> list[Task] | None:
        """The tasks of a round; None ends the run. A hard-data round chooses by what became of the earlier ones."""
        if not isinstance(self.source, HardPool) or round == FIRST:
            return self.source.next(round, self.past)
        state = self.journal.folder.state()
        tasks, hard = self.source.next(round, state), len(state.pool.tasks(HARD))
        if tasks is not None:
            if round == FIRST + 1 and len(tasks) < hard:
                text = f"the control asks {len(tasks)} qualified tasks in place of {hard} hard ones: there are no more"
                self.journal.write(LogMessage(level="warning", text=text, round=round))
            judges = self.panel.name if self.panel is not None else ""
            control = self.config.hdr.control.removeprefix("none")
            self.journal.write(PoolDrawn(round=round, tasks=len(tasks), judges=judges, control=control))
        return tasks

    def say_why_over(self) -> None:
        """Write why no further hard-data round is played, once."""
        if not isinstance(self.source, HardPool):
            return
        state = self.journal.folder.state()
        last = max((k for k, r in state.rounds.items() if r.ended), default=START)
        text = f"hard-data rounds end after round {last}: {self.source.over(last + 1, state)}"
        if text not in {note.text for note in state.notes}:
            self.journal.write(LogMessage(level="info", text=text, round=last))

    def seeds(self, round: int, tasks: Sequence[Task]) -> list[Sample]:
        """A message for each task of a round: only the task, nothing answered yet."""
        self._note_contamination(round, self._replayed(round), self.source.contaminated_in(round))
        return [Sample.of(f"r{round}/{task.id}", task, round=round) for task in tasks]

    def teacher_seeds(self) -> list[Sample]:
        """A message for each reference of the supervised start whose thinking a teacher still has to write."""
        if self.config.start.thinking != "model" or not _start_is_open(self.past):
            return []
        asked = asked_of_teacher(self.screen.clean(self._start_references()))
        return [Sample.of(f"r{START}/{task.id}", task, round=START) for task in asked]

    def prompts(self, round: int, tasks: Sequence[Task]) -> PromptStream:
        """The prompts of a round of reinforcement learning. DataError where no task can be rewarded."""
        able = [task for task in tasks if task.reference is not None or self.judges]
        if not able:
            raise DataError(
                f"round {round}: none of {len(tasks)} tasks has a reference answer, and no judge is in the graph, so "
                "nothing says what an answer earns. Give tasks with references, or put judges before `reward`."
            )
        self._note_contamination(round, [], self.source.contaminated_in(round))
        settings = self.config.reinforcement
        stream = PromptStream(able, settings.no_call_share, self.config.seed, round)
        said = [f"{len(tasks) - len(able)} of {len(tasks)} tasks have no reference and are not asked"]
        said = said if len(able) < len(tasks) else []
        if settings.no_call_share and len(stream.kinds) == 1:
            kind = "a call" if CALL in stream.kinds else "no call"
            said.append(
                f"{kind} is right for all tasks, so reinforcement.no_call_share={settings.no_call_share:g} cannot be "
                "kept: a model that learns from calls alone learns to call always"
            )
        for text in said:
            self.journal.write(LogMessage(level="warning", text=text, round=round))
        return stream

    def step_seeds(self, round: int, step: int, first: int, tasks: Sequence[Task]) -> list[Sample]:
        """A message for each prompt of a step; `first` is how many it had before."""
        return [
            Sample.of(seed_id(round, step, first + place, task), task, round=round) for place, task in enumerate(tasks)
        ]

    async def sample(
        self, round: int, seeds: Sequence[Sample], bus: Bus, *, prompts: int, prepared: bool = False
    ) -> None:
        """Have the `seeds` answered, and carry every answer to its end.

        `prompts` is how many the round has asked for by then; `prepared` says that `prepare` was called before.
        """
        with self.journal.phase(round, "sample", todo=prompts * self.samples_per_task(round)):
            if not prepared:
                await self.prepare(round, seeds)
            with self.stop.calling(bus.stop):
                flow = await bus.drain(pausable(seeds, self.stop))
            if flow.stopped:
                raise Interrupted
            # Every sample has ended, and its end holds all its verdicts.
            self.journal.folder.texts(round).delete_verdicts()

    async def prepare(self, round: int, seeds: Sequence[Sample]) -> None:
        """Before a round samples: load the accepted weights, and try the judges on canaries.

        JudgeFailedCanaries stops the round.
        """
        # A gate that held, or a run that was resumed, leaves other weights in the model than those accepted.
        await self.learner.policy.load(self.weights.policy)
        assert self.sampler is not None
        if self.panel is not None:
            warning = shared_weights(self.panel, self.sampler(round).weights_id, round)
            if warning is not None:
                self.journal.write(warning)
        past = self.past.rounds.get(round)
        if past is not None and "sample" in past.whole:
            return  # the judges have judged the whole round already
        check = CanaryCheck(self.config, self.journal.write, self.stop)
        tasks, samples = [seed.task for seed in seeds], len(seeds) * self.samples_per_task(round)
        judges = {node: judge for node, judge in self.judges.items() if (node, round) != (PANEL, FIRST)}
        await check.examine(judges, tasks, samples, round, self.journal.folder.texts(round))

    def steps(self) -> RoundSteps:
        """What happens around each agent that a round's message visits: a pause, a stop, a phase in the record."""
        return _RecordedSteps(self)

    def settle(self, decision: Decision) -> None:
        """The round's message is back: accept what it says, and seal the round."""
        round, refused = decision.round, refusal(decision.verdicts)
        if refused is not None and decision.decision == "promote":
            reason = refused.evidence or refused.reason
            self.journal.write(WeightsRefused(round=round, node=refused.stage, reason=reason))
        accepted = self.weights.settle(decision)
        self.learned = decision.candidate.id != decision.current.id
        # The optimizer's state lives on only with the weights that it led to.
        steps = self.journal.folder.checkpoint(round).glob("step-*")
        last = max(steps, key=lambda path: int(path.name.removeprefix("step-")), default=None)
        kept = last if round != START and decision.accepted == decision.candidate else None
        for path in self.journal.folder.weights.glob("checkpoint-round-*"):
            for part in path.iterdir() if kept is not None and path == kept.parent else [path]:
                if part != kept:
                    remove_folder(part)
        if round != START or self.config.start.thinking == "model":
            if self.panel is not None:
                self.panel.tally.flush()
            self.journal.folder.seal(round)
            seal_run(self.journal.folder)
        self.journal.write(RoundEnded(round=round, weights=accepted.id))

    def training_set(self, round: int) -> Any:
        """What chooses the training set of a round: samples that were kept, or references at the start."""
        if round == START:
            return ReferenceSet(self._start_tasks, self._start_replay, self.call_format)
        kept = self._kept_samples(round)
        if not self.config.resamples_hard_tasks:
            return kept
        hard = HardSamples(kept, self.config.hdr, lambda: self._learned_before(round))
        return SortedTasks(kept if round == FIRST else hard, kept.files, self.graph.order)

    def _kept_samples(self, round: int) -> KeptSamples:
        return KeptSamples(
            self.config.train,
            self.journal.folder.texts(round),
            replay_samples(self.screen.clean(self._replayed(round)), round, self.call_format),
            self.config.seed,
            self.weights.recent(self.config.sample.max_staleness),
        )

    def _learned_before(self, round: int) -> dict[int, list[Sample]]:
        """What the rounds before chose to learn from: the first one's qualified samples, and what later ones accepted.

        Later rounds count only where their weights were promoted.
        """
        promoted = self.journal.folder.state().promoted
        found = {}
        for k in range(FIRST, round):
            if k == FIRST or promoted.get(k):
                kept = replace(self._kept_samples(k), replay=(), weights=None)
                chosen = kept if k == FIRST else HardSamples(kept, self.config.hdr, dict)
                found[k] = chosen(k).samples
        return found

    def _start_references(self) -> list[Task]:
        source = self.config.start.references
        assert source is not None
        return start_tasks(source, self.source, self.config.seed, self.config.data.turns)

    def _start_tasks(self, round: int) -> list[Task]:
        settings, found = self.config.start, self._start_references()
        self._note_contamination(round, [*found, *self._start_replayed(round)])
        clean = self.screen.clean(found)
        if settings.thinking == "none":
            return clean
        if settings.thinking == "model":
            taught = with_teacher_thinking(clean, self.journal.folder.texts(START), settings.teacher.fallback)
            spent = self.journal.folder.state().at_round(START).paid.get(TEACHER, Counter())
            text = f"{taught.account()}. It cost {spent['requests']:,} requests and {spent['tokens']:,} tokens."
            self.journal.write(LogMessage(level="warning" if taught.left else "info", text=text, round=round))
            if not taught.tasks:
                raise DataError(f"no reference is left to learn. {text} Set start.teacher.fallback=template.")
            return taught.tasks
        thought = [with_template_thinking(task) for task in clean]
        written = sum(FLAG in task.flags for task in thought)
        own = sum(task.reference_thinking is not None for task in clean)
        text = f"start.thinking: of {len(thought)} references {own} have thinking, {written} get one by template"
        self.journal.write(LogMessage(level="info", text=text, round=round))
        return thought

    def _start_replayed(self, round: int) -> list[Task]:
        replay = self.config.start.update.replay
        return references(replay, self.config.seed, round, self.config.data.turns) if replay else []

    def _start_replay(self, round: int) -> list[Sample]:
        return replay_samples(self.screen.clean(self._start_replayed(round)), round, self.call_format)

    def _replayed(self, round: int) -> list[Task]:
        source = self.config.train.update.replay
        if source is None or not source.count:
            return []
        # Others each round: the same few old items again and again would be learnt by heart.
        return references(source, self.config.seed, round, self.config.data.turns)

    def _note_contamination(self, round: int, tasks: list[Task], before: Counter[str] | None = None) -> None:
        """Write how many of these tasks are contaminated, on top of those found `before`."""
        found = Counter(finding.kind for finding in self.screen.find(tasks)) + Counter(before)
        dropped = self.screen.settings.mode == "drop"
        self.journal.write(
            ContaminationChecked(
                round=round, exact=found["exact"], near=found["near"], tools=found["tools"], dropped=dropped
            )
        )


class _RecordedSteps(RoundSteps):
    """Writes each step of a round's message into the record; a pause or a stop takes effect between two agents."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def routed(self, source: str, outcome: str, target: str, message: Any) -> None:
        """The message goes from `source` to `target`."""
        verdicts = getattr(message, "verdicts", ())
        said = next((v for v in reversed(verdicts) if v.stage == source), None)
        reason = (said.reason or said.evidence) if said is not None else ""
        event = RoundMessage(round=message.round, node=source, outcome=outcome, target=target, reason=reason)
        self.session.journal.write(event)

    @asynccontextmanager
    async def working(self, node: str, message: Any) -> AsyncIterator[None]:
        """A phase of the round, named by what the node does."""
        session = self.session
        if node == session.graph.start and not isinstance(message, Stepped):  # the round is over
            yield
            return
        await session.stop.wait()
        session.stop.check()
        phase = PHASES.get((node, message.round)) or PHASES.get(node, node)
        with session.journal.phase(message.round, phase):
            yield


def inputs_of(config: Config) -> dict[str, Path]:
    """The files and folders that a run is made from, by the setting that names each; embedded ones are left out."""
    sources = {
        "tasks.path": config.tasks.path,
        "model.path": config.model.path,
        "start.references.path": config.start.references and config.start.references.path,
        "start.update.replay.path": config.start.update.replay and config.start.update.replay.path,
        "train.update.replay.path": config.train.update.replay and config.train.update.replay.path,
        **{f"gate.suites.{name}.path": suite.path for name, suite in config.gate.suites.items()},
    }
    given = {name: path for name, path in sources.items() if path and path not in ("toolbox", OWN_TASKS)}
    found = {name: Path(path) for name, path in given.items() if ":" not in path and Path(path).exists()}
    for name, path in given.items():
        if name == "model.path" and model_name(path) is not None:
            found[name] = model_path(path)
        elif name != "model.path" and (on_hub := data_name(path)) is not None:
            found |= {f"{name}/{number}": file for number, file in enumerate(part_files(on_hub))}
    return found


def open_session(
    config: Config,
    folder: RunFolder,
    journal: Journal,
    stop: StopRequest,
    past: State,
    *,
    allow_code_execution: bool = False,
) -> Session:
    """Build a session. ConfigError, DataError, GraphError, PluginError or ModelError say what is wrong."""
    graph = loop_graph(config)
    check_judges(config)
    if config.learns_from_rewards:
        require_reward(config)
    else:
        require_learnable(config)
    # Hard-data rounds sort the tasks of one round.
    rounds_of_tasks = 1 if config.resamples_hard_tasks else config.rounds
    pool = read_pool(config.tasks, rounds_of_tasks, config.seed, config.data.turns, config.data.input_map)
    held = hold_out(pool, config.gate.suites.values())
    left_out: list[str] = []
    suites = gate_suites(
        config.gate.suites, held.gate, folder.gate_items, left_out, allow_code_execution=allow_code_execution
    )
    if not any(suite.role == "decision" for suite in suites):
        raise ConfigError("gate.suites has none with the role `decision`: nothing could say whether new weights stay.")
    held_out = [Refusal(0, task.id, "held_out", "held back for the gate") for task in [*held.gate, *held.siblings]]
    pool = replace(pool, tasks=held.train, refusals=[*pool.refusals, *held_out])
    screen = ContaminationCheck([task.query for suite in suites for task in suite.tasks], config.gate.contamination)
    supervised = _supervised(config)
    pool = augmented(screened(pool, screen, supervised), config, screen.clean)
    require_something_to_learn(config, pool, screen)
    if config.resamples_hard_tasks:
        require_judgeable(config, pool)
        pool = HardPool.over_tasks(pool, config.hdr, config.seed, partial(_labels_before, folder))
    budget = budget_of(config, past)
    served = endpoint_sampler(config, budget)
    start, taught = config.start, teacher_config(config)
    asks = start.references is not None and start.thinking == "model" and _start_is_open(past)
    teacher = endpoint_sampler(taught, budget) if asks else None
    policy, base = build_policy(config, fitting_sampler(config))
    require_room_to_think(policy, pool, config)
    asked = [*pool.tasks, *supervised, *(task for suite in suites for task in suite.tasks)]
    notes = [*left_out, *policy.notes, *check_prompts(policy.tokenizer, asked, **policy.how)]
    limit, form = config.sample.max_new_tokens, policy.call_format
    if cut := cut_references(pool.tasks, policy.tokenizer, limit, form=form, tags=policy.tags):
        notes.append(cut)
    _try_saving(config, policy, base, folder, past)
    weights = WeightStore(base, folder.weights, past)
    updating = Updating(policy, folder, journal.write, stop, config)

    rounds = policy_for_round(config, policy, served, journal.write)
    teaching = policy_for_round(taught, policy, teacher, journal.write, TEACHER) if teacher is not None else rounds

    def update(round: int) -> Any:
        return partial(updating, config.start.update if round == START else config.train.update)

    session = Session(
        config=config,
        graph=graph,
        journal=journal,
        stop=stop,
        past=past,
        panel=build_panel(config, policy, budget),
        sampler=lambda round: (teaching if round == START else rounds)(round),
        learner=Learner(
            policy,
            weights,
            Evaluator(
                policy,
                suites,
                config.gate,
                folder.path / "gate",
                weights,
                journal.write,
                partial(load_model, device=config.model.device, dtype=config.model.dtype),
            ),
            lambda round: session.training_set(round),
            update,
            PolicyStep(policy, folder, journal.write, stop, config),
        ),
        source=pool,
        screen=screen,
        notes=notes,
    )
    return session


def require_judgeable(config: Config, pool: Pool) -> None:
    """DataError when hard-data rounds have neither a model nor a reference to say which answer is right."""
    if panel_has_models(config) or any(task.reference is not None for task in pool.tasks):
        return
    raise DataError(
        f"method is hdr, none of {len(pool.tasks)} tasks has a reference answer, and fcdr.llm names no model, so "
        "nothing could accept an answer to a hard task. Give tasks with references, or set fcdr.llm.endpoints to the "
        "models of the panel."
    )


def _labels_before(folder: RunFolder, round: int) -> dict[str, tuple[Call, ...]]:
    """The references that were repaired before a round, by task; the latest counts."""
    found = {}
    for k in range(FIRST, round):
        found.update({task: repair.new for task, repair in folder.texts(k).repairs().items()})
    return found


def require_reward(config: Config) -> None:
    """PluginError when the reward cannot be loaded, before anything slow is."""
    load_reward(config.reinforcement.reward)


def require_learnable(config: Config) -> None:
    """ConfigError when another model answers, and only samples of the learning model's weights may be learnt."""
    if config.sample.endpoints and config.sample.max_staleness is not None:
        raise ConfigError(
            f"sample.endpoints answer in place of the model that learns, and sample.max_staleness is "
            f"{config.sample.max_staleness}: every sample would be refused as stale. To learn from another model's "
            "samples: --set sample.max_staleness=null. To let it write thinking for the supervised start alone: name "
            "its servers in start.teacher.endpoints, with start.thinking=model."
        )


def _start_is_open(past: State) -> bool:
    """Whether the supervised start has still to ask a teacher: not once all answered, unless some were put back."""
    start = past.rounds.get(START)
    if start is None:
        return True
    again = any(round == START for round, _ in past.requeued)
    return not (start.ended or "start" in start.whole) and ("sample" not in start.whole or again)


def require_something_to_learn(config: Config, pool: Pool, screen: ContaminationCheck) -> None:
    """DataError when no task is left for the rounds, ConfigError when the supervised start would have no reference."""
    if not pool.tasks:
        raise DataError(
            f"{pool.summary or config.tasks.path}: no task is left to train on, since all are held back for the "
            "gate or ask what it asks. Give more records, or name a suite of your own in gate.suites."
        )
    source, replay = config.start.references, config.start.update.replay
    if source is None or (replay is not None and replay.count):
        return
    tasks = screen.clean(start_tasks(source, pool, config.seed, config.data.turns))
    samples, unusable = usable_references(tasks, 0, form=call_format_of(config.model))
    if not samples:
        own = source.path == OWN_TASKS
        raise ConfigError(
            f"start.references.path is {source.path}, and "
            + (f"of the {len(pool.tasks)} tasks to train on " if own else "of its records ")
            + "none has a reference answer to learn from"
            + (f" ({unusable} have one that is neither a call nor a text)" if unusable else "")
            + ". Go without a supervised start: --set start.references=null"
        )


def require_room_to_think(policy: Policy, pool: Pool, config: Config) -> None:
    """ConfigError when thinking is asked for, and the chat template ends it before the model can begin."""
    if config.fcdr.require_thinking and pool.tasks and policy.template_closes_thinking(pool.tasks[0]):
        advice = thinking_advice(policy.tokenizer, pool.tasks[0], **policy.how)
        raise ConfigError(
            "the model's chat template puts an empty thinking into every prompt, and answers without thinking are "
            f"dropped. {advice}, or do without thinking: --set fcdr.require_thinking=false."
        )


def _try_saving(config: Config, policy: Policy, base: Weights, folder: RunFolder, past: State) -> None:
    """ModelError when the weights that this run will train could not be saved."""
    from funreason.policies.model_files import try_saving

    left = sum(not (k in past.rounds and past.rounds[k].ended) for k in range(1, config.rounds + 1))
    left += config.start.references is not None and not (START in past.rounds and past.rounds[START].ended)
    # The checkpoints of adapters are small.
    whole = any(
        update.lora is None and update.checkpoint_every for update in (config.round_update, config.start.update)
    )
    if left:
        try_saving(
            base.folder,
            policy.tokenizer,
            folder.weights / "fresh-round-0",
            dtype=config.model.dtype,
            copies=left,
            training_bytes=CHECKPOINT_BYTES if whole else 0,
        )


def screened(pool: Pool, screen: ContaminationCheck, supervised: list[Task]) -> Pool:
    """The pool without tasks that are contaminated, or with them where they are only reported.

    Each that is left out is refused with its reason, those among the `supervised` tasks as well.
    """
    found = screen.find(pool.tasks)
    tasks = screen.clean(pool.tasks, found)
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
    """The tasks behind supervised start and replay, except those that are the run's own."""
    start, rounds = config.start, config.round_update.replay
    sources = [(source, 0) for source in (start.references, start.update.replay) if start.references]
    sources += [(rounds, k) for k in range(1, config.planned_rounds + 1)]
    return [
        task
        for source, k in sources
        if source is not None and source.count and source.path != OWN_TASKS
        for task in references(source, config.seed, k, config.data.turns)
    ]


def _contaminated(finding: Finding) -> Refusal:
    message = (
        f"it offers {finding.what}" if finding.kind == "tools" else f"the gate asks the same: {finding.what[:200]}"
    )
    return Refusal(0, finding.task.id, f"contamination.{finding.kind}", message)
