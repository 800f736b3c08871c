"""SRML in a training loop that you already have: TRL's SFTTrainer, or transformers' Trainer where TRL is not installed.

    python examples/srml-loss/train.py MODEL_FOLDER OUT [--steps 20]

The loss is one argument, `compute_loss_func`. Both trainers get the same rows: token ids, and labels that are -100
except for the completion. The completion has the form <think>…</think>, a blank line, the answer.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import Any

from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from funreason.objectives import srml_compute_loss

PAIRS = [(f"Book {n} seats in Rome.", f"<think>I use book with n {n}.</think>\n\n[book(n={n})]") for n in range(1, 9)]


def rows(tokenizer: PreTrainedTokenizerBase) -> list[dict[str, list[int]]]:
    """Token ids and labels of each pair of prompt and completion; the end of turn is learned too."""
    found = []
    for prompt, completion in PAIRS:
        before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        learned = [*tokenizer(completion, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        found.append({"input_ids": [*before, *learned], "labels": [-100] * len(before) + learned})
    return found


def trainer_for(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: str, **settings: Any) -> Trainer:
    """A trainer with SRML as its loss."""
    options: dict[str, Any] = {
        "output_dir": out,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,  # more is not exact for SRML: see `srml_compute_loss`
        "learning_rate": 1e-3,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    } | settings
    common: dict[str, Any] = {
        "model": model,
        "processing_class": tokenizer,
        "data_collator": DataCollatorForSeq2Seq(tokenizer, padding=True, label_pad_token_id=-100),
        "compute_loss_func": srml_compute_loss(tokenizer, alpha=0.7),
    }
    if find_spec("trl") is None:
        return Trainer(args=TrainingArguments(**options), train_dataset=rows(tokenizer), **common)  # type: ignore[arg-type]
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    dataset = Dataset.from_list(rows(tokenizer))
    skip = {"skip_prepare_dataset": True}  # the rows are tokenized already
    return SFTTrainer(args=SFTConfig(**options, dataset_kwargs=skip), train_dataset=dataset, **common)


def main() -> None:
    """Train on PAIRS and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model)
    trainer = trainer_for(model, tokenizer, options.out, max_steps=options.steps, logging_steps=5)
    trainer.train()
    trainer.save_model(options.out)


if __name__ == "__main__":
    main()
