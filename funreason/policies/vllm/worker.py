"""Code that runs inside vLLM's workers: loads new weights, and masks ids that the tokenizer lacks.

vLLM imports this by name, in each worker. Its own `reload_weights(weights_path=...)` leaves the head of a model with
tied embeddings unwritten and only logs a warning, so the head is handed over by name here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open
from vllm.v1.sample.logits_processor import LogitsProcessor

if TYPE_CHECKING:
    from torch import Tensor

HEAD = "lm_head.weight"
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "tok_embeddings.weight", "embed_in.weight", "word_embeddings.weight")


class TakesWeights:
    """Mixed into vLLM's worker."""

    def take_weights(self, folder: str, clear_cache: bool) -> None:
        """Load the weights in `folder`; the caller empties the prefix cache.

        `clear_cache` overwrites all keys and values with zeros. Broken weights leave NaN in them, and attention
        multiplies what it does not look at by 0, which leaves NaN what it is.
        """
        worker: Any = self
        if clear_cache:
            for cache in worker.model_runner.kv_caches:
                cache.zero_()
        worker.reload_weights(
            weights_iterator=read_weights(
                Path(folder), tied=bool(worker.model_config.hf_text_config.tie_word_embeddings)
            )
        )


def read_weights(folder: Path, *, tied: bool) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a folder's safetensors, the head too where it is tied to the embedding and left out."""
    head, embedding = False, None
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  # not a dict: it cannot be iterated
                tensor: Tensor = file.get_tensor(name)
                head = head or name.endswith(HEAD)
                if name.endswith(EMBEDDINGS):
                    embedding = tensor
                yield name, tensor
    if tied and not head and embedding is not None:
        yield HEAD, embedding


class KnownIds(LogitsProcessor):
    """Takes ids that decode to nothing, the padding of an embedding, out of every distribution."""

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        self.known: int = vllm_config.additional_config["known_ids"]

    def apply(self, logits: Tensor) -> Tensor:
        """Logits [rows, vocabulary], those of padding at minus infinity."""
        logits[:, self.known :] = float("-inf")
        return logits

    def is_argmax_invariant(self) -> bool:
        """Greedy rows need it too."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Nothing is kept between steps."""
