"""A chat model in this process, over a policy's weights or those of a folder.

Requests that arrive while a batch is generated form the next batch; no request waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from funreason.errors import ModelError
from funreason.policies.policy import Policy
from funreason.policies.prompts import dialogue_text
from funreason.policies.protocol import ChatError, Completion, Reply, Request

MOST_AT_ONCE = 32


class Waiting(NamedTuple):
    """A prompt waiting to be generated, and the future of its reply."""

    request: Request
    temperature: float
    max_tokens: int
    reply: asyncio.Future[Completion]


class LocalChat:
    """Chat with the weights that `policy` holds at the time. Replies follow no schema."""

    supports_json_schema = False

    def __init__(self, policy: Policy, name: str) -> None:
        self.policy = policy
        self.name = name
        self._waiting: list[Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    @property
    def weights_id(self) -> str:
        """Which weights answer now."""
        return self.policy.weights_id

    async def reply(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        temperature: float,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> Reply:
        """One reply. ChatError when the template refuses the messages or the prompt leaves too little room.

        Temperature 0 is greedy. Without a `seed`, 0 is used.
        """
        request = Request("reply", self._prompt(messages), n=1, seed=seed or 0, greedy=temperature == 0)
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(request, temperature, max_tokens, future))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        found = await future
        asked: list[int] = self.policy.tokenizer(request.prompt, add_special_tokens=False, verbose=False)["input_ids"]
        return Reply(found.text, len(asked) + found.tokens, found.truncated)

    def _prompt(self, messages: Sequence[Mapping[str, str]]) -> str:
        try:
            return dialogue_text(
                [dict(message) for message in messages],
                [],
                self.policy.tokenizer,
                style="plain",
                where=self.name,
                variables=self.policy.variables,
            )
        except ModelError as error:
            raise ChatError(str(error)) from error

    async def _write(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            alike = [each for each in self._waiting if each[1:3] == first[1:3]][:MOST_AT_ONCE]
            taken = set(map(id, alike))
            self._waiting = [each for each in self._waiting if id(each) not in taken]
            await self._answer(alike)

    async def _answer(self, batch: list[Waiting]) -> None:
        try:
            found = await self.policy.complete(
                [each.request for each in batch], temperature=batch[0].temperature, max_new_tokens=batch[0].max_tokens
            )
        except ModelError as error:
            # One prompt that does not fit must not cost the others their reply.
            if len(batch) == 1:
                _tell(batch, ChatError(f"{self.name}: {error}"))
            else:
                for each in batch:
                    await self._answer([each])
        except Exception as error:  # the caller decides what it means
            _tell(batch, error)
        else:
            for each, completions in zip(batch, found, strict=True):
                if not each.reply.done():
                    each.reply.set_result(completions[0])


def _tell(batch: list[Waiting], error: Exception) -> None:
    for each in batch:
        if not each.reply.done():  # a cancelled caller no longer waits
            each.reply.set_exception(error)
