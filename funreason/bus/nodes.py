"""What a graph is declared of: nodes, where agents answer, and edges, which take an answer on.

Three kinds of edges: plain ones; `counted` ones, which cost the message one attempt, so that a cycle through
them ends; and `signal` ones, which carry no messages but close the loop once a round, so that the number of
rounds bounds them.
"""

from __future__ import annotations

from dataclasses import dataclass

DEAD_LETTER = "dead_letter"


@dataclass(frozen=True)
class Node:
    """A place where an agent answers messages. A node whose outcomes carry no message is a sink.

    `max_batch` above 1 hands the agent lists; `concurrency` bounds its calls under way (None: no bound of its
    own); `retries` is how often a call that raised is tried again.
    """

    name: str
    agent: str = ""
    outcomes: tuple[str, ...] = ()
    max_batch: int = 1
    concurrency: int | None = None
    retries: int = 1


@dataclass(frozen=True)
class Edge:
    """From `source`, the answer `outcome` leads to `target`."""

    source: str
    outcome: str
    target: str
    counted: bool = False
    signal: bool = False

    def __str__(self) -> str:
        flags = " counted" * self.counted + " signal" * self.signal
        return f"{self.source} {self.outcome} {self.target}{flags}"
