"""What a judge may ask of a chat model, wherever that model runs.

A reply is only text: what it means, and what to do about a reply that means nothing, is the asker's business.
Whoever serves it does the retrying: a ChatError is the end of that, not the first mishap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from funreason.models.errors import ModelError


class ChatError(ModelError):
    """The model could not be asked, after all retries; the message says by whom it was refused, and why."""

    stops_run = False
    """Whether every other request would fail alike, so that whoever runs the whole should stop, not blame samples."""


class Reply(msgspec.Struct, frozen=True):
    """What a chat model answered.

    `tokens` is what the exchange cost, prompt and answer; `truncated` means `max_tokens` came before the end.
    """

    text: str
    tokens: int
    truncated: bool


class ChatModel(Protocol):
    """Answers a dialogue."""

    @property
    def name(self) -> str:
        """Which model answers, for the record and for cache keys."""
        ...

    @property
    def constrains(self) -> bool:
        """Whether `schema` is obeyed: where it is not, it is left out of the request."""
        ...

    @property
    def weights_id(self) -> str:
        """Which weights answer now; "" when nobody knows."""
        ...

    async def reply(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        temperature: float,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> Reply:
        """One reply to `messages`, each `{"role", "content"}`. ChatError when there is none to be had."""
        ...
