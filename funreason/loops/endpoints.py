"""From settings to servers: the pool that samplers and judges ask, one budget for all, and what it cost, as events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import msgspec

from funreason.config import Config, Endpoint
from funreason.loops.interrupt import StopRequest, unless_asked
from funreason.models.address import Address
from funreason.models.budget import Budget, Purse, Spent
from funreason.models.errors import ModelError
from funreason.models.policy import Ask, Policy
from funreason.models.protocol import Completion
from funreason.record.events import Paid
from funreason.record.state import State

if TYPE_CHECKING:
    from funreason.models.endpoint_pool import EndpointPool
    from funreason.models.endpoint_sampler import EndpointSampler

SpeakerOf = Callable[[int], Policy]
"""Who answers in a round."""
NEEDED = ("aiohttp", "tenacity")


class ServedPolicy(Policy):
    """Answers come from endpoints: another model than the one that learns. `tell` is called when it was asked."""

    def __init__(self, sampler: EndpointSampler, tokenizer: Any, tell: Callable[[], None], **how: Any) -> None:
        super().__init__(sampler, tokenizer, **how)
        self.tell = tell

    async def ask(self, asks: Sequence[Ask], *, greedy: bool = False) -> list[list[Completion]]:
        """The completions of each ask, in order."""
        try:
            return await super().ask(asks, greedy=greedy)
        finally:
            self.tell()

    async def load(self, folder: Path, weights_id: str) -> None:
        """Nothing to do: new weights are the learner's alone."""


class Account:
    """Tells what was spent from a purse as an event of `node`, each time it is asked to."""

    def __init__(self, purse: Purse, node: str, write: Callable[[Paid], None]) -> None:
        self.purse, self.node, self.write = purse, node, write
        self._told = purse.spent

    def tell(self, round: int) -> None:
        """Write what came on top since the last time, if anything did."""
        spent = self.purse.spent
        fresh, self._told = spent.since(self._told), spent
        if fresh != Spent():
            self.write(Paid(round=round, node=self.node, **msgspec.structs.asdict(fresh)))


def begin_to_import() -> None:
    """Import what servers are asked with, in a thread: much of it is reading certificates."""
    Thread(target=_import_client, daemon=True).start()


def _import_client() -> None:
    with suppress(ImportError):  # whoever needs it says what to install
        import_module("aiohttp")


def budget_of(config: Config, past: State | None = None) -> Budget:
    """The run's budget, less what its record says is spent."""
    spent = Spent(**past.paid()) if past is not None else None
    return Budget(config.budget.tokens, config.budget.requests, spent)


def endpoint_pool(endpoints: Sequence[Endpoint], budget: Budget) -> EndpointPool:
    """The servers of some settings as one. ModelError for a wrong address, a key that is not set, a missing extra."""
    try:
        from funreason.models.endpoint_pool import EndpointPool
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        raise ModelError(f"endpoints need {error.name}: pip install 'funreason[endpoint]'") from error
    return EndpointPool(
        [Address(e.url, e.model, e.key_env, e.concurrency, e.timeout_s, e.json_schema, e.extra) for e in endpoints],
        budget,
    )


def endpoint_sampler(config: Config, budget: Budget) -> EndpointSampler | None:
    """A sampler over `sample.endpoints`, which were greeted; None when there are none. ModelError: none answers."""
    sampler = _sampler(config, budget)
    if sampler is not None:
        sampler.greet()
    return sampler


async def greeted_sampler(config: Config, budget: Budget, stop: StopRequest) -> EndpointSampler | None:
    """As `endpoint_sampler`; Interrupted when a stop is asked for before the servers have answered."""
    sampler = _sampler(config, budget)
    if sampler is not None:
        async with sampler.pool as pool:
            await unless_asked(pool.greet(), stop)
    return sampler


def _sampler(config: Config, budget: Budget) -> EndpointSampler | None:
    sampling = config.sample
    if not sampling.endpoints:
        return None
    pool = endpoint_pool(sampling.endpoints, budget)
    from funreason.models.endpoint_sampler import EndpointSampler

    return EndpointSampler(
        pool,
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        tags=config.model.think_tags,
    )


def served_policy(config: Config, sampler: EndpointSampler, tokenizer: Any, tell: Callable[[], None]) -> Policy:
    """A policy that asks the servers; the `tokenizer` is used only where prompts are rendered here."""
    own = tokenizer if config.sample.render == "here" else None
    model = config.model
    return ServedPolicy(
        sampler, own, tell, style=model.prompt, seed=config.seed, tags=model.think_tags, variables=model.template
    )


def speaker_of(
    config: Config, learner: Policy, sampler: EndpointSampler | None, write: Callable[[Paid], None]
) -> SpeakerOf:
    """Who answers the queries of each round: the model that learns, or endpoints in its place."""
    if sampler is None:
        return lambda round: learner
    account = Account(sampler.pool.purse, "generator", write)
    return lambda round: served_policy(config, sampler, learner.tokenizer, partial(account.tell, round))
