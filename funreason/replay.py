"""What if: a run's recorded verdicts, routed again through another graph or by other settings. No model is asked.

`Recorded` reads the judgements of a run. The log holds which attempt was judged where and in which order; a sample's
end holds the verdicts whole, with the votes of language models. Both are read, since neither is enough: a verdict does
not name its attempt.

`VerdictValidity` says which of them are valid under another configuration: those that asking again could only repeat.
Where the record cannot tell what a judge would say now, the answer is why, in words that end the sentence "its verdicts
cannot be used: …".

`what_if` routes them. The bus is the real one; its agents answer from the record. Where the new graph asks for a
judgement or another answer that was never recorded, the sample ends as `unknown` there and is counted: nothing is
guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from funreason.agents.judges.llm.judge import DECIDABLE, recounted
from funreason.agents.judges.llm.panel import VoteRule
from funreason.agents.judges.rules.verdicts import passed
from funreason.agents.regenerator import resampling_yields
from funreason.agents.sinks import DeadLetterSink, KeptSink
from funreason.bus.agent import EXHAUSTED
from funreason.bus.graph import Edge, Graph, Node
from funreason.bus.scheduler import Bus
from funreason.config import Config, LlmJudges
from funreason.record.events import Judged, SampleRequeued
from funreason.record.folder import RunFolder
from funreason.record.log import LogReader
from funreason.record.sample_files import ENDS
from funreason.runtime.graph import END, STAGES, refine_graph
from funreason.types import Outcome, Sample, Verdict, changed

Attempt = tuple[int, str, int]
"""Round, sample, attempt."""
REGENERATOR = "regenerator"
NO_STAGE = ("generator", "trainer", "evaluator")


class Regeneration(NamedTuple):
    """A regeneration: which stage asked for it, and what the regenerator answered."""

    asker: str
    outcome: str


class Recorded:
    """The judgements of every sample of a run that has ended, and the samples as they came to their first judge."""

    def __init__(self, folder: RunFolder) -> None:
        self.name = folder.name
        self.state = folder.state()
        self.verdicts: dict[tuple[Attempt, str], Verdict] = {}
        self.again: dict[Attempt, Regeneration] = {}
        self.samples: list[Sample] = []
        self.fates: Counter[str] = Counter()
        self.unjudged: Counter[str] = Counter()
        """The ends of samples that came to no judge."""
        self.outcomes: dict[str, Counter[str]] = {}
        # The judgements of each sample, in order, each once; of a sample that was put back, those since then.
        found: dict[tuple[int, str], dict[tuple[int, str], Judged]] = {}
        for event in LogReader(folder.events).events():
            if isinstance(event, Judged) and event.node not in NO_STAGE:
                found.setdefault((event.round, event.sample), {})[event.attempt, event.node] = event
            elif isinstance(event, SampleRequeued):
                found.pop((event.round, event.sample), None)
        judged = {sample: list(events.values()) for sample, events in found.items()}
        for k in sorted(self.state.rounds):
            for fate in ENDS:
                # A sample that was put back is in two files: only its last end counts.
                for sample in {each.id: each for each in folder.texts(k).get(fate)}.values():
                    end = self.state.ended.get((k, sample.id))
                    if end is None or end.fate != fate:
                        continue
                    events = judged.pop((k, sample.id), [])
                    self.fates[fate] += 1
                    if not events:
                        self.unjudged[fate] += 1
                        continue
                    self.samples.append(changed(sample, round=k, attempt=events[0].attempt, verdicts=()))
                    self._keep(events, sample.verdicts)
        self.unfinished = len(judged)

    def _keep(self, events: Sequence[Judged], verdicts: Sequence[Verdict]) -> None:
        asker, reached = "", 0
        for event in events:
            self.outcomes.setdefault(event.node, Counter())[event.outcome] += 1
            attempt = event.round, event.sample, event.attempt
            if event.node == REGENERATOR:
                self.again[attempt] = Regeneration(asker, event.outcome)
                continue
            asker = event.node
            for place in range(reached, len(verdicts)):
                found = verdicts[place]
                if found.stage == event.node and event.outcome in (found.outcome, EXHAUSTED):
                    self.verdicts[attempt, event.node], reached = found, place + 1
                    break
            else:  # the verdict as far as the log has it; `EXHAUSTED` means that another attempt was wanted
                outcome = Outcome.REGENERATE if event.outcome == EXHAUSTED else event.outcome
                self.verdicts[attempt, event.node] = Verdict(event.node, outcome, event.reason)


UNTHOUGHT = ("cot.missing", "cot.empty")
COUNTING = {"vote", "threshold", "concurrency", "cache", "cache_entries"}
"""Settings of the LLM judges that do not affect what a model answers."""


class VerdictValidity:
    """The verdicts of a run that was made with `old`, seen from `new`."""

    def __init__(self, old: Config, new: Config) -> None:
        self.old, self.new = old, new
        self._by = old.fcdr.stages.model_dump(), new.fcdr.stages.model_dump()
        self._accept = _accept(new.fcdr.llm)
        self._recount = _accept(old.fcdr.llm) != self._accept
        self._unscored = new.fcdr.llm.vote == "mean" != old.fcdr.llm.vote
        self._asked_else = _asking(old) != _asking(new)
        self._own = _own(old), _own(new)
        self._form = old.model.call_format, new.model.call_format

    def verdict(self, sample: Sample, node: str, verdict: Verdict) -> Verdict | str:
        """The verdict of `node`'s judge on this attempt under the new configuration, or why it is unknown."""
        if node not in STAGES:
            same = self._own[0].get(node) == self._own[1].get(node)
            return verdict if same else "another agent judges there now"
        if node == "format" and self._form[0] != self._form[1]:
            return f"model.call_format was {self._form[0]} and is {self._form[1]}"
        before, now = (by[node] for by in self._by)
        if before == now or ({before, now} == {"rules", "both"} and node in DECIDABLE):
            return self._same(sample, verdict)
        if (before, now) == ("both", "rules"):  # a model was only asked where the rule had found nothing
            ruled = passed(node) if _by_model(verdict) else verdict
            return self._same(sample, ruled)
        if (before, now) == ("rules", "both") and verdict.outcome != Outcome.PASS:
            return self._same(sample, verdict)
        return f"fcdr.stages.{node} was {before} and is {now}"

    def regenerated(self, sample: Sample, again: Regeneration) -> str:
        """Why a recorded regeneration is not valid for this attempt; empty when it is."""
        old, new = self.old.fcdr, self.new.fcdr
        asker = sample.verdicts[-1].stage if sample.verdicts else ""
        if asker != again.asker:
            return f"{asker} asks for another answer where {again.asker} did"
        if old.regenerate != new.regenerate:
            return "fcdr.regenerate is another"
        if self._form[0] != self._form[1]:
            return "model.call_format is another"
        if bool(self.old.sample.endpoints) != bool(self.new.sample.endpoints):
            return "sample.endpoints are others"
        yields = {resampling_yields(new.regenerate, sample.attempt, fcdr.max_attempts) for fcdr in (old, new)}
        if len(yields) > 1:
            return "with another fcdr.max_attempts it is another turn that waits for the repair"
        return ""

    def _same(self, sample: Sample, verdict: Verdict) -> Verdict | str:
        """The verdict of a stage that is judged as before."""
        if _by_model(verdict):
            if verdict.reason == "judge.too_long":  # no model was asked
                return verdict
            if self._asked_else:
                return "other models, or other settings of fcdr.llm, judge there now"
            if not self._recount:
                return verdict
            if not verdict.votes:
                return "the votes were not recorded, so they cannot be counted again"
            if self._unscored:
                return "its votes were given without a score, which fcdr.llm.accept: mean asks for"
            return recounted(verdict, sample, self._accept)
        required = self.old.fcdr.require_thinking, self.new.fcdr.require_thinking
        if verdict.stage == "cot" and required == (True, False) and verdict.reason in UNTHOUGHT:
            return passed("cot")
        if verdict.stage == "cot" and required == (False, True) and verdict.outcome == Outcome.PASS:
            return "fcdr.require_thinking asks for thinking that may not be there"
        return verdict


