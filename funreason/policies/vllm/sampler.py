"""Samples with a vLLM engine in this process, which loads each round's new weights without a restart.

After the start and after every change of weights the engine's greedy answers are compared with those of a transformers
model read from the same folder (see `weight_sync_check`); a difference is a ModelError, and until the check has passed
the sampler has no weights id. (seed, id, index) decide the draws as in the other sampler, but the draws are vLLM's own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from copy import copy
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from funreason.errors import BrokenWeights, ModelError
from funreason.policies.huggingface.decoding import row_key
from funreason.policies.model_files import load_model, require_same_vocabulary, save_model
from funreason.policies.prompts import Context, end_ids, known_ids, require_distribution
from funreason.policies.protocol import Completion, Request, Sync
from funreason.policies.vllm.engine import EngineSettings, start_engine
from funreason.policies.weight_sync_check import (
    NEW_TOKENS,
    TOLERANCES,
    GreedyAnswer,
    find_mismatch,
    proof_prompts,
    refusal,
)

HOTTEST = 2.0
BATCHES_AT_ONCE = 4
UNPROVED = ""
"""The weights id while the engine's weights are not checked."""


class VllmSampler:
    """Sampler over a vLLM engine. One `sample` runs at a time; the engine batches its requests by itself.

    One engine per process: vLLM's process groups are global, and the first engine to end closes them.

    `folder` holds the weights to start with and `model` is those weights in transformers, needed for the first proof
    only. `max_new_tokens`, `temperature` and `top_p` are as for HuggingFaceSampler; `started` says what the start cost.
    """

    def __init__(
        self,
        folder: Path,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        weights_id: str,
        device: str = "cpu",
        dtype: str = "float32",
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        top_p: float = 1.0,
        settings: EngineSettings | None = None,
    ) -> None:
        require_same_vocabulary(model, tokenizer)
        require_drawable(temperature, top_p)
        self.tokenizer, self.device, self.dtype = tokenizer, device, dtype
        self.temperature, self.top_p = temperature, top_p
        self.end_ids, self.known_ids = end_ids(model, tokenizer), known_ids(tokenizer)
        self.weights_id = UNPROVED
        self._one_at_a_time = threading.Lock()
        self._broken_cache = threading.Event()
        """Set when logits were not finite: the engine's keys and values may not be either."""
        before = time.perf_counter()
        self._current: PreTrainedModel | Path = folder
        self._most_rows = (settings or EngineSettings()).max_num_seqs
        rows = model.config.get_text_config().vocab_size
        padded = self.known_ids if rows > self.known_ids else None
        self._engine = start_engine(folder, device, dtype, settings or EngineSettings(), known_ids=padded)
        self.context = Context(tokenizer, self._engine.model_config.max_model_len, max_new_tokens)
        self.started = self._proved(model, weights_id, time.perf_counter() - before, started=True)
        """What the start cost, and its proof."""

    def with_settings(self, temperature: float, max_new_tokens: int) -> VllmSampler:
        """A sampler of the same engine and weights with other settings; a temperature of 0 is left to `greedy`."""
        require_drawable(temperature or 1.0, 1.0)
        other = copy(self)
        other.temperature, other.top_p = temperature or 1.0, 1.0
        other.context = self.context._replace(max_new_tokens=max_new_tokens)
        return other

    @property
    def rows_at_once(self) -> int | None:
        """How many greedy answers to ask for in one call: several batches of the engine's, so that it stays full."""
        return BATCHES_AT_ONCE * self._most_rows if self.device != "cpu" else None

    @property
    def model(self) -> PreTrainedModel:
        """The engine's weights in transformers, read again from their folder, for what an engine does not compute."""
        current = self._current
        return load_model(current, self.device, self.dtype) if isinstance(current, Path) else current

    def too_long(self, request: Request) -> bool:
        """Whether the prompt leaves less than `max_new_tokens` of the engine's context."""
        return self.context.too_long(request)

    def load_weights(self, model_or_path: PreTrainedModel | str | Path, weights_id: str) -> Sync:
        """Give the live engine this folder's (or model's) weights, empty its caches, and check its answers.

        Raises ModelError when the engine cannot load them or does not answer with them, BrokenWeights when their logits
        are not finite.
        """
        self._current = model_or_path if isinstance(model_or_path, PreTrainedModel) else Path(model_or_path)
        if isinstance(model_or_path, PreTrainedModel):
            with TemporaryDirectory() as offloaded:
                save_model(model_or_path, self.tokenizer, Path(offloaded) / "weights")
                return self._take(Path(offloaded) / "weights", model_or_path, weights_id)
        return self._take(Path(model_or_path), load_model(model_or_path, self.device, self.dtype), weights_id)

    def sample(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """`request.n` completions for each request, in the order given.

        ModelError for a prompt that does not fit, BrokenWeights when the logits are not finite.
        """
        encoded = self.context.encode(requests)
        asked = [(request, ids) for request, ids in zip(requests, encoded, strict=True) if request.n]
        with self._one_at_a_time:
            if self.weights_id == UNPROVED:
                raise ModelError("the vLLM engine holds weights that were not proved; load_weights comes first.")
            outputs = self._run([ids for _, ids in asked], [self._params(request) for request, _ in asked])
            weights_id = self.weights_id
        answers = iter(
            [completions(r, out, self.tokenizer, weights_id) for (r, _), out in zip(asked, outputs, strict=True)]
        )
        return [next(answers) if request.n else [] for request in requests]

    def _take(self, folder: Path, model: PreTrainedModel, weights_id: str) -> Sync:
        require_same_vocabulary(model, self.tokenizer)
        with self._one_at_a_time:
            self.weights_id = UNPROVED
            before = time.perf_counter()
            try:
                self._engine.collective_rpc("take_weights", args=(str(folder.resolve()), self._broken_cache.is_set()))
            except (OSError, ValueError, RuntimeError, KeyError, AssertionError) as error:
                raise ModelError(f"{folder}: the vLLM engine could not take these weights: {error}") from error
            if not self._engine.reset_prefix_cache():
                raise ModelError("the vLLM engine did not empty its prefix cache: old keys and values would answer.")
            self._broken_cache.clear()
            return self._proved(model, weights_id, time.perf_counter() - before)

    def _proved(self, model: PreTrainedModel, weights_id: str, seconds: float, *, started: bool = False) -> Sync:
        """Compare greedy answers with `model`'s; set the weights id when they agree."""
        before = time.perf_counter()
        was_training = model.training
        model.train(False)
        longest = self.context.longest_prompt
        texts = proof_prompts(self.tokenizer)
        prompts = [ids[-longest:] for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]
        most = min(NEW_TOKENS, self.context.max_new_tokens)
        outputs = self._run(prompts, [self._greedy(most)] * len(prompts))
        firsts = [output.outputs[0] for output in outputs]
        answers = [
            GreedyAnswer(ids, list(p.token_ids), token_logprobs(p)) for ids, p in zip(prompts, firsts, strict=True)
        ]
        found = find_mismatch(model, answers, self.known_ids, TOLERANCES[self.dtype])
        if found is not None:
            raise refusal(model, found, self.tokenizer, weights_id)
        model.train(was_training)
        self.weights_id = weights_id
        return Sync(seconds, time.perf_counter() - before, sum(len(answer.tokens) for answer in answers), started)

    def _run(self, prompts: list[list[int]], params: list[Any]) -> list[Any]:
        if not prompts:
            return []
        outputs: list[Any] = self._engine.generate(
            [{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False
        )
        if any(isnan(part.cumulative_logprob) for output in outputs for part in output.outputs):
            self._broken_cache.set()
        return outputs

    def _params(self, request: Request) -> Any:
        if request.greedy:
            return self._greedy(self.context.max_new_tokens, request.n)
        # vLLM counts up from a request's seed, one for each of its completions; 62 bits leave it room to.
        seed = row_key(request.seed, request.id, 0) >> 2
        return _params(
            n=request.n,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=seed,
            max_tokens=self.context.max_new_tokens,
            stop_token_ids=list(self.end_ids),
        )

    def _greedy(self, max_tokens: int, n: int = 1) -> Any:
        return _params(n=n, temperature=0.0, max_tokens=max_tokens, stop_token_ids=list(self.end_ids))


def completions(request: Request, output: Any, tokenizer: PreTrainedTokenizerBase, weights_id: str) -> list[Completion]:
    """The completions in vLLM's `output` for `request`, stamped with `weights_id`.

    BrokenWeights when the logits were not finite, ModelError when vLLM ended a completion for a reason of its own.
    """
    found = []
    for part in sorted(output.outputs, key=lambda part: part.index):
        if part.finish_reason not in ("stop", "length"):
            raise ModelError(f"request {request.id}: vLLM ended a completion for the reason {part.finish_reason!r}.")
        if isnan(part.cumulative_logprob):  # vLLM draws all the same, and the proof's prompts may not have met it
            raise BrokenWeights(
                f"request {request.id}: the model gave logits that are not finite; its weights are broken. "
                "Load the last good ones."
            )
        ended, ids = part.finish_reason == "stop", tuple(part.token_ids)
        text = tokenizer.decode(
            list(ids[: len(ids) - ended]), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        logprobs = tuple(token_logprobs(part)) if request.logprobs else None
        found.append(Completion(str(text), len(ids), not ended, ids, logprobs, weights_id))
    return found


def token_logprobs(part: Any) -> list[float]:
    """The natural log-probability of each token of one of vLLM's completions, as `processed_logprobs` reports it."""
    return [part.logprobs[i][token].logprob for i, token in enumerate(part.token_ids)]


def require_drawable(temperature: float, top_p: float) -> None:
    """Raise ModelError for a distribution that vLLM does not draw from."""
    require_distribution(temperature, top_p)
    if temperature > HOTTEST:
        raise ModelError(f"temperature is {temperature}; vLLM takes at most {HOTTEST}.")


def _params(**fields: Any) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    # Log-probabilities always: they are the only place where vLLM shows that the logits were not finite.
    return SamplingParams(
        detokenize=False, logprobs=0, flat_logprobs=True, output_kind=RequestOutputKind.FINAL_ONLY, **fields
    )
