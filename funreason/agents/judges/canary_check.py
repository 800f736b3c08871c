"""Checks the judges: on canaries before each round, and by asking about some samples twice.

The round's judges are called directly, not over the bus, so no canary can end up among the samples. Every canary and
the verdict on it are written to the round's `canaries.jsonl`. The round stops when a judge errs too often.

`SelfAgreement` measures how often a judge agrees with itself. The first answer counts, the second is only compared. A
judge with a cache must have a method `judge_uncached`, which bypasses it. Which samples are judged twice depends only
on the seed, the node, the sample and its attempt.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

from funreason.agents.judges.canaries import Canary, CanarySet
from funreason.agents.judges.llm.acceptance import AcceptancePanel
from funreason.agents.judges.rules.verdicts import word_of
from funreason.bus.agent import ERROR
from funreason.bus.routing import evidence
from funreason.config import OWN_TASKS, TOOLBOX, Canaries, Config, References
from funreason.policies.native_format import call_format_of
from funreason.record.events import CanaryResult, Event, LogMessage, SelfAgreementChecked
from funreason.record.sample_files import CANARIES, SampleFiles
from funreason.sources.tasks import can_be_scored, references
from funreason.stop import StopRequest
from funreason.types import Outcome, Sample, Task, Verdict

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
        name = f"{self.seed}/{self.node}/{sample.id}/{sample.attempt}"
        draw = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest())
        if draw < self.share * 2**32:
            # A failure is recorded in the event; the first answer counts.
            second = await _verdict(self.node, self.again, sample)
            self.write(
                SelfAgreementChecked(
                    round=sample.round,
                    sample=sample.id,
                    attempt=sample.attempt,
                    node=self.node,
                    first=word_of(answer),
                    second=str(second.outcome),
                )
            )
        return answer


LEAST = 10
"""Good and bad canaries per judge in the smallest round: an error rate over fewer means nothing."""
SPARE = 4
"""Tasks drawn per canary: not every reference can be perturbed in every way."""
STAND_IN = "toolbox:new_dev"
"""The references used when the run's tasks have too few: a split that is never trained on."""

Judge = Callable[[Sample], Awaitable[Any]]
T = TypeVar("T")


class JudgeFailedCanaries(RuntimeError):
    """A judge erred on more canaries than allowed; the message names them and says what to do."""


