"""A chat model at an endpoint, for judges: one dialogue in, one reply out.

The pool must be open (`async with pool`) and connected. All chat models of the same servers share it; it balances,
retries and counts.
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
