"""The policy: generates completions of tasks with one set of weights at a time.

Generator, regenerator and evaluator share one policy, so that the weights are held once. Sampling runs in a thread,
one call at a time; the event loop stays free for signals and the heartbeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any, NamedTuple

import msgspec

from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.thinking import THINK_TAGS, SplitCompletion, Tags, split_thinking
from funreason.errors import ModelError
from funreason.policies.prompts import NO_VARIABLES, closes_thinking, prompt_text, task_dialogue, whole_completion
from funreason.policies.protocol import Completion, Offloadable, Request, Sampler, Sync
from funreason.types import Task, Turn, Weights


class GenerateRequest(NamedTuple):
    """A request for `n` completions of a task. Its `id` and the policy's seed decide the draws, its batch does not."""

    id: str
    task: Task
    n: int = 1
    turns: tuple[Turn, ...] = ()
    """The turns that follow the task's messages so far."""
    logprobs: bool = False
    style: str = ""
    """How the prompt is rendered, where not in the policy's own style."""


class Policy:
    """Renders tasks as prompts and generates completions with the weights that its sampler holds."""

    def __init__(
        self,
        sampler: Sampler,
        tokenizer: Any,
        *,
        style: str = "native",
        seed: int = 0,
        tags: Tags = THINK_TAGS,
        variables: Mapping[str, Any] = NO_VARIABLES,
        started: Sync | None = None,
        call_format: CallFormat = PYTHONIC,
    ) -> None:
        self.sampler = sampler
        self.tokenizer = tokenizer
        """None where the sampler's server renders the prompts."""
        self.style = style
        self.seed = seed
        self.tags = tags
        self.variables = variables
        self.call_format = call_format
        """How the model is taught to write calls."""
        self.notes: list[str] = []
        """What a reader of the run should know of the model's folder."""
        self.answered = 0
        self._draws: tuple[float, int] | None = None
        """Temperature and length of what is sampled, where they differ from the sampler's."""
        self._started = started
        self._write_sync: Callable[[str, Sync], None] | None = None
        self._turn = asyncio.Lock()

    @property
    def weights_id(self) -> str:
        """Which weights answer now."""
        return self.sampler.weights_id

    @property
    def how(self) -> dict[str, Any]:
        """How prompts are rendered, as arguments of `prompt_text` and `check_prompts`."""
        return {
            "style": self.style,
            "tags": self.tags,
            "variables": self.variables,
            "call_format": self.call_format,
        }

    def on_sync(self, write: Callable[[str, Sync], None]) -> None:
        """Call `write` with the weights id of each sync from now on, and for the engine's start, if there was one."""
        self._write_sync = write
        if self._started is not None:
            write(self.weights_id, self._started)

    def prompt(self, task: Task, turns: Sequence[Turn] = ()) -> str:
        """The text the model sees for a task and the turns that followed."""
        return prompt_text(task, self.tokenizer, turns, **self.how)

    def template_closes_thinking(self, task: Task) -> bool:
        """Whether the chat template writes an empty thinking itself; False where a server renders the prompt."""
        return self.tokenizer is not None and closes_thinking(self.prompt(task), self.tags)

    def split(self, text: str) -> SplitCompletion:
        """A completion's thinking and answer."""
        return split_thinking(text, self.tags)

    def offloaded(self) -> AbstractContextManager[None]:
        """Inside the block the accelerator's memory is free for an update, where the sampler can free it."""
        return self.sampler.offloaded() if isinstance(self.sampler, Offloadable) else nullcontext()

    def fits(self, task: Task, turns: tuple[Turn, ...] = (), style: str = "") -> bool:
        """Whether the prompt leaves room for an answer in the model's context."""
        return not self.sampler.too_long(self._request(GenerateRequest("", task, turns=turns, style=style)))

    def completed_before_failure(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        """The completions of each request that a failed `generate` had received; empty where it had received none."""
        kept = getattr(self.sampler, "completed_before_failure", None)
        return [self._whole(asked, kept(asked)) if kept else [] for asked in map(self._request, requests)]

    async def generate(self, requests: Sequence[GenerateRequest], *, greedy: bool = False) -> list[list[Completion]]:
        """The completions of each request, in order.

        Each text has the opening tag of its thinking, even where the prompt wrote it already.
        """
        asked = [self._request(request, greedy=greedy) for request in requests]
        async with self._turn:
            sampler = self.sampler if self._draws is None or greedy else self._with_settings()(*self._draws)
            found = await asyncio.to_thread(sampler.sample, asked)
        self.answered += sum(map(len, found))
        return [self._whole(*pair) for pair in zip(asked, found, strict=True)]

    def _whole(self, request: Request, completions: list[Completion]) -> list[Completion]:
        texts = [whole_completion(request.prompt, one.text, self.tags) for one in completions]
        return [msgspec.structs.replace(one, text=text) for one, text in zip(completions, texts, strict=True)]

    async def complete(
        self, requests: Sequence[Request], *, temperature: float, max_new_tokens: int
    ) -> list[list[Completion]]:
        """The completions of rendered prompts, with settings of their own: for a judge's questions.

        Raises ModelError when the sampler cannot change its settings, or when a prompt does not fit.
        """
        with_settings = self._with_settings()
        async with self._turn:
            return await asyncio.to_thread(with_settings(temperature, max_new_tokens).sample, requests)

    def with_temperature(self, temperature: float, max_new_tokens: int) -> Policy:
        """The same policy, sampler and weights, sampling at another temperature; greedy answers are unchanged."""
        other = copy(self)
        other._draws = (temperature, max_new_tokens)
        return other

    def _with_settings(self) -> Callable[[float, int], Sampler]:
        found: Callable[[float, int], Sampler] | None = getattr(self.sampler, "with_settings", None)
        if found is None:
            raise ModelError(
                f"{type(self.sampler).__name__} cannot draw at another temperature or length, so the model in use "
                "can neither judge itself nor sample hard tasks at hdr.temperature. Set fcdr.llm.model to a folder, "
                "or model.sampler to huggingface or vllm."
            )
        return found

    async def load(self, weights: Weights) -> None:
        """Generate with `weights` from now on; nothing happens where the sampler holds them already."""
        async with self._turn:
            if self.weights_id != weights.id:
                sync = await asyncio.to_thread(self.sampler.load_weights, weights.folder, weights.id)
                if sync is not None and self._write_sync is not None:
                    self._write_sync(weights.id, sync)

    def _request(self, request: GenerateRequest, *, greedy: bool = False) -> Request:
        id, task, n, turns, logprobs, style = request
        prompt, dialogue, how = "", None, self.how | ({"style": style} if style else {})
        if self.tokenizer is None:
            dialogue = task_dialogue(task, turns, **how)
        else:
            prompt = prompt_text(task, self.tokenizer, turns, **how)
        return Request(id, prompt, n, self.seed, greedy, dialogue, logprobs)
