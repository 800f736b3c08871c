"""bfloat16 runs forward and backward passes; what learns is float32. And TF32 where float32 is asked for on a GPU."""

from __future__ import annotations

import pytest
import torch
from test_training_engine import changed
from tiny import examples, tiny_model, tiny_tokenizer
from transformers import PreTrainedModel

from funreason.config import Update
from funreason.training import train
from funreason.training.encoding import encode_examples
from funreason.training.engine import torch_settings

pytestmark = pytest.mark.usefixtures("one_thread")
TOKENIZER = tiny_tokenizer()
STEPS = 200


def small_steps() -> Update:
    return changed(epochs=STEPS // 2, batch_size=5, lr=1e-5, lr_warmup_steps=0, schedule="constant")


def start() -> PreTrainedModel:
    return tiny_model().bfloat16()


def flat(model: PreTrainedModel) -> torch.Tensor:
    return torch.cat([parameter.detach().bfloat16().float().flatten() for parameter in model.parameters()])


def pure_bfloat16() -> PreTrainedModel:
    """The same number of steps at the same rate with weights and moments in bfloat16."""
    model = start().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.98), weight_decay=0.0)
    _, encoded, _ = encode_examples(examples(), TOKENIZER, 2048)
    for _ in range(STEPS // len(encoded)):
        for sample in encoded:
            ids, labels = torch.tensor([sample.ids]), torch.tensor([sample.labels])
            model(input_ids=ids, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    return model


def test_small_steps_move_bfloat16_weights_as_float32_training_does():
    wide, half = start().float(), start()
    train(wide, TOKENIZER, examples(), small_steps())
    train(half, TOKENIZER, examples(), small_steps())
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    wanted, found, lost = (flat(model) - flat(start()) for model in (wide, half, pure_bfloat16()))
    assert (found - wanted).norm() < 0.1 * wanted.norm()
    assert float(found.norm()) == pytest.approx(float(wanted.norm()), rel=0.05)
    assert (lost - wanted).norm() > 0.9 * wanted.norm()
    assert lost.count_nonzero() < 0.1 * wanted.count_nonzero()


def test_while_bfloat16_trains_what_learns_and_its_moments_are_float32():
    model, kinds = start(), set()
    train(
        model, TOKENIZER, examples(), changed(),
        on_step=lambda step: kinds.update(parameter.dtype for parameter in model.parameters()),
        on_finish=lambda parallel: kinds.update(value.dtype for _, value in parallel.moments()),
    )  # fmt: skip
    assert kinds == {torch.float32}
    assert model.dtype == torch.bfloat16
    assert "forward" not in vars(model)


def test_a_resumed_training_in_bfloat16_gives_the_weights_of_an_uninterrupted_one(tmp_path):
    whole, resumed, calls = start(), start(), iter([False, True])
    train(whole, TOKENIZER, examples(), changed())
    assert not train(
        start(), TOKENIZER, examples(), changed(), checkpoint_dir=tmp_path, stop=lambda: next(calls)
    ).finished
    train(resumed, TOKENIZER, examples(), changed(), checkpoint_dir=tmp_path)
    assert torch.equal(flat(whole), flat(resumed))


def test_accelerate_is_left_as_it_was_found():
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    mine = Accelerator(cpu=True, mixed_precision="no")
    train(start(), TOKENIZER, examples(), changed(epochs=1))
    assert mine.mixed_precision == "no"
    assert AcceleratorState().mixed_precision == "no"
    AcceleratorState._reset_state(True)


@pytest.mark.parametrize(
    ("device", "dtype", "precision"),
    [("cuda", torch.float32, "high"), ("cuda", torch.bfloat16, "highest"), ("cpu", torch.float32, "highest")],
)
def test_tf32_is_on_where_float32_trains_on_a_gpu_and_off_again_afterwards(device, dtype, precision):
    with torch_settings(torch.device(device), dtype, None):
        assert torch.get_float32_matmul_precision() == precision
    assert torch.get_float32_matmul_precision() == "highest"
