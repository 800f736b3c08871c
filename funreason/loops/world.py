"""Everything a run needs, put together from its configuration: model, tasks, gate, graph, agents, record.

`play_round` asks it for the seeds and the bus of a round and knows nothing of files or libraries.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from functools import cached_property, partial
from typing import Any

from funreason.agents.ends import DeadLetter, End, Keeper
from funreason.agents.evaluator import Evaluator
from funreason.agents.generator import Drawn, Generator, ReferenceGenerator
from funreason.agents.llm_panel import Panel
from funreason.agents.messages import Accepted, Candidate
from funreason.agents.references import replay_samples, usable_references
from funreason.agents.regenerator import Regenerator
from funreason.agents.staleness import Lineage
from funreason.agents.trainer import Diet, Lesson, Trainer
from funreason.bus.graph import Graph
from funreason.bus.scheduler import Bus
from funreason.config import Config
from funreason.loops.contamination import Screen
from funreason.loops.endpoints import SpeakerOf
from funreason.loops.graphs import loop_graph
from funreason.loops.health import Examiner, asked_twice
from funreason.loops.interrupt import StopRequest
from funreason.loops.journal import Journal
from funreason.loops.judging import judges, make_bus
from funreason.loops.panels import shared_weights
from funreason.loops.recall import Recall, first_attempts, tell_ends
from funreason.loops.sources import Pool, references, warmup_tasks
from funreason.loops.updating import Updating
from funreason.models.policy import Policy
from funreason.record.events import Chosen, Screened
from funreason.record.manifest import seal_run
from funreason.record.state import State
from funreason.record.types import Sample, Task


class World:
    """The parts of one run. `accepted` are the weights the next round starts from; `base` those of the start."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        stop: StopRequest,
        policy: Policy,
        speaker: SpeakerOf,
        pool: Pool,
        evaluator: Evaluator,
        updating: Updating,
        base: Accepted,
        past: State,
        screen: Screen,
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
        self.lineage = Lineage([base.weights_id, *[r.weights for _, r in sorted(past.rounds.items()) if r.ended]])

    @property
    def accepted(self) -> Accepted:
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
        return [Sample(id=f"r{k}/{task.id}", task=task, answer="", round=k) for task in tasks]

    def bus(self, k: int) -> Bus:
        """The agents of round `k` on the bus."""
        texts = self.journal.folder.texts(k)
        end = End(texts, self.journal.write)
        tell_ends(end, self.past, k, self._requeued(k))
        recall = Recall(self.journal, texts, k, self.past)
        generator, resample = self._generator(k)
        agents: dict[str, Any] = {
            **self._recalling(recall),
            "generator": generator,
            "regenerator": Regenerator(
                resample, order=tuple(self.config.fcdr.regenerate), max_attempts=self.config.fcdr.max_attempts
            ),
            "trainer": self._trainer(k, Keeper(end)),
            "evaluator": self.evaluator,
            "dead_letter": DeadLetter(end),
        }
        return make_bus(self.graph, agents, self.config.fcdr, recall.observe)

    def _recalling(self, recall: Recall) -> dict[str, Any]:
        """The judges, asked only for what the record does not hold."""
        batched = {node.name for node in self.graph.nodes if node.max_batch > 1}
        found = asked_twice(self.judges, self.config, self.journal.write)
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
        examiner = Examiner(self.config, self.journal.write, self.stop)
        await examiner.examine(self.judges, tasks, samples, k, self.journal.folder.texts(k))

    def weights(self, weights_id: str) -> Accepted:
        """Weights by id: those of the start, or saved in the run's folder."""
        if weights_id == self.base.weights_id:
            return self.base
        return Accepted(weights_id, self.journal.folder.weights / weights_id)

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
        lesson = Lesson(round, samples, replay_samples(old, round), self.base)
        weights, updated, refused = await asyncio.to_thread(self.updating, settings.update, lesson)
        self.journal.write(
            Chosen(
                round=round,
                kept=len(tasks),
                trained=len(samples) - refused,
                refused=refused + unusable,
                replay=len(old),
            )
        )
        self.journal.write(updated)
        return Candidate(round, weights.weights_id, weights.folder)

    def finish_sampling(self, k: int) -> None:
        """Every sample of the round has ended: the verdicts on those in flight are of no more use."""
        self.journal.folder.texts(k).forget_said()

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

    def _trainer(self, k: int, keeper: Keeper) -> Trainer:
        self.lineage.add(self.accepted.weights_id)
        settings = self.config.train
        counts = settings.counts[k - 1] if 1 <= k <= len(settings.counts) else None
        start = self.accepted if settings.init_from == "accepted" else self.base
        diet = Diet(
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
        self.journal.write(Screened(round=round, exact=found["exact"], near=found["near"], dropped=dropped))


def drawn(samples: Any) -> Drawn:
    """Samples by id and attempt."""
    return {(sample.id, sample.attempt): sample for sample in samples}
