"""Samples in this process, from a transformers model.

A prompt is prefilled once for all its completions; batches hold prompts of like length; rows that ended leave the
batch. The same request gives the same completions whatever it is batched with (see `decoding`).
The model may be the very object a trainer is updating: nothing derived from its weights outlives one `sample`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from funreason.policies.cpu_threads import num_workers, side_by_side
from funreason.policies.huggingface.decoding import Decoding, Settings
from funreason.policies.huggingface.prefill import attending_with_shared_prefix, prefill, require_plain_attention
from funreason.policies.huggingface.step_graph import StepGraphs
from funreason.policies.model_files import load_model, require_same_vocabulary
from funreason.policies.prompts import Context, end_ids, known_ids, require_distribution
from funreason.policies.protocol import MOST_ROWS, Completion, Request
from funreason.policies.tensor_cores import tensor_cores

SHARED_ROWS = 16
"""The most rows that requests of one prompt share a prefix with: each prompt of a batch gets slots for as many."""

ROWS_PER_WORKER = 64
"""Rows that are worth a worker: with fewer, Python's overhead per step costs as much as the computation."""


class Prepared(NamedTuple):
    """A request with its place in the caller's list and its prompt as ids."""

    place: int
    request: Request
    ids: list[int]


class Group(NamedTuple):
    """Requests of one and the same prompt, which is read once for all of them."""

    ids: list[int]
    members: list[Prepared]
    rows: int


