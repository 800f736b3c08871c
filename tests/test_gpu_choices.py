"""What a GPU decides by itself: tokens of a pass, the LM head, compiled layers, the sampler. All tried on a CPU."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_plan import QWEN_7B, small
from test_training_engine import changed, weights_after
from test_training_lm_head import SMALL
from tiny import examples, tiny_model, tiny_tokenizer
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GraniteConfig, GraniteForCausalLM

from funreason.config import Config, load_config
from funreason.errors import ModelError
from funreason.plan.architecture import FAMILIES, architecture_of
from funreason.plan.cost_model import (
    CHIPS,
    CPU_PASS_TOKENS,
    MOST_PASS_TOKENS,
    PASS_STEP,
    UpdateShape,
    kept_activations,
    pass_tokens,
    update_memory,
)
from funreason.plan.planning import Assumed, Hardware, fitting_sampler, plan
from funreason.policies import factory
from funreason.policies.factory import choose_sampler
from funreason.training import head_choice, layer_compile, pass_size, train
from funreason.training.chunked_cross_entropy import METHODS
from funreason.training.head_choice import HeadMeasurements, MeasuredHead, choose_head, fastest_that_fits, measure_heads
from funreason.training.layer_compile import FirstBatch, compiled_layers
from funreason.training.parallel import Ranks
from funreason.training.pass_size import choose_pass_size

pytestmark = pytest.mark.usefixtures("one_thread")
GIB = 2**30
TOKENIZER = tiny_tokenizer()


# --- tokens of a pass ---


@given(st.floats(0, 200 * GIB), st.booleans(), st.sampled_from([2, 4]), st.sampled_from([None, 512]))
@settings(max_examples=60, deadline=None)
def test_a_pass_holds_the_most_tokens_that_fit_and_no_more(room, checkpointing, item, chunk):
    model = architecture_of(QWEN_7B, "7B", "config.json")
    shape = UpdateShape(0, item, checkpointing, head_chunk=chunk)
    tokens = pass_tokens(model, shape, room)

    def needed(count: int) -> float:
        return sum(update_memory(model, shape._replace(tokens=count)).values())

    assert tokens % PASS_STEP == 0
    assert PASS_STEP <= tokens <= MOST_PASS_TOKENS
    assert tokens == PASS_STEP or needed(tokens) <= room
    assert tokens == MOST_PASS_TOKENS or needed(tokens + PASS_STEP) > room


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_half_precision_over_float32_weights_keeps_what_the_plan_counts(family, checkpointing):
    """As the engine trains a bfloat16 model: activations of a layer per token, and the casts of its weights."""
    one, two = (kept_under_autocast(small(family, num_hidden_layers=n), checkpointing) for n in (1, 2))
    model = architecture_of(small(family), family, "config.json")
    shape = UpdateShape(64, 2, checkpointing)
    wanted = [update_memory(model._replace(layers=n), shape).get("casts", 0) for n in (1, 2)]
    assert two[0] - one[0] == pytest.approx(wanted[1] - wanted[0], rel=0.02)  # norms and biases are not cast
    kept = [kept_activations(model._replace(layers=n), 2, checkpointing=checkpointing, mixed=True) for n in (1, 2)]
    assert (two[1] - one[1]) / 64 == kept[1] - kept[0]


def kept_under_autocast(config: dict, checkpointing: bool) -> tuple[int, int]:
    """Bytes that a pass over 64 tokens keeps of casts of weights, and of anything else."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)).train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    shapes = {tuple(p.shape) for p in model.parameters()} | {tuple(p.shape[::-1]) for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, cache_enabled=False),
    ):
        model(torch.zeros(1, 64, dtype=torch.long), use_cache=False, logits_to_keep=1).logits.float().sum()
    sizes = [(tuple(t.shape) in shapes, t.untyped_storage().nbytes()) for t in kept.values()]
    return sum(size for cast, size in sizes if cast), sum(size for cast, size in sizes if not cast)


