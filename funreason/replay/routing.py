"""What if: a run's recorded verdicts, routed again through another graph or by other settings. No model is asked.

The bus is the real one; its agents answer from the record. Where the new graph asks for a judgement or another answer
that was never recorded, the sample ends as `unknown` there and is counted: nothing is guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from funreason.agents.sinks import DeadLetterSink, KeptSink
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
