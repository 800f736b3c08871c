"""What an agent is, what it may answer, and what it costs to be refused as one.

An agent is any `async def` that takes one message (or, at a node with `max_batch` above 1, a list of them) and
answers with one of these per message:

- a `Verdict`: the message gets the verdict and leaves by `verdict.outcome`;
- a `str`: the message leaves unchanged by that outcome;
- an `Emit`: another message leaves instead;
- a list of `Emit`: each leaves on its own; the empty list ends the message;
- `None`: the message ends here. Only sinks may say that.

Agents hold no state that a restart would need, and know neither the bus nor each other.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, Protocol, TypeAlias

from funreason.types import Verdict

ENDED = "ended"
"""The outcome that observers receive for a message that ends; no node may declare it."""

ERROR = "error"
EXHAUSTED = "exhausted"


class Emit(NamedTuple):
    """An answer that sends `message` on by `outcome`, in place of the message that came."""

    outcome: str
    message: Any


class At(NamedTuple):
    """A message that waits at a node. A source may yield it to place a message elsewhere than at the start."""

    node: str
    message: Any


class Failed(NamedTuple):
    """A message that cannot carry a verdict (a task, say), with the verdict on why its agent failed."""

    message: Any
    verdict: Verdict


Answer: TypeAlias = Verdict | str | Emit | Sequence[Emit] | None
Agent: TypeAlias = Callable[[Any], Awaitable[Any]]
"""`async (message) -> Answer`, or `async (list of messages) -> list of Answer` of the same length."""


class Observer(Protocol):
    """Told once of every answer, after its route is decided; keep it cheap, it is on the hot path.

    `after` is what travels on (None when the message ended), `seconds` this answer's share of the call's time.
    An exception from an observer stops the run: a record that cannot be written must not be lost silently.
    """

    def __call__(self, node: str, before: Any, outcome: str, after: Any, seconds: float, /) -> object:
        """Take note."""
        ...


def check_agent(node: str, agent: object) -> None:
    """Refuse what cannot be awaited.

    Raises:
        TypeError: `agent` is no `async def` function or object with an `async def __call__`.
    """
    call = getattr(agent, "__call__", None)  # noqa: B004 - the method itself is needed, not whether there is one
    if inspect.iscoroutinefunction(agent) or inspect.iscoroutinefunction(call):
        return
    found = f"{getattr(agent, '__name__', type(agent).__name__)!r}"
    wanted = "`async def` is missing" if callable(agent) else "it cannot be called"
    raise TypeError(
        f"the agent of node {node!r} is {found}, but {wanted}. An agent is an async function: write "
        "`async def judge(message): ...`, and wrap blocking work in `asyncio.to_thread`."
    )


class Problem(NamedTuple):
    """One thing wrong with a graph: a short code for programs, a sentence for people."""

    code: str
    message: str


class GraphError(ValueError):
    """A graph that cannot run; `problems` lists everything that is wrong with it, not only the first thing."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [problem.message for problem in self.problems]
        super().__init__(
            lines[0] if len(lines) == 1 else "\n".join(["the graph cannot run:", *(f"- {x}" for x in lines)])
        )


class AnswerError(TypeError):
    """An agent answered with something the graph has no way for. Counts as an error of the agent."""


class BrokenAgent(RuntimeError):
    """An agent failed too often, or failed where no edge leads on, so the run was stopped.

    `unfinished` holds every message that was in flight, each with the node it waits at; the list may be
    given to `Bus.drain` as its source once the agent is fixed.
    """

    def __init__(self, node: str, errors: int, answers: int, evidence: str, unfinished: Sequence[At]) -> None:
        self.node, self.errors, self.answers = node, errors, answers
        self.evidence, self.unfinished = evidence, list(unfinished)
        left = (
            f"{len(self.unfinished)} messages are unfinished. Fix the agent and drain them again."
            if self.unfinished
            else "every message has ended, those it failed on by error. Fix the agent and try these again."
        )
        super().__init__(
            f"agent {node!r} is broken: {errors} of {answers} answers were errors, so the run was stopped rather than "
            f"blaming the samples; {left} Its last error:\n{evidence}"
        )


def nearest(name: str, known: Collection[str]) -> str:
    """A clause naming the known name that looks most like `name`, or all of them when none does."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(map(repr, known)) or 'none'}."
