"""From a prompt and a completion to token ids, labels, and the part each token belongs to.

Thinking includes its tags; the result starts with the blank line after the closing tag and ends with the end-of-turn
token. Prompt and completion are tokenized separately, as when sampling, so no token spans both. A token may span the
end of the thinking (">\\n\\n" is one token in some vocabularies): it belongs to the result, because predicting it means
deciding to start the answer. After a prompt that already closes the thinking only the answer is learned.

A rollout's completion is not tokenized: its tokens are those that were sampled, and its text only says which of them
are thinking.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING

from funreason.calls.thinking import THINK_TAGS, Tags, join_thinking
from funreason.objectives.protocol import IGNORE, NONE, RESULT, THINK, Encoded, Example, Rollout
from funreason.policies.prompts import closes_thinking, end_of_turn, known_ids, opens_thinking
from funreason.training.types import NoTrainableTokens, RefusedExample, SampleTooLong, TrainingError, UnusableSample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode_sample(
    prompt: str,
    thinking: str | None,
    answer: str,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int = 2048,
    *,
    sample_id: str = "",
    tags: Tags = THINK_TAGS,
    end: int | None = None,
) -> Encoded:
    """Tokenize one sample, unshifted.

    `end` is the end-of-turn token, by default the one that the tokenizer's template writes. With an empty answer only
    the thinking is learned, without an end of turn. Raises NoTrainableTokens when both are empty, SampleTooLong above
    `max_length` tokens (nothing is cut), TrainingError without a fast tokenizer.
    """
    target, boundary = _target(prompt, thinking, answer, tags)
    if not target:
        raise NoTrainableTokens(sample_id, "thinking and answer are both empty; leave it out of the training data.")
    if not tokenizer.is_fast:
        raise TrainingError(f"{tokenizer.name_or_path!r} has no fast tokenizer (tokenizer.json), so no token offsets.")
    before: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    encoded = tokenizer(target, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = encoded["input_ids"]
    parts = [THINK if stop <= boundary else RESULT for _, stop in encoded["offset_mapping"]]
    if answer:
        ids, parts = [*ids, _end_of_turn(tokenizer) if end is None else end], [*parts, RESULT]
    if len(before) + len(ids) > max_length:
        raise SampleTooLong(
            sample_id,
            f"{len(before)} prompt and {len(ids)} completion tokens exceed max_length {max_length}; "
            "raise it or leave the sample out, it is not cut.",
        )
    sample = Encoded([*before, *ids], [IGNORE] * len(before) + ids, [NONE] * len(before) + parts)
    if not any(sample.parts[1:]):  # a first token cannot be predicted from anything
        raise NoTrainableTokens(sample_id, "its only token has none before it; add a prompt or a longer answer.")
    return sample


def encode_rollout(
    prompt: str,
    rollout: Rollout,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int = 2048,
    *,
    sample_id: str = "",
    tags: Tags = THINK_TAGS,
    end: int | None = None,
    known: int | None = None,
) -> Encoded:
    """A sampled completion, token by token as it was drawn.

    Its thinking ends with the last closing tag of its text. Without one it is thinking to the end if the text or the
    prompt opens it (a truncated completion), and all result otherwise; the end-of-turn token (`end`) is result in any
    case. `known` is how many ids the tokenizer knows. Raises NoTrainableTokens for a completion without tokens,
    SampleTooLong above `max_length` tokens, TrainingError for a rollout that no sampler can have given.
    """
    ids = list(rollout.token_ids)
    if not ids:
        raise NoTrainableTokens(sample_id, "the rollout has no tokens; the sampler must return their ids.")
    for name in ("logprobs", "old_logprobs", "reference_logprobs"):
        values = getattr(rollout, name)
        if values is not None and (len(values) != len(ids) or not all(map(math.isfinite, values))):
            raise TrainingError(
                f"sample {sample_id}: {name} are {len(values)} values for {len(ids)} tokens; expected as many finite "
                "numbers as tokens."
            )
    most = known_ids(tokenizer) if known is None else known
    if not 0 <= min(ids) <= max(ids) < most:
        raise TrainingError(
            f"sample {sample_id}: its token ids lie between {min(ids)} and {max(ids)}; this tokenizer knows 0 to "
            f"{most - 1}. It was sampled with another one."
        )
    if not math.isfinite(rollout.advantage) or not 0 < rollout.temperature < math.inf:
        raise TrainingError(
            f"sample {sample_id}: advantage {rollout.advantage}, temperature {rollout.temperature}; expected finite "
            "numbers, and a temperature above 0."
        )

    def text(count: int) -> str:
        return str(tokenizer.decode(ids[:count], skip_special_tokens=False, clean_up_tokenization_spaces=False))

    end, whole = _end_of_turn(tokenizer) if end is None else end, text(len(ids))
    closings, thinking = whole.count(tags[1]), 0
    if closings:  # the shortest start of the completion that has all closing tags
        thinking = bisect_left(range(len(ids)), closings, key=lambda count: text(count).count(tags[1]))
        thinking -= not text(thinking).endswith(tags[1])
    elif opens_thinking(prompt, tags) or whole.lstrip().startswith(tags[0]):
        thinking = len(ids) - (ids[-1] == end)
    before: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    if len(before) + len(ids) > max_length:
        raise SampleTooLong(
            sample_id,
            f"{len(before)} prompt and {len(ids)} sampled tokens exceed max_length {max_length}; raise it, or lower "
            "the sampler's max_new_tokens.",
        )
    parts = [THINK] * thinking + [RESULT] * (len(ids) - thinking)
    sample = Encoded([*before, *ids], [IGNORE] * len(before) + ids, [NONE] * len(before) + parts)
    if not any(sample.parts[1:]):
        raise NoTrainableTokens(sample_id, "its only token has none before it; a rollout needs a prompt.")
    return sample


def encode_examples(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int, tags: Tags = THINK_TAGS
) -> tuple[list[Example], list[Encoded], list[RefusedExample]]:
    """The examples that can be trained on, their encodings, and the refused ones with the reason.

    Raises TrainingError when none can be trained on, or for a weight that is not a finite number above 0.
    """
    usable, encoded, refused = [], [], []
    end = _end_of_turn(tokenizer)
    known = known_ids(tokenizer) if any(example.rollout is not None for example in examples) else None
    for example in examples:
        if not 0 < example.weight < math.inf:
            raise TrainingError(f"sample {example.id}: weight is {example.weight}; it must be a finite number above 0.")
        prompt, thinking, answer = example.prompt, example.thinking, example.answer
        try:
            if example.rollout is not None:
                sample = encode_rollout(
                    prompt,
                    example.rollout,
                    tokenizer,
                    max_length,
                    sample_id=example.id,
                    tags=tags,
                    end=end,
                    known=known,
                )
            else:
                sample = encode_sample(
                    prompt, thinking, answer, tokenizer, max_length, sample_id=example.id, tags=tags, end=end
                )
        except UnusableSample as error:
            refused.append(RefusedExample(example.id, error.reason, str(error)))
            continue
        usable.append(example)
        encoded.append(sample)
    if not usable:
        first = f" The first: {refused[0].message}" if refused else ""
        raise TrainingError(f"nothing to train on: {len(examples)} examples came, {len(refused)} were refused.{first}")
    return usable, encoded, refused


def _target(prompt: str, thinking: str | None, answer: str, tags: Tags) -> tuple[str, int]:
    """The text to learn, and the offset where its thinking ends.

    The offset is known from how the text is built, so closing tags inside the thinking (models write them) are safe.
    """
    opened = opens_thinking(prompt, tags)
    if (thinking is None and not opened) or closes_thinking(prompt, tags):
        return answer, 0
    if not thinking and not answer:
        return "", 0
    text = join_thinking(thinking or "", answer, tags)
    boundary = len(tags[0]) + len(thinking or "") + len(tags[1])
    skipped = len(tags[0]) if opened else 0
    return (text if answer else text[:boundary])[skipped:], boundary - skipped


def _end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    end = end_of_turn(tokenizer)
    if end is None:
        raise TrainingError(f"{tokenizer.name_or_path!r} names no end-of-turn token (eos_token); set it.")
    return end
