"""SRML in other people's trainers: `SrmlLoss` finds the parts, and every step is the one our own engine takes."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_training_engine import changed
from tiny import tiny_model, tiny_tokenizer
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

import funreason
from funreason.objectives import Example, SrmlLoss, srml_loss
from funreason.objectives.trainer_loss import KNOWN_TAGS
from funreason.training import encode_sample, train
from funreason.training.encoding import encode_examples

pytestmark = pytest.mark.usefixtures("one_thread")
TOKENIZER = tiny_tokenizer()
SAMPLES = [("use add", "[add(n=1)]"), (None, "[add(n=22)]"), ("no</think> yes", "[f()]"), ("think", "")]
NO_THINKING = (1, 4)
EXAMPLES = [
    Example(f"s{i}", "Add " * (i % 3 + 1), None if i in NO_THINKING else "it is " * (i + 1), f"[add(n={i})]")
    for i in range(7)
]
ROWS = [{"input_ids": row.ids, "labels": row.labels} for row in encode_examples(EXAMPLES, TOKENIZER, 500)[1]]
STEPS = 3
ALPHAS = [(0.7, "sample"), ("proportional", "sample"), ("learnable", "sample"), (0.3, "token"), ("learnable", "token")]


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, labels and parts of SAMPLES, padded."""
    torch.manual_seed(0)
    encoded = [encode_sample("ask ", thinking, answer, TOKENIZER) for thinking, answer in SAMPLES]
    longest = max(len(sample.ids) for sample in encoded)
    labels, parts = (
        torch.tensor([[*row, *[fill] * (longest - len(row))] for row in (sample[column] for sample in encoded)])
        for column, fill in ((1, -100), (2, 0))
    )
    return torch.randn(*labels.shape, len(TOKENIZER)), labels, parts


def arguments(**settings: Any) -> dict[str, Any]:
    """Of a trainer that takes the engine's steps: all seven samples in each, two in a micro-batch."""
    options: dict[str, Any] = {
        "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "num_train_epochs": STEPS,
        "learning_rate": 1e-3, "lr_scheduler_type": "constant", "adam_beta2": 0.98, "logging_steps": 1,
        "use_cpu": True, "report_to": "none", "save_strategy": "no", "disable_tqdm": True,
    }  # fmt: skip
    return options | settings


def trainer(model: Any, loss: Any, out: Path, rows: Any = ROWS, **settings: Any) -> Trainer:
    return Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(out), **arguments(**settings)),
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=TOKENIZER,
        data_collator=DataCollatorForSeq2Seq(TOKENIZER, padding=True, label_pad_token_id=-100),
        compute_loss_func=loss,
    )


def logged(found: Trainer, key: str) -> list[float]:
    return [entry[key] for entry in found.state.log_history if key in entry]


def engine_steps(alpha: Any, average: str) -> tuple[torch.nn.Module, list[dict[str, float]]]:
    """The model and the metrics of the engine's STEPS steps on EXAMPLES."""
    model, steps = tiny_model(), []
    fields = {"alpha": 0.7} if isinstance(alpha, str) else {"alpha": alpha}
    fields |= {"alpha_mode": alpha if isinstance(alpha, str) else "fixed", "loss_reduction": average}
    update = changed(epochs=STEPS, batch_size=7, lr=1e-3, lr_warmup_steps=0, schedule="constant", **fields)
    train(model, TOKENIZER, EXAMPLES, update, on_step=lambda report: steps.append(report.metrics))
    return model, steps


@pytest.mark.parametrize("alpha", [0.3, "proportional"])
@pytest.mark.parametrize("average", ["sample", "token"])
def test_the_parts_found_in_labels_are_those_the_engine_trains_on(alpha, average):
    logits, labels, parts = batch()
    loss = SrmlLoss(TOKENIZER, alpha, average=average)
    assert torch.equal(loss.parts(labels), parts)
    wanted = srml_loss(logits, labels, parts, alpha=alpha, average=average).total
    assert torch.equal(loss(SimpleNamespace(logits=logits), labels), wanted)
    assert torch.equal(loss({"logits": logits}, labels, num_items_in_batch=(labels[:, 1:] != -100).sum()), wanted)