class GpuOf:
    """A model whose processes believe they are on a GPU with so much free memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: float) -> None:
        monkeypatch.setattr(pass_size, "free_bytes", lambda device: free)
        self.ranks = Ranks(torch.device("cuda"))

    def chosen(self, model, **update):
        return choose_pass_size(model, changed(**update), self.ranks, "none", item=4, head_chunk=64)


def test_a_gpu_with_more_memory_gets_larger_passes_and_a_setting_is_kept(monkeypatch):
    little, much = GpuOf(monkeypatch, 1.7 * GIB).chosen(tiny_model()), GpuOf(monkeypatch, 60 * GIB).chosen(tiny_model())
    assert PASS_STEP <= little.tokens < much.tokens == MOST_PASS_TOKENS
    assert "60.0 GiB of free memory" in much.why
    assert GpuOf(monkeypatch, 60 * GIB).chosen(tiny_model(), micro_tokens=777) == (777, "as configured")


def test_a_family_whose_sizes_are_not_counted_gets_the_default_and_is_named(monkeypatch):
    size = GpuOf(monkeypatch, 60 * GIB).chosen(GraniteForCausalLM(GraniteConfig(**SMALL)))
    assert size.tokens == CPU_PASS_TOKENS
    assert "granite" in size.why


def test_on_a_cpu_a_pass_is_as_large_as_it_was_and_the_report_says_so():
    report = train(tiny_model(), TOKENIZER, examples(), changed(epochs=1))
    assert "up to 4,096 tokens a pass (the default on a CPU)" in report.how


def test_a_plan_for_a_larger_gpu_counts_with_larger_passes():
    config = load_config("default", {"model.device": "cuda", "model.dtype": "bfloat16"})
    gpus = [Hardware("a GPU", CHIPS["a10"]._replace(memory=gib), 1) for gib in (2.0, 24.0)]
    found = [next(p for p in plan(config, gpu, Assumed()).phases if p.name == "update") for gpu in gpus]
    assert found[0].memory["activations"] < found[1].memory["activations"]
    assert found[0].total < 2 * GIB


# --- the LM head ---


def linear(vocabulary: int = 300, width: int = 16, kind: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(width, vocabulary, bias=False).to(kind)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_every_way_to_compute_the_head_is_measured_and_checked(kind):
    head, state = linear(kind=kind), torch.random.get_rng_state()
    measured = measure_heads(head, 32, tokens=100)
    assert [way.method for way in measured.found] == ["naive", "chunked", "recomputed"]
    assert all(way.seconds > 0 for way in measured.found)
    assert list(measured.failed) == ["liger"]
    assert head.weight.grad is None
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_way_that_computes_something_else_or_fails_is_left_out_and_named(monkeypatch):
    right = head_choice.token_losses

    def wrong(hidden, weight, targets, *, method, weights, **more):
        if method == "recomputed":
            raise RuntimeError("no kernel image is available\nfor this device")
        losses = right(hidden, weight, targets, method="naive", weights=weights, **more)
        # As a kernel that scales all gradients by the first token's weight: the losses are right, and no gradient is.
        return losses.detach() + (losses - losses.detach()).sum() * 0.01 if method == "chunked" else losses

    monkeypatch.setattr(head_choice, "token_losses", wrong)
    measured = measure_heads(linear(), 32, tokens=100)
    assert [way.method for way in measured.found] == ["naive"]
    assert "from the naive way" in measured.failed["chunked"]
    assert measured.failed["recomputed"] == "RuntimeError: no kernel image is available"


def test_the_fastest_head_that_fits_is_chosen_and_of_two_as_fast_the_smaller():
    ways = HeadMeasurements(
        [
            MeasuredHead("naive", 0.010, 4 * GIB, 1000),
            MeasuredHead("chunked", 0.0105, 1 * GIB, 1000, 2000.0),
            MeasuredHead("recomputed", 0.020, 0.5 * GIB, 1000, 2000.0),
        ],
        {"liger": "not installed"},
    )
    assert fastest_that_fits(ways, tokens=1000, room=100 * GIB)[0] == "chunked"
    faster = ways._replace(found=[ways.found[0]._replace(seconds=0.005), *ways.found[1:]])
    assert fastest_that_fits(faster, tokens=1000, room=100 * GIB)[0] == "naive"
    assert fastest_that_fits(faster, tokens=16_000, room=100 * GIB)[0] == "chunked"  # 64 GiB of logits
    chosen, why = fastest_that_fits(faster, tokens=16_000, room=0.1 * GIB)
    assert chosen == "recomputed"
    assert "memory is short" in why
    assert "liger is left out: not installed" in why


def test_a_head_is_measured_once_for_its_sizes(monkeypatch):
    calls = []
    monkeypatch.setattr(
        head_choice, "measure_heads", lambda head, chunk: calls.append(1) or measure_heads(head, chunk, tokens=8)
    )
    monkeypatch.setattr(head_choice, "_KNOWN", {})
    for vocabulary in (300, 300, 301):
        choose_head(linear(vocabulary), 32, tokens=8, room=GIB)
    assert len(calls) == 2


def test_each_method_says_what_it_lacks():
    assert [METHODS[method]() for method in ("naive", "chunked", "recomputed")] == ["", "", ""]


# --- compiled layers ---


COMPILING = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
"""torch's compiler looks at the gradients of the tensors it traces, and warns itself."""


