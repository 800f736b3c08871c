"""Asks a judge about some samples twice, to measure how often it agrees with itself.

The first answer counts, the second is only compared. A judge with a cache must have a method `judge_uncached`, which
bypasses it. Which samples are judged twice depends only on the seed, the node, the sample and its attempt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from funreason.agents.judges.rules.verdicts import word_of
from funreason.bus.agent import ERROR
from funreason.record.events import SelfAgreementChecked
from funreason.types import Sample

Agent = Callable[[Any], Awaitable[Any]]


class SelfAgreement:
    """The agent of `node`, asked a second time about a `share` of its samples."""

    def __init__(
        self, node: str, agent: Agent, share: float, seed: int, write: Callable[[SelfAgreementChecked], object]
    ) -> None:
        self.node = node
        self.agent = agent
        self.again: Agent = getattr(agent, "judge_uncached", agent)
        self.share = share
        self.seed = seed
        self.write = write

    async def __call__(self, sample: Sample) -> Any:
        """The agent's first answer."""
        answer = await self.agent(sample)
        if self._chosen(sample):
            self.write(
                SelfAgreementChecked(
                    round=sample.round,
                    sample=sample.id,
                    attempt=sample.attempt,
                    node=self.node,
                    first=word_of(answer),
                    second=await self._second(sample),
                )
            )
        return answer

    def _chosen(self, sample: Sample) -> bool:
        name = f"{self.seed}/{self.node}/{sample.id}/{sample.attempt}"
        draw = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest())
        return draw < self.share * 2**32

    async def _second(self, sample: Sample) -> str:
        try:
            return word_of(await self.again(sample))
        except Exception as error:
            if getattr(error, "stops_run", False):
                raise
            return ERROR  # recorded in the event; the first answer counts, so a failure here does not affect the sample
