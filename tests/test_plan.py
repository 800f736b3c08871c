"""`funreason plan`: what it computes is what transformers builds, and it needs nothing but a config.json."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import pytest
import torch
from command_line import funreason
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from funreason.config import CONFIGS, check_config, find_config, load_config, parse_setting
from funreason.errors import ModelError
from funreason.plan import cost_model as footprint
from funreason.plan.architecture import FAMILIES, read_architecture
from funreason.plan.cost_model import (
    CHIPS,
    LoraShape,
    ReachedSpeed,
    UpdateShape,
    decoding_rate,
    flops_per_token,
    update_seconds,
    usual_mfu,
)
from funreason.plan.fitting import changed, fit
from funreason.plan.planning import Assumed, Hardware, plan

GIB = 2**30
QWEN_7B = {
    "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064, "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_3B = {
    "model_type": "llama", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28,
    "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256,
    "max_position_embeddings": 131072, "tie_word_embeddings": True,
}  # fmt: skip

SMOLLM2 = {
    "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}  # fmt: skip


def small(family: str, **more) -> dict:
    sizes = {
        "model_type": family, "hidden_size": 48, "intermediate_size": 112, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12, "vocab_size": 96,
        "max_position_embeddings": 128, "tie_word_embeddings": False, "pad_token_id": None, "eos_token_id": None,
        "bos_token_id": None,
    }  # fmt: skip
    return sizes | more


def built(config: dict):
    # Random weights: none of them is drawn for a count, so they need no memory.
    kind = AutoConfig.for_model(**config)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(kind)


def architecture(tmp_path, config: dict):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    return read_architecture(file)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_parameters_are_those_transformers_builds(tmp_path, family, tied, bias):
    config = small(family, tie_word_embeddings=tied, attention_bias=bias, mlp_bias=bias)
    assert architecture(tmp_path, config).parameters == built(config).num_parameters()


@settings(max_examples=25, deadline=None)
@given(
    family=st.sampled_from(sorted(FAMILIES)),
    heads=st.integers(1, 4).map(lambda n: 2 * n),
    groups=st.sampled_from([1, 2]),
    head_size=st.integers(1, 8).map(lambda n: 2 * n),
    feed_forward=st.integers(1, 300),
    layers=st.integers(1, 4),
    vocabulary=st.integers(10, 500),
)
def test_parameters_are_right_at_any_size(
    tmp_path_factory, family, heads, groups, head_size, feed_forward, layers, vocabulary
):
    config = small(
        family, num_attention_heads=heads, num_key_value_heads=heads // groups, head_dim=head_size,
        hidden_size=heads * head_size, intermediate_size=feed_forward, num_hidden_layers=layers,
        vocab_size=vocabulary,
    )  # fmt: skip
    assert architecture(tmp_path_factory.mktemp("c"), config).parameters == built(config).num_parameters()


@pytest.mark.parametrize(
    ("config", "parameters"), [(QWEN_7B, 7_615_616_512), (LLAMA_3B, 3_212_749_824), (SMOLLM2, 134_515_008)]
)
def test_known_models_have_their_known_sizes(tmp_path, config, parameters):
    assert architecture(tmp_path, config).parameters == parameters


# `safetensors.total` of https://huggingface.co/api/models/<owner>/<name>, as its metadata of the files' headers has it.
# Qwen3-0.6B and 1.7B store their tied head a second time; without that copy, as transformers loads them, they have
# vocabulary · hidden fewer (751,632,384 and 2,031,739,904 are stored).
PUBLISHED_TOTALS = {
    "SmolLM2-360M-Instruct": 361_821_120,
    "SmolLM2-1.7B-Instruct": 1_711_376_384,
    "SmolLM3-3B": 3_075_098_624,
    "Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen3-0.6B": 751_632_384 - 151_936 * 1024,
    "Qwen3-1.7B": 2_031_739_904 - 151_936 * 2048,
    "Qwen3-4B-Instruct-2507": 4_022_468_096,
    "Qwen3-8B": 8_190_735_360,
    "Llama-3.2-1B-Instruct": 1_235_814_400,
    "Llama-3.1-8B-Instruct": 8_030_261_248,
    "Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "gemma-2-2b-it": 2_614_341_888,
    "gemma-3-1b-it": 999_885_952,
    "gemma-3-4b-it": 4_300_079_472,
    "Phi-3-mini-4k-instruct": 3_821_079_552,
    "Phi-4-mini-instruct": 3_836_021_760,
    "phi-4": 14_659_507_200,
}


@pytest.mark.parametrize("name", PUBLISHED_TOTALS)
def test_a_model_by_name_has_the_published_number_of_parameters(name):
    assert read_architecture(f"somebody/{name}").parameters == PUBLISHED_TOTALS[name]


def test_a_vision_tower_is_counted_as_transformers_builds_it(tmp_path):
    text = small("gemma3_text")
    vision = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = {
        "model_type": "gemma3",
        "text_config": text,
        "vision_config": vision | {"image_size": 28, "patch_size": 7},
    }
    assert architecture(tmp_path, config).parameters == built(config).num_parameters()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_config_leaves_out_is_what_transformers_takes_it_for(tmp_path, family):
    said = small(family)
    config = {key: said[key] for key in said if key not in ("head_dim", "tie_word_embeddings")}
    made = AutoConfig.for_model(**config)
    found = architecture(tmp_path, config)
    assert (found.tied, found.parameters) == (made.tie_word_embeddings, built(config).num_parameters())


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"llama", "gemma"}))
@pytest.mark.parametrize("more", [{}, {"sliding_window": 64}, {"use_sliding_window": True, "max_window_layers": 3}])
def test_the_layers_with_a_window_are_those_transformers_gives_one(tmp_path, family, more):
    config = small(family, num_hidden_layers=13, sliding_window=32) | more
    made = AutoConfig.for_model(**config)
    found, window = architecture(tmp_path, config), getattr(made, "sliding_window", None)
    kinds = getattr(made, "layer_types", None)
    sliding = 13 * (window is not None) if kinds is None else kinds.count("sliding_attention")
    assert (found.sliding, found.window) == (sliding, window if sliding else 0)
    assert found.attended(10_000) == pytest.approx(10_000 - sliding / 13 * (10_000 - found.window))


def test_a_mixture_of_experts_is_refused_by_what_makes_it_one(tmp_path):
    config = small("qwen3_moe", num_experts=8, num_experts_per_tok=2)
    with pytest.raises(ModelError, match="num_experts 8, a mixture of experts"):
        architecture(tmp_path, config)


@pytest.mark.parametrize(
    ("name", "config"),
    [("Qwen2.5-Coder-7B-Instruct", QWEN_7B), ("Llama-3.2-3B-Instruct", LLAMA_3B), ("smollm2-135m", SMOLLM2)],
)
def test_a_model_that_is_not_here_yet_is_planned_from_its_published_sizes(tmp_path, name, config):
    published = read_architecture(f"nowhere/{name}")
    assert "not here" in published.source
    assert published._replace(name="", source="") == architecture(tmp_path, config)._replace(name="", source="")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_those_autograd_keeps(tmp_path, family, dtype, checkpointing):
    """Two layers against one, so that what the model keeps once (embedding, positions) falls out."""
    config = small(family, sliding_window=64 if family in ("gemma2", "gemma3_text") else None)
    one, two = (
        kept_per_token(config | {"num_hidden_layers": n, "layer_types": ["full_attention"] * n}, dtype, checkpointing)
        for n in (1, 2)
    )
    model = architecture(tmp_path, small(family))
    item = dtype.itemsize
    expected = item * model.hidden if checkpointing else footprint.layer_activations(model, item)
    if model.gemma_norm and not checkpointing:  # the scale plus one, in float32: once for all 128 tokens
        expected += 4 * (model.norms * model.hidden + 2 * model.head_size * model.qk_norm) / 128
    assert two - one == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_in_mixed_precision_are_those_autograd_keeps(tmp_path, family):
    """Beside them autocast keeps each layer's weights in bfloat16 once, and no cast of its norms' weights."""
    config = small(family, sliding_window=64 if family in ("gemma2", "gemma3_text") else None)
    with torch.autocast("cpu", torch.bfloat16):
        one, two = (
            kept_per_token(
                config | {"num_hidden_layers": n, "layer_types": ["full_attention"] * n}, torch.float32, False
            )
            for n in (1, 2)
        )
    model = architecture(tmp_path, small(family))
    expected = footprint.layer_activations(model, 2, mixed=True) + 2 * model.layer / 128
    assert two - one == pytest.approx(expected, abs=8 * model.norms * model.hidden / 128)


def kept_per_token(config: dict, dtype: torch.dtype, checkpointing: bool, length: int = 64) -> float:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=dtype).train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.model(input_ids=torch.zeros(2, length, dtype=torch.long), use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / (2 * length)


def test_adapters_are_counted_as_peft_makes_them(tmp_path):
    peft = pytest.importorskip("peft", reason="the extra `lora` is not installed")
    config = small("qwen2")
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    for targets in ((), ("q_proj", "down_proj")):
        made = peft.get_peft_model(model, peft.LoraConfig(r=3, target_modules=list(targets) or "all-linear"))
        learning = sum(p.numel() for p in made.parameters() if p.requires_grad)
        assert footprint.adapter_parameters(architecture(tmp_path, config), LoraShape(3, targets)) == learning
        model = made.unload()


def test_a_target_that_no_layer_has_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"query.*q_proj"):
        footprint.adapter_parameters(architecture(tmp_path, QWEN_7B), LoraShape(8, ("query",)))


def test_zero_3_divides_what_learns_among_the_processes(tmp_path):
    model = architecture(tmp_path, QWEN_7B)
    eight = footprint.update_memory(model, UpdateShape(4096, 2, strategy="zero3", processes=8))
    one = footprint.update_memory(model, UpdateShape(4096, 2, strategy="zero3", processes=1))
    for part in ("weights", "gradients", "optimiser"):
        assert eight[part] == pytest.approx(one[part] / 8)
    assert one["weights"] + one["gradients"] + one["optimiser"] == 16 * model.parameters


def test_checkpointing_adapters_and_a_chunked_head_each_save_memory(tmp_path):
    model = architecture(tmp_path, QWEN_7B)
    plain = UpdateShape(4096, 2)
    needs = [
        sum(footprint.update_memory(model, shape).values())
        for shape in (
            plain,
            plain._replace(checkpointing=True),
            plain._replace(checkpointing=True, head_chunk=256),
            plain._replace(checkpointing=True, head_chunk=256, lora=LoraShape(16)),
        )
    ]
    assert needs == sorted(needs, reverse=True)
    assert needs[-1] < 24 * GIB < needs[0]


def test_training_a_token_takes_six_operations_per_weight_it_meets(tmp_path):
    model = architecture(tmp_path, QWEN_7B)
    assert flops_per_token(model, 0) == 6 * (model.parameters - model.embedding)
    assert flops_per_token(model, 4096) > flops_per_token(model, 512)


def test_twice_the_processes_take_half_the_time_and_checkpointing_a_third_more(tmp_path):
    model, chip, pace = architecture(tmp_path, LLAMA_3B), CHIPS["h100"], ReachedSpeed()

    def seconds(shape):
        return update_seconds(model, shape, chip, pace, tokens=1e6, length=800)

    one = seconds(UpdateShape(4096, 2))
    assert seconds(UpdateShape(4096, 2, processes=2, strategy="zero3")) == pytest.approx(one / 2)
    assert seconds(UpdateShape(4096, 2, checkpointing=True)) == pytest.approx(one * 4 / 3)


@pytest.mark.parametrize(("config", "measured"), [(SMOLLM2, 0.115), (QWEN_7B, 0.458)])
def test_an_update_is_planned_with_what_was_measured_for_a_model_of_its_size(tmp_path, config, measured):
    assert usual_mfu(architecture(tmp_path, config)) == pytest.approx(measured)


@given(layers=st.integers(1, 200))
def test_a_larger_model_never_reaches_less_of_the_peak_and_none_more_than_was_measured(tmp_path_factory, layers):
    folder = tmp_path_factory.mktemp("c")
    smaller, larger = (architecture(folder, LLAMA_3B | {"num_hidden_layers": n}) for n in (layers, layers + 1))
    assert 0.115 <= usual_mfu(smaller) <= usual_mfu(larger) <= 0.458


def test_small_models_decode_in_process_no_faster_than_their_kernels_are_launched(tmp_path):
    model, how = architecture(tmp_path, SMOLLM2), {"rows": 256, "length": 500, "item": 2}
    captured, launched = (
        decoding_rate(model, CHIPS["h200"], ReachedSpeed(), **how, launched=yes) for yes in (False, True)
    )
    assert launched == pytest.approx(256 / (30 * 0.042 / 24))
    assert captured > 5 * launched


def test_more_rows_decode_more_tokens_but_each_row_fewer(tmp_path):
    model = architecture(tmp_path, LLAMA_3B)
    rates = [decoding_rate(model, CHIPS["l4"], ReachedSpeed(), rows=n, length=600, item=2) for n in (1, 8, 64)]
    assert rates == sorted(rates)
    assert [rate / n for rate, n in zip(rates, (1, 8, 64), strict=True)] == sorted(
        (rate / n for rate, n in zip(rates, (1, 8, 64), strict=True)), reverse=True
    )


def test_what_does_not_fit_is_said_with_what_to_change():
    config = check_config(
        {"model": {"path": "Qwen2.5-Coder-7B-Instruct", "device": "cuda", "dtype": "bfloat16"}, "rounds": 1}, "here"
    )
    found = plan(config, Hardware("l4", CHIPS["l4"], 1), Assumed())
    (update,) = [problem for problem in found.problems if problem.startswith("update")]
    assert "GiB more than a GPU has" in update
    assert "gradient_checkpointing" in update
    assert "lora" in update


def test_answers_that_do_not_fit_the_context_are_said():
    config = load_config("default", {"sample.max_new_tokens": 5000})
    found = plan(config, Hardware("l4", CHIPS["l4"], 1), Assumed())
    assert any("context is 4096" in problem for problem in found.problems)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "mamba"}, r"model_type is 'mamba'.*llama"),
        (QWEN_7B | {"hidden_size": None}, "hidden_size is None"),
        (QWEN_7B | {"vocab_size": "many"}, "vocab_size is 'many'"),
        ([1], "must hold a mapping"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused_in_one_sentence(tmp_path, config, said):
    with pytest.raises(ModelError, match=said):
        architecture(tmp_path, config)


def test_a_model_nobody_knows_is_refused_with_those_that_are_known():
    with pytest.raises(ModelError, match=r"nobody/knows.*Llama-3\.2-3B-Instruct"):
        read_architecture("nobody/knows")


def test_the_command_prints_memory_work_and_a_verdict():
    done = funreason("plan", "--config", "default", "--gpu", "l4")
    assert done.returncode == 0, done.stderr
    for said in ("0.95 M parameters", "keys and values", "a round", "everything fits"):
        assert said in done.stdout


def test_the_command_as_json_adds_up_and_exits_with_1_where_it_does_not_fit(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(QWEN_7B))
    done = funreason("plan", "--config", "smoke", "--model", tmp_path, "--gpu-memory", "8", "--gpus", "1", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["model"]["parameters"] == 7_615_616_512
    for phase in told["phases"]:
        assert sum(phase["memory"].values()) == pytest.approx(phase["total"], abs=len(phase["memory"]))
        assert not phase["fits"]
    assert told["problems"]


def test_wrong_numbers_are_wrong_usage():
    for wrong in (("--gpu", "abacus"), ("--gpus", "0"), ("--mfu", "2"), ("--prompt-tokens", "0")):
        done = funreason("plan", *wrong)
        assert done.returncode == 2, wrong
        assert wrong[0] in done.stderr


def test_a_plan_loads_no_torch():
    code = (
        "import sys\nfrom funreason.cli import app\n"
        "app(['plan', '--json'], result_action='return_value')\n"
        "print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in CONFIGS.glob("*.yaml") if "device: cuda" in path.read_text())
)
def test_a_configuration_for_gpus_fits_and_says_the_plans_own_numbers(name):
    said = re.search(r"`funreason plan (.*?)`: at most ([\d.]+) of (\d+) GiB \(([\w-]+)\), (.*?) a round",
                     find_config(name).read_text().replace("\n#", ""))  # fmt: skip
    assert said is not None
    done = funreason("plan", *said[1].split())
    assert done.returncode == 0, done.stdout
    assert f"{said[3]} GiB each" in done.stdout
    printed = done.stdout.splitlines()
    lines = {line.split("  ")[0]: line.split() for line in printed}
    assert printed[0] == f"✓ everything fits: at most {said[2]} of {said[3]} GiB ({said[4]}), {said[5]} a round"
    assert said[2] == max(lines["together"][1:], key=float)
    phases = printed[1 + printed.index("Memory of the fullest GPU, GiB")].split()
    assert lines["together"][1 + phases.index(said[4])] == said[2]
    assert " ".join(lines["a round"][-2:]) == said[5]


def test_fewer_gpus_than_processes_hold_more_each_and_the_need_in_all_is_said():
    """A share that is computed for eight GPUs must not be counted on the one there is."""
    config, chip = load_config("qwen2.5-coder-7b"), CHIPS["rtx4090"]
    one, eight = (plan(config, Hardware("rtx4090", chip, gpus), Assumed()) for gpus in (1, 8))
    alone, shared = ({phase.name: phase for phase in found.phases}["update"] for found in (one, eight))
    assert alone.memory["optimiser"] == pytest.approx(8 * shared.memory["optimiser"])
    assert alone.total > 100 * GIB
    assert alone.seconds == pytest.approx(8 * shared.seconds)
    (asked,) = [problem for problem in one.problems if problem.startswith("update asks")]
    assert asked == (
        f"update asks for 8 GPUs, with {shared.total / GIB:.1f} GiB on each and {8 * shared.total / GIB:.0f} GiB in "
        "all, and there is 1 GPU."
    )
    assert not [problem for problem in eight.problems if "asks for" in problem]


def test_an_engine_over_more_gpus_than_there_are_is_a_problem():
    config = load_config("llama-3.2-3b", {"model.vllm.tensor_parallel": 4})
    assert any(
        "sample asks for 4 GPUs" in p for p in plan(config, Hardware("h100", CHIPS["h100"], 2), Assumed()).problems
    )
    assert not plan(config, Hardware("h100", CHIPS["h100"], 8), Assumed()).problems


def test_an_engine_splits_heads_only_evenly():
    config = load_config("qwen2.5-coder-7b", {"model.vllm.tensor_parallel": 8})
    found = plan(config, Hardware("h100", CHIPS["h100"], 8), Assumed())
    assert found.problems == ["an engine cannot split 28 heads over model.vllm.tensor_parallel=8."]
    assert fit(config, found.hardware, Assumed()).settings == {"model.vllm.tensor_parallel": 4}


def test_a_model_with_sliding_windows_is_sampled_by_an_engine():
    settings = {"model.path": "gemma-3-1b-it", "model.device": "cuda", "model.sampler": "huggingface"}
    found = plan(load_config("own-data", settings), Hardware("h200", CHIPS["h200"], 1), Assumed())
    assert any("22 of 26 layers attend to a sliding window" in problem for problem in found.problems)
    found = plan(load_config("own-data", settings | {"model.sampler": "vllm"}), found.hardware, Assumed())
    assert not found.problems


def test_a_window_bounds_keys_and_values_and_not_the_rest():
    model = read_architecture("gemma-3-1b-it")
    full = model._replace(sliding=0)
    assert footprint.key_value_bytes(model, 2, 512) == footprint.key_value_bytes(full, 2, 512)
    assert footprint.key_value_bytes(model, 2, 32_768) < footprint.key_value_bytes(full, 2, 32_768) / 5


WIDE = {f"{part}.update.micro_tokens": 131_072 for part in ("start", "train")}
UNSHARDED: dict[str, object] = {f"{part}.update.launch": {} for part in ("start", "train")}
CUDA = {"model.device": "cuda", "model.dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("name", "settings", "gpu", "gpus", "wanted"),
    [
        ("qwen2.5-coder-7b", {}, "rtx4090", 1, "train.update.lora.rank"),
        ("llama-3.2-3b", {}, "h100", 1, "model.vllm.gpu_memory_utilization"),
        ("llama-3.2-3b", WIDE | {"model.sampler": "huggingface"}, "a100-40", 8, "train.update.micro_tokens"),
        ("llama-3.2-3b", UNSHARDED, "a100-80", 4, "train.update.launch"),
        ("own-data", {"model.path": "phi-4", "model.device": "cuda"}, "h100", 1, "model.dtype"),
        (
            "own-data",
            CUDA | {"model.path": "gemma-3-1b-it", "model.sampler": "vllm"},
            "l4",
            1,
            "start.update.lora.rank",
        ),
        ("egpo-paper", CUDA | {"model.path": "Qwen3-8B"}, "a100-80", 1, "reinforcement.update.lora.rank"),
        ("default", {}, "l4", 1, ""),
    ],
)
def test_the_settings_that_fit_load_and_are_found_to_fit_and_none_is_spare(name, settings, gpu, gpus, wanted):
    config, hardware = load_config(name, settings), Hardware(gpu, CHIPS[gpu], gpus)
    found = fit(config, hardware, Assumed())
    assert found.found
    assert wanted in found.settings or not (wanted or found.settings)
    words = [word for line in found.lines for word in shlex.split(line)]
    again = load_config(name, settings | dict(parse_setting(word) for word in words[1::2]))
    assert not plan(again, hardware, Assumed()).problems

    def seconds(changes):
        planned = plan(changed(config, changes), hardware, Assumed())
        return float("inf") if planned.problems else sum(phase.seconds for phase in planned.phases)

    for key in found.settings:
        fewer = {other: value for other, value in found.settings.items() if other != key}
        assert seconds(fewer) > seconds(found.settings), key


def test_where_nothing_fits_the_smallest_gpu_that_would_is_named():
    chip = CHIPS["l4"]._replace(memory=8.0)
    config = load_config("qwen2.5-coder-7b")
    found = fit(config, Hardware("small", chip, 1), Assumed())
    assert not found.found
    assert found.larger is not None
    assert fit(config, found.larger, Assumed()).found
    assert not any(
        fit(config, Hardware("one", known, 1), Assumed()).found
        for known in CHIPS.values()
        if known.memory < found.larger.chip.memory
    )


def test_what_no_gpu_can_help_is_said_without_a_search():
    found = fit(load_config("default", {"sample.max_new_tokens": 5000}), Hardware("l4", CHIPS["l4"], 1), Assumed())
    assert (found.found, found.settings, found.larger) == (False, {}, None)
    assert "context is 4096" in found.plan.problems[0]


def test_a_model_that_cannot_be_sampled_in_process_is_given_to_the_engine():
    settings = {"model.path": "gemma-3-1b-it", "model.device": "cuda", "model.sampler": "huggingface"}
    found = fit(load_config("own-data", settings), Hardware("h100", CHIPS["h100"], 1), Assumed())
    assert found.settings["model.sampler"] == "vllm"


def test_the_command_prints_the_settings_that_fit_before_their_plan():
    done = funreason("plan", "--config", "llama-3.2-3b", "--gpu", "h100", "--gpus", "1", "--fit")
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == "It fits with these settings:"
    assert lines[0].startswith("  --set ")
    assert next(line for line in lines if not line.startswith("  --set ")).startswith("✓ everything fits: at most")
