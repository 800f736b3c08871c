"""How several judges agree: unanimously, by majority, or by the mean of their scores.

A judge that could not be heard has no vote. The others decide where its vote could not have changed the outcome;
where it could, there is no verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple
from weakref import WeakValueDictionary

from funreason.agents.judges.llm.cache import Key, VerdictCache
from funreason.agents.judges.llm.prompt import REWRITING, JudgeInput, digest, messages, question
from funreason.agents.judges.llm.reply import Ruling, Unreadable, read_json, read_tagged, schema
from funreason.policies.protocol import ChatError, ChatModel, Reply
from funreason.record.events import JudgeUsage

RULES = ("unanimous", "majority", "mean")


class VoteRule(NamedTuple):
    """When a statement counts as true: all judges say so, more than half do, or their mean score is `threshold`."""

    rule: str = "unanimous"
    threshold: float = 0.5

    def holds(self, scores: Sequence[float]) -> bool:
        """Whether these scores, one per judge, make the statement true. Above 0.5 is a yes."""
        yes = sum(score > 0.5 for score in scores)
        if self.rule == "unanimous":
            return yes == len(scores)
        if self.rule == "majority":
            return 2 * yes > len(scores)
        return sum(scores) >= self.threshold * len(scores)

    def decided(self, scores: Sequence[float], unheard: int) -> bool | None:
        """The same with `unheard` judges besides; None when it depends on them."""
        least, most = self.holds([*scores, *[0.0] * unheard]), self.holds([*scores, *[1.0] * unheard])
        return least if least == most else None


# What asking cost: requests, tokens, cache hits and unreadable replies, by round and stage.
#
# Told as events that hold what came on top since the last one, so that a run that is taken up again adds to what it
# had.

EVERY = 50
"""Requests between two events: what a kill may leave uncounted."""


class UsageCounter:
    """Counts, and writes an event now and then and when told to, once it was given a `write`."""

    def __init__(self, write: Callable[[JudgeUsage], object] | None = None) -> None:
        self.write = write
        self._counts: dict[tuple[int, str], list[int]] = {}

    def asked(self, round: int, stage: str, tokens: int, *, unreadable: bool = False) -> None:
        """One request was made, and cost `tokens`."""
        self._add(round, stage, 1, tokens, 0, int(unreadable))

    def hit(self, round: int, stage: str) -> None:
        """One ruling was found in the cache instead."""
        self._add(round, stage, 0, 0, 1, 0)

    def flush(self) -> None:
        """Write what was counted and not yet written."""
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


# The panel: the models that judge, how they are asked, and what was heard.
#
# Each model is asked for as many rulings as there are draws, each draw with a seed of its own. A reply that cannot be
# read is asked for again with the reason, `asks` times in all. A ruling that was read is cached, a failure never is.

Messages = list[dict[str, str]]
_SHOWN = 120
HANDOVER = 2
"""Turns of the event loop before a reply is read: whoever waits to ask takes the place, and sends, meanwhile."""


class PanelSettings(NamedTuple):
    """How a panel is asked; `asks` counts the first time too."""

    temperature: float = 0.1
    max_tokens: int = 2048
    draws: int = 1
    asks: int = 2
    concurrency: int = 64
    accept: VoteRule = VoteRule()
    seed: int = 0


class NoRuling(NamedTuple):
    """A judge that gave no ruling, and why."""

    reason: str
    evidence: str


class Panel:
    """Models that judge together."""

    def __init__(self, models: Sequence[ChatModel], asking: PanelSettings, cache: VerdictCache | None = None) -> None:
        self.models = tuple(models)
        self.asking = asking
        self.cache = cache
        self.tally = UsageCounter()
        self.accept, self.seed = asking.accept, asking.seed
        self._scored = asking.accept.rule == "mean"
        self._turns = asyncio.Semaphore(asking.concurrency)
        self._first, self._again = (
            list(product(self.models, range(asking.draws * later, asking.draws * (1 + later)))) for later in (0, 1)
        )
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    @property
    def name(self) -> str:
        """Who judges, for verdicts."""
        return "llm:" + "+".join(model.name for model in self.models)

    async def votes(self, case: JudgeInput, round: int = 0, *, judge_uncached: bool = False) -> list[Ruling | NoRuling]:
        """One ruling from each draw of each model, or why there is none; `afresh`: other draws, past the cache."""
        ask, voters = (self._ask, self._again) if judge_uncached else (self._vote, self._first)
        if len(voters) == 1:
            return [await ask(*voters[0], case, round)]
        heard = await asyncio.gather(*(ask(model, draw, case, round) for model, draw in voters), return_exceptions=True)
        for vote in heard:
            if isinstance(vote, BaseException):
                raise vote
        return [vote for vote in heard if not isinstance(vote, BaseException)]

    async def _vote(self, model: ChatModel, draw: int, case: JudgeInput, round: int) -> Ruling | NoRuling:
        if self.cache is None:
            return await self._ask(model, draw, case, round)
        asked = self._messages(model, case)
        key = self._key(model, draw, case, asked)
        # Equal answers to one task are judged at the same time: the first asks, the others find its ruling.
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
        """A ruling on `case`; `asked` are its messages, where they are made already."""
        fault, ended = "", ""
        for ask in range(self.asking.asks):
            if fault or asked is None:
                asked = self._messages(model, case, fault)
            try:
                reply = await self._reply(model, case, asked, self.seed + draw * self.asking.asks + ask)
            except ChatError as error:
                if error.stops_run:
                    raise
                self.tally.asked(round, case.stage, 0)
                return NoRuling("judge.unreachable", str(error))
            try:
                ruling = read_json(reply.text, case) if model.supports_json_schema else read_tagged(reply.text, case)
            except Unreadable as error:
                cut = f"; it was cut off after {self.asking.max_tokens} tokens, so be brief" if reply.truncated else ""
                fault, ended = f"{error}{cut}", reply.text[-_SHOWN:]
                self.tally.asked(round, case.stage, reply.tokens, unreadable=True)
            else:
                self.tally.asked(round, case.stage, reply.tokens)
                return ruling
        return NoRuling("judge.unreadable", f"{model.name}, asked {self.asking.asks} times: {fault}; it ends {ended!r}")

    async def _reply(self, model: ChatModel, case: JudgeInput, asked: Messages, seed: int) -> Reply:
        form = None
        if model.supports_json_schema:
            form = schema(case, scored=self._scored, rewrites=case.stage in REWRITING)
        async with self._turns:
            reply = await model.reply(
                asked,
                temperature=self.asking.temperature,
                max_tokens=self.asking.max_tokens,
                schema=form,
                seed=seed,
            )
        for _ in range(HANDOVER):
            await asyncio.sleep(0)
        return reply

    def _messages(self, model: ChatModel, case: JudgeInput, fault: str = "") -> Messages:
        return messages(case, scored=self._scored, constrained=model.supports_json_schema, fault=fault)

    def _key(self, model: ChatModel, draw: int, case: JudgeInput, asked: Messages) -> Key:
        a = self.asking
        settings = (a.temperature, a.max_tokens, a.asks, a.seed, draw, model.supports_json_schema)
        version = _version(case.stage, repr(settings), model.name, model.weights_id)
        return Key(version, digest(*(m["content"] for m in asked)), case.hash)


@lru_cache
def _version(stage: str, settings: str, name: str, weights_id: str) -> str:
    return digest(question(stage), settings, name, weights_id)
