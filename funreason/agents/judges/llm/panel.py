"""A panel of LLM judges: how models are asked for rulings and how their votes are combined.

Each model is asked for `samples_per_model` rulings, each with its own seed. A reply that cannot be read is asked for
again, with the reason, `max_attempts` times in all. Rulings are cached, failures never. A model that gives no ruling
has no vote: the others decide if its vote could not have changed the outcome, and otherwise there is no verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Sequence
from copy import copy
from functools import lru_cache
from itertools import product
from typing import NamedTuple
from weakref import WeakValueDictionary

from funreason.agents.judges.llm.cache import Key, VerdictCache
from funreason.agents.judges.llm.prompt import (
    REWRITING,
    JudgeInput,
    Ruling,
    Unreadable,
    digest,
    messages,
    question,
    read_json,
    read_tagged,
    schema,
)
from funreason.config import LlmJudges
from funreason.policies.protocol import ChatError, ChatModel
from funreason.record.events import JudgeUsage


class VoteRule(NamedTuple):
    """When a statement counts as true: all votes say so, more than half do, or the mean score reaches `threshold`.

    `rule` is `unanimous`, `majority` or `mean`.
    """

    rule: str = "unanimous"
    threshold: float = 0.5

    def holds(self, scores: Sequence[float]) -> bool:
        """Whether these scores, one per vote, make the statement true. Above 0.5 is a yes."""
        yes = sum(score > 0.5 for score in scores)
        if self.rule == "unanimous":
            return yes == len(scores)
        if self.rule == "majority":
            return 2 * yes > len(scores)
        return sum(scores) >= self.threshold * len(scores)

    def decided(self, scores: Sequence[float], unheard: int) -> bool | None:
        """The same with `unheard` further votes that are unknown; None when the outcome depends on them."""
        least, most = self.holds([*scores, *[0.0] * unheard]), self.holds([*scores, *[1.0] * unheard])
        return least if least == most else None


EVERY = 50
"""Requests between two usage events: the most that a kill can leave uncounted."""


class UsageCounter:
    """Counts requests, tokens, cache hits and unreadable replies by round and stage.

    Writes each increment as an event, so that a resumed run adds to its earlier counts. Nothing is written before
    `write` is set.
    """

    def __init__(self, write: Callable[[JudgeUsage], object] | None = None) -> None:
        self.write = write
        self._counts: dict[tuple[int, str], list[int]] = {}

    def asked(self, round: int, stage: str, tokens: int, *, unreadable: bool = False) -> None:
        """Count one request and its tokens."""
        self._add(round, stage, 1, tokens, 0, int(unreadable))

    def hit(self, round: int, stage: str) -> None:
        """Count one ruling found in the cache."""
        self._add(round, stage, 0, 0, 1, 0)

    def flush(self) -> None:
        """Write the counts that are not written yet."""
        for key in list(self._counts):
            self._tell(key)

    def _add(self, round: int, stage: str, *more: int) -> None:
        counts = self._counts.setdefault((round, stage), [0, 0, 0, 0])
        counts[:] = [have + new for have, new in zip(counts, more, strict=True)]
        if counts[0] + counts[2] >= EVERY:
            self._tell((round, stage))

    def _tell(self, key: tuple[int, str]) -> None:
        if self.write is None:
            return
        requests, tokens, hits, unreadable = self._counts.pop(key)
        self.write(
            JudgeUsage(round=key[0], node=key[1], requests=requests, tokens=tokens, hits=hits, unreadable=unreadable)
        )


Messages = list[dict[str, str]]
_SHOWN = 120
HANDOVER = 2
"""Turns of the event loop before a reply is read, so that the next request is sent first."""


class NoRuling(NamedTuple):
    """A vote without a ruling, and why."""

    reason: str
    evidence: str


class Panel:
    """Models that judge together."""

    def __init__(
        self, models: Sequence[ChatModel], settings: LlmJudges, seed: int = 0, cache: VerdictCache | None = None
    ) -> None:
        self.models = tuple(models)
        self.settings = settings
        self.seed = seed
        self.cache = cache
        self.tally = UsageCounter()
        self.vote = VoteRule(settings.vote, settings.threshold)
        self._scored = settings.vote == "mean"
        self._turns = asyncio.Semaphore(settings.concurrency)
        samples = settings.samples_per_model
        self._first = list(product(self.models, range(samples)))
        self._again = list(product(self.models, range(samples, 2 * samples)))
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    @property
    def name(self) -> str:
        """The judge's name in verdicts."""
        return "llm:" + "+".join(model.name for model in self.models)

    @property
    def seats(self) -> list[str]:
        """Who gives each vote: the model, and where it has several the number of its vote."""
        several = self.settings.samples_per_model > 1
        return [f"{model.name} #{draw + 1}" if several else model.name for model, draw in self._first]

    def scoring(self, temperature: float) -> Panel:
        """The same models, cache, counters and limits, asked for scores at another temperature."""
        other = copy(self)
        other.settings = self.settings.model_copy(update={"vote": "mean", "temperature": temperature})
        other.vote, other._scored = VoteRule("mean", self.settings.threshold), True
        return other

    def without(self, models: Container[int]) -> Panel:
        """The panel without the models at these places. It shares cache, counters and limits with this one."""
        other = copy(self)
        left = [i for i in range(len(self.models)) if i not in models]
        each = self.settings.samples_per_model
        places = [i * each + draw for i in left for draw in range(each)]
        other.models = tuple(self.models[i] for i in left)
        other._first, other._again = ([votes[at] for at in places] for votes in (self._first, self._again))
        return other

    async def votes(self, case: JudgeInput, round: int = 0, *, judge_uncached: bool = False) -> list[Ruling | NoRuling]:
        """`samples_per_model` rulings of each model. `judge_uncached` uses other seeds and no cache."""
        ask, voters = (self._ask, self._again) if judge_uncached else (self._vote, self._first)
        if len(voters) == 1:
            return [await ask(*voters[0], case, round)]
        found = await asyncio.gather(*(ask(model, draw, case, round) for model, draw in voters), return_exceptions=True)
        for vote in found:
            if isinstance(vote, BaseException):
                raise vote
        return [vote for vote in found if not isinstance(vote, BaseException)]

    async def _vote(self, model: ChatModel, draw: int, case: JudgeInput, round: int) -> Ruling | NoRuling:
        if self.cache is None:
            return await self._ask(model, draw, case, round)
        asked = self._messages(model, case)
        a = self.settings
        settings = (a.temperature, a.max_tokens, a.max_attempts, self.seed, draw, model.supports_json_schema)
        version = _version(case.stage, repr(settings), model.name, model.weights_id)
        key = Key(version, digest(*(m["content"] for m in asked)), case.hash)
        # Equal answers to one task are judged at the same time: the first one asks, the others wait for its ruling.
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            found = self.cache.get(key)
            if found is not None:
                self.tally.hit(round, case.stage)
                return found
            vote = await self._ask(model, draw, case, round, asked)
            if isinstance(vote, Ruling):
                self.cache.put(key, vote)
            return vote

    async def _ask(
        self, model: ChatModel, draw: int, case: JudgeInput, round: int, asked: Messages | None = None
    ) -> Ruling | NoRuling:
        """Ask for a ruling. `asked` are the messages, if already made."""
        fault, ended, form = "", "", None
        if model.supports_json_schema:
            form = schema(case, scored=self._scored, rewrites=case.stage in REWRITING)
        for ask in range(self.settings.max_attempts):
            if fault or asked is None:
                asked = self._messages(model, case, fault)
            try:
                async with self._turns:
                    reply = await model.reply(
                        asked,
                        temperature=self.settings.temperature,
                        max_tokens=self.settings.max_tokens,
                        schema=form,
                        seed=self.seed + draw * self.settings.max_attempts + ask,
                    )
                for _ in range(HANDOVER):
                    await asyncio.sleep(0)
            except ChatError as error:
                if error.stops_run:
                    raise
                self.tally.asked(round, case.stage, 0)
                return NoRuling("judge.unreachable", str(error))
            try:
                ruling = read_json(reply.text, case) if model.supports_json_schema else read_tagged(reply.text, case)
            except Unreadable as error:
                cut = (
                    f"; it was cut off after {self.settings.max_tokens} tokens, so be brief" if reply.truncated else ""
                )
                fault, ended = f"{error}{cut}", reply.text[-_SHOWN:]
                self.tally.asked(round, case.stage, reply.tokens, unreadable=True)
            else:
                self.tally.asked(round, case.stage, reply.tokens)
                return ruling
        return NoRuling(
            "judge.unreadable", f"{model.name}, asked {self.settings.max_attempts} times: {fault}; it ends {ended!r}"
        )

    def _messages(self, model: ChatModel, case: JudgeInput, fault: str = "") -> Messages:
        return messages(case, scored=self._scored, constrained=model.supports_json_schema, fault=fault)


@lru_cache
def _version(stage: str, settings: str, name: str, weights_id: str) -> str:
    return digest(question(stage), settings, name, weights_id)
