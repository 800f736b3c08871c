"""A chat model behind an address, for judges: one dialogue in, one reply out.

The pool must be open (`async with pool`) and greeted, and is shared by all that ask the same servers: what balances,
retries and counts is the pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from funreason.policies.endpoint.pool import EndpointPool
from funreason.policies.protocol import Reply

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
        """The model by its server's name: what weights stand behind that, only the server knows."""
        return f"endpoint:{self.pool.name}"

    @property
    def constrains(self) -> bool:
        """Whether a JSON schema is obeyed."""
        return self.pool.constrains

    async def reply(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        temperature: float,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> Reply:
        """One reply; what it raises, `EndpointPool.post` says."""
        body: dict[str, Any] = {"messages": messages, "temperature": temperature, "max_tokens": max_tokens}
        if seed is not None:
            body["seed"] = seed
        if schema is not None and self.constrains:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": SCHEMA_NAME, "schema": schema}}
        answer = await self.pool.post("/chat/completions", body)
        first = answer.choices[0]
        asked = answer.usage.prompt_tokens if answer.usage else 0
        return Reply(first.written(), asked + answer.written_tokens, first.truncated)
