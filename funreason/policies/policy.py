"""The model in use: tasks in, completions out, one weights id at a time.

Generator, regenerator and evaluator share one policy, so weights are held once. Sampling runs in a thread, one
call at a time: the event loop stays free for signals and the heartbeat while the model works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import msgspec

from funreason.calls.thinking import THINK_TAGS, SplitCompletion, Tags, split_thinking
from funreason.errors import ModelError
from funreason.policies.prompts import NO_VARIABLES, closes_thinking, prompt_text, task_dialogue, whole_completion
from funreason.policies.protocol import Completion, Offloadable, Request, Sampler, Sync
from funreason.types import Task, Weights


class Ask(NamedTuple):
    """One thing to ask: `n` completions of a task, drawn by `id` and the policy's seed alone."""

    id: str
    task: Task
    n: int = 1


class Policy:
    """Samples answers to tasks with the weights it holds."""

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
    ) -> None:
        self.sampler = sampler
        self.tokenizer = tokenizer
        """None where the sampler's server renders the prompts."""
        self.style = style
        self.seed = seed
        self.tags = tags
        self.variables = variables
        self.answered = 0
        self._started = started
        self._hear: Callable[[str, Sync], None] | None = None
        self._turn = asyncio.Lock()

    @property
    def weights_id(self) -> str:
        """Which weights answer now."""
        return self.sampler.weights_id

    def listen(self, hear: Callable[[str, Sync], None]) -> None:
        """Tell `hear` of each sync from now on, and of the engine's start, if there was one."""
        self._hear = hear
        if self._started is not None:
            hear(self.weights_id, self._started)

    def prompt(self, task: Task) -> str:
        """The text the model sees for a task."""
        return prompt_text(task, self.tokenizer, style=self.style, tags=self.tags, variables=self.variables)

    def template_closes_thinking(self, task: Task) -> bool:
        """Whether the chat template ends the thinking before the model can begin one; not known of a server's."""
        return self.tokenizer is not None and closes_thinking(self.prompt(task), self.tags)

    def split(self, text: str) -> SplitCompletion:
        """A completion's thinking and answer."""
        return split_thinking(text, self.tags)

    def offloaded(self) -> AbstractContextManager[None]:
        """The accelerator's memory is free for an update inside the block, as far as the sampler can free it."""
        return self.sampler.offloaded() if isinstance(self.sampler, Offloadable) else nullcontext()

    def fits(self, task: Task) -> bool:
        """Whether the prompt leaves room for an answer in the model's context."""
        return not self.sampler.too_long(self._request(Ask("", task)))

    def paid(self, asks: Sequence[Ask]) -> list[list[Completion]]:
        """What each ask of a call that failed had brought all the same; nothing where the sampler keeps nothing."""
        keeps = getattr(self.sampler, "paid", None)
        return [keeps(self._request(ask)) if keeps else [] for ask in asks]

    async def ask(self, asks: Sequence[Ask], *, greedy: bool = False) -> list[list[Completion]]:
        """The completions of each ask, in order, each with the opening tag even where its prompt wrote that."""
        requests = [self._request(ask, greedy=greedy) for ask in asks]
        async with self._turn:
            answers = await asyncio.to_thread(self.sampler.sample, requests)
        self.answered += sum(len(answer) for answer in answers)
        return [
            [self._whole(request.prompt, completion) for completion in answer]
            for request, answer in zip(requests, answers, strict=True)
        ]

    def _whole(self, prompt: str, completion: Completion) -> Completion:
        text = whole_completion(prompt, completion.text, self.tags)
        return completion if text == completion.text else msgspec.structs.replace(completion, text=text)

    async def complete(
        self, requests: Sequence[Request], *, temperature: float, max_new_tokens: int
    ) -> list[list[Completion]]:
        """The completions of finished prompts, drawn otherwise than answers to tasks: for a judge's questions.

        Raises ModelError when the sampler cannot draw otherwise, or when a prompt does not fit.
        """
        with_settings = getattr(self.sampler, "with_settings", None)
        if with_settings is None:
            raise ModelError(
                f"{type(self.sampler).__name__} cannot draw at another temperature or length, so the model in use "
                "cannot judge itself here. Set fcdr.llm.model to a folder."
            )
        async with self._turn:
            return await asyncio.to_thread(with_settings(temperature, max_new_tokens).sample, requests)

    async def load(self, weights: Weights) -> None:
        """Answer with these weights from now on."""
        async with self._turn:
            if self.weights_id != weights.id:
                sync = await asyncio.to_thread(self.sampler.load_weights, weights.folder, weights.id)
                if sync is not None and self._hear is not None:
                    self._hear(weights.id, sync)

    def _request(self, ask: Ask, *, greedy: bool = False) -> Request:
        if self.tokenizer is None:
            dialogue = task_dialogue(ask.task, style=self.style, tags=self.tags, variables=self.variables)
            return Request(ask.id, "", ask.n, self.seed, greedy, dialogue)
        return Request(ask.id, self.prompt(ask.task), ask.n, self.seed, greedy)
