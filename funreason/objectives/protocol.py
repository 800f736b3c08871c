"""What an objective gives the training engine, and the data that both of them know.

The engine cuts a batch into micro-batches, runs the model, and adds up gradients over processes; it knows no loss. An
objective knows no micro-batch and no process: every method takes the denominators of the whole batch as an argument,
so that the shares of any cut add up to the same loss (as NeMo-RL's `LossFunction` does).

`srml` is linear in the tokens' losses, so it can give each token's weight before the model runs, and the LM head then
needs one pass over the logits. An objective whose weights depend on the log-probabilities (GRPO, EGPO) returns None
from `token_weights` and does its arithmetic in `loss`; the head then computes the logits twice. A per-token entropy
would be a second column beside `losses`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from torch import Tensor

IGNORE = -100
"""The label of a token that is not learned, as in torch and transformers."""
NONE, THINK, RESULT = 0, 1, 2
"""The parts of a sample: the prompt, the thinking with its tags, and everything after it."""


class Example(msgspec.Struct, frozen=True):
    """A rendered prompt and the completion to learn; `weight` scales the sample within its batch."""

    id: str
    prompt: str
    thinking: str | None
    answer: str
    weight: float = 1.0
    origin: str = ""
    round: int = 0
    attempt: int = 0


class Encoded(NamedTuple):
    """One sample as three lists of equal length, unshifted: token ids, labels (IGNORE in the prompt), parts."""

    ids: list[int]
    labels: list[int]
    parts: list[int]


@dataclass(frozen=True, slots=True)
class TokenTargets:
    """The N tokens of a micro-batch of S samples that are learned.

    Attributes:
        where: [N], index into the flattened [B, T] of the position that predicts the token.
        labels: [N], the token's id.
        part: [N], THINK or RESULT.
        sample: [N], the index of the token's sample.
        counts: [2, S], float64, how many thinking and result tokens each sample has.
    """

    where: Tensor
    labels: Tensor
    part: Tensor
    sample: Tensor
    counts: Tensor

    @classmethod
    def of(
        cls, labels: Tensor, parts: Tensor, owners: Tensor | None = None, samples: int | None = None
    ) -> TokenTargets:
        """From unshifted labels and parts [B, T].

        `owners` [B, T] is the sample (of `samples`) that each position belongs to; by default each row is one sample.
        The first token of a sample is never a target: no token of the sample precedes it.
        """
        import torch

        rows = torch.arange(len(labels), device=labels.device).unsqueeze(1).expand_as(labels)
        owners = rows if owners is None else owners
        learned = (parts != NONE) & (labels != IGNORE)
        learned = learned[:, 1:] & (owners[:, 1:] == owners[:, :-1])
        where = torch.nn.functional.pad(learned, (0, 1)).flatten().nonzero().squeeze(-1)
        token = where + 1
        part, sample = parts.flatten()[token], owners.flatten()[token]
        count = len(labels) if samples is None else samples
        counts = [torch.bincount(sample[part == kind], minlength=count).double() for kind in (THINK, RESULT)]
        return cls(where, labels.flatten()[token], part, sample, torch.stack(counts))


class LossShare(NamedTuple):
    """What one micro-batch contributes to its batch: added over micro-batches and processes, all three are exact.

    `total` is a scalar and carries the gradient; `terms` [len(Objective.terms)] and `sums` [S, len(Objective.sums)]
    carry none. All are float64.
    """

    total: Tensor
    terms: Tensor
    sums: Tensor


class Objective(Protocol):
    """What is learned from a batch.

    Attributes:
        terms: names of the metrics whose shares `LossShare.terms` holds, such as loss_think.
        sums: names of the per-sample values in `LossShare.sums`, such as think_tokens.
    """

    terms: tuple[str, ...]
    sums: tuple[str, ...]

    def denominators(self, examples: Sequence[Example], encoded: Sequence[Encoded]) -> Any:
        """What the batch's loss is divided by, counted over the whole batch; passed to the two methods below."""
        ...

    def token_weights(self, targets: TokenTargets, examples: Sequence[Example], denominators: Any) -> Tensor | None:
        """d(total)/d(token loss) [N], float64, or None where it depends on the model's output."""
        ...

    def loss(self, losses: Tensor, targets: TokenTargets, examples: Sequence[Example], denominators: Any) -> LossShare:
        """The micro-batch's share. `losses` [N] is the negative log-probability of each target, in nats."""
        ...

    def metrics(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Metrics of any set of samples, from their added `sums`; a metric without data is left out."""
        ...

    def state_metrics(self) -> dict[str, float]:
        """Metrics of the objective's own state, such as alpha."""
        ...

    def parameters(self) -> list[Tensor]:
        """The objective's own learnable tensors; the engine adds up their gradients over micro-batches and ranks."""
        ...

    def step(self, taken: bool) -> None:
        """Update the learnable tensors if the optimizer step was `taken`, and drop their gradients in any case."""
        ...

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        ...

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore what `state_dict` returned. KeyError where something is missing."""
        ...
