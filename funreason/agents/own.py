"""A judge of one's own, in its seat: whatever it says gets into the record under the name of its node.

A bare word becomes a verdict with a reason, `<node>.<word>`, because a dead letter without a reason could not be told
from another. The verdict's stage is the node, so that its reason is counted there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from funreason.record.types import Outcome, Sample, Verdict

USUAL: tuple[str, ...] = (Outcome.PASS, Outcome.DROP, Outcome.ERROR)
"""The outcomes that every judge's node has; others are declared."""


class OwnJudge:
    """Asks `agent` and signs its answer with the name of the node."""

    def __init__(self, node: str, agent: Callable[[Sample], Awaitable[Any]]) -> None:
        self.node = node
        self.agent = agent

    async def __call__(self, sample: Sample) -> Any:
        """The agent's answer, as a verdict of this node where it is a verdict or a word."""
        return self._signed(await self.agent(sample))

    async def afresh(self, sample: Sample) -> Any:
        """The same from an agent that looks nothing up, where it has such a method."""
        return self._signed(await getattr(self.agent, "afresh", self.agent)(sample))

    def _signed(self, answer: Any) -> Any:
        if isinstance(answer, str):
            reason = "" if answer == Outcome.PASS else f"{self.node}.{answer}"
            return Verdict(self.node, answer, reason, judge="own")
        if isinstance(answer, Verdict) and answer.stage != self.node:
            return msgspec.structs.replace(answer, stage=self.node)
        return answer


def declared(agent: object) -> frozenset[str]:
    """The outcomes an agent may answer with: the usual ones, and those in its attribute `outcomes`."""
    return frozenset(USUAL) | frozenset(getattr(agent, "outcomes", ()))
