"""Micro-batches in parallel threads: the gradient of running them one by one, and the same in every run."""

from __future__ import annotations

import threading

import msgspec
import pytest
import torch
from tiny import examples, tiny_model, tiny_tokenizer

from funreason.config import Update
from funreason.policies import cpu_threads
from funreason.policies.cpu_threads import side_by_side
from funreason.training import train
from funreason.training.cpu_parallel import GRADIENT_BYTES, num_workers

TOKENIZER = tiny_tokenizer()
UPDATE = Update(epochs=2, batch_size=6, lr=3e-3, lr_warmup_steps=1, alpha=0.3)
CPU = torch.device("cpu")


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def untimed(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name not in ("seconds", "tokens_per_s")}


def trained(update: Update = UPDATE) -> tuple[dict[str, torch.Tensor], list]:
    model, steps = tiny_model().double(), []
    train(model, TOKENIZER, examples(14), update, on_step=steps.append)
    return model.state_dict(), [msgspec.structs.replace(step, metrics=untimed(step.metrics)) for step in steps]


@pytest.mark.parametrize("mode", ["fixed", "learnable", "proportional"])
@pytest.mark.parametrize("count", [2, 3])
def test_parallel_micro_batches_learn_what_one_thread_learns(threads, mode, count):
    update = UPDATE.model_copy(update={"alpha_mode": mode})
    threads(1)
    alone, said = trained(update)
    threads(count)
    beside, also = trained(update)
    for name, weight in alone.items():
        torch.testing.assert_close(beside[name], weight, rtol=1e-6, atol=1e-9, msg=name)
    assert [step.metrics["loss"] for step in also] == pytest.approx([step.metrics["loss"] for step in said], rel=1e-6)
    if mode != "proportional":
        assert [step.metrics["alpha"] for step in also] == pytest.approx(
            [step.metrics["alpha"] for step in said], rel=1e-6
        )
    assert [set(step.groups["origin"]) for step in also] == [set(step.groups["origin"]) for step in said]


def test_whichever_thread_is_faster_the_weights_are_the_same_to_the_bit(threads):
    threads(3)
    first, said = trained()
    again, also = trained()
    assert said == also
    assert all(torch.equal(again[name], weight) for name, weight in first.items())


def test_parallel_micro_batches_together_keep_the_bound_on_tokens(threads):
    threads(2)
    wide, _ = trained()
    narrow, _ = trained(UPDATE.model_copy(update={"micro_tokens": 40}))
    for name, weight in wide.items():
        torch.testing.assert_close(narrow[name], weight, rtol=1e-6, atol=1e-9, msg=name)


def test_the_report_says_how_many_micro_batches_ran_at_a_time(threads):
    threads(2)
    assert "2 micro-batches at a time" in train(tiny_model(), TOKENIZER, examples(14), UPDATE).how
    threads(1)
    assert "1 micro-batch at a time" in train(tiny_model(), TOKENIZER, examples(14), UPDATE).how


def test_a_model_with_dropout_has_one_worker(threads):
    threads(2)
    assert num_workers(tiny_model()) == 2
    in_config = tiny_model()
    in_config.config.attention_dropout = 0.1
    assert num_workers(in_config) == 1
    in_module = tiny_model()
    in_module.extra = torch.nn.Dropout(0.5)
    assert num_workers(in_module) == 1


def test_a_model_whose_gradients_are_large_has_one_worker(threads):
    threads(2)
    large = tiny_model()
    large.extra = torch.nn.Parameter(torch.empty(GRADIENT_BYTES // 4, device="meta"))
    assert num_workers(large) == 1


def test_workers_share_out_the_threads_and_give_them_back(threads):
    threads(4)
    seen = side_by_side(lambda part: (part, torch.get_num_threads(), threading.get_ident()), [1, 2], CPU)
    assert [(part, count) for part, count, _ in seen] == [(1, 2), (2, 2)]
    assert threading.get_ident() not in {thread for *_, thread in seen}
    assert torch.get_num_threads() == 4
    threads(64)
    assert cpu_threads.num_workers(CPU) == 4
    assert cpu_threads.num_workers(torch.device("meta")) == 1
