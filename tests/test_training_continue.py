"""A training that begins with the weights and the optimizer's state of another one, as a step of a round does."""

import pytest
import torch
from tiny import examples, tiny_model, tiny_tokenizer

from funreason.config import Update
from funreason.training.engine import train
from funreason.training.types import TrainingError

UPDATE = Update(lr=1e-3, batch_size=10, schedule="constant", lr_warmup_steps=0)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_two_trainings_of_one_step_are_one_training_of_two_steps(tmp_path, one_thread):
    tokenizer, whole, first, second = tiny_tokenizer(), tiny_model(), tiny_model(), tiny_model()
    train(whole, tokenizer, examples(), UPDATE.model_copy(update={"epochs": 2}))
    train(first, tokenizer, examples(), UPDATE, checkpoint_dir=tmp_path / "1")
    report = train(second, tokenizer, examples(), UPDATE, checkpoint_dir=tmp_path / "2", continue_from=tmp_path / "1")
    assert (report.steps, report.resumed_from) == (1, 0)
    torch.testing.assert_close(weights(second), weights(whole), rtol=0, atol=1e-6)
    # Adam's first step from no moments is another one.
    alone = first
    train(alone, tokenizer, examples(), UPDATE)
    assert (weights(alone) - weights(whole)).abs().max() > 1e-5


def test_examples_may_be_others_than_those_of_the_training_before(tmp_path, one_thread):
    tokenizer, model = tiny_tokenizer(), tiny_model()
    train(tiny_model(), tokenizer, examples(4), UPDATE, checkpoint_dir=tmp_path / "1")
    train(model, tokenizer, examples(6)[4:], UPDATE, continue_from=tmp_path / "1")
    other = tiny_model()
    train(other, tokenizer, examples(6)[4:], UPDATE)
    assert not torch.equal(weights(model), weights(other))


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="holds no checkpoint"):
        train(tiny_model(), tiny_tokenizer(), examples(), UPDATE, continue_from=tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_checkpoint_with_a_flipped_or_cut_byte_is_refused_by_name(tmp_path, one_thread, name):
    train(tiny_model(), tiny_tokenizer(), examples(), UPDATE, checkpoint_dir=tmp_path)
    path = tmp_path / "checkpoint" / name
    good = path.read_bytes()
    for at in (len(good) // 3, len(good) - 9):
        for bad in (good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], good[:at]):
            path.write_bytes(bad)
            with pytest.raises(TrainingError, match=r"[Dd]elete .*to start"):
                train(tiny_model(), tiny_tokenizer(), examples(), UPDATE, continue_from=tmp_path)
    path.write_bytes(good)
    train(tiny_model(), tiny_tokenizer(), examples(), UPDATE, continue_from=tmp_path)
