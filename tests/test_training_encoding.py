"""Which token belongs to which part, and which samples are refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tiny import tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from funreason.objectives import Example, Rollout
from funreason.objectives.protocol import IGNORE, NONE, RESULT, THINK, Encoded
from funreason.training import NoTrainableTokens, SampleTooLong, TrainingError, encode_sample
from funreason.training.encoding import encode_examples, encode_rollout
from funreason.training.mask_preview import mask_preview

TOKENIZER = tiny_tokenizer()
PROMPT = "<|im_start|>user\nadd 1<|im_end|>\n<|im_start|>assistant\n"


def text_of(encoded: Encoded, part: int) -> str:
    return TOKENIZER.decode([i for i, p in zip(encoded.ids, encoded.parts, strict=True) if p == part])


def encode(thinking: str | None, answer: str, prompt: str = PROMPT, max_length: int = 500) -> Encoded:
    return encode_sample(prompt, thinking, answer, TOKENIZER, max_length, sample_id="s7")


def test_thinking_keeps_its_tags_and_the_result_begins_with_the_blank_line():
    encoded = encode("use add", "[add(n=1)]")
    assert text_of(encoded, NONE) == PROMPT
    assert text_of(encoded, THINK) == "<think>use add</think>"
    assert text_of(encoded, RESULT) == "\n\n[add(n=1)]<|im_end|>"


def test_labels_are_the_tokens_themselves_and_nothing_in_the_prompt():
    encoded = encode("use add", "[add(n=1)]")
    for token, label, part in zip(*encoded, strict=True):
        assert label == (IGNORE if part == NONE else token)


def test_a_sample_without_thinking_is_all_result():
    encoded = encode(None, "[add(n=1)]")
    assert text_of(encoded, RESULT) == "[add(n=1)]<|im_end|>"
    assert THINK not in encoded.parts


def test_a_sample_without_an_answer_teaches_its_thinking_but_no_end_of_turn():
    encoded = encode("use add", "")
    assert text_of(encoded, THINK) == "<think>use add</think>"
    assert RESULT not in encoded.parts


def test_closing_tags_inside_the_thinking_do_not_end_it():
    encoded = encode("first</think>\n\nno: second", "[f()]")
    assert text_of(encoded, THINK) == "<think>first</think>\n\nno: second</think>"
    assert text_of(encoded, RESULT) == "\n\n[f()]<|im_end|>"


def test_a_prompt_that_opens_the_thinking_is_not_given_a_second_tag():
    encoded = encode("use add", "[f()]", prompt=PROMPT + "<think>\n")
    assert text_of(encoded, THINK) == "use add</think>"
    assert text_of(encode(None, "[f()]", prompt=PROMPT + "<think>\n"), THINK) == "</think>"


def merging_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([*alphabet, "ĊĊ", ">ĊĊ", "<end>"])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[("Ċ", "Ċ"), (">", "ĊĊ")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<end>"])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")


def test_a_token_that_straddles_the_boundary_belongs_to_the_result():
    merging = merging_tokenizer()
    encoded = encode_sample("q", "t", "[f()]", merging, 100)
    results = [i for i, p in zip(encoded.ids, encoded.parts, strict=True) if p == RESULT]
    assert merging.decode(results) == ">\n\n[f()]<end>"


@pytest.mark.parametrize(("thinking", "answer", "prompt"), [(None, "", PROMPT), ("", "", PROMPT), (None, "", "")])
def test_a_sample_without_trainable_tokens_is_refused_with_its_id(thinking, answer, prompt):
    with pytest.raises(NoTrainableTokens, match="s7"):
        encode(thinking, answer, prompt)


def test_a_sample_that_would_have_to_be_cut_is_refused_with_its_id():
    length = len(encode("use add", "[add(n=1)]").ids)
    assert encode("use add", "[add(n=1)]", max_length=length)
    with pytest.raises(SampleTooLong, match=f"s7.*max_length {length - 1}"):
        encode("use add", "[add(n=1)]", max_length=length - 1)


@given(st.text(max_size=30) | st.none(), st.text(min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_every_token_has_one_part_and_the_parts_come_in_order(thinking, answer):
    encoded = encode(thinking, answer)
    assert len(encoded.ids) == len(encoded.labels) == len(encoded.parts)
    assert encoded.parts == sorted(encoded.parts)
    assert encoded.parts[-1] == RESULT
    assert (THINK in encoded.parts) == (thinking is not None)


def test_the_preview_shows_parts_by_bracket_and_counts_without_colour():
    console = Console(width=100, record=True, color_system=None)
    encoded = encode("use add", "[add(n=1)]")
    console.print(mask_preview(encoded, TOKENIZER, title="s7"))
    shown = console.export_text()
    assert "⟨<think>use add</think>⟩⟦" in shown
    assert f"⟨think⟩ {encoded.parts.count(THINK)} tokens, loss" in shown
    assert f"prompt {encoded.parts.count(NONE)} tokens, no loss" in shown


def sampled(text: str, prompt: str = PROMPT, end: bool = True, **fields: object) -> Encoded:
    ids = (*TOKENIZER(text)["input_ids"], *[2] * end)
    return encode_rollout(prompt, Rollout(ids, 1.0, **fields), TOKENIZER, 500, sample_id="s7")


@pytest.mark.parametrize(
    ("text", "prompt", "end", "thinking"),
    [
        ("<think>use add</think>\n\n[f()]", PROMPT, True, "<think>use add</think>"),
        ("\n<think>é €</think>[f()]", PROMPT, True, "\n<think>é €</think>"),
        ("<think>no</think> yes</think>[f()]", PROMPT, True, "<think>no</think> yes</think>"),
        ("use add</think>\n\n[f()]", PROMPT + "<think>\n", True, "use add</think>"),
        ("<think>and so on", PROMPT, False, "<think>and so on"),
        ("and so on", PROMPT + "<think>\n", False, "and so on"),
        ("<think>and an end", PROMPT, True, "<think>and an end"),
        ("[f()]", PROMPT, True, ""),
        ("[f()]", PROMPT + "<think>\n\n</think>\n\n", True, ""),
        ("</think>", PROMPT, False, "</think>"),
    ],
)
def test_a_rollouts_thinking_is_found_by_its_tags(text, prompt, end, thinking):
    encoded = sampled(text, prompt, end)
    assert text_of(encoded, NONE) == prompt
    assert text_of(encoded, THINK) == thinking
    assert text_of(encoded, RESULT) == text.removeprefix(thinking) + "<|im_end|>" * end


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.text(max_size=20), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_rollout_has_the_parts_of_the_same_text_tokenized(thinking, answer, end):
    text = f"<think>{thinking}</think>\n\n{answer}"
    if "<" in answer + thinking:  # tags, and the tokenizer's special tokens
        return
    wanted = encode(thinking, answer) if answer and end else None
    encoded = sampled(text, end=end)
    assert encoded.parts == sorted(encoded.parts)
    assert text_of(encoded, THINK) == f"<think>{thinking}</think>"
    assert wanted is None or encoded == wanted


def test_a_rollouts_tokens_are_trained_on_as_they_were_drawn():
    """The text would be tokenized otherwise, and a token across the boundary is part of the result."""
    merging = merging_tokenizer()
    ids = {token: merging.convert_tokens_to_ids(token) for token in ("Ċ", "ĊĊ", ">ĊĊ", ">", "<end>")}
    head = merging("<think>t</think", add_special_tokens=False)["input_ids"]
    for middle, boundary in (([ids[">"], ids["Ċ"], ids["Ċ"]], 1), ([ids[">"], ids["ĊĊ"]], 1), ([ids[">ĊĊ"]], 0)):
        drawn = (*head, *middle, ids["<end>"])
        encoded = encode_rollout("q", Rollout(drawn, 1.0), merging, 100)
        assert tuple(encoded.ids[-len(drawn) :]) == drawn
        assert encoded.parts.count(THINK) == len(head) + boundary


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"logprobs": (0.0,)}, "logprobs are 1 values for 6 tokens"),
        ({"old_logprobs": (float("nan"),) * 6}, "old_logprobs are 6 values"),
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"token_ids": (5, 259)}, "token ids lie between 5 and 259; this tokenizer knows 0 to 258"),
        ({"advantage": float("nan")}, "advantage nan"),
    ],
)
def test_a_rollout_that_no_sampler_can_have_given_is_an_error_that_names_the_sample(fields, message):
    given = {"token_ids": (*TOKENIZER("[f()]")["input_ids"], 2), "advantage": 1.0} | fields
    with pytest.raises(TrainingError, match=f"s7.*{message}"):
        encode_examples([Example("s7", PROMPT, None, "", rollout=Rollout(**given))], TOKENIZER, 500)


def test_a_rollout_without_tokens_or_room_is_refused():
    prompts = [Example("none", PROMPT, None, "", rollout=Rollout((), 1.0)),
               Example("long", PROMPT, None, "", rollout=Rollout((5,) * 500, 1.0)),
               Example("fine", PROMPT, None, "", rollout=Rollout((5, 2), 1.0))]  # fmt: skip
    usable, _, refused = encode_examples(prompts, TOKENIZER, 500)
    assert [example.id for example in usable] == ["fine"]
    assert [(one.id, one.reason) for one in refused] == [("none", "train.no_tokens"), ("long", "train.too_long")]
