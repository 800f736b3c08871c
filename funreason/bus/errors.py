"""What the bus refuses: a graph that cannot run, an answer that cannot be routed, an agent that is broken.

The messages are for a person who has to mend something, so each says where and how.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from funreason.bus.agent import At


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
    given to `Bus.drain` as its source once the agent is mended.
    """

    def __init__(self, node: str, errors: int, answers: int, evidence: str, unfinished: Sequence[At]) -> None:
        self.node, self.errors, self.answers = node, errors, answers
        self.evidence, self.unfinished = evidence, list(unfinished)
        left = (
            f"{len(self.unfinished)} messages are unfinished. Mend the agent and go on with them."
            if self.unfinished
            else "every message has ended, those it failed on by error. Mend the agent and try these again."
        )
        super().__init__(
            f"agent {node!r} is broken: {errors} of {answers} answers were errors, so the run was stopped rather than "
            f"blaming the samples; {left} Its last error:\n{evidence}"
        )
