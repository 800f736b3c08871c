"""The LM head of a model, patched to return losses instead of logits, so that the full logits are never held.

The model runs as usual, with its wrappers, hooks and gathered weights; only the head's own `forward` is replaced for
the length of a pass. Passes may run in parallel, each in its own thread. What a model does to its logits after the
head (soft caps, scales) would be skipped: a probe finds out once, with logits that any such step would change, and
then the logits are computed in full.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from funreason.config.updates import Update
from funreason.objectives.protocol import TokenOutputs, TokenRule, TokenTargets
from funreason.training.chunked_cross_entropy import apply_rule, best_method, chunk_for, rule_of_logits
from funreason.training.types import TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROBE_LOGITS = (-300.0, -20.0, 0.5, 20.0, 300.0)
"""A soft cap shows at the large ones, a scale or a shift at all of them."""


class LossHead:
    """Losses of a model's tokens, computed as `update.lm_head` asks and the model allows.

    `known` is how many ids the tokenizer knows: under a rule with temperatures those beyond have no probability. Raises
    TrainingError for `lm_head: chunked` with a model that changes its logits after the head.
    """

    def __init__(self, model: PreTrainedModel, update: Update, known: int | None = None) -> None:
        self.known = known
        self.linear, why = (None, "as configured") if update.lm_head == "naive" else plain_head(model)
        if self.linear is None:
            if update.lm_head == "chunked":
                raise TrainingError(f"lm_head: chunked cannot be used with this model, {why}; use auto or naive.")
            self.description = f"all logits at once ({why})"
            return
        self.method = best_method(self.linear.weight.device)
        self.chunk = update.lm_head_chunk or chunk_for(self.linear.out_features, self.linear.weight.device)
        liger = self.method == "liger"
        self.description = "Liger's fused kernel" if liger else f"{self.chunk:,} tokens' logits at a time"
        self.replaced = _PatchedForward(self.linear)

    def outputs(self, logits: Callable[[], Tensor], targets: TokenTargets, rule: TokenRule) -> TokenOutputs:
        """What `rule` makes of the targets [N]; `logits` runs the model over the positions they index."""
        if self.linear is None:
            return rule_of_logits(logits().flatten(0, 1)[targets.where], targets.labels, rule, known=self.known)
        linear = self.linear

        def columns_of(hidden: Tensor) -> Tensor:
            found = apply_rule(
                hidden.flatten(0, 1)[targets.where],
                linear.weight,
                targets.labels,
                rule,
                bias=linear.bias,
                known=self.known,
                method=self.method,
                chunk=self.chunk,
            )
            return torch.stack([column for column in found if column is not None], dim=1).unsqueeze(0)

        with self.replaced.by(columns_of):
            losses, logprobs, *more = logits().squeeze(0).unbind(1)
        return TokenOutputs(losses, logprobs.detach(), more[0].detach() if more else None)


def plain_head(model: PreTrainedModel) -> tuple[nn.Linear | None, str]:
    """The model's head if its output is the model's, unchanged; else None, and why not.

    One forward pass over one token. Call it before the model is wrapped or sharded.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if type(head) is not nn.Linear:  # not isinstance: quantized and adapted heads do more than multiply
        return None, f"its head is {type(head).__name__}, not a plain linear layer"
    probe = torch.tensor(PROBE_LOGITS, device=head.weight.device, dtype=head.weight.dtype).view(1, -1, 1)
    try:
        with _forward_replaced(head, lambda hidden: probe), torch.no_grad():
            ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
            found = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits
    except (RuntimeError, ValueError, IndexError, TypeError) as error:  # it relies on the vocabulary's shape
        return None, f"it fails on other logits: {error}"
    if found.shape != probe.shape or not torch.equal(found.to(probe), probe):
        return None, "the model changes its logits after the head"
    return head, ""


class _PatchedForward:
    """A module whose `forward` is replaced per thread; other threads get the original."""

    def __init__(self, module: nn.Linear) -> None:
        self.module, self.original = module, module.forward
        self.thread, self.users, self.lock = threading.local(), 0, threading.Lock()
        self.patch = ExitStack()

    @contextmanager
    def by(self, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Use `forward` in this thread. The first thread to enter patches the module, the last to leave restores it."""
        self.thread.forward = forward
        with self.lock:
            self.users += 1
            if self.users == 1:
                self.original = self.module.forward
                self.patch.enter_context(_forward_replaced(self.module, self._dispatch))
        try:
            yield
        finally:
            with self.lock:
                self.users -= 1
                if not self.users:
                    self.patch.close()
            del self.thread.forward

    def _dispatch(self, hidden: Tensor) -> Tensor:
        forward: Callable[[Tensor], Tensor] = getattr(self.thread, "forward", self.original)
        return forward(hidden)


@contextmanager
def _forward_replaced(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    # On the module itself, not its class; a library may have put its own there before.
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before
