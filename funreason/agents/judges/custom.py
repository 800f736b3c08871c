"""A judge of one's own, in its seat: whatever it says gets into the record under the name of its node.

A bare word becomes a verdict with a reason, `<node>.<word>`, because a dead letter without a reason could not be told
from another. The verdict's stage is the node, so that its reason is counted there. A judge that does not answer in time
has failed on the sample; one that computes without ever awaiting cannot be broken off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from funreason.types import Outcome, Sample, Verdict

USUAL: tuple[str, ...] = (Outcome.PASS, Outcome.DROP, Outcome.ERROR)
"""The outcomes that every judge's node has; others are declared."""
REASON_CHARS, EVIDENCE_CHARS = 200, 4_000
"""What is kept of a verdict's words: reasons are counted and stand in the log, which holds no texts."""


class CustomJudge:
    """Asks `agent` and signs its answer with the name of the node."""

    def __init__(self, node: str, agent: Callable[[Sample], Awaitable[Any]], limit_s: float | None = 60.0) -> None:
        self.node = node
        self.agent = agent
        self.limit_s = limit_s

    async def __call__(self, sample: Sample) -> Any:
        """The agent's answer, as a verdict of this node where it is a verdict or a word."""
        return self._signed(await self._in_time(self.agent(sample)))

    async def judge_uncached(self, sample: Sample) -> Any:
        """The same from an agent that looks nothing up, where it has such a method."""
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
            # Let through, it would pass for the user's interrupt, and the run would end without a reason.
            raise RuntimeError(f"{self.node} raised CancelledError, and nobody had cancelled it") from error

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
    """The outcomes an agent may answer with: the usual ones, and those in its attribute `outcomes`."""
    return frozenset(USUAL) | frozenset(getattr(agent, "outcomes", ()))


def is_broken_off() -> bool:
    """Whether the task under way is being cancelled from outside, and it is not an agent that cancels itself."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