def _by_model(verdict: Verdict) -> bool:
    return verdict.judge.startswith("llm:")


def _accept(llm: LlmJudges) -> VoteRule:
    return VoteRule(llm.vote, llm.threshold if llm.vote == "mean" else 0.5)


def _asking(config: Config) -> dict[str, Any]:
    llm = config.fcdr.llm
    own = {"path": config.model.path} if llm.model == "self" else {}
    return llm.model_dump(exclude=COUNTING) | own | {"seed": config.seed}


def _own(config: Config) -> dict[str, str]:
    return {entry.name: entry.agent for entry in config.agents}


UNKNOWN = "unknown"
KEEPER = "trainer"
NEVER = "this sample was never judged there"
NOT_ANSWERED = "no answer to it was recorded"
PASSED = ("pass", "keep_text", "reformatted", "rewritten", "resampled")


class StageUsage(NamedTuple):
    """The requests and tokens that a stage used."""

    requests: float = 0.0
    tokens: float = 0.0


@dataclass(slots=True)
class StageCounts:
    """One node of one routing: its answers by outcome, `unknown` among them, and what its models used."""

    outcomes: Counter[str] = field(default_factory=Counter)
    spent: StageUsage = field(default_factory=StageUsage)

    @property
    def judged(self) -> int:
        """How many answers the record had."""
        return self.outcomes.total() - self.unknown

    @property
    def unknown(self) -> int:
        """How many answers were wanted and not recorded."""
        return self.outcomes[UNKNOWN]

    @property
    def passed(self) -> int:
        """How many continued; at the regenerator: with another answer."""
        return sum(self.outcomes[outcome] for outcome in PASSED)


