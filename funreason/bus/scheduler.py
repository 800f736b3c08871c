"""The bus: moves messages along the edges of a graph, and knows no agent by name.

    bus = Bus(graph, agents, observe=journal.observe)
    flow = await bus.drain(samples)                       # until nothing is in flight
    answer = await bus.signal("trainer", "drained", k)    # then, once a round

How it goes about that is in `drain`; what an agent may be and answer is in `agent`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any

from funreason.bus.agent import Agent, AnswerError, Observer, check_agent
from funreason.bus.graph import Graph
from funreason.bus.graph_yaml import nearest
from funreason.bus.routing import compile_table
from funreason.bus.source import open_intake
from funreason.bus.topology import reachable
from funreason.bus.workers import Drain, Flow, Limits, Signalled


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
        last_look: bool = False,
    ) -> None:
        """Put `agents`, by node name, at the nodes of `graph`.

        Raises:
            GraphError: the graph cannot run.
            KeyError: a node has no agent.
            TypeError: an agent is not async, or lacks the `on_signal` that its signal edges need.
            ValueError: a limit is out of its range.
        """
        self.graph = graph.checked()
        self._limits = Limits(workers, max_attempts, error_limit, error_floor, last_look)
        self._agents = _seated(graph, agents)
        self._observe = observe or _unobserved
        self._signals = {(e.source, e.outcome): e.target for e in graph.edges if e.signal}
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
        lanes = compile_table(self.graph, self._agents)
        self._drain = Drain(lanes, self.graph.start, open_intake(source), self._observe, self._limits)
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

    async def signal(self, node: str, name: str, payload: Any = None) -> Signalled:
        """Tell the agent of `node` that `name` happened; the answer says which node its signal edge leads to.

        `target` is empty where the chain of signals ends, at a node that no signal edge leaves.

        Raises:
            KeyError: there is no such node.
            TypeError: its agent has no `on_signal`.
            AnswerError: the agent answered an outcome that no signal edge takes.
        """
        if node not in self._agents:
            raise KeyError(f"there is no node {node!r} to signal; {nearest(node, tuple(self._agents))}")
        handler = getattr(self._agents[node], "on_signal", None)
        if handler is None:
            raise TypeError(f"the agent of node {node!r} takes no signals, so {name!r} is lost; give it `on_signal`.")
        outcome, answer = await handler(name, payload)
        return Signalled(outcome, self._led(node, outcome), answer)

    def _led(self, node: str, outcome: str) -> str:
        known = [led for source, led in self._signals if source == node]
        if not known:
            return ""
        if outcome in known:
            return self._signals[node, outcome]
        raise AnswerError(
            f"agent {node!r} answered a signal with {outcome!r}, which no signal edge takes; {nearest(outcome, known)}"
        )


def _seated(graph: Graph, agents: Mapping[str, Agent]) -> dict[str, Agent]:
    served = reachable(graph.names, graph.carrying, graph.start)
    signalled = {edge.source for edge in graph.edges if edge.signal}
    for node in graph.nodes:
        if node.name not in agents:
            raise KeyError(f"node {node.name!r} has no agent; agents were given for {', '.join(agents) or 'no node'}.")
        if node.name in served:
            check_agent(node.name, agents[node.name])
        if node.name in signalled and not hasattr(agents[node.name], "on_signal"):
            raise TypeError(f"node {node.name!r} has signal edges, so its agent needs `async def on_signal`.")
    return {node.name: agents[node.name] for node in graph.nodes}


def _unobserved(node: str, before: Any, outcome: str, after: Any, seconds: float, /) -> None:
    """What observes a bus that nobody observes."""
