"""From a prompt and a completion to token ids, labels, and the part each token belongs to.

Thinking has its tags; the result begins with the blank line behind the closing tag and ends with the end-of-turn
token. Prompt and completion are tokenised apart, as they are when sampled, so no token joins them. Inside the
completion a token may straddle the boundary (">\\n\\n" is one token in some vocabularies): it belongs to the result,
for predicting it means deciding to begin the answer. Behind a prompt that ends the thinking itself, only the answer is
learnt: there is no place for another thinking.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from funreason.calls.thinking import THINK_TAGS, Tags, join_thinking
from funreason.policies.prompts import closes_thinking, opens_thinking
from funreason.policies.tokens import end_of_turn
from funreason.srml.errors import NoTrainableTokens, SampleTooLong, TrainingError, UnusableSample
from funreason.srml.examples import Example, Refusal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE = -100
NONE, THINK, RESULT = 0, 1, 2


class Encoded(NamedTuple):
    """One sample as three lists of equal length: token ids, labels (-100 where not learnt), parts (0, 1, 2)."""

    ids: list[int]
    labels: list[int]
    parts: list[int]


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
    """Tokenise one sample, unshifted.

    `end` is the end-of-turn token, by default the one the tokenizer's template writes. An empty answer leaves only
    thinking, and then no end of turn is taught. Raises NoTrainableTokens when there is neither, SampleTooLong above
    `max_length` tokens (nothing is cut), TrainingError without a fast tokenizer.
    """
    target, boundary = _target(prompt, thinking, answer, tags)
    if not target:
        raise NoTrainableTokens(
            sample_id, "neither thinking nor answer has any text; leave it out of the training data."
        )
    if not tokenizer.is_fast:
        raise TrainingError(f"{tokenizer.name_or_path!r} has no fast tokenizer (tokenizer.json), so no token offsets.")
    before: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    encoded = tokenizer(target, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = encoded["input_ids"]
    parts = [THINK if end <= boundary else RESULT for _, end in encoded["offset_mapping"]]
    if answer:
        ids, parts = [*ids, _end_of_turn(tokenizer) if end is None else end], [*parts, RESULT]
    if len(before) + len(ids) > max_length:
        raise SampleTooLong(
            sample_id,
            f"{len(before)} prompt and {len(ids)} completion tokens exceed max_length {max_length}; "
            "raise it or leave the sample out, it is not cut.",
        )
    return _checked(Encoded([*before, *ids], [IGNORE] * len(before) + ids, [NONE] * len(before) + parts), sample_id)


def encode_examples(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int, tags: Tags = THINK_TAGS
) -> tuple[list[Example], list[Encoded], list[Refusal]]:
    """The examples that can be trained on, their encodings, and the others with the reason.

    Raises TrainingError when none can.
    """
    usable, encoded, refused = [], [], []
    end = _end_of_turn(tokenizer)
    for example in examples:
        if not 0 < example.weight < math.inf:
            raise TrainingError(f"sample {example.id}: weight is {example.weight}; it must be a finite number above 0.")
        try:
            sample = encode_sample(
                example.prompt,
                example.thinking,
                example.answer,
                tokenizer,
                max_length,
                sample_id=example.id,
                tags=tags,
                end=end,
            )
        except UnusableSample as error:
            refused.append(Refusal(example.id, error.reason, str(error)))
            continue
        usable.append(example)
        encoded.append(sample)
    if not usable:
        first = f" The first: {refused[0].message}" if refused else ""
        raise TrainingError(f"nothing to train on: {len(examples)} examples came, {len(refused)} were refused.{first}")
    return usable, encoded, refused


def _target(prompt: str, thinking: str | None, answer: str, tags: Tags) -> tuple[str, int]:
    # The text to learn, and where in it the thinking ends. The boundary follows from how the text is made, so
    # closing tags inside the thinking (models do that) need no search.
    opened = opens_thinking(prompt, tags)
    if (thinking is None and not opened) or closes_thinking(prompt, tags):
        return answer, 0
    if not thinking and not answer:
        return "", 0
    whole = join_thinking(thinking or "", answer if answer else "", tags)
    boundary = len(tags[0]) + len(thinking or "") + len(tags[1])
    whole = whole if answer else whole[:boundary]
    skipped = len(tags[0]) if opened else 0
    return whole[skipped:], boundary - skipped


def _checked(encoded: Encoded, sample_id: str) -> Encoded:
    # A first token has nothing before it to be predicted from, so it cannot be the only one.
    if not any(encoded.parts[1:]):
        raise NoTrainableTokens(sample_id, "no token stands behind another; give it a prompt or a longer answer.")
    return encoded


def _end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    end = end_of_turn(tokenizer)
    if end is None:
        raise TrainingError(f"{tokenizer.name_or_path!r} names no end-of-turn token (eos_token); set it.")
    return end
