"""Which token belongs to which part, and which samples are refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tiny import tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from funreason.objectives.protocol import IGNORE, NONE, RESULT, THINK, Encoded
from funreason.training import NoTrainableTokens, SampleTooLong, encode_sample
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


def test_a_token_that_straddles_the_boundary_belongs_to_the_result():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([*alphabet, "ĊĊ", ">ĊĊ", "<end>"])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[("Ċ", "Ċ"), (">", "ĊĊ")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<end>"])
    merging = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")
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
