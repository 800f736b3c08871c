"""The bus: moves messages along the edges of a graph, and knows no agent by name.

    bus = Bus(graph, agents, observe=journal.observe)
    flow = await bus.drain(samples)                       # until nothing is in flight
    last = await bus.send("drained", Drained(k))          # then the round's own message, along the round edges

`workers` moves samples, `routing` reads answers; what an agent may be and answer is in `agent`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from funreason.bus.agent import Agent, AnswerError, Observer, check_agent, nearest
from funreason.bus.graph import Graph
from funreason.bus.routing import compile_table, read_round_answer
from funreason.bus.source import open_source
from funreason.bus.topology import reachable
from funreason.bus.workers import Drain, Flow, Limits


class RoundSteps:
    """What the sender of a round's message sees of its way; override either method."""

    def routed(self, source: str, outcome: str, target: str, message: Any) -> None:
        """`message` leaves `source` by `outcome` for `target`."""

    def working(self, node: str, message: Any) -> AbstractAsyncContextManager[None]:
        """Entered while the agent of `node` works on `message`."""
        return nullcontext()


class Bus:
    """A checked graph with an agent at every node."""

    def __init__(
        self,
        graph: Graph,
        agents: Mapping[str, Agent],
        *,
        workers: int = 64,
        max_attempts: int = 3,
        observe: Observer | None = None,
        error_limit: float = 0.2,
        error_floor: int = 20,
        check_at_end: bool = False,
    ) -> None:
        """Put `agents`, by node name, at the nodes of `graph`.

        Raises:
            GraphError: the graph cannot run.
            KeyError: a node has no agent.
            TypeError: an agent is not async.
            ValueError: a limit is out of its range.
        """
        self.graph = graph.checked()
        self._limits = Limits(workers, max_attempts, error_limit, error_floor, check_at_end)
        served = reachable(graph.names, graph.edges, graph.start)
        for name in graph.names:
            if name not in agents:
                raise KeyError(f"node {name!r} has no agent; agents were given for {', '.join(agents) or 'no node'}.")
            if name in served:
                check_agent(name, agents[name])
        self._agents = {name: agents[name] for name in graph.names}
        self._observe: Observer = observe or (lambda node, before, outcome, after, seconds, /: None)
        self._drain: Drain | None = None
        self._stopped = False

    async def drain(self, source: Iterable[Any] | AsyncIterable[Any]) -> Flow:
        """Carry every message of `source` to its end; return when nothing is in flight.

        The source is pulled as room comes free, never ahead. It may yield `At(node, message)` to place a
        message elsewhere than at the start. If it raises, what is in flight is finished first.

        Raises:
            BrokenAgent: an agent failed too often, or a sink failed; carries the messages still unfinished.
            RuntimeError: the bus is draining already.
        """
        if self._drain is not None:
            raise RuntimeError("the bus is draining already; await that drain, or make another Bus.")
        states = compile_table(self.graph, self._agents)
        self._drain = Drain(states, self.graph.start, open_source(source), self._observe, self._limits)
        try:
            if self._stopped:
                self._drain.stop()
            return await self._drain.run()
        finally:
            self._drain = None

    def stop(self) -> None:
        """Pull no more, now or in a later drain; what is in flight is finished and its Flow says `stopped`."""
        self._stopped = True
        if self._drain is not None:
            self._drain.stop()

    async def send(self, outcome: str, message: Any, steps: RoundSteps | None = None) -> Any:
        """Carry one message along the round edges, from the start by `outcome` until it is back at the start.

        Each agent on its way answers as it answers samples: a verdict, an outcome's name or an `Emit`. The start's own
        agent receives what comes back; its answer is ignored. `steps` is called before and after each agent.

        Returns:
            The message as it came back to the start.

        Raises:
            KeyError: no round edge takes `outcome` from the start.
            AnswerError: an agent answered with something that no round edge takes.
            Exception: whatever an agent raises; a round has no dead letter to send it to.
        """
        routes = {(e.source, e.outcome): e.target for e in self.graph.edges if e.per_round}
        steps = steps or RoundSteps()
        node, start = self.graph.start, self.graph.start
        if (start, outcome) not in routes:
            known = [each for source, each in routes if source == start]
            raise KeyError(f"no round edge takes {outcome!r} from {start!r}; {nearest(outcome, known)}")
        while True:
            source, node = node, routes[node, outcome]
            steps.routed(source, outcome, node, message)
            batched = self.graph.node(node).max_batch > 1
            async with steps.working(node, message):
                answer = await self._agents[node]([message] if batched else message)
            if node == start:
                return message
            outcome, message = read_round_answer(node, message, answer[0] if batched else answer)
            if (node, outcome) not in routes:
                known = [each for source, each in routes if source == node]
                raise AnswerError(
                    f"agent {node!r} answered a round's message with {outcome!r}, which no round edge takes; "
                    f"{nearest(outcome, known)}"
                )
