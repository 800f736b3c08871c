"""What an objective gives the training engine, and the data that both of them know.

The engine cuts a batch into micro-batches, runs the model, and adds up gradients over processes; it knows no loss. An
objective knows no micro-batch and no process: every method takes the denominators of the whole batch as an argument,
so that the shares of any cut add up to the same loss (as NeMo-RL's `LossFunction` does).

The LM head takes a chunk of tokens from logits to gradient and drops it before the next. So an objective says before
the model runs how a token's log-probability and entropy become a loss and its slopes: a `TokenRule`. Any loss that is a
weighted sum over tokens has one, with whatever is known per sample beforehand (an advantage, an old log-probability, a
denominator) inside it. SRML's is the constant one, `CrossEntropy`.
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


class Rollout(msgspec.Struct, frozen=True):
    """A completion exactly as it was sampled, and what a policy gradient needs to know about it.

    Attributes:
        token_ids: the sampled tokens, the end-of-turn token included where the model wrote one. They are trained on as
            they are; text is never tokenized again.
        advantage: how much better its reward is than its group's, the same for every token; see `group_advantages`.
        temperature: what the sampler divided the logits by.
        group: the rollouts of one prompt share it. Groups whose advantages are all 0 are left out of a training.
        logprobs: the log-probability of each token under the sampler, or None where it gave none.
        old_logprobs: under the trainer before the first update on this batch; None if this is the first and only one.
        reference_logprobs: under the reference policy; needed with `beta` above 0.
    """

    token_ids: tuple[int, ...]
    advantage: float
    temperature: float = 1.0
    group: str = ""
    logprobs: tuple[float, ...] | None = None
    old_logprobs: tuple[float, ...] | None = None
    reference_logprobs: tuple[float, ...] | None = None


class Example(msgspec.Struct, frozen=True):
    """A rendered prompt and the completion to learn; `weight` scales the sample within its batch.

    With a `rollout` its tokens are the completion, and `thinking` and `answer` are only for display.
    """

    id: str
    prompt: str
    thinking: str | None
    answer: str
    weight: float = 1.0
    origin: str = ""
    round: int = 0
    attempt: int = 0
    rollout: Rollout | None = None


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
        cls,
        labels: Tensor,
        parts: Tensor,
        owners: Tensor | None = None,
        samples: int | None = None,
        before: Tensor | None = None,
    ) -> TokenTargets:
        """From unshifted labels and parts [B, T].

        `owners` [B, T] is the sample (of `samples`) that each position belongs to; by default each row is one sample.
        The first token of a sample is never a target: no token of the sample precedes it. `before` [B, T] is the
        position in its row that predicts each learned token, where that is not the one on its left.
        """
        import torch

        rows = torch.arange(len(labels), device=labels.device).unsqueeze(1).expand_as(labels)
        owners = rows if owners is None else owners
        learned = (parts != NONE) & (labels != IGNORE)
        if before is None:
            learned = learned[:, 1:] & (owners[:, 1:] == owners[:, :-1])
            where = torch.nn.functional.pad(learned, (0, 1)).flatten().nonzero().squeeze(-1)
            token = where + 1
        else:
            token = (learned & (before >= 0)).flatten().nonzero().squeeze(-1)
            where = (before + labels.shape[1] * rows).flatten()[token]
        part, sample = parts.flatten()[token], owners.flatten()[token]
        count = len(labels) if samples is None else samples
        counts = [torch.bincount(sample[part == kind], minlength=count).double() for kind in (THINK, RESULT)]
        return cls(where, labels.flatten()[token], part, sample, torch.stack(counts))


class TokenRule(Protocol):
    """How each of the N tokens of a micro-batch becomes a loss. The total is the sum of `weights * loss`."""

    @property
    def weights(self) -> Tensor:
        """[N], float64: d(total)/d(loss)."""
        ...

    @property
    def temperatures(self) -> Tensor | None:
        """None for the softmax of the logits as they are.

        A tensor [N] for the distribution that a sampler draws from: logits divided by the token's temperature, without
        the ids that pad the vocabulary.
        """
        ...

    @property
    def reads_entropy(self) -> bool:
        """Whether the rule is given entropies; computing them costs one more pass over a chunk's logits."""
        ...

    def __call__(self, logprobs: Tensor, entropies: Tensor | None, rows: slice) -> TokenSlopes:
        """Loss and slopes of the tokens `rows` of the micro-batch; no token's result may depend on another token.

        `logprobs` [n] and `entropies` [n], of the full distribution, are in nats and carry no gradient.
        """
        ...


class TokenSlopes(NamedTuple):
    """What a rule returns, each [n]: losses, d(loss)/d(logprob), d(loss)/d(entropy) (None: 0).

    The slopes need not be the losses' derivatives: an estimator's gradient may differ from its value's.
    """

    losses: Tensor
    by_logprob: Tensor
    by_entropy: Tensor | None = None


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """The constant rule: a token's loss is its negative log-probability."""

    weights: Tensor
    temperatures: Tensor | None = None
    reads_entropy: bool = False

    def __call__(self, logprobs: Tensor, entropies: Tensor | None, rows: slice) -> TokenSlopes:
        """See `TokenRule`."""
        return TokenSlopes(-logprobs, logprobs.new_full(logprobs.shape, -1.0))


class TokenOutputs(NamedTuple):
    """What the LM head returns for the N tokens of a micro-batch.

    `losses` [N] are the rule's and carry the gradient, whose incoming gradient must be a multiple of the rule's
    weights. `logprobs` [N] and `entropies` [N] (None unless the rule reads them) carry none.
    """

    losses: Tensor
    logprobs: Tensor
    entropies: Tensor | None


class LossShare(NamedTuple):
    """What one micro-batch contributes to its batch: added over micro-batches and processes, all three are exact.

    `total` is a scalar and carries the gradient; `terms` [len(Objective.terms)] and `sums` [S, len(Objective.sums)]
    carry none. All are float64. `values` [N, len(Objective.values)] are reported as quantiles of the whole batch.
    """

    total: Tensor
    terms: Tensor
    sums: Tensor
    values: Tensor | None = None


class Objective(Protocol):
    """What is learned from a batch.

    Attributes:
        terms: names of the metrics whose shares `LossShare.terms` holds, such as loss_think.
        sums: names of the per-sample values in `LossShare.sums`, such as think_tokens.
        values: names of the per-token values in `LossShare.values`; NaN where a token has none. Each is reported as
            <name>_p50, <name>_p99 and <name>_max of the batch.
        fingerprint: whatever decides the loss and is not in the update's settings; a training that was interrupted is
            resumed only with the same.
    """

    terms: tuple[str, ...]
    sums: tuple[str, ...]
    values: tuple[str, ...]
    fingerprint: str

    def with_signal(self, examples: Sequence[Example]) -> list[bool]:
        """For each example of a whole training whether there is anything to learn from it.

        The others are left out before any forward pass, and count in no denominator.
        """
        ...

    def denominators(self, examples: Sequence[Example], encoded: Sequence[Encoded]) -> Any:
        """What the batch's loss is divided by, counted over the whole batch; passed to the two methods below."""
        ...

    def rule(self, targets: TokenTargets, examples: Sequence[Example], denominators: Any) -> TokenRule:
        """How the micro-batch's tokens become losses."""
        ...

    def loss(
        self, outputs: TokenOutputs, targets: TokenTargets, examples: Sequence[Example], denominators: Any
    ) -> LossShare:
        """The micro-batch's share, from what its rule gave."""
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
