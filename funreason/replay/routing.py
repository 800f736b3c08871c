"""What if: a run's recorded verdicts, routed once more through another graph or by other settings. No model is asked.

The bus is the real one; its agents answer from the record. Where the new way asks for a judgement or another answer
that was never recorded, the sample ends as `unknown` there and is counted: nothing is guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from funreason.agents.sinks import DeadLetterSink, KeptSink
from funreason.bus.agent import Emit
from funreason.bus.graph import Edge, Graph, Node
from funreason.bus.scheduler import Bus
from funreason.config import Config
from funreason.replay.recorded import REGENERATOR, Recorded
from funreason.replay.validity import VerdictValidity
from funreason.runtime.graph import END, refine_graph
from funreason.types import Sample, Verdict

UNKNOWN = "unknown"
KEEPER = "trainer"
NEVER = "this sample was never judged there"
NOT_ANSWERED = "no answer to it was recorded"
PASSED = ("pass", "keep_text", "reformatted", "rewritten", "resampled")
Answers = Callable[[Sample], Verdict | Emit | str]


class Spent(NamedTuple):
    """What a stage asked of models."""

    requests: float = 0.0
    tokens: float = 0.0


@dataclass(slots=True)
class Stage:
    """One node on one way: its answers by outcome, `unknown` among them, and what models were asked for them."""

    outcomes: Counter[str] = field(default_factory=Counter)
    spent: Spent = field(default_factory=Spent)

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
        """How many went on; at the regenerator: with another answer."""
        return sum(self.outcomes[outcome] for outcome in PASSED)


@dataclass(slots=True)
class Way:
    """One way of all samples through a graph."""

    stages: dict[str, Stage]
    fates: Counter[str]


@dataclass(slots=True)
class WhatIf:
    """The way that was recorded, the way it would be now, and why some of that is not known, by stage."""

    then: Way
    now: Way
    samples: int
    missing: dict[str, Counter[str]]
    never: list[str]
    """Stages of the new graph of which not one verdict was recorded."""


async def what_if(recorded: Recorded, old: Config, new: Config) -> WhatIf:
    """Route what `recorded` holds of a run made with `old` as `new` says. GraphError when its graph cannot run."""
    graph = refine_graph(new)
    standing, missing = VerdictValidity(old, new), {node.name: Counter[str]() for node in graph.nodes}
    fates = Counter(recorded.unjudged)
    stages = {name: Stage() for name in graph.order if name not in (KEEPER, END)}
    agents: dict[str, Any] = {name: _answering(graph.node(name), recorded, standing, missing[name]) for name in stages}
    agents |= _ends(fates)

    def observe(node: str, before: Sample, outcome: str, after: Sample | None, seconds: float) -> None:
        if node in stages:
            stages[node].outcomes[outcome] += 1

    bus = Bus(_open_ended(graph), agents, max_attempts=new.fcdr.max_attempts, observe=observe, error_limit=1.0)
    await bus.drain(recorded.samples)
    then = _then(recorded)
    for name, stage in stages.items():
        stage.spent = _expected(recorded, name, stage)
    never = [name for name in stages if name != REGENERATOR and name not in recorded.outcomes]
    total = len(recorded.samples) + recorded.unjudged.total()
    return WhatIf(then, Way(stages, fates), total, {name: why for name, why in missing.items() if why}, never)


def _then(recorded: Recorded) -> Way:
    names = [name for name in recorded.state.nodes if name in recorded.outcomes]
    names += [name for name in recorded.outcomes if name not in names]
    stages = {name: Stage(Counter(recorded.outcomes[name]), _last_error(recorded, name)) for name in names}
    return Way(stages, recorded.fates)


def _answering(node: Node, recorded: Recorded, standing: VerdictValidity, missing: Counter[str]) -> Callable[..., Any]:
    """The agent of a node, out of the record."""

    def judged(sample: Sample) -> Verdict | str:
        found = recorded.verdicts.get(((sample.round, sample.id, sample.attempt), node.name))
        answer = NEVER if found is None else standing.verdict(sample, node.name, found)
        return answer if isinstance(answer, Verdict) else _unknown(answer, missing)

    def regenerated(sample: Sample) -> str:
        found = recorded.again.get((sample.round, sample.id, sample.attempt))
        why = NOT_ANSWERED if found is None else standing.regenerated(sample, found)
        return found.outcome if found is not None and not why else _unknown(why, missing)

    return _seated(node, regenerated if node.name == REGENERATOR else judged)


def _unknown(why: str, missing: Counter[str]) -> str:
    missing[why] += 1
    return UNKNOWN


def _seated(node: Node, answers: Answers) -> Callable[..., Awaitable[Any]]:
    async def one(sample: Sample) -> Any:
        return answers(sample)

    async def many(samples: list[Sample]) -> list[Any]:
        return [answers(sample) for sample in samples]

    return many if node.max_batch > 1 else one


def _ends(fates: Counter[str]) -> dict[str, Any]:
    def end(sample: Sample, fate: str) -> None:
        fates[fate] += 1

    async def unknown(sample: Sample) -> None:
        end(sample, UNKNOWN)

    return {KEEPER: KeptSink(end), END: DeadLetterSink(end), UNKNOWN: unknown}


def _open_ended(graph: Graph) -> Graph:
    """`graph` with a way out of every node for what was never recorded."""
    inner = [node.name for node in graph.nodes if node.outcomes]
    nodes = [replace(n, outcomes=(*n.outcomes, UNKNOWN)) if n.outcomes else n for n in graph.nodes]
    ways = [Edge(name, UNKNOWN, UNKNOWN) for name in inner]
    return Graph((*nodes, Node(UNKNOWN, outcomes=())), (*graph.edges, *ways), graph.start)


def _last_error(recorded: Recorded, name: str) -> Spent:
    """What the run's events say that a stage asked of models; canaries and second askings are in it."""
    rounds = recorded.state.rounds.values()
    asked = [r.asked[name] for r in rounds if name in r.asked]
    paid = [r.paid[name] for r in rounds if name in r.paid]
    requests = sum(a.requests for a in asked) + sum(p["requests"] for p in paid)
    return Spent(requests, sum(a.tokens for a in asked) + sum(p["tokens"] for p in paid))


def _expected(recorded: Recorded, name: str, stage: Stage) -> Spent:
    """The same at the recorded average per judgement, judgements that nobody knows included."""
    told, judged = _last_error(recorded, name), recorded.outcomes.get(name, Counter()).total()
    share = stage.outcomes.total() / judged if judged else 0.0
    return Spent(told.requests * share, told.tokens * share)
