"""Forms that models come in, and what to do with each that cannot be trained here.

Only safetensors are read (and GGUF, which is written once as safetensors, see `gguf_files`). Every other form is named,
with the command that converts it or the place to get the right one: a loader's own error for these is a riddle. What a
folder holds is data: code that its config.json names (`auto_map`) is never run, and a pickle is never opened.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from funreason.errors import ModelError
from funreason.hub import absent, model_name

LFS_HEAD = b"version https://git-lfs"
LFS_MOST_BYTES = 1024
"""Pointers are about 130 bytes; a larger file is not looked into."""
ELSEWHERE = "Evaluating is possible where a server runs it: funreason eval --model http://host:port/v1."
OTHER_FRAMEWORKS = {
    "*.onnx": "ONNX",
    "onnx/*.onnx": "ONNX",
    "*.npz": "MLX",
    "tf_model.h5": "TensorFlow",
    "flax_model.msgpack": "Flax",
    "openvino_*.xml": "OpenVINO",
    "*.engine": "TensorRT",
    "*.mlpackage": "Core ML",
}


def require_model_folder(path: str | Path) -> Path:
    """The folder `path`; ModelError names what it is where it is no folder."""
    folder = Path(path)
    if folder.is_file() and folder.suffix in (".safetensors", ".bin", ".json"):
        raise ModelError(f"{folder}: expected a model folder, found one file of it. Give the folder: {folder.parent}")
    if (name := model_name(str(path))) is not None:
        raise ModelError(absent(name))
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise ModelError(f"{folder}: expected a model folder, found {found}. Nothing is downloaded: fetch it first.")
    return folder


def require_files(folder: Path) -> None:
    """ModelError when a file of the folder is only a Git LFS pointer to what it should hold."""
    # What loading does not read may be a pointer: a fetch of the safetensors alone leaves some.
    patterns = ("*.safetensors", "*.json", "*.jinja", "additional_chat_templates/*.jinja", "*.model", "*.txt")
    read = [file for pattern in patterns for file in sorted(folder.glob(pattern)) if "consolidated" not in file.name]
    pointers = [file.relative_to(folder).as_posix() for file in read if is_lfs_pointer(file)]
    if pointers:
        more = f" and {len(pointers) - 1} more" if len(pointers) > 1 else ""
        raise ModelError(
            f"{folder}: {pointers[0]}{more} is a Git LFS pointer, a few lines of text in place of the file itself. "
            f"Fetch the files: git -C {shlex.quote(str(folder))} lfs pull"
        )


def require_trainable(folder: Path) -> list[str]:
    """Check that the folder holds a model that can be trained, by its files alone; what is worth a note.

    Raises ModelError that names any other form: an adapter, quantised weights, pickles, other frameworks' files, code
    that is not part of transformers.
    """
    require_files(folder)
    if (folder / "adapter_config.json").is_file():
        raise ModelError(_adapter(folder))
    if not (folder / "config.json").is_file():
        raise ModelError(
            _other_form(folder)
            or (
                f"{folder}: no config.json, so it is not a model folder. A model folder holds config.json and "
                "*.safetensors."
            )
        )
    config = _read_object(folder / "config.json")
    quantised = config.get("quantization_config") or config.get("quantization")
    if isinstance(quantised, dict):
        method = str(quantised.get("quant_method") or ("MLX" if "quantization" in config else "an unknown method"))
        bits = quantised.get("bits") or quantised.get("weight_bits")
        width = f", {bits} bits" if isinstance(bits, int) else ""
        raise ModelError(
            f"{folder}: the weights are quantised ({method}{width}) and cannot be trained or loaded here. Give the "
            f"model that was quantised. {ELSEWHERE}"
        )
    if all(file.name.startswith("consolidated") for file in folder.glob("*.safetensors")):
        raise ModelError(_other_form(folder) or f"{folder}: no *.safetensors weights here, nor any other known form.")
    return _code_note(folder, config)


def bin_to_safetensors(folder: Path) -> str:
    """A shell command that writes the pickled weights of `folder` as safetensors beside them, without running pickles.

    torch reads them with `weights_only`, which builds tensors and nothing else.
    """
    code = (
        "import torch; from pathlib import Path; from safetensors.torch import save_file; "
        f"d = Path({json.dumps(str(folder))}); "
        'w = {k: v.clone().contiguous() for f in sorted(d.glob("pytorch_model*.bin")) '
        'for k, v in torch.load(f, map_location="cpu", weights_only=True).items()}; '
        'save_file(w, d / "model.safetensors", {"format": "pt"})'
    )
    return f"python -c {shlex.quote(code)}"


def is_lfs_pointer(file: Path) -> bool:
    """Whether a file holds a Git LFS pointer in place of its content."""
    try:
        if not file.is_file() or file.stat().st_size > LFS_MOST_BYTES:
            return False
        with file.open("rb") as handle:
            return handle.read(len(LFS_HEAD)) == LFS_HEAD
    except OSError:
        return False


def _read_object(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not readable JSON: {error}. Copy the model's folder again.") from error
    if not isinstance(data, dict):
        raise ModelError(f"{file} must hold an object, found {type(data).__name__}. Copy the model's folder again.")
    return data


def _adapter(folder: Path) -> str:
    base = _read_object(folder / "adapter_config.json").get("base_model_name_or_path") or "its base model"
    merge = (
        "import sys; from peft import AutoPeftModelForCausalLM as M; from transformers import AutoTokenizer as T; "
        "M.from_pretrained(sys.argv[1]).merge_and_unload().save_pretrained(sys.argv[2]); "
        "T.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])"
    )
    return (
        f"{folder}: adapter_config.json says that this is an adapter for {base}, not a whole model. To train adapters, "
        "give the base model's folder and set train.update.lora. To start from this one, merge it into its base: "
        f"python -c {shlex.quote(merge)} {shlex.quote(str(folder))} merged"
    )


def _other_form(folder: Path) -> str | None:
    """What a folder without usable safetensors holds instead; None for nothing known."""

    def there(*patterns: str) -> Iterator[str]:
        return (file.name for pattern in patterns for file in sorted(folder.glob(pattern)))

    if name := next(there("consolidated*.safetensors"), None):
        return (
            f"{folder}: {name} holds weights under the names of Mistral's own code, which transformers does not read. "
            "Take the model*.safetensors of the same release, with their config.json."
        )
    if name := next(there("consolidated*.pth"), None):
        return (
            f"{folder}: {name} and params.json are Llama's original form. Take the release for transformers (a folder "
            "with config.json and model*.safetensors; its name often ends with -hf)."
        )
    if name := next(there("pytorch_model*.bin"), None):
        return (
            f"{folder}: no *.safetensors weights here, only {name}, a pickle. It is not opened: a pickle can run code. "
            f"Convert it yourself, where you trust its source: {bin_to_safetensors(folder)}"
        )
    if name := next(there("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl"), None):
        return (
            f"{folder}: no *.safetensors weights here, only {name}, a pickle. It is not opened: a pickle can run code. "
            "Take the release with *.safetensors."
        )
    for pattern, kind in OTHER_FRAMEWORKS.items():
        if name := next(there(pattern), None):
            return (
                f"{folder}: no *.safetensors weights here, only {name}, which is {kind}'s form and cannot be trained "
                f"here. Take the release with *.safetensors. {ELSEWHERE}"
            )
    return None


def _code_note(folder: Path, config: dict[str, Any]) -> list[str]:
    """What to say of code that the folder brings along. ModelError where transformers cannot build the model itself."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind, mapped = config.get("model_type"), config.get("auto_map")
    if kind in CONFIG_MAPPING and kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ModelError(
            f"{folder}: config.json says model_type {kind!r}, which does not continue a text: transformers has no "
            "causal language model of that kind. Use a chat model."
        )
    if kind in CONFIG_MAPPING or (kind is None and not mapped):
        if not mapped:
            return []
        return [f"config.json names code in the model's folder (auto_map), which is not run: transformers knows {kind}"]
    if mapped:
        files = sorted({str(name).partition(".")[0] for name in (mapped.values() if isinstance(mapped, dict) else ())})
        raise ModelError(
            f"{folder}: config.json asks for code of its own (auto_map: {', '.join(files) or mapped}), which is never "
            f"run, and transformers has no architecture {kind!r}. Use a model that transformers knows."
        )
    raise ModelError(
        f"{folder}: config.json says model_type {kind!r}, which this version of transformers does not know. Use "
        "another model, or a newer transformers if that one has it."
    )
