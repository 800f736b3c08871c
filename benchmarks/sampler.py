"""Tokens per CPU-second of the in-process sampler, against transformers' own `generate`, in one run.

The model is random (what it says does not matter here), of the size of the embedded base: d128, 4 layers, 4 heads
over 2 keys, vocabulary 1,024. Prompts have 50–110 tokens, k completions each; ends are drawn, as a trained model's are:
the end-of-turn token's logit is raised so that completions last about 60 tokens.

    OMP_NUM_THREADS=1 python benchmarks/sampler.py
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from functools import partial

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from funreason.policies.huggingface.sampler import HuggingFaceSampler
from funreason.policies.protocol import Request

VOCABULARY, END, MEAN_LENGTH, MAX_NEW = 1024, 1, 60, 128


def raised(logits: torch.Tensor) -> torch.Tensor:
    """The end token's logit, set against all others together."""
    return torch.logsumexp(logits, -1) - torch.log(torch.tensor(MEAN_LENGTH - 1.0))


class Ending(Qwen2ForCausalLM):
    """The random model with the raised end built in, so that both samplers face the same distribution."""

    def forward(self, *args: object, **kwargs: object) -> object:
        """The model's own answer with the end's logit replaced."""
        output = super().forward(*args, **kwargs)  # type: ignore[arg-type]
        output.logits[..., END] = raised(output.logits)
        return output


def world(seed: int) -> tuple[Ending, PreTrainedTokenizerFast]:
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, eos_token_id=END,
        pad_token_id=0, bos_token_id=None, initializer_range=0.1,
    )  # fmt: skip
    words = {"<pad>": 0, "<end>": END} | {f"w{i}": i for i in range(2, VOCABULARY)}
    core = Tokenizer(models.WordLevel(words, unk_token="w2"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return Ending(config).eval(), PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", pad_token="<pad>")


def prompts(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(f"w{rng.randrange(3, VOCABULARY)}" for _ in range(rng.randint(50, 110))) for _ in range(count)]


def timed(work: Callable[[], int]) -> tuple[int, float]:
    start = time.process_time()
    return work(), time.process_time() - start


def ours(sampler: HuggingFaceSampler, texts: list[str], k: int) -> int:
    requests = [Request(f"p{i}", text, k, 0) for i, text in enumerate(texts)]
    return sum(completion.tokens for answer in sampler.sample(requests) for completion in answer)


def generate(model: Ending, tokenizer: PreTrainedTokenizerFast, texts: list[str], k: int, rows: int) -> int:
    """Static batches of `rows`, sorted by length, left-padded; counts tokens up to the end of each turn."""
    settings = GenerationConfig(
        do_sample=True, max_new_tokens=MAX_NEW, num_return_sequences=k, eos_token_id=END, pad_token_id=0, top_k=0
    )
    tokenizer.padding_side = "left"
    spoken = 0
    ordered = sorted(texts, key=len, reverse=True)
    for start in range(0, len(ordered), rows // k):
        inputs = tokenizer(ordered[start : start + rows // k], return_tensors="pt", padding=True)
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            output = model.generate(**inputs, generation_config=settings)
        spoken += sum(length_of(row) for row in output[:, inputs["input_ids"].shape[1] :].tolist())
    return spoken


def length_of(row: list[int]) -> int:
    return row.index(END) + 1 if END in row else len(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--generate-rows", type=int, nargs="*", default=[32, 64, 128, 512])
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = world(0)
    texts = prompts(options.prompts, 0)
    sampler = HuggingFaceSampler(model, tokenizer, weights_id="random", max_new_tokens=MAX_NEW, max_rows=options.rows)
    ours(sampler, texts[:32], options.k)
    print(f"{'sampler':28} {'tokens':>8} {'CPU-s':>7} {'tokens per CPU-s':>17}")
    report("in process, shared prefix", *timed(lambda: ours(sampler, texts, options.k)))
    for rows in options.generate_rows:
        report(f"generate, batches of {rows}", *timed(partial(generate, model, tokenizer, texts, options.k, rows)))


def report(name: str, tokens: int, seconds: float) -> None:
    print(f"{name:28} {tokens:8} {seconds:7.2f} {tokens / seconds:17.0f}")


if __name__ == "__main__":
    main()
