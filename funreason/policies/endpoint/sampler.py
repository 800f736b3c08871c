"""Samples and chat replies from OpenAI-compatible servers.

The model is not the one that learns: its name is the weights id, and its weights cannot be replaced. Rendered prompts
go to /completions, dialogues to /chat/completions, where the server's own template renders them. Answers are paid for:
when one request of a call fails, the completions of the others are kept and returned when they are requested again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import msgspec

from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.names import NO_NAMES
from funreason.calls.thinking import THINK_TAGS, Tags
from funreason.errors import ModelError
from funreason.policies.endpoint.pool import EndpointPool
from funreason.policies.endpoint.wire import PromptTooLong
from funreason.policies.protocol import ChatError, Completion, Reply, Request

MOST_SEED = 2**31 - 1
Place = int
Task = asyncio.Task[tuple[Place, list[Completion]]]


class EndpointSampler:
    """Sampler over a pool of servers. Call it from a thread without an event loop, and `connect` first.

    A request's prompt, seed and id decide its completions where the servers honour seeds.
    """

    def __init__(
        self,
        pool: EndpointPool,
        *,
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        top_p: float = 1.0,
        tags: Tags = THINK_TAGS,
        call_format: CallFormat = PYTHONIC,
    ) -> None:
        self.pool = pool
        self.max_new_tokens, self.temperature, self.top_p = max_new_tokens, temperature, top_p
        self.tags = tags
        self.call_format = call_format
        self._completed: dict[bytes, list[Completion]] = {}
        self._unfit: set[bytes] = set()
        self._one_each = False

    @property
    def weights_id(self) -> str:
        """The server's name for its model."""
        return f"endpoint:{self.pool.name}"

    def connect(self) -> None:
        """Find out which model answers. ModelError when no server answers or the model is ambiguous."""
        with ThreadPoolExecutor(1) as apart:  # the caller's thread may have an event loop of its own
            apart.submit(asyncio.run, self._greet()).result()

    def too_long(self, request: Request) -> bool:
        """Whether the server has refused this prompt as too long: only it can count its tokens."""
        return _prompt_key(request) in self._unfit

    def load_weights(self, model_or_path: Any | str | Path, weights_id: str) -> None:
        """Always raises ModelError: the server's weights cannot be replaced."""
        raise ModelError(
            f"{self.weights_id} is a server's model, whose weights cannot be replaced by {weights_id}. "
            "Sample with the model that learns, or load the weights where it is served."
        )

    def sample(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """`request.n` completions for each request, in the order given.

        Raises PromptTooLong, or the first error of a request, once all others are answered; raises EndpointGone and
        BudgetSpent at once.
        """
        keys = [_draw_key(request) for request in requests]
        pending_requests = [request for request, key in zip(requests, keys, strict=True) if key not in self._completed]
        for place, completions in self.answers(pending_requests):
            self._completed[_draw_key(pending_requests[place])] = completions
        unfit = [request.id for request, key in zip(requests, keys, strict=True) if key not in self._completed]
        if unfit:
            raise PromptTooLong(f"{len(unfit)} prompts do not fit the server's context, the first is {unfit[0]}")
        found = [self._completed[key] for key in keys]
        for key in keys:
            self._completed.pop(key, None)
        return found

    def completed_before_failure(self, request: Request) -> list[Completion]:
        """The completions of `request` that a failed call had received; empty where it had received none."""
        return self._completed.get(_draw_key(request), [])

    def answers(
        self, requests: Sequence[Request], on_fault: Callable[[Place, ChatError], object] | None = None
    ) -> Iterator[tuple[Place, list[Completion]]]:
        """Yield (index of the request, its completions) in order of arrival; skip prompts that do not fit.

        A request that fails alone is given to `on_fault` and skipped. Raises other errors as `sample` does, and without
        `on_fault` that of such a request too.
        """
        if not requests:
            return
        waiting, pending = iter(enumerate(requests)), set[Task]()
        places: dict[Task, Place] = {}
        fault: ChatError | None = None
        with asyncio.Runner() as runner:
            runner.run(self.pool.__aenter__())
            try:
                while True:
                    done, pending = runner.run(self._some(waiting, pending, places))
                    if not done:
                        break
                    for task in sorted(done, key=lambda task: task.exception() is not None):
                        error = task.exception()
                        if error is None:
                            yield task.result()
                        elif not isinstance(error, ChatError) or error.stops_run:
                            raise error
                        elif isinstance(error, PromptTooLong):
                            continue
                        elif on_fault is not None:
                            on_fault(places[task], error)
                        else:
                            fault = fault or error
            finally:
                runner.run(self._close(pending))
        if fault is not None:
            raise fault

    async def _greet(self) -> None:
        async with self.pool:
            await self.pool.connect()

    async def _close(self, pending: set[Task]) -> None:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await self.pool.__aexit__()

    async def _some(
        self, waiting: Iterator[tuple[Place, Request]], pending: set[Task], places: dict[Task, Place]
    ) -> tuple[set[Task], set[Task]]:
        """Requests that are done now; twice `max_concurrency` are started, so that no slot is idle."""
        room = 2 * self.pool.max_concurrency - len(pending)
        for place, request in islice(waiting, room):
            task = asyncio.create_task(self._one(place, request))
            pending.add(task)
            places[task] = place
        return await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED) if pending else (set(), set())

    async def _one(self, place: Place, request: Request) -> tuple[Place, list[Completion]]:
        try:
            if request.greedy:  # n equal answers; some servers refuse to give more than one
                return place, (await self._ask(request, 0, 1)) * request.n
            found = await self._ask(request, 0, 1 if self._one_each else request.n) if request.n else []
            if len(found) < request.n:
                self._one_each = True  # the server does not know `n`
                rest = range(len(found), request.n)
                found += [
                    one for more in await asyncio.gather(*(self._ask(request, i, 1) for i in rest)) for one in more
                ]
            return place, found[: request.n]
        except PromptTooLong:
            self._unfit.add(_prompt_key(request))
            raise

    async def _ask(self, request: Request, index: int, n: int) -> list[Completion]:
        if request.logprobs:
            raise ModelError(
                f"request {request.id} asks for log-probabilities, and servers report them before temperature and "
                "top-p are applied. Sample with model.sampler: huggingface or vllm."
            )
        path, body = _asked(request)
        body |= {"max_tokens": self.max_new_tokens, "temperature": 0.0 if request.greedy else self.temperature}
        if not request.greedy:
            body |= {"seed": draw_seed(request.seed, request.id, index)}
            body |= {"top_p": self.top_p} if self.top_p < 1 else {}
            body |= {"n": n} if n > 1 else {}
        answer = await self.pool.post(path, body)
        names = request.dialogue.names if request.dialogue else NO_NAMES
        texts = [choice.written(self.tags, names, self.call_format) for choice in answer.choices]
        # `total` tokens divided by the lengths of the texts: servers report only the sum.
        lengths = [1 + len(text) for text in texts]
        marks = [answer.written_tokens * sum(lengths[:i]) // sum(lengths) for i in range(len(lengths) + 1)]
        tokens = [after - before for before, after in pairwise(marks)]
        return [
            Completion(text, count, choice.truncated, weights_id=self.weights_id)
            for text, count, choice in zip(texts, tokens, answer.choices, strict=True)
        ]


def draw_seed(seed: int, request_id: str, index: int) -> int:
    """The seed of completion `index` of a request, below 2**31 as servers want it."""
    digest = hashlib.blake2b(f"{seed}\x1f{index}\x1f{request_id}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") & MOST_SEED


def _asked(request: Request) -> tuple[str, dict[str, Any]]:
    if request.dialogue is None:
        return "/completions", {"prompt": request.prompt}
    body: dict[str, Any] = {"messages": request.dialogue.messages}
    if request.dialogue.tools:
        body["tools"] = request.dialogue.tools
    if request.dialogue.variables:
        body["chat_template_kwargs"] = request.dialogue.variables
    return "/chat/completions", body


def _prompt_key(request: Request) -> bytes:
    return hashlib.blake2b(msgspec.json.encode((request.prompt, request.dialogue)), digest_size=16).digest()


def _draw_key(request: Request) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(request), digest_size=16).digest()


SCHEMA_NAME = "reply"


class EndpointChat:
    """A ChatModel over an open pool."""

    def __init__(self, pool: EndpointPool) -> None:
        self.pool = pool

    @property
    def name(self) -> str:
        """Which model answers."""
        return self.pool.name

    @property
    def weights_id(self) -> str:
        """The model as its server names it."""
        return f"endpoint:{self.pool.name}"

    @property
    def supports_json_schema(self) -> bool:
        """Whether replies follow a JSON schema."""
        return self.pool.supports_json_schema

    async def reply(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        temperature: float,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> Reply:
        """One reply; raises as `EndpointPool.post` does."""
        body: dict[str, Any] = {"messages": messages, "temperature": temperature, "max_tokens": max_tokens}
        if seed is not None:
            body["seed"] = seed
        if schema is not None and self.supports_json_schema:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": SCHEMA_NAME, "schema": schema}}
        answer = await self.pool.post("/chat/completions", body)
        first = answer.choices[0]
        asked = answer.usage.prompt_tokens if answer.usage else 0
        return Reply(first.written(), asked + answer.written_tokens, first.truncated)
