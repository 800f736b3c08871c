"""Judges are judged: each round shows them canaries, and one that errs too often stops it before it draws a sample.

The same agents that will sit on the bus are asked directly, so nothing they are shown can get into the flow. What each
was shown and said stands in the round's `canaries.jsonl`.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

from funreason.agents.judges.canaries import Canary, CanarySet
from funreason.agents.judges.rules.verdicts import word_of
from funreason.agents.judges.self_agreement import SelfAgreement
from funreason.bus.agent import ERROR
from funreason.bus.routing import evidence
from funreason.config import OWN_TASKS, TOOLBOX, Canaries, Config, References
from funreason.record.events import CanaryResult, Event, LogMessage
from funreason.record.sample_files import SampleFiles
from funreason.sources.tasks import can_be_scored, references
from funreason.stop import StopRequest
from funreason.types import Outcome, Sample, Task, Verdict

CANARIES = "canaries"
LEAST = 10
"""Good and bad canaries of each judge, however small a round is: a rate of fewer says nothing."""
SPARE = 4
"""Tasks per canary: not every reference can be spoilt in every way."""
STAND_IN = "toolbox:new_dev"
"""Where references come from when the run's own tasks have too few: a split nothing is trained on."""

Judge = Callable[[Sample], Awaitable[Any]]
T = TypeVar("T")


class JudgeFailedCanaries(RuntimeError):
    """A judge erred on more canaries than it may; the message says on which, and what to do."""


class Said(NamedTuple):
    """A canary and a judge's verdict on it."""

    canary: Canary
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class CanaryCheck:
    """Tries judges on canaries and writes down what came of it."""

    config: Config
    write: Callable[[Event], object]
    stop: StopRequest

    @property
    def decides(self) -> bool:
        """Whether what is found may stop the round, so that it has to be known before."""
        limits = self.config.fcdr.canaries
        return limits.max_false_pass is not None or limits.max_false_drop is not None

    async def examine(
        self, judges: Mapping[str, Judge], tasks: Sequence[Task], samples: int, k: int, texts: SampleFiles
    ) -> None:
        """Try every judge of round `k`, which is to have so many samples of these tasks.

        UnfitJudge when one errs more often than `fcdr.canaries` allows; Interrupted when the run is asked to stop.
        """
        settings = self.config.fcdr.canaries
        if not settings.share or not judges:
            return
        count = max(LEAST, math.ceil(settings.share * samples / (2 * len(judges))))
        flock = CanarySet(await self._tasks(tasks, SPARE * count, k), self.config.seed, k)
        texts.forget(CANARIES)  # of an attempt that was broken off
        turns = asyncio.Semaphore(self.config.fcdr.samples_at_once)
        heard = await _all(self._asked(*each, flock, count, turns) for each in judges.items())
        self.stop.check()
        told = []
        for node, said in zip(judges, heard, strict=True):
            for each in said:
                texts.append(CANARIES, each.canary.sample.judged(each.verdict))
            told.append(_examined(k, node, said))
        for event in told:
            self.write(event)
        for event in told:
            require_fit(event, settings, texts)

    async def _asked(
        self, node: str, judge: Judge, flock: CanarySet, count: int, turns: asyncio.Semaphore
    ) -> list[Said]:
        """What a judge says of its canaries; less than all once the run was asked to stop."""
        stage = self._stage(node)

        async def ask(canary: Canary) -> Said | None:
            async with turns:
                await self.stop.wait()
                return None if self.stop.asked else Said(canary, await _verdict(node, judge, canary.sample))

        heard = await _all(map(ask, (*flock.good(stage, count), *flock.bad(stage, count))))
        return [each for each in heard if each is not None]

    def _stage(self, node: str) -> str:
        """Whose question a judge asks: that of the stage it is named after, or that its entry names."""
        return next((entry.stage for entry in self.config.fcdr.judges if entry.name == node and entry.stage), node)

    async def _tasks(self, own: Sequence[Task], count: int, k: int) -> Sequence[Task]:
        """The run's own tasks, or `count` others with a reference where too few have one that could be right."""
        path = self.config.fcdr.canaries.path
        if path == OWN_TASKS:
            able = [task for task in own if can_be_scored(task)]
            if sum(bool(task.reference) for task in able) >= LEAST:
                return able
            text = f"the tasks have too few references for canaries, so the judges are tried on those of {STAND_IN}"
            self.write(LogMessage(level="info", text=text, round=k))
            path = STAND_IN
        draw = partial(references, References(path=path, count=count), self.config.seed, k)
        # To draw from the toolbox takes a tenth of a second, and others may go on meanwhile.
        return await asyncio.to_thread(draw) if path.startswith(TOOLBOX) else draw()


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], give_up: Callable[[], None], *, first: bool) -> AsyncIterator[None]:
    """While the block lasts, `work` is done too, or before it with `first`.

    Where work fails beside the block, `give_up` is to end the block early, and the failure is raised behind it.
    """
    task = asyncio.ensure_future(work)
    try:
        if first:
            await task
        task.add_done_callback(lambda done: None if done.cancelled() or done.exception() is None else give_up())
        yield
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def with_self_agreement(
    judges: Mapping[str, Judge], config: Config, write: Callable[[Event], object]
) -> dict[str, Judge]:
    """The judges, each asking itself a share of the samples twice."""
    if not config.fcdr.agreement:
        return dict(judges)
    return {
        node: SelfAgreement(node, judge, config.fcdr.agreement, config.seed, write) for node, judge in judges.items()
    }