class JudgedCanary(NamedTuple):
    """A canary and a judge's verdict on it."""

    canary: Canary
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class CanaryCheck:
    """Asks judges about canaries and records the results."""

    config: Config
    write: Callable[[Event], object]
    stop: StopRequest

    @property
    def decides(self) -> bool:
        """Whether the result may stop the round, so that sampling must wait for it."""
        limits = self.config.fcdr.canaries
        return limits.max_false_pass is not None or limits.max_false_drop is not None

    async def examine(
        self, judges: Mapping[str, Judge], tasks: Sequence[Task], samples: int, k: int, texts: SampleFiles
    ) -> None:
        """Check every judge of round `k`, which will have `samples` samples of `tasks`.

        JudgeFailedCanaries when one errs more often than `fcdr.canaries` allows; Interrupted when the run is asked to
        stop.
        """
        settings = self.config.fcdr.canaries
        if not settings.share or not judges:
            return
        count = max(LEAST, math.ceil(settings.share * samples / (2 * len(judges))))
        canaries = CanarySet(
            await self._tasks(tasks, SPARE * count, k),
            self.config.seed,
            k,
            call_format_of(self.config.model),
        )
        texts.delete(CANARIES)  # left by an interrupted attempt
        turns = asyncio.Semaphore(self.config.fcdr.samples_at_once)
        answers = await _all(self._asked(*each, canaries, count, turns) for each in judges.items())
        self.stop.check()
        results: list[CanaryResult] = []
        for (node, judge), said in zip(judges.items(), answers, strict=True):
            seats, suspended = dict[str, float](), list[str]()
            if isinstance(judge, AcceptancePanel):
                seats, suspended = judge.seat(k, [each.verdict for each in said if each.canary.bad])
            for each in said:
                texts.append(CANARIES, each.canary.sample.judged(each.verdict))
            counted = [(each.canary, each.verdict.outcome) for each in said if each.verdict.outcome != Outcome.ERROR]
            wrong = [canary for canary, outcome in counted if canary.misjudged(outcome)]
            missed = Counter(canary.fault for canary in wrong if canary.bad)
            bad = sum(canary.bad for canary, _ in counted)
            results.append(
                CanaryResult(
                    round=k,
                    node=node,
                    bad=bad,
                    passed=missed.total(),
                    good=len(counted) - bad,
                    dropped=len(wrong) - missed.total(),
                    errors=len(said) - len(counted),
                    missed=dict(missed),
                    seats=seats,
                    suspended=suspended,
                )
            )
        for event in results:
            self.write(event)
        for event in results:
            self._report_suspended(event)
            require_fit(event, settings, texts)

    def _report_suspended(self, event: CanaryResult) -> None:
        """Log which models lost their seat in the round; JudgeFailedCanaries when none is left."""
        if not event.suspended:
            return
        found = ", ".join(f"{name} accepted {100 * event.seats[name]:.0f} %" for name in event.suspended)
        limit = f"of {event.bad} bad canaries; hdr.max_seat_false_pass is {self.config.hdr.max_seat_false_pass}"
        if len(event.suspended) == len(event.seats):
            raise JudgeFailedCanaries(
                f"no model of the panel may judge round {event.round}: {found} {limit}. The round was stopped before "
                "sampling. Name better models in fcdr.llm.endpoints, or set a higher limit, and continue with --resume."
            )
        text = f"the panel judges this round without {' and '.join(event.suspended)}: {found} {limit}"
        self.write(LogMessage(level="warning", text=text, round=event.round))

    async def _asked(
        self, node: str, judge: Judge, canaries: CanarySet, count: int, turns: asyncio.Semaphore
    ) -> list[JudgedCanary]:
        """A judge's verdicts on its canaries; fewer than all when the run is asked to stop."""
        # The question a judge answers: that of the stage in its `agents` entry, or else of its own name.
        stage = next((entry.stage for entry in self.config.agents if entry.name == node and entry.stage), node)

        async def ask(canary: Canary) -> JudgedCanary | None:
            async with turns:
                await self.stop.wait()
                return None if self.stop.asked else JudgedCanary(canary, await _verdict(node, judge, canary.sample))

        answers = await _all(map(ask, (*canaries.good(stage, count), *canaries.bad(stage, count))))
        return [each for each in answers if each is not None]

    async def _tasks(self, own: Sequence[Task], count: int, k: int) -> Sequence[Task]:
        """The run's own tasks, or `count` others when too few of them have a usable reference."""
        path = self.config.fcdr.canaries.path
        if path == OWN_TASKS:
            able = [task for task in own if can_be_scored(task)]
            if sum(bool(task.reference) for task in able) >= LEAST:
                return able
            text = f"Not enough reference answers for canaries; using {STAND_IN} instead."
            self.write(LogMessage(level="info", text=text, round=k))
            path = STAND_IN
        draw = partial(references, References(path=path, count=count), self.config.seed, k)
        # Drawing from the toolbox takes a tenth of a second; other agents keep running meanwhile.
        return await asyncio.to_thread(draw) if path.startswith(TOOLBOX) else draw()


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], give_up: Callable[[], None], *, first: bool) -> AsyncIterator[None]:
    """Run `work` alongside the block, or before it with `first`.

    If work fails during the block, `give_up` is called to end the block early, and the error is raised after it.
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
    """The judges, each of which judges a share of its samples twice."""
    if not config.fcdr.self_agreement_share:
        return dict(judges)
    return {
        node: SelfAgreement(node, judge, config.fcdr.self_agreement_share, config.seed, write)
        for node, judge in judges.items()
    }


def require_fit(event: CanaryResult, limits: Canaries, texts: SampleFiles) -> None:
    """Raise JudgeFailedCanaries when a result is over a limit."""
    missed = ", ".join(f"{fault} {count}" for fault, count in event.missed.items())
    for wrong, asked, most, key, what in (
        (event.passed, event.bad, limits.max_false_pass, "max_false_pass", f"passed {{}} known bad samples ({missed})"),
        (event.dropped, event.good, limits.max_false_drop, "max_false_drop", "did not pass {} known good samples"),
    ):
        if most is not None and asked and wrong / asked > most:
            raise JudgeFailedCanaries(
                f"judge {event.node!r} {what.format(f'{wrong} of {asked}')}: {100 * wrong / asked:.0f} %, where "
                f"fcdr.canaries.{key} allows {100 * most:.0f} %. Round {event.round} was stopped before sampling. The "
                f"canaries and the verdicts on them are in {texts.folder / CANARIES}.jsonl. Fix the judge and continue "
                "with --resume, or start a new run with another judge or limit."
            )


async def _all(asked: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all; when one fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(each) for each in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _verdict(node: str, judge: Judge, sample: Sample) -> Verdict:
    """A judge's answer as a verdict of its node; an exception becomes the outcome `error`."""
    try:
        answer = await judge(sample)
    except Exception as error:
        if getattr(error, "stops_run", False):
            raise
        return Verdict(node, ERROR, f"agent.{type(error).__name__}", evidence(error), judge="bus")
    return answer if isinstance(answer, Verdict) else Verdict(node, word_of(answer))
