"""The two families people fine-tune, at small width: their architecture, special tokens, ends and chat templates.

Tokenizers are trained here on what the test will say, so nothing is downloaded; the templates have the shapes of the
families' own: ChatML with a default system message, and Llama 3's headers with a date and the text's beginning.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

CHATML = """\
{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}
{%- else %}{% set system = 'You are a helpful assistant.' %}{% set rest = messages %}{% endif %}
{{- '<|im_start|>system\\n' + system }}
{%- if tools %}{{ '\\n\\n# Tools\\n<tools>' }}{% for tool in tools %}{{ '\\n' + tool | tojson }}{% endfor %}
{{- '\\n</tools>' }}
{%- endif %}{{ '<|im_end|>\\n' }}
{%- for message in rest %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- if opens is defined %}{{ opens + '\\n' }}{% endif %}{% endif %}"""

HEADERS = """\
{{- '<|begin_of_text|>' }}
{%- if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}
{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}
{%- else %}{% set system = '' %}{% set rest = messages %}{% endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '\\n\\n' + system }}
{%- if tools %}{% for tool in tools %}{{ '\\n' + tool | tojson }}{% endfor %}{% endif %}{{ '<|eot_id|>' }}
{%- for message in rest %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}


class Family(NamedTuple):
    """A family's special tokens: the padding, what ends a turn, and all that end a text. `named_end` is the
    tokenizer's eos_token."""

    config: Any
    model: Any
    template: str
    specials: list[str]
    pad: str
    turn_end: str
    ends: list[str]
    named_end: str
    tied: bool


QWEN = Family(
    Qwen2Config, Qwen2ForCausalLM, CHATML,
    ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "<|endoftext|>", "<|im_end|>", ["<|im_end|>", "<|endoftext|>"], "<|im_end|>", False,
)  # fmt: skip
# The base model's tokenizer names <|end_of_text|>, though its instruct template ends turns with <|eot_id|>.
LLAMA = Family(
    LlamaConfig, LlamaForCausalLM, HEADERS,
    ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
     "<|pad|>"],
    "<|pad|>", "<|eot_id|>", ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"], "<|end_of_text|>", True,
)  # fmt: skip
FAMILIES = {"qwen2": QWEN, "llama3": LLAMA}


TOWNS = "Rome Paris Oslo Lima Cairo Delhi Quito Tokyo Bern Riga Sofia Accra".split()


def family_tokenizer(family: Family, texts: list[str], vocabulary: int = 700) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer learnt from `texts`, with the family's special tokens and template."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=family.specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=family.named_end, pad_token=family.pad, chat_template=family.template
    )


def family_model(family: Family, tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> Any:
    """A random model of the family whose generation config names all of its ends."""
    torch.manual_seed(seed)
    ids = tokenizer.convert_tokens_to_ids
    padding = 24  # embeddings are padded beyond the vocabulary, as both families' are
    config = family.config(
        **SIZES,
        vocab_size=len(tokenizer) + padding,
        tie_word_embeddings=family.tied,
        initializer_range=0.05,
        eos_token_id=ids(family.turn_end),
        pad_token_id=ids(family.pad),
        bos_token_id=None,
    )
    model = family.model(config).eval()
    model.generation_config = GenerationConfig(eos_token_id=[ids(end) for end in family.ends])
    return model


def save_family(folder: Path, family: Family, texts: list[str], template: str | None = None) -> Path:
    """A model folder as one would be downloaded; the answer is the folder."""
    tokenizer = family_tokenizer(family, texts)
    if template is not None:
        tokenizer.chat_template = template
    family_model(family, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def records(count: int = 8) -> list[dict[str, str]]:
    """Tasks that a small model learns in seconds, as xLAM records with a chain of thought: one call for all of them."""
    seats = {"n": {"type": "int", "description": "how many"}}
    tools = [{"name": "book", "description": "Books seats.", "parameters": seats}]
    return [
        {
            "id": f"r{place}",
            "query": f"Book 3 seats in {name}.",
            "tools": json.dumps(tools),
            "answers": json.dumps([{"name": "book", "arguments": {"n": 3}}]),
            "cot": "I use book with n 3.",
        }
        for place, name in enumerate(TOWNS[:count])
    ]


def said(rows: list[dict[str, str]]) -> list[str]:
    """What these records say, for a tokenizer to learn from."""
    return [f"{row['query']} {row['tools']} <think>{row['cot']}</think>\n\n[book(n=3)]" for row in rows] * 4
