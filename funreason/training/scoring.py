"""Log-probabilities and entropies of given completions: a forward pass without a gradient.

It uses the head, temperature and masks that a training uses, so that ratios between the two are exact. It gives old
log-probabilities, those of a reference policy, and EGPO's entropies of the thinking.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from funreason.calls.thinking import THINK_TAGS, Tags
from funreason.config.updates import Update
from funreason.objectives.protocol import THINK, CrossEntropy, Example, TokenOutputs
from funreason.policies.cpu_threads import num_workers, side_by_side
from funreason.policies.prompts import known_ids
from funreason.training.batches import (
    can_pack,
    collate,
    layout_refusal,
    pack,
    plan_passes,
    prompt_sharing,
    share_prompts,
    worth_sharing,
)
from funreason.training.encoding import encode_examples
from funreason.training.engine import torch_settings
from funreason.training.lm_head import LossHead
from funreason.training.parallel import Ranks
from funreason.training.pass_size import choose_pass_size
from funreason.training.shared_attention import attending_with_shared_prompts
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
        chosen = [e for e, inside in zip(self.entropies, self.think, strict=True) if inside or span == "response"]
        return sum(chosen) / len(chosen) if chosen else 0.0


def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    update: Update,
    *,
    think_tags: Tags = THINK_TAGS,
    threads: int | None = None,
) -> tuple[list[TokenScores | None], list[RefusedExample]]:
    """Score the completions of `examples`, rollouts as they were sampled, others at temperature 1.

    One entry per example, None for those that `encode_examples` refuses; the refused are listed with their reason. The
    first token of an example without a prompt has no score. `update` says how passes are cut, which does not show in
    the scores. A bfloat16 model is run as a training runs it: products in bfloat16, what adds up in float32. Raises
    TrainingError when no example can be scored.
    """
    usable, encoded, refused = encode_examples(examples, tokenizer, update.max_length, think_tags)
    half = [parameter for parameter in model.parameters() if parameter.dtype == torch.bfloat16]
    device, training = model.device, model.training
    head, packed = LossHead(model, update, known_ids(tokenizer)), can_pack(model, update.packing)
    shared = prompt_sharing(model, update.prefix_sharing)[0] and worth_sharing(encoded, update.prefix_sharing)
    dense = not shared or bool(layout_refusal(model))
    pad_id = tokenizer.pad_token_id if isinstance(tokenizer.pad_token_id, int) else 0

    def scored(piece: Sequence[int]) -> list[TokenScores]:
        samples = [encoded[at] for at in piece]
        if shared:
            batch = share_prompts(samples, pad_id=pad_id, device=device, dense=dense or None)
        elif packed and len(samples) > 1:
            batch = pack(samples, device=device)
        else:
            batch = collate(samples, pad_id=pad_id, device=device)
        targets, kept = batch.targets(len(samples))
        rollouts = [usable[at].rollout for at in piece]
        temperatures = [1.0 if rollout is None else rollout.temperature for rollout in rollouts]
        weights = torch.ones(len(targets.where), dtype=torch.float64, device=device)
        rule = CrossEntropy(weights, weights.new_tensor(temperatures)[targets.sample], reads_entropy=True)

        def logits() -> Tensor:
            found: Tensor = model(
                input_ids=batch.ids,
                attention_mask=batch.mask,
                position_ids=batch.positions,
                use_cache=False,
                logits_to_keep=kept,
                **({} if batch.layout is None else {"shared_prompts": batch.layout}),
            ).logits
            return found

        with (
            torch.no_grad(),
            torch.autocast(device.type, torch.bfloat16, cache_enabled=False) if half else nullcontext(),
        ):
            found: TokenOutputs = head.outputs(logits, targets, rule)
        assert found.entropies is not None  # the rule reads them
        counts = [int(count) for count in targets.counts.sum(0).tolist()]
        logprobs, entropies, think = (
            [tuple(part.tolist()) for part in torch.split(column.cpu(), counts)]
            for column in (found.logprobs, found.entropies, targets.part == THINK)
        )
        return [TokenScores(*parts) for parts in zip(logprobs, entropies, think, strict=True)]

    with torch_settings(device, model.dtype, threads):
        workers = num_workers(device)
        # More than a pass without gradients needs, so it fits.
        size = choose_pass_size(model, update, Ranks(device), "none", item=model.dtype.itemsize, head_chunk=head.held)
        micro_tokens = max(1, size.tokens // workers)
        shards = plan_passes(encoded, num_shards=workers, micro_tokens=micro_tokens, packed=packed, shared=shared)
        pieces = list(chain.from_iterable(shards))
        model.train(False)
        for parameter in half:
            parameter.data = parameter.data.float()
        try:
            with nullcontext() if dense else attending_with_shared_prompts(model):
                results = side_by_side(scored, pieces, device)
        finally:
            model.train(training)
            for parameter in half:
                parameter.data = parameter.data.bfloat16()
    by_id = {
        id(usable[at]): result
        for piece, found in zip(pieces, results, strict=True)
        for at, result in zip(piece, found, strict=True)
    }
    return [by_id.get(id(example)) for example in examples], refused