@COMPILING
def test_compiled_layers_train_to_the_weights_of_plain_ones(monkeypatch):
    monkeypatch.setattr(layer_compile, "BACKEND", "aot_eager")
    model = tiny_model()
    report = train(model, TOKENIZER, examples(), changed(compile="always"))
    assert "; layers compiled;" in report.how
    plain = weights_after(changed())
    assert all(torch.allclose(value, plain[name], atol=2e-5) for name, value in model.state_dict().items())
    assert all(layer._compiled_call_impl is None for layer in model.model.layers)


@COMPILING
def test_a_compiler_that_fails_leaves_the_layers_as_they_are_and_the_report_says_why(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(layer_compile, "BACKEND", broken)
    model = tiny_model()
    report = train(model, TOKENIZER, examples(), changed(compile="always"))
    assert "layers not compiled: torch.compile failed with BackendCompilerFailed" in report.how
    assert "no compiler here" in report.how
    plain = weights_after(changed())
    assert all(torch.equal(value, plain[name]) for name, value in model.state_dict().items())


@COMPILING
def test_a_backward_pass_that_cannot_be_compiled_stops_no_training(monkeypatch):
    from torch._dynamo.backends.common import aot_autograd

    def broken(graph, inputs):
        raise RuntimeError("no kernel for this gradient")

    monkeypatch.setattr(layer_compile, "BACKEND", aot_autograd(fw_compiler=lambda graph, _: graph, bw_compiler=broken))
    assert "layers not compiled: " in train(tiny_model(), TOKENIZER, examples(), changed(compile="always")).how


def test_on_a_cpu_layers_are_compiled_only_when_asked():
    assert "layers not compiled: on a CPU" in train(tiny_model(), TOKENIZER, examples(), changed(epochs=1)).how
    never = train(tiny_model(), TOKENIZER, examples(), changed(epochs=1, compile="never")).how
    assert "layers not compiled: as configured" in never


class Trials:
    """First batches with given seconds and gradients: twice as they are, twice compiled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, plain: float, fused: float, off: float = 0.0) -> None:
        monkeypatch.setattr(layer_compile, "BACKEND", "eager")
        self.runs = iter([9.0, plain, 99.0, fused])
        self.off, self.model = off, tiny_model()
        self.model.__class__ = type("OnGpu", (type(self.model),), {"device": torch.device("cuda")})

    def __call__(self) -> FirstBatch:
        compiled = self.model.model.layers[0]._compiled_call_impl is not None
        return FirstBatch(next(self.runs), [1.0], torch.ones(4) * (1 + self.off * compiled))

    def said(self, steps: int = 1000) -> str:
        with compiled_layers(self.model, "auto", self, steps=steps, item=2, alone=True) as layers:
            assert layers.compiled == layers.description.startswith("layers compiled")
        return layers.description


def test_layers_stay_compiled_only_where_the_first_batch_is_faster_and_the_same(monkeypatch):
    assert Trials(monkeypatch, 1.0, 0.6).said() == "layers compiled (600 ms against 1000 ms for the first batch)"
    assert "no faster" in Trials(monkeypatch, 1.0, 1.0).said()
    assert "differ by 10.0%" in Trials(monkeypatch, 1.0, 0.6, off=0.1).said()
    assert "differ by inf%" in Trials(monkeypatch, 1.0, 0.6, off=float("nan")).said()
    assert "the steps take 10 s" in Trials(monkeypatch, 1.0, 0.6).said(steps=10)


def test_memory_that_runs_out_in_the_trial_stops_no_training(monkeypatch):
    trials = Trials(monkeypatch, 1.0, 0.6)

    def out_of_memory() -> FirstBatch:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with compiled_layers(trials.model, "auto", out_of_memory, steps=1000, item=2, alone=True) as layers:
        assert (
            layers.description
            == "layers not compiled: the first batch failed with OutOfMemoryError: CUDA out of memory."
        )


def test_several_processes_do_not_compile_and_say_so():
    with compiled_layers(tiny_model(), "always", lambda: None, steps=9, item=4, alone=False) as layers:
        assert "several processes" in layers.description


def test_trying_the_first_batch_changes_nothing_that_is_learned(monkeypatch):
    from funreason.training import engine

    run = engine.Training.run

    def after_a_trial(self, *given):
        self.try_first_batch()
        return run(self, *given)

    plain = weights_after(changed(alpha_mode="learnable"))
    monkeypatch.setattr(engine.Training, "run", after_a_trial)
    tried = weights_after(changed(alpha_mode="learnable"))
    assert all(torch.equal(tried[name], plain[name]) for name in plain)


# --- the sampler ---


def sampler(monkeypatch, installed: bool, **model: object) -> str:
    monkeypatch.setattr(factory, "find_spec", lambda name: object() if installed else None)
    return choose_sampler(Config.model_validate({"model": model}).model).name


def test_vllm_samples_on_a_gpu_where_it_is_installed_unless_another_is_named(monkeypatch):
    assert sampler(monkeypatch, True, device="cuda") == "vllm"
    assert sampler(monkeypatch, False, device="cuda") == "huggingface"
    assert sampler(monkeypatch, True, device="cuda:1") == "huggingface"
    assert sampler(monkeypatch, True, device="cpu") == "huggingface"
    assert sampler(monkeypatch, True, device="cuda", sampler="huggingface") == "huggingface"
    assert sampler(monkeypatch, False, device="cpu", sampler="vllm") == "vllm"


def test_a_plan_says_which_sampler_it_counts_with(monkeypatch):
    config = load_config("default", {"model.device": "cuda"})
    for installed, name in ((True, "sampler: vllm"), (False, "sampler: huggingface, because vLLM is not installed")):
        monkeypatch.setattr(factory, "find_spec", lambda name, found=installed: object() if found else None)
        found = plan(config, Hardware("a GPU", CHIPS["l4"], 1), Assumed())
        assert any(note.startswith(name) for note in found.notes)
        assert ("engine" in found.phases[-2].memory) == installed


def test_an_engine_beside_which_updates_do_not_fit_is_not_taken(monkeypatch):
    monkeypatch.setattr(factory, "find_spec", lambda name: object())
    config = load_config("default", {"model.device": "cuda"})
    gpus = [Hardware("a GPU", CHIPS["l4"]._replace(memory=gib), 1) for gib in (24.0, 3.0)]
    roomy, small_one = (plan(config, gpu, Assumed()) for gpu in gpus)
    assert roomy.sampler.name == "vllm"
    assert (small_one.sampler.name, small_one.problems) == ("huggingface", [])
    assert [note for note in small_one.notes if note.startswith("sampler")] == [
        "sampler: huggingface, because not everything fits beside a vLLM engine"
    ]
    asked = load_config("default", {"model.device": "cuda", "model.sampler": "vllm"})
    assert plan(asked, gpus[1], Assumed()).problems


def test_a_vllm_that_does_not_start_is_replaced_only_where_it_was_not_asked_for(monkeypatch):
    def fails(*given: object) -> None:
        if given[1].name == "vllm":
            raise ModelError("no engine")
        return original(*given)

    original = factory._local_sampler
    monkeypatch.setattr(factory, "_local_sampler", fails)
    monkeypatch.setattr(factory, "prepare", lambda *given, **more: None)
    monkeypatch.setattr(factory, "choose_sampler", lambda model: factory.SamplerChoice("vllm", ""))
    policy, _ = factory.build_policy(load_config("smoke", {}))
    assert type(policy.sampler).__name__ == "HuggingFaceSampler"
    with pytest.raises(ModelError, match="no engine"):
        factory.build_policy(load_config("smoke", {"model.sampler": "vllm"}))


def test_without_a_gpu_at_hand_the_choice_is_made_without_a_plan(monkeypatch):
    monkeypatch.setattr(factory, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fitting_sampler(load_config("default", {"model.device": "cuda"})).name == "vllm"
