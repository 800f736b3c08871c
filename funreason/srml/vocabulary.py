"""The vocabulary head of a model, brought to answer with losses where it would answer with logits.

The model runs as ever, wrappers, hooks and gathered weights included; only the head's own `forward` is another one for
the length of a pass. Passes may run side by side, each in its own thread. What a model does to its logits behind the
head (soft caps, scales) would be skipped: whether it does anything is tried once, with logits that every such thing
would change, and then the logits are made in full.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from funreason.srml.errors import TrainingError
from funreason.srml.examples import TrainSettings
from funreason.srml.head import Head, Way, best_way, chunk_for, token_losses
from funreason.srml.loss import Places

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TRIED = (-300.0, -20.0, 0.5, 20.0, 300.0)
"""Stand-ins for logits: a soft cap shows at the large ones, a scale or a shift at all."""


class Vocabulary:
    """Losses of a model's tokens, by the way that `settings.head` names and the model allows."""

    def __init__(self, model: PreTrainedModel, settings: TrainSettings) -> None:
        self.linear, why = (None, "as asked") if settings.head == "naive" else plain_head(model)
        if self.linear is None:
            if settings.head == "chunked":
                raise TrainingError(f"head: chunked cannot be used with this model, {why}; use auto or naive.")
            self.said = f"all logits at once ({why})"
            return
        way: Way = best_way(self.linear.weight.device)
        self.answers = _Answers(self.linear)
        self.head = Head(way, settings.head_chunk or chunk_for(self.linear.out_features, self.linear.weight.device))
        self.said = "Liger's fused kernel" if way == "liger" else f"{self.head.chunk:,} tokens' logits at a time"

    def losses(self, logits: Callable[[], Tensor], places: Places, weights: Tensor) -> Tensor:
        """Cross-entropy [N] of the tokens at `places`; `logits` runs the model, over the positions they count.

        `weights` [N] are the losses' weights in the total that is differentiated.
        """
        if self.linear is None:
            chosen = logits().flatten(0, 1)[places.where]
            wide = chosen.to(torch.promote_types(chosen.dtype, torch.float32))
            return functional.cross_entropy(wide, places.targets, reduction="none")
        linear, head = self.linear, self.head

        def spoken(hidden: Tensor) -> Tensor:
            chosen = hidden.flatten(0, 1)[places.where]
            losses = token_losses(
                chosen, linear.weight, places.targets, bias=linear.bias, weights=weights.to(chosen.device), head=head
            )
            return losses.view(1, -1, 1)

        with self.answers.by(spoken):
            return logits().flatten()


def plain_head(model: PreTrainedModel) -> tuple[nn.Linear | None, str]:
    """The model's head if its output is the model's, untouched; else None, and why not.

    One forward pass over one token: in several processes, before the model is laid over them.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if type(head) is not nn.Linear:  # not isinstance: quantised and adapted heads do more than multiply
        return None, f"its head is {type(head).__name__}, not a plain linear layer"
    tried = torch.tensor(TRIED, device=head.weight.device, dtype=head.weight.dtype).view(1, -1, 1)
    try:
        with _forward(head, lambda hidden: tried), torch.no_grad():
            ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
            found = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits
    except (RuntimeError, ValueError, IndexError, TypeError) as error:  # it counts on the vocabulary's own shape
        return None, f"it fails on other logits: {error}"
    if found.shape != tried.shape or not torch.equal(found.to(tried), tried):
        return None, "the model changes its logits behind the head"
    return head, ""


class _Answers:
    """A module that answers each thread with what that thread has set, and every other as it always did."""

    def __init__(self, module: nn.Linear) -> None:
        self.module, self.as_ever = module, module.forward
        self.mine, self.inside, self.lock = threading.local(), 0, threading.Lock()
        self.changed = ExitStack()

    @contextmanager
    def by(self, answer: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Answer this thread with `answer` inside: the first in changes the module, the last out restores it."""
        self.mine.answer = answer
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.as_ever = self.module.forward
                self.changed.enter_context(_forward(self.module, self._answer))
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1
                if not self.inside:
                    self.changed.close()
            del self.mine.answer

    def _answer(self, hidden: Tensor) -> Tensor:
        answer: Callable[[Tensor], Tensor] = getattr(self.mine, "answer", self.as_ever)
        return answer(hidden)


@contextmanager
def _forward(module: nn.Module, answer: Callable[[Tensor], Tensor]) -> Iterator[None]:
    # On the module itself, not its class; a library may have put its own there before.
    before = vars(module).get("forward")
    module.forward = answer
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before
