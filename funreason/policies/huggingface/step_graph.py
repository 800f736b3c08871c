"""The decoding step as a CUDA graph: its thousand kernel launches are recorded once and replayed as one.

On an H200 a step of a 0.5B model over 256 rows took 42 ms, of which the GPU computed 6.5; Python launched kernels in
the rest. A graph replays fixed addresses and shapes, so rows answer with whole stores, of which a mask hides what is
not filled. The step is recorded again when rows leave, and when the stores of long answers grow to twice their size.

Graphs are used where a proof passed: the same steps, eager and recorded, give logits that are alike. Without a GPU, and
after any failure, steps are eager.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from funreason.policies.huggingface.prefill import (
    GROWTH,
    PROBE_TOLERANCE,
    OwnLayer,
    Prefix,
    attending_with_shared_prefix,
    own_cache,
    prefill,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.cache_utils import Cache

FIRST_STORE = 512
"""Most positions that the rows' stores begin with; shorter answers get as many as they may have tokens."""
PROOF_STEPS = 6
PROOF_PROMPTS = ([3, 4, 5, 6, 7], [8, 9, 10])


class StepGraphs:
    """Whether the decoding steps of a model may be graphs; `description` says why or why not, in words."""

    def __init__(self, model: PreTrainedModel, *, wanted: bool = True) -> None:
        self.on = False
        if not wanted:
            self.description = "decoding steps are eager, as configured"
        elif model.device.type != "cuda":
            self.description = f"decoding steps are eager on a {model.device.type.upper()}"
        else:
            self.prove(model)

    def prove(self, model: PreTrainedModel) -> None:
        """Turn graphs on if the model's recorded steps give the logits of its eager ones."""
        training = model.training
        model.train(False)
        try:
            off = difference(model)
            self.on = off <= PROBE_TOLERANCE
            self.description = "decoding steps are CUDA graphs, proved against eager steps"
            if not self.on:
                self.description = f"decoding steps are eager: a graph's logits differ by {off:.1%} of their spread"
        except Exception as error:  # whatever a model does that cannot be recorded: eager steps sample it
            self.turn_off(error)
        finally:
            model.train(training)

    def turn_off(self, error: Exception) -> None:
        """Eager steps from now on."""
        said = " ".join(str(error).split())[:160]
        self.on, self.description = False, f"decoding steps are eager: recording failed with {said}"


class RecordedStep:
    """One decoding step over `cache`, which holds the rows' first token; call it for each token after that."""

    def __init__(self, model: PreTrainedModel, prefix: Prefix, cache: Cache, known_ids: int, longest: int) -> None:
        self.model, self.prefix, self.cache, self.known_ids = model, prefix, cache, known_ids
        self.at = torch.zeros(1, dtype=torch.long, device=model.device)
        self.layers = [layer for layer in cache.layers if isinstance(layer, OwnLayer)]
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: tuple[Tensor, Tensor] | None = None
        self.logits = torch.empty(0)
        for layer in self.layers:
            layer.growth = min(FIRST_STORE, -(-longest // GROWTH) * GROWTH)

    def __call__(self, tokens: Tensor, position: Tensor) -> Tensor:
        """Logits [R, known_ids] after `tokens` [R] at `position` [R]; the next call overwrites them."""
        length = self.layers[0].length
        if self.inputs is None or self.layers[0].full:
            self.forget()
            for layer in self.layers:
                layer.grow()
                layer.fixed = self.at
            self.inputs = tokens[:, None].clone(), position[:, None].clone()
            self.at.fill_(length)
            logits = self._record()
        else:
            for held, new in zip(self.inputs, (tokens, position), strict=True):
                held.copy_(new[:, None])
            self.at.fill_(length)
            logits = self._replay()
        for layer in self.layers:
            layer.length += 1
        return logits

    def forget(self) -> None:
        """Record again at the next call: rows or stores are other tensors now."""
        self.graph = self.inputs = None
        self.logits = torch.empty(0)

    def give_up(self) -> None:
        """Leave the cache to eager steps; what earlier steps wrote stays."""
        self.forget()
        self.prefix.own_mask = None
        for layer in self.layers:
            layer.fixed = None

    def _record(self) -> Tensor:
        if not self.at.is_cuda:
            return self._compute()
        # Run once before recording, on another stream, so that libraries have their workspaces; recording computes
        # nothing, so this run's logits are the step's.
        stream = torch.cuda.Stream(self.at.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self.at.device))
        with torch.cuda.stream(stream):
            first = self._compute()
        torch.cuda.current_stream(self.at.device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.logits = self._compute()
        return first

    def _replay(self) -> Tensor:
        if self.graph is None:
            return self._compute()
        self.graph.replay()
        return self.logits

    def _compute(self) -> Tensor:
        assert self.inputs is not None
        places = torch.arange(self.layers[0].keys.shape[2], device=self.at.device)
        hidden = torch.zeros(places.shape, dtype=self.model.dtype, device=self.at.device)
        self.prefix.own_mask = hidden.masked_fill(places > self.at, -torch.inf).view(1, 1, 1, -1)
        tokens, position = self.inputs
        output = self.model(
            input_ids=tokens,
            position_ids=position,
            past_key_values=self.cache,
            use_cache=True,
            shared_prefix=self.prefix,
        )
        logits: Tensor = output.logits[:, -1, : self.known_ids]
        return logits


@torch.inference_mode()
def difference(model: PreTrainedModel) -> float:
    """How far a few recorded steps' logits are from eager ones that read the same tokens, over their spread."""
    config = model.config.get_text_config()
    vocabulary: int = config.vocab_size
    prompts = [[index % vocabulary for index in ids] for ids in PROOF_PROMPTS]
    worst = 0.0
    with attending_with_shared_prefix(model):
        eager = prefill(model, prompts)
        tokens = torch.tensor([ids[-1] for ids in prompts], device=model.device)
        position = torch.tensor([len(ids) - 1 for ids in prompts], device=model.device)
        prefixes, caches = (eager, replace(eager)), [own_cache(config.num_hidden_layers) for _ in range(2)]

        def step(which: int) -> Tensor:
            output = model(
                input_ids=tokens[:, None],
                position_ids=position[:, None],
                past_key_values=caches[which],
                use_cache=True,
                shared_prefix=prefixes[which],
            )
            logits: Tensor = output.logits[:, -1]
            return logits

        logits = step(0)
        step(1)
        recorded = RecordedStep(model, prefixes[1], caches[1], vocabulary, PROOF_STEPS)
        for _ in range(PROOF_STEPS):
            tokens, position = logits.argmax(-1), position + 1
            logits = step(0)
            other = recorded(tokens, position).float()
            spread = float(logits.float().max() - logits.float().min())
            if spread > 0:  # weights that are not finite are reported when they sample
                worst = max(worst, float((logits.float() - other).abs().max()) / spread)
    return worst