@dataclass(slots=True)
class Routing:
    """All samples through one graph: counts by node, and how they ended."""

    stages: dict[str, StageCounts]
    fates: Counter[str]


@dataclass(slots=True)
class WhatIf:
    """The recorded routing (`then`), the one under the new configuration (`now`), and why stages lack answers."""

    then: Routing
    now: Routing
    samples: int
    missing: dict[str, Counter[str]]
    never: list[str]
    """Stages of the new graph without a single recorded verdict."""


async def what_if(recorded: Recorded, old: Config, new: Config) -> WhatIf:
    """Route what `recorded` holds of a run made with `old` as `new` says. GraphError when its graph cannot run."""
    graph = refine_graph(new)
    validity, missing = VerdictValidity(old, new), {node.name: Counter[str]() for node in graph.nodes}
    fates = Counter(recorded.unjudged)

    def end(sample: Sample, fate: str) -> None:
        fates[fate] += 1

    async def unknown(sample: Sample) -> None:
        end(sample, UNKNOWN)

    stages = {name: StageCounts() for name in graph.order if name not in (KEEPER, END)}
    agents: dict[str, Any] = {name: _agent(graph.node(name), recorded, validity, missing[name]) for name in stages}
    agents |= {KEEPER: KeptSink(end), END: DeadLetterSink(end), UNKNOWN: unknown}

    def observe(node: str, before: Sample, outcome: str, after: Sample | None, seconds: float) -> None:
        if node in stages:
            stages[node].outcomes[outcome] += 1

    # Every node gets an edge for what was never recorded.
    inner = [node.name for node in graph.nodes if node.outcomes]
    nodes = [replace(n, outcomes=(*n.outcomes, UNKNOWN)) if n.outcomes else n for n in graph.nodes]
    edges = (*graph.edges, *(Edge(name, UNKNOWN, UNKNOWN) for name in inner))
    open_graph = Graph((*nodes, Node(UNKNOWN, outcomes=())), edges, graph.start)
    bus = Bus(open_graph, agents, max_attempts=new.fcdr.max_attempts, observe=observe, error_limit=1.0)
    await bus.drain(recorded.samples)
    for name, stage in stages.items():
        # At the recorded average per judgement, unknown judgements included.
        usage, judged = _usage(recorded, name), recorded.outcomes.get(name, Counter()).total()
        share = stage.outcomes.total() / judged if judged else 0.0
        stage.spent = StageUsage(usage.requests * share, usage.tokens * share)
    names = [name for name in recorded.state.nodes if name in recorded.outcomes]
    names += [name for name in recorded.outcomes if name not in names]
    then = Routing(
        {name: StageCounts(Counter(recorded.outcomes[name]), _usage(recorded, name)) for name in names}, recorded.fates
    )
    never = [name for name in stages if name != REGENERATOR and name not in recorded.outcomes]
    total = len(recorded.samples) + recorded.unjudged.total()
    return WhatIf(then, Routing(stages, fates), total, {name: why for name, why in missing.items() if why}, never)


def _agent(
    node: Node, recorded: Recorded, validity: VerdictValidity, missing: Counter[str]
) -> Callable[..., Awaitable[Any]]:
    """The agent of a node, answering from the record; `missing` counts why it cannot."""

    def answer(sample: Sample) -> Verdict | str:
        attempt = sample.round, sample.id, sample.attempt
        if node.name == REGENERATOR:
            again = recorded.again.get(attempt)
            why = NOT_ANSWERED if again is None else validity.regenerated(sample, again)
            if again is not None and not why:
                return again.outcome
        else:
            found = recorded.verdicts.get((attempt, node.name))
            judged = NEVER if found is None else validity.verdict(sample, node.name, found)
            if isinstance(judged, Verdict):
                return judged
            why = judged
        missing[why] += 1
        return UNKNOWN

    async def one(sample: Sample) -> Any:
        return answer(sample)

    async def many(samples: list[Sample]) -> list[Any]:
        return [answer(sample) for sample in samples]

    return many if node.max_batch > 1 else one


def _usage(recorded: Recorded, name: str) -> StageUsage:
    """What a stage's models used by the run's events, canaries and repeated questions included."""
    rounds = recorded.state.rounds.values()
    asked = [r.asked[name] for r in rounds if name in r.asked]
    paid = [r.paid[name] for r in rounds if name in r.paid]
    requests = sum(a.requests for a in asked) + sum(p["requests"] for p in paid)
    return StageUsage(requests, sum(a.tokens for a in asked) + sum(p["tokens"] for p in paid))