class HuggingFaceSampler:
    """Sampler over a transformers causal language model. One `sample` runs at a time; others wait for it.

    `max_new_tokens` bounds a completion; `max_rows` and `token_budget` (prompt tokens plus rows times
    max_new_tokens) bound a batch. One request is never split, so a single one may exceed both. On a CPU
    batches are decoded side by side (`cpu_threads.num_workers`), in shares of about the same work; on a GPU with
    `cuda_graphs` the decoding step is recorded and replayed (see `step_graph`).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        weights_id: str,
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_rows: int = MOST_ROWS,
        token_budget: int = 131_072,
        cuda_graphs: bool = True,
    ) -> None:
        require_same_vocabulary(model, tokenizer)
        require_plain_attention(model)
        require_distribution(temperature, top_p)
        self.model, self.tokenizer, self.weights_id = model, tokenizer, weights_id
        self.max_rows, self.token_budget, self.cuda_graphs = max_rows, token_budget, cuda_graphs
        self.graphs = StepGraphs(model, wanted=cuda_graphs)
        self.settings = Settings(max_new_tokens, temperature, top_p, end_ids(model, tokenizer), known_ids(tokenizer))
        self._one_at_a_time = threading.Lock()

    def with_settings(self, temperature: float, max_new_tokens: int) -> HuggingFaceSampler:
        """A sampler of the same weights with other settings. Only one of the two may sample at a time."""
        return HuggingFaceSampler(
            self.model,
            self.tokenizer,
            weights_id=self.weights_id,
            max_new_tokens=max_new_tokens,
            temperature=temperature or 1.0,
            max_rows=self.max_rows,
            token_budget=self.token_budget,
            cuda_graphs=self.graphs.on,
        )

    def too_long(self, request: Request) -> bool:
        """Whether the prompt leaves less than `max_new_tokens` of the model's context."""
        return self._context().too_long(request)

    def load_weights(self, model_or_path: PreTrainedModel | str | Path, weights_id: str) -> None:
        """Sample from this model (or folder) from now on; the tokenizer stays."""
        if isinstance(model_or_path, PreTrainedModel):
            model = model_or_path
        else:
            current = next(self.model.parameters())
            model = load_model(model_or_path, str(current.device), str(current.dtype).removeprefix("torch."))
        require_same_vocabulary(model, self.tokenizer)
        require_plain_attention(model)
        with self._one_at_a_time:
            self.model, self.weights_id = model, weights_id
            self.graphs = StepGraphs(model, wanted=self.cuda_graphs)

    @contextmanager
    def offloaded(self) -> Iterator[None]:
        """Inside the block the weights are off the accelerator, so that an update has its memory; sampling waits."""
        with self._one_at_a_time:
            device = self.model.device
            if device.type != "cuda":
                yield
                return
            self.model.to("cpu")  # type: ignore[arg-type]  # its stub loses the method
            torch.cuda.empty_cache()
            try:
                yield
            finally:
                torch.cuda.empty_cache()
                self.model.to(device)  # type: ignore[arg-type]

    def sample(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """`request.n` completions for each request, in the order given. ModelError for a prompt that does not fit."""
        answers: list[list[Completion]] = [[] for _ in requests]
        encoded = zip(range(len(requests)), requests, self._context().encode(requests), strict=True)
        batches = self._batches([Prepared(*each) for each in encoded])
        products = tensor_cores(self.model.device, self.model.dtype)
        with self._one_at_a_time, products, _evaluating(self.model), attending_with_shared_prefix(self.model):
            for completed in side_by_side(self._complete, batches, self.model.device):
                for place, completions in completed:
                    answers[place] = completions
        return answers

    def _context(self) -> Context:
        tokens: int = self.model.config.get_text_config().max_position_embeddings
        return Context(self.tokenizer, tokens, self.settings.max_new_tokens)

    @property
    def rows_at_once(self) -> int | None:
        """How many greedy answers to ask for in one call: a full batch on a GPU, whose steps cost the same for few.

        None on a CPU, where any number will do.
        """
        return self.max_rows if self.model.device.type != "cpu" else None

    def _batches(self, prepared: list[Prepared]) -> list[list[Group]]:
        """Batches of prompts of similar length, within the bounds; for several workers, shares of similar work."""
        # Longest first: when memory is short, the first batch says so, not the last.
        groups = sorted(_groups(prepared), key=lambda g: (-len(g.ids), g.members[0].place))
        workers, rows = num_workers(self.model.device), sum(group.rows for group in groups)
        if workers == 1 or rows < workers * ROWS_PER_WORKER:
            return self._cut(groups, 1)
        # A share that breaks a bound leaves a remainder that one worker would wait for: use smaller shares then.
        cuts = ((shares, self._cut(groups, shares)) for shares in count(workers, workers))
        return next(batches for shares, batches in cuts if len(batches) <= shares)

    def _cut(self, groups: list[Group], shares: int) -> list[list[Group]]:
        total = sum(map(_effort, groups))
        batches: list[list[Group]] = []
        rows = cost = done = 0
        for group in groups:
            more = len(group.ids) + group.rows * self.settings.max_new_tokens
            full = rows + group.rows > self.max_rows or cost + more > self.token_budget
            if not batches or full or done * shares >= total * len(batches):
                batches.append([])
                rows = cost = 0
            batches[-1].append(group)
            rows, cost, done = rows + group.rows, cost + more, done + _effort(group)
        return batches

    @torch.inference_mode()
    def _complete(self, batch: list[Group]) -> list[tuple[int, list[Completion]]]:
        prefix = prefill(self.model, [group.ids for group in batch])
        members = [(i, member) for i, group in enumerate(batch) for member in group.members]
        decoding = Decoding(
            self.model,
            prefix,
            [member.request for _, member in members],
            [i for i, _ in members],
            self.settings,
            self.graphs,
        )
        decoding.run([group.ids[-1] for group in batch], [len(group.ids) for group in batch])
        completed = decoding.completions(self.tokenizer, self.weights_id)
        return [(member.place, answers) for (_, member), answers in zip(members, completed, strict=True)]


def _effort(group: Group) -> int:
    # In no unit, as measured on the embedded model: a row's own tokens, its look at the prompt, and the prompt's read.
    return group.rows * (90 + len(group.ids)) + 8 * len(group.ids)


def _groups(prepared: list[Prepared]) -> Iterator[Group]:
    open_groups: dict[str, Group] = {}
    for item in (item for item in prepared if item.request.n):
        group = open_groups.get(item.request.prompt)
        if group is not None and group.rows + item.request.n > SHARED_ROWS:
            yield open_groups.pop(item.request.prompt)
            group = None
        group = group or Group(item.ids, [], 0)
        open_groups[item.request.prompt] = Group(item.ids, [*group.members, item], group.rows + item.request.n)
    yield from open_groups.values()


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block the model is in eval mode."""
    was_training = model.training
    model.train(False)
    try:
        yield
    finally:
        model.train(was_training)
