"""Pieces side by side: the same gradient as one after the other, and the same at every run."""

from __future__ import annotations

import threading

import msgspec
import pytest
import torch
from tiny import examples, tiny_model, tiny_tokenizer

from funreason.policies.cpu_threads import num_workers, side_by_side
from funreason.srml import TrainSettings, train
from funreason.srml.lanes import LANE_BYTES, lanes_for

TOKENIZER = tiny_tokenizer()
SETTINGS = TrainSettings(epochs=2, batch_size=6, lr=3e-3, warmup_steps=1, alpha=0.3)
CPU = torch.device("cpu")


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def trained(settings: TrainSettings = SETTINGS) -> tuple[dict[str, torch.Tensor], list]:
    model, steps = tiny_model().double(), []
    train(model, TOKENIZER, examples(14), settings, on_step=steps.append)
    return model.state_dict(), [msgspec.structs.replace(step, seconds=0.0) for step in steps]


@pytest.mark.parametrize("mode", ["fixed", "learnable", "proportional"])
@pytest.mark.parametrize("count", [2, 3])
def test_lanes_learn_what_one_thread_learns(threads, mode, count):
    settings = msgspec.structs.replace(SETTINGS, alpha_mode=mode)
    threads(1)
    alone, said = trained(settings)
    threads(count)
    beside, also = trained(settings)
    for name, weight in alone.items():
        torch.testing.assert_close(beside[name], weight, rtol=1e-6, atol=1e-9, msg=name)
    assert [step.loss for step in also] == pytest.approx([step.loss for step in said], rel=1e-6)
    if mode != "proportional":
        assert [step.alpha for step in also] == pytest.approx([step.alpha for step in said], rel=1e-6)
    assert [set(step.by_origin) for step in also] == [set(step.by_origin) for step in said]


def test_whichever_lane_is_faster_the_weights_are_the_same_to_the_bit(threads):
    threads(3)
    first, said = trained()
    again, also = trained()
    assert said == also
    assert all(torch.equal(again[name], weight) for name, weight in first.items())


def test_lanes_are_cut_into_as_many_passes_as_the_bound_on_tokens_asks(threads):
    threads(2)
    wide, _ = trained()
    narrow, _ = trained(msgspec.structs.replace(SETTINGS, micro_tokens=40))
    for name, weight in wide.items():
        torch.testing.assert_close(narrow[name], weight, rtol=1e-6, atol=1e-9, msg=name)


def test_the_report_says_how_many_lanes_there_were(threads):
    threads(2)
    assert "in 2 lanes" in train(tiny_model(), TOKENIZER, examples(14), SETTINGS).how
    threads(1)
    assert "in 1 lane," in train(tiny_model(), TOKENIZER, examples(14), SETTINGS).how


def test_a_model_that_drops_at_random_has_one_lane(threads):
    threads(2)
    assert lanes_for(tiny_model()) == 2
    in_config = tiny_model()
    in_config.config.attention_dropout = 0.1
    assert lanes_for(in_config) == 1
    in_module = tiny_model()
    in_module.extra = torch.nn.Dropout(0.5)
    assert lanes_for(in_module) == 1


def test_a_model_whose_gradients_are_large_has_one_lane(threads):
    threads(2)
    large = tiny_model()
    large.extra = torch.nn.Parameter(torch.empty(LANE_BYTES // 4, device="meta"))
    assert lanes_for(large) == 1


def test_lanes_share_out_the_threads_and_give_them_back(threads):
    threads(4)
    seen = side_by_side(lambda part: (part, torch.get_num_threads(), threading.get_ident()), [1, 2], CPU)
    assert [(part, count) for part, count, _ in seen] == [(1, 2), (2, 2)]
    assert threading.get_ident() not in {thread for *_, thread in seen}
    assert torch.get_num_threads() == 4
    threads(64)
    assert num_workers(CPU) == 4
    assert num_workers(torch.device("meta")) == 1
