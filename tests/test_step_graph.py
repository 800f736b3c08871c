"""Decoding steps of one shape, as a CUDA graph replays them: what they give, when they are used. On a CPU no graph is
recorded; the same step is computed each time."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_model, tiny_tokenizer
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from funreason.policies.huggingface import decoding, step_graph
from funreason.policies.huggingface.sampler import HuggingFaceSampler
from funreason.policies.huggingface.step_graph import RecordedStep, StepGraphs, difference
from funreason.policies.protocol import Completion, Request

pytestmark = pytest.mark.usefixtures("one_thread")
REQUESTS = [
    Request("a", "<|im_start|>user\nadd 1<|im_end|>\n<|im_start|>assistant\n", 6, 0),
    Request("b", "<|im_start|>user\nadd add 2<|im_end|>\n<|im_start|>assistant\n", 6, 0),
    Request("c", "x", 1, 0, greedy=True),
]


def sampled(*, fixed: bool, tokens: int = 150, kind: torch.dtype = torch.float64) -> tuple[list[list[Completion]], str]:
    """Completions, and what the sampler says of its steps."""
    model = tiny_model(context=512).to(kind)
    sampler = HuggingFaceSampler(model, tiny_tokenizer(), weights_id="w", max_new_tokens=tokens, temperature=1.0)
    sampler.graphs.on = fixed
    found = sampler.sample(REQUESTS)
    return found, sampler.graphs.description


def test_steps_of_one_shape_give_what_eager_steps_give_while_rows_end_and_stores_grow(monkeypatch):
    monkeypatch.setattr(step_graph, "FIRST_STORE", 64)
    monkeypatch.setattr(decoding, "FEW_ROWS", 3)
    calls = []
    original = RecordedStep._record
    monkeypatch.setattr(RecordedStep, "_record", lambda self: calls.append(self.layers[0].keys.shape) or original(self))
    found, wanted = sampled(fixed=True)[0], sampled(fixed=False)[0]
    assert found == wanted
    lengths = {completion.tokens for answer in wanted for completion in answer}
    assert max(lengths) > 128
    assert min(lengths) < 64
    assert {shape[2] for shape in calls} == {64, 128, 256}  # stores double
    assert len({shape[0] for shape in calls}) > 1  # rows that ended left
    assert len(calls) < 12


def test_short_answers_are_decoded_in_eager_steps(monkeypatch):
    monkeypatch.setattr(RecordedStep, "__call__", lambda *given: pytest.fail("not worth recording"))
    assert sampled(fixed=True, tokens=8)[0] == sampled(fixed=False, tokens=8)[0]


@pytest.mark.parametrize("after", [0, 3, 70])
def test_a_recording_that_fails_is_eager_from_then_on_and_says_so(monkeypatch, after):
    original, count = RecordedStep._compute, iter(range(10_000))

    def fails(self):
        if next(count) >= after:
            raise RuntimeError("CUDA error: operation not permitted\nwhen stream is capturing")
        return original(self)

    monkeypatch.setattr(RecordedStep, "_compute", fails)
    found, said = sampled(fixed=True)
    assert found == sampled(fixed=False)[0]
    assert "recording failed with CUDA error: operation not permitted when stream is capturing" in said


def test_on_a_cpu_and_where_they_are_not_wanted_steps_are_eager():
    assert StepGraphs(tiny_model()).description == "decoding steps are eager on a CPU"
    assert StepGraphs(tiny_model(), wanted=False).description == "decoding steps are eager, as configured"


@pytest.mark.parametrize(("kind", "within"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_the_proof_passes_for_steps_that_are_right(kind, within):
    assert difference(tiny_model().to(kind)) <= within


def test_the_proof_fails_for_steps_that_see_what_is_not_there_yet(monkeypatch):
    monkeypatch.setattr(step_graph.RecordedStep, "_replay", lambda self: self.logits_of_before())
    before = {}
    monkeypatch.setattr(RecordedStep, "logits_of_before", lambda self: before["logits"], raising=False)
    original = RecordedStep._record
    monkeypatch.setattr(RecordedStep, "_record", lambda self: before.setdefault("logits", original(self)))
    graphs = StepGraphs(tiny_model())
    graphs.prove(tiny_model())
    assert not graphs.on
    assert "of their spread" in graphs.description


def test_a_model_that_cannot_be_recorded_samples_in_eager_steps(monkeypatch):
    def fails(self):
        raise RuntimeError("no capture")

    monkeypatch.setattr(RecordedStep, "_record", fails)
    graphs = StepGraphs(tiny_model())
    graphs.prove(tiny_model())
    assert (graphs.on, graphs.description) == (False, "decoding steps are eager: recording failed with no capture")


class NoValueRead(TorchDispatchMode):
    """Fails where an operation hands a tensor's value to Python, which a CUDA graph cannot record."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.__name__.partition(".")[0]
        reading = ("item", "_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique", "equal")
        assert name not in reading, f"{function} reads a value"
        return function(*args, **(kwargs or {}))


def test_reading_a_value_would_be_noticed():
    with torch.inference_mode(), NoValueRead(), pytest.raises(AssertionError, match="reads a value"):
        torch.ones(1).item()


def test_stores_begin_with_room_for_the_longest_answer_so_that_one_recording_serves(monkeypatch):
    calls, original = [], RecordedStep._record
    monkeypatch.setattr(
        RecordedStep, "_record", lambda self: calls.append(self.layers[0].keys.shape[2]) or original(self)
    )
    assert sampled(fixed=True)[0] == sampled(fixed=False)[0]
    assert calls == [160]


@pytest.mark.parametrize("config", [LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config])
def test_a_recorded_step_reads_no_value_from_the_gpu(monkeypatch, config):
    sizes = {
        "vocab_size": 259, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 12, "max_position_embeddings": 512,
    }  # fmt: skip
    more = {"sliding_window": None} if config is MistralConfig else {}
    model = AutoModelForCausalLM.from_config(config(**sizes, **more)).eval()
    original, calls = RecordedStep._compute, []

    def watched(self):
        calls.append(1)
        with NoValueRead():
            return original(self)

    monkeypatch.setattr(RecordedStep, "_compute", watched)
    assert difference(model) <= 1e-4
    assert calls
