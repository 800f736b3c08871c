"""Log-probabilities and entropies of given completions: a forward pass without a gradient.

It uses the head, temperature and masks that a training uses, so that ratios between the two are exact. It gives old
log-probabilities, those of a reference policy, and EGPO's entropies of the thinking.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from funreason.calls.thinking import THINK_TAGS, Tags
from funreason.config.updates import Update
from funreason.objectives.protocol import Example
from funreason.training.types import RefusedExample

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class TokenScores(NamedTuple):
    """One completion of W tokens.

    Attributes:
        logprobs: [W], under the scoring model at the rollout's temperature, in nats.
        entropies: [W], of the full distribution that each token was drawn from, in nats.
        think: [W], whether the token belongs to the thinking, tags included.
    """

    logprobs: tuple[float, ...]
    entropies: tuple[float, ...]
    think: tuple[bool, ...]

    def mean_entropy(self, span: Literal["think", "response"] = "think") -> float:
        """E: the mean entropy over the thinking or the whole completion; 0 where there is no thinking."""
        raise NotImplementedError


def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    update: Update,
    *,
    think_tags: Tags = THINK_TAGS,
    threads: int | None = None,
) -> tuple[list[TokenScores | None], list[RefusedExample]]:
    """Score the completions of `examples`, rollouts as they were sampled; one entry each, None where refused."""
    raise NotImplementedError
