"""Model folders: reading one, writing one whole or not at all, and naming weights by their bytes.

Weights are safetensors and nothing else: a pickle runs code when it is opened. A folder appears under its final
name by rename, so a reader never meets half a checkpoint. Only local folders are read; nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from funreason.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
WEIGHTS_ID_LENGTH = 12


def load_model(path: str | Path, device: str = "cpu", dtype: str = "float32") -> PreTrainedModel:
    """The causal language model in folder `path`, in eval mode, on `device`, as `dtype` ("float32", "bfloat16", …).

    Raises ModelError when the folder is missing, has no config, no safetensors or not all weights, or the model cannot
    be built or put on the device.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    folder = _folder(path)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder}: no config.json, so it is not a model folder. A model folder holds config.json and "
            "*.safetensors."
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder}: no *.safetensors weights here. Other formats are not read: they can run code.")
    try:
        with _no_progress_bars():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=_dtype(dtype),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: the model could not be built: {error}") from error
    model, found = loaded  # its stub knows only the model
    if missing := sorted(found["missing_keys"]):  # what is missing would be drawn at random
        raise ModelError(
            f"{folder}: the weights lack {len(missing)} of the tensors that config.json names, the first is "
            f"{missing[0]}. They do not belong together, or a file is missing: copy the model's folder whole."
        )
    try:
        placed: PreTrainedModel = model.to(device)
    except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
        first = str(error).partition("\n")[0].rstrip(". ")
        raise ModelError(
            f"model.device is {device!r}, which cannot be used here: {first}. Use cpu, or cuda where there is a GPU."
        ) from error
    placed.train(False)
    return placed


def load_tokenizer(path: str | Path, model: PreTrainedModel | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer in folder `path`; with `model`, also checked to fit that model's embedding.

    Raises ModelError when the folder has none, when it has no chat template, or when it names more tokens than
    the model has embeddings.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    from funreason.policies.prompts import require_chat_template

    folder = _folder(path)
    if not any((folder / name).exists() for name in TOKENIZER_FILES):
        raise ModelError(
            f"{folder}: no tokenizer here (looked for {', '.join(TOKENIZER_FILES)}). Copy the model's own."
        )
    # For some architectures (Qwen2 is one) AutoTokenizer builds the family's own pre-tokenizer and drops the one in
    # tokenizer.json, so that a model with a tokenizer of its own would read other tokens than it was trained on.
    reader = PreTrainedTokenizerFast if (folder / "tokenizer.json").exists() else AutoTokenizer
    try:
        tokenizer: PreTrainedTokenizerBase = reader.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder}: the tokenizer could not be read: {error}") from error
    require_chat_template(tokenizer)
    if model is not None:
        require_same_vocabulary(model, tokenizer)
    return tokenizer


def require_same_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ModelError when the tokenizer can name a token the model has no embedding for."""
    rows = len(next(model.get_input_embeddings().parameters()))
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path!r} knows {len(tokenizer)} tokens, the model only {rows}. "
            "They do not belong together: use the tokenizer saved beside the model."
        )


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> str:
    """Write model and tokenizer into `folder`, replacing what was there, and return the weights id.

    Raises ModelError when they cannot be written; then `folder` is as it was.
    """
    from safetensors import SafetensorError

    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with _no_progress_bars():
            model.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        replace_folder(fresh, target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise ModelError(f"{target}: the model cannot be written: {error}") from error
    return weights_id_of(model)


def replace_folder(fresh: Path, target: Path) -> None:
    """Rename `fresh` to `target` once its bytes are on disk; an older `target` is removed after that.

    Directories cannot be swapped in one step everywhere, so for an instant neither has the name. A reader that finds
    nothing there should look again, and never use the hidden names beside it.
    """
    for file in fresh.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    if not target.exists():
        fresh.rename(target)
        return
    retired = target.with_name(f".{target.name}.old-{os.getpid()}")
    target.rename(retired)
    fresh.rename(target)
    shutil.rmtree(retired)


def weights_id_of(model: PreTrainedModel) -> str:
    """A short sha256 over names, shapes, types and bytes of the parameters; tied weights count once."""
    import torch

    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        data = parameter.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(data.shape)} {data.dtype}\n".encode())
        digest.update(data.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:WEIGHTS_ID_LENGTH]


def _folder(path: str | Path) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise ModelError(f"{folder}: expected a model folder, found {found}. Nothing is downloaded: fetch it first.")
    return folder


def _dtype(name: str) -> torch.dtype:
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise ModelError(f"dtype is {name!r}; use one of {', '.join(known)}.")
    return known[name]


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    # A bar for a file of a few megabytes would tear the display of the run.
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
