"""Small worlds for tests: a tokenizer with a chat template, a random Qwen2 of 0.1M parameters, samples to train on."""

from __future__ import annotations

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from funreason.objectives import Example

CHAT_TEMPLATE = (
    "{%- if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool.function | tojson }}\n{% endfor %}<|im_end|>\n"
    "{% endif %}{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ["<pad>", "<|im_start|>", "<|im_end|>"]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges, so every text has ids and offsets; 259 tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(SPECIALS + alphabet)}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[A-Za-z]+|\d| ?[^A-Za-z\d\s]+ ?|\s"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(SPECIALS)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<pad>", chat_template=CHAT_TEMPLATE
    )


def tiny_model(seed: int = 0, *, vocabulary: int = 259, context: int = 512, scale: float = 0.08) -> Qwen2ForCausalLM:
    """A random model with uneven logits (`scale` is the spread of its weights), in eval mode."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        initializer_range=scale,
        eos_token_id=2,
        pad_token_id=0,
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config).eval()


def examples(count: int = 10) -> list[Example]:
    """Samples of uneven lengths: some without thinking, half of them repaired, one that weighs more."""
    return [
        Example(
            id=f"s{i}",
            prompt="<|im_start|>user\n" + "add " * (i % 7) + f"{i}<|im_end|>\n<|im_start|>assistant\n",
            thinking=None if i % 5 == 4 else "add " + "it " * (i % 4),
            answer=f"[add(n={i})]",
            weight=2.0 if i == 1 else 1.0,
            origin="repaired" if i % 2 else "sampled",
            round=i % 3,
            attempt=i % 2,
        )
        for i in range(count)
    ]