def require_fit(event: CanaryResult, limits: Canaries, texts: SampleFiles) -> None:
    """Raise UnfitJudge when what was examined is over a limit."""
    missed = ", ".join(f"{fault} {count}" for fault, count in event.missed.items())
    for wrong, asked, most, key, what in (
        (event.passed, event.bad, limits.max_false_pass, "max_false_pass", f"passed {{}} known bad samples ({missed})"),
        (event.dropped, event.good, limits.max_false_drop, "max_false_drop", "did not pass {} known good samples"),
    ):
        if most is not None and asked and wrong / asked > most:
            raise JudgeFailedCanaries(
                f"judge {event.node!r} {what.format(f'{wrong} of {asked}')}: {100 * wrong / asked:.0f} %, where "
                f"fcdr.canaries.{key} allows {100 * most:.0f} %. Round {event.round} was stopped before it drew a "
                f"sample. What the judge was shown and said stands in {texts.folder / CANARIES}.jsonl. Mend it "
                "and go on with --resume, or begin anew with another judge or limit."
            )


def _examined(k: int, node: str, said: Sequence[Said]) -> CanaryResult:
    heard = [(each.canary, each.verdict.outcome) for each in said if each.verdict.outcome != Outcome.ERROR]
    wrong = [canary for canary, outcome in heard if canary.misjudged(outcome)]
    missed = Counter(canary.fault for canary in wrong if canary.bad)
    bad = sum(canary.bad for canary, _ in heard)
    return CanaryResult(
        round=k,
        node=node,
        bad=bad,
        passed=missed.total(),
        good=len(heard) - bad,
        dropped=len(wrong) - missed.total(),
        errors=len(said) - len(heard),
        missed=dict(missed),
    )


async def _all(asked: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What each comes to; where one fails, none goes on."""
    tasks = [asyncio.ensure_future(each) for each in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _verdict(node: str, judge: Judge, sample: Sample) -> Verdict:
    """What a judge says, as a verdict of its node; a judge that fails has answered with an error."""
    try:
        answer = await judge(sample)
    except Exception as error:
        if getattr(error, "stops_run", False):
            raise
        return Verdict(node, ERROR, f"agent.{type(error).__name__}", evidence(error), judge="bus")
    return answer if isinstance(answer, Verdict) else Verdict(node, word_of(answer))