def test_shares_of_plain_fine_tuning_add_up_without_a_trainer_and_others_are_refused():
    logits, labels, parts = batch()
    whole = srml_loss(logits, labels, parts, alpha="proportional", average="token").total
    loss, count = SrmlLoss(TOKENIZER, "proportional", average="token"), int((labels[:, 1:] != -100).sum())
    shares = [loss({"logits": logits[rows]}, labels[rows], count) for rows in (slice(0, 1), slice(1, 4))]
    assert float(sum(shares)) == pytest.approx(float(whole), rel=1e-6)
    with pytest.raises(ValueError, match="the step has other micro-batches"):
        SrmlLoss(TOKENIZER)({"logits": logits[:1]}, labels[:1], count)


def text_parts(text: str, before: str = "", **options: Any) -> tuple[str, str]:
    """What `SrmlLoss` takes for the thinking and for the result of a completion."""
    loss, prompt = SrmlLoss(TOKENIZER, **options), TOKENIZER(before)["input_ids"]
    ids = torch.tensor([[*prompt, *TOKENIZER(text)["input_ids"]]])
    labels = ids.clone()
    labels[:, : len(prompt)] = -100
    parts = loss.parts(labels, ids)
    thinking, result = (TOKENIZER.decode(ids[0][parts[0] == part].tolist()) for part in (1, 2))
    return thinking, result


HARMONY_TAGS = next(tags for tags in KNOWN_TAGS if "analysis" in tags[0])
HARMONY = "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>"
HERMES = 'I call it.\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "before", "options", "thinking"),
    [
        ("<think>a</think>\n\n[f()]", "x", {}, "<think>a</think>"),
        ("a</think>\n\n[f()]", "x<think>\n", {}, "a</think>"),
        ("Sorry, no </think> here.", "x<think>\n\n</think>\n\n", {}, ""),
        ("<think>cut off", "x", {}, "<think>cut off"),
        ("cut off<|im_end|>", "x<think>", {}, "cut off"),
        ("[THINK]a[/THINK][f()]", "x", {"tags": ("[THINK]", "[/THINK]")}, "[THINK]a[/THINK]"),
        (HARMONY, "x", {"tags": HARMONY_TAGS}, HARMONY.partition("<|channel|>final")[0]),
        (HERMES, "x", {}, ""),
        (HERMES, "x", {"dialect": "hermes"}, "I call it.\n"),
        (HERMES, "x", {"dialect": "any"}, "I call it.\n"),
        ("No tool fits.", "x", {"dialect": "any"}, ""),
    ],
)
def test_the_thinking_ends_where_its_tags_or_the_first_call_say(text, before, options, thinking):
    assert text_parts(text, before, **options) == (thinking, text[len(thinking) :])


def test_each_assistant_turn_of_a_row_has_its_own_thinking():
    turns = [("ask ", False), ("<think>a</think>[f()]", True), (" it is 3 ", False), ("<think>b</think>Three.", True)]
    ids = [TOKENIZER(text)["input_ids"] for text, _ in turns]
    labels = [token if learned else -100 for row, (_, learned) in zip(ids, turns, strict=True) for token in row]
    parts = SrmlLoss(TOKENIZER).parts(torch.tensor([labels]))[0]
    flat = torch.tensor([token for row in ids for token in row])
    assert TOKENIZER.decode(flat[parts == 1].tolist()) == "<think>a</think><think>b</think>"
    assert TOKENIZER.decode(flat[parts == 2].tolist()) == "[f()]Three."


def test_the_tags_are_those_of_the_chat_template():
    magistral = tiny_tokenizer()
    magistral.chat_template = "{{ '[THINK]' }}{{ messages }}{{ '[/THINK]' }}"
    assert SrmlLoss(magistral).tags == ("[THINK]", "[/THINK]")
    assert SrmlLoss(TOKENIZER).tags == ("<think>", "</think>")


@pytest.mark.parametrize("alpha", [1.2, "learned", -0.1])
def test_an_alpha_that_is_no_weight_is_refused(alpha):
    with pytest.raises(ValueError, match="use a number from 0 to 1, 'proportional' or 'learnable'"):
        SrmlLoss(TOKENIZER, alpha)


