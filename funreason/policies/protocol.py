"""The protocols of samplers and chat models, and the requests and completions they exchange.

A sampler is synchronous and batches by itself: give it all requests that are ready, from a thread where an event loop
must stay free. A request's prompt, seed and id decide its completions; the other requests of the batch do not, except
through floating-point rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from funreason.errors import ModelError
from funreason.types import ToolNames

MOST_ROWS = 640
"""Rows that the in-process sampler decodes at once by default."""


class Dialogue(msgspec.Struct, frozen=True):
    """What a prompt is rendered from: messages in OpenAI's form, a chat template's tools and variables.

    `names` are the task's (see `calls.names`); a server's calls are read under them.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    variables: dict[str, Any] = {}
    names: dict[str, ToolNames] = {}


class Request(msgspec.Struct, frozen=True):
    """`n` completions of one prompt. `prompt` is the finished text, chat template included; `id` names the draw.

    A server that renders prompts itself gets the `dialogue` instead, and the prompt is empty. `logprobs` asks for the
    log-probability of each token.
    """

    id: str
    prompt: str
    n: int
    seed: int
    greedy: bool = False
    dialogue: Dialogue | None = None
    logprobs: bool = False


class Completion(msgspec.Struct, frozen=True):
    """One completion.

    `text` excludes the end-of-turn token; `tokens` counts what was generated, that token included; `truncated`
    means that the token limit came before the end of the turn. `weights_id` names the weights that generated it.

    `token_ids` has one id per token, the end-of-turn token included; it is empty where a server does not say them.
    `logprobs` has one natural logarithm per token, under the distribution the token was drawn from: softmax(logits /
    temperature), cut to `top_p`. A greedy token's is under softmax(logits). None unless the request asked for it.
    """

    text: str
    tokens: int
    truncated: bool
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] | None = None
    weights_id: str = ""


class Sync(msgspec.Struct, frozen=True):
    """What it cost an engine to take weights (or to start), and that it was proved to answer with them.

    `proof_seconds` are on top of `seconds`; `proved` counts the greedy tokens that agreed with the trainer's own model.
    """

    seconds: float
    proof_seconds: float
    proved: int
    started: bool = False


@runtime_checkable
class Offloadable(Protocol):
    """A sampler that can free its accelerator's memory for a while."""

    def offloaded(self) -> AbstractContextManager[None]:
        """Inside the block the weights are off the accelerator, and sampling waits."""
        ...


class Sampler(Protocol):
    """Completes prompts with one set of weights, named by `weights_id`."""

    @property
    def weights_id(self) -> str:
        """Which weights answer now."""
        ...

    def sample(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """One list of `request.n` completions per request, in the order given.

        Raises ModelError for a prompt that does not fit; ask `too_long` first.
        """
        ...

    def too_long(self, request: Request) -> bool:
        """Whether prompt and completion together would not fit the model's context."""
        ...

    def load_weights(self, model_or_path: Any | str | Path, weights_id: str) -> Sync | None:
        """Serve other weights of the same architecture from now on; nothing cached from the old ones survives.

        None where the sampler runs the trainer's own kind of model, so that there is nothing to prove. Raises
        ModelError when the weights cannot be served.
        """
        ...


@runtime_checkable
class Streaming(Protocol):
    """A sampler that yields completions as they arrive, so that an interruption costs only those in flight."""

    def answers(
        self, requests: Sequence[Request], on_fault: Callable[[int, ChatError], object] | None = None
    ) -> Iterator[tuple[int, list[Completion]]]:
        """Yield (index of the request, its completions) in order of arrival; skip requests that do not fit.

        A request that fails alone is given to `on_fault` with its error, and skipped; without `on_fault` its error is
        raised when all others are answered.
        """
        ...


# Chat models, as LLM judges use them, wherever the model runs.
#
# A reply is only text; the caller interprets it. The implementation retries, so a ChatError is final.


class ChatError(ModelError):
    """The model did not answer, after all retries; the message says which server refused, and why."""

    stops_run = False
    """Whether every other request would fail too: the run should stop rather than blame its samples."""


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
    def supports_json_schema(self) -> bool:
        """Whether replies follow `schema`; where they do not, the request leaves it out."""
        ...

    @property
    def weights_id(self) -> str:
        """Which weights answer now; "" when unknown."""
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
        """One reply to `messages`, each `{"role", "content"}`. ChatError when the model does not answer."""
        ...
