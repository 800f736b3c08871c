"""Runs a custom judge at its node of the graph and records its answers under the node's name.

A bare outcome becomes a verdict with the reason `<node>.<outcome>`, so that dead letters can be told apart. The
verdict's stage is always the node. A judge that exceeds its time limit has failed on the sample. A judge that computes
without ever awaiting cannot be interrupted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from funreason.types import Outcome, Sample, Verdict

USUAL: tuple[str, ...] = (Outcome.PASS, Outcome.DROP, Outcome.ERROR)
"""The outcomes of every judge's node. Others must be declared."""
REASON_CHARS, EVIDENCE_CHARS = 200, 4_000
"""Longest reason and evidence kept of a verdict: reasons go into the log, which holds no long texts."""


class CustomJudge:
    """Calls `agent` and labels its answer with the node's name. `limit_s` is the time limit per sample in seconds."""

    def __init__(self, node: str, agent: Callable[[Sample], Awaitable[Any]], limit_s: float | None = 60.0) -> None:
        self.node = node
        self.agent = agent
        self.limit_s = limit_s

    async def __call__(self, sample: Sample) -> Any:
        """The agent's answer. A verdict or a bare outcome becomes a verdict of this node."""
        return self._signed(await self._in_time(self.agent(sample)))

    async def judge_uncached(self, sample: Sample) -> Any:
        """The same without the agent's cache, if it has a method `judge_uncached`."""
        return self._signed(await self._in_time(getattr(self.agent, "judge_uncached", self.agent)(sample)))

    async def _in_time(self, answer: Awaitable[Any]) -> Any:
        limit = asyncio.timeout(self.limit_s)
        try:
            async with limit:
                return await answer
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(f"{self.node} gave no answer within {self.limit_s:g} s") from error
        except asyncio.CancelledError as error:
            if is_broken_off():
                raise
            # Passed on, it would look like the user's interrupt and end the run without a reason.
            raise RuntimeError(f"{self.node} raised CancelledError, but was not cancelled") from error

    def _signed(self, answer: Any) -> Any:
        if isinstance(answer, str):
            reason = "" if answer == Outcome.PASS else f"{self.node}.{answer}"
            return Verdict(self.node, answer, reason, judge="own")
        return self._short(answer) if isinstance(answer, Verdict) else answer

    def _short(self, verdict: Verdict) -> Verdict:
        reason, evidence = verdict.reason[:REASON_CHARS], verdict.evidence[:EVIDENCE_CHARS]
        if (verdict.stage, verdict.reason, verdict.evidence) == (self.node, reason, evidence):
            return verdict
        return msgspec.structs.replace(verdict, stage=self.node, reason=reason, evidence=evidence)


def declared(agent: object) -> frozenset[str]:
    """The outcomes an agent may return: the usual ones and those in its attribute `outcomes`."""
    return frozenset(USUAL) | frozenset(getattr(agent, "outcomes", ()))


def is_broken_off() -> bool:
    """Whether the current task is cancelled from outside, as opposed to an agent raising CancelledError itself."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