@pytest.mark.parametrize(("alpha", "average"), ALPHAS)
def test_transformers_trainer_takes_the_engines_steps_under_accumulation_and_logs_both_parts(alpha, average, tmp_path):
    loss, theirs = SrmlLoss(TOKENIZER, alpha, average=average), tiny_model()
    found = trainer(theirs, loss, tmp_path)
    found.train()
    ours, steps = engine_steps(alpha, average)
    for key in ("loss", "loss_think", "loss_result", *(["alpha"] if alpha != "proportional" else [])):
        assert logged(found, key) == pytest.approx([step[key] for step in steps], abs=2e-5), key
    for (name, wanted), value in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(value, wanted, atol=3e-5), name
    assert (loss.think, loss.result) == pytest.approx((steps[-1]["loss_think"], steps[-1]["loss_result"]), abs=2e-5)


def test_an_evaluation_is_the_mean_over_samples_and_logs_both_parts(tmp_path):
    loss, model = SrmlLoss(TOKENIZER, 0.7), tiny_model()
    found = trainer(model, loss, tmp_path, per_device_eval_batch_size=3)
    metrics = found.evaluate()
    padded = found.data_collator([dict(row) for row in ROWS])
    with torch.no_grad():
        logits = model(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]).logits
    wanted = srml_loss(logits, padded["labels"], loss.parts(padded["labels"]), alpha=0.7)
    assert metrics["eval_loss"] == pytest.approx(float(wanted.total), rel=1e-5)
    assert logged(found, "eval_loss_think") == pytest.approx([float(wanted.think)], rel=1e-5)
    assert logged(found, "eval_loss_result") == pytest.approx([float(wanted.result)], rel=1e-5)


def test_a_resumed_training_continues_with_the_alpha_it_had_learned(tmp_path):
    whole = SrmlLoss(TOKENIZER, "learnable")
    trainer(tiny_model(), whole, tmp_path, save_strategy="steps", save_steps=2).train()
    resumed = SrmlLoss(TOKENIZER, "learnable")
    trainer(tiny_model(), resumed, tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.alpha == pytest.approx(whole.alpha, abs=1e-9)
    assert resumed.alpha != pytest.approx(0.7, abs=1e-3)


def packed(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Rows in one row, as TRL's and transformers' collators pack them."""
    columns = {
        "input_ids": [row["input_ids"] for row in rows],
        "labels": [[-100, *row["labels"][1:]] for row in rows],
        "position_ids": [range(len(row["labels"])) for row in rows],
    }
    return {name: torch.tensor([list(chain.from_iterable(values))]) for name, values in columns.items()}


def test_packed_rows_are_taken_apart_into_their_samples(tmp_path):
    found = trainer(tiny_model(), SrmlLoss(TOKENIZER, 0.7), tmp_path, num_train_epochs=1)
    found.data_collator = packed
    found.train()
    _, steps = engine_steps(0.7, "sample")
    assert logged(found, "loss") == pytest.approx([steps[0]["loss"]], abs=2e-5)


def learned_prompts(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    ids = torch.tensor([row["input_ids"][:9] for row in rows])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids.clone()}


class Shuffling(Trainer):
    """Changes the order of a batch after it was drawn."""

    def compute_loss(self, model, inputs, **options):
        return super().compute_loss(model, {key: value.flip(0) for key, value in inputs.items()}, **options)


def test_batches_that_cannot_be_told_apart_are_refused(tmp_path):
    found = trainer(tiny_model(), SrmlLoss(TOKENIZER), tmp_path)
    found.data_collator = learned_prompts
    with pytest.raises(ValueError, match="its prompt would count as thinking"):
        found.train()
    found = trainer(tiny_model(), SrmlLoss(TOKENIZER), tmp_path)
    found.args.packing = True
    with pytest.raises(ValueError, match="its samples cannot be told apart"):
        found.train()
    found = trainer(tiny_model(), SrmlLoss(TOKENIZER), tmp_path)
    found.__class__ = Shuffling
    with pytest.raises(ValueError, match="not the next micro-batch"):
        found.train()


def test_a_trainer_with_another_loss_is_as_it_was_and_may_change_its_loss(tmp_path):
    first, second = SrmlLoss(TOKENIZER), SrmlLoss(TOKENIZER, "learnable")
    found = trainer(tiny_model(), None, tmp_path, max_steps=1)
    found.train()
    assert not logged(found, "loss_think")
    for loss in (first, second):
        found.compute_loss_func = loss
        found.train()
        assert logged(found, "loss_think") == [loss.think]
    assert first.think != second.think
    assert second.alpha != 0.7


def test_the_loss_is_a_public_name():
    assert funreason.SrmlLoss is SrmlLoss
