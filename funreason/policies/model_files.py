"""Model folders: reading one, writing one whole or not at all, and naming weights by their bytes.

Weights are safetensors and nothing else: a pickle runs code when it is opened. A folder appears under its final
name by rename, so a reader never meets half a checkpoint. Only local folders are read; nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from funreason.errors import ModelError
from funreason.policies.weight_formats import require_files, require_model_folder, require_trainable

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
CHAT_TEMPLATE_JSON = "chat_template.json"
"""Where processors of images and text keep the template; transformers reads it for those alone."""
WEIGHTS_ID_LENGTH = 12


def load_model(path: str | Path, device: str = "cpu", dtype: str = "float32") -> PreTrainedModel:
    """The causal language model in folder `path`, in eval mode, on `device`, as `dtype` ("float32", "bfloat16", …).

    Raises ModelError when the folder is missing, has no config, no safetensors or not all weights, holds another form
    of model (see `weight_formats`), or the model cannot be built or put on the device.
    """
    from transformers import AutoModelForCausalLM

    folder = require_model_folder(path)
    require_trainable(folder)
    try:
        with no_progress_bars():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=_dtype(dtype),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:  # what a stranger's files hold can fail anywhere in the loader
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

    folder = require_model_folder(path)
    require_files(folder)
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
    except Exception as error:  # the tokenizers library raises plain ones
        raise ModelError(f"{folder}: the tokenizer could not be read: {error}") from error
    if not tokenizer.chat_template and (folder / CHAT_TEMPLATE_JSON).is_file():
        try:
            found = json.loads((folder / CHAT_TEMPLATE_JSON).read_text(encoding="utf-8"))["chat_template"]
            by_name = {entry["name"]: entry["template"] for entry in found} if isinstance(found, list) else found
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{folder / CHAT_TEMPLATE_JSON}: expected an object with a chat_template: {error!r}. Copy it again."
            ) from error
        tokenizer.chat_template = by_name
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
    target = Path(folder)
    fresh = target.with_name(f".{target.name}.new-{os.getpid()}")
    try:
        _write(model, tokenizer, fresh)
        replace_folder(fresh, target)
    except Exception as error:  # paths, disks, and what a tokenizer or a configuration refuses to write of itself
        shutil.rmtree(fresh, ignore_errors=True)
        raise ModelError(f"{target}: the model cannot be written: {error}") from error
    return weights_id_of(model)


def save_trained(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> str:
    """`save_model` for weights that cost a training: where they cannot be written into `folder`, they are kept.

    They are then written beside it, or else into the system's temporary folder, with as much of the rest as can be.
    Raises ModelError that says where they are and what is missing there.
    """
    try:
        return save_model(model, tokenizer, folder)
    except ModelError as error:
        target = Path(folder)
        refused = []
        for place in (
            target.with_name(f"rescued-{target.name}-{os.getpid()}"),
            Path(tempfile.gettempdir()) / f"funreason-rescued-{target.name}-{os.getpid()}",
        ):
            try:
                missing = _write_parts(model, tokenizer, place)
            except Exception as again:
                shutil.rmtree(place, ignore_errors=True)
                refused.append(f"{place}: {again}")
                continue
            lacking = f" It lacks {' and '.join(missing)}: copy them from the base model." if missing else ""
            raise ModelError(f"{error}. The trained weights are kept in {place}.{lacking}") from error
        raise ModelError(f"{error}. They could not be kept elsewhere either ({'; '.join(refused)})") from error


def try_saving(
    source: Path,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    dtype: str,
    copies: int = 1,
    training_bytes: int = 0,
) -> None:
    """Try, before a training, what `save_model` will do into `folder` after it, without the weights.

    `source` is the model's folder. Its configuration and the tokenizer are written beside `folder` and read back, and
    the disk must have room for `copies` of the weights as `dtype`, and for `training_bytes` for each parameter while
    training (its checkpoints). Raises ModelError that says what would have failed.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    if not tokenizer.is_fast:
        raise ModelError(f"{tokenizer.name_or_path!r} has no fast tokenizer (tokenizer.json), so no token offsets.")
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{folder} is a file, so the trained model could not be saved there. Choose another place.")
    with torch.device("meta"), no_progress_bars():
        config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=_dtype(dtype)
        )
    if (source / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(source, local_files_only=True)
    fresh, probe = (folder.with_name(f".{folder.name}.new-{kind}-{os.getpid()}") for kind in ("try", "tried"))
    made = not folder.parent.exists()
    try:
        _write(model, tokenizer, fresh, weights={})
        replace_folder(fresh, probe)
        again = load_tokenizer(probe)
        parameters = list(model.parameters())
        each, count = sum(p.numel() * p.element_size() for p in parameters), sum(p.numel() for p in parameters)
        needed = each * copies + count * training_bytes
        kept = "the weights" if copies == 1 else f"the weights of {copies} trainings, all of which a run keeps,"
        require_room(folder.parent, needed, kept)
    except Exception as error:
        raise ModelError(
            f"{folder}: the trained model could not be saved there: {error}. This was tried before the training, so "
            "nothing is lost."
        ) from error
    finally:
        for left in (fresh, probe):
            shutil.rmtree(left, ignore_errors=True)
        if made:
            with suppress(OSError):
                folder.parent.rmdir()
    if again.chat_template != tokenizer.chat_template or len(again) != len(tokenizer):
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path!r} does not come back as it was saved (its chat templates or "
            "its vocabulary differ), so the trained model would not be usable. Nothing was trained."
        )


def require_room(folder: Path, needed: int, what: str) -> None:
    """ModelError when the disk of `folder` has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ModelError(
            f"{folder}: {free / 1e9:.1f} GB are free, but {what} need {needed / 1e9:.1f} GB. Free some space, or "
            "choose another folder."
        )


def _write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    weights: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write a model folder; with `weights`, these in place of the model's own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    said = model.generation_config
    assert said is not None
    try:
        said.validate(strict=True)
        unusual = None
    except ValueError:
        # Published models have such settings (a temperature where none is drawn). They are read, and must be written.
        unusual = said.to_diff_dict()
        model.generation_config = type(said)(eos_token_id=said.eos_token_id)
    try:
        with no_progress_bars():
            model.save_pretrained(folder, state_dict=weights)
    finally:
        model.generation_config = said
    if unusual is not None:
        (folder / "generation_config.json").write_text(json.dumps(unusual, indent=2, default=str) + "\n")
    tokenizer.save_pretrained(folder)


def _write_parts(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> list[str]:
    """Write the weights into `folder`, and of the rest what can be written; the names of what is missing."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    tensors, seen = {}, set[tuple[int, tuple[int, ...]]]()
    for name, value in model.state_dict().items():
        place = (value.data_ptr(), tuple(value.shape))
        if place not in seen:  # tied weights count once, under their first name
            seen.add(place)
            tensors[name] = value.detach().cpu().contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    missing = []
    generation = model.generation_config
    parts: dict[str, Callable[[], object]] = {
        "config.json": lambda: (folder / "config.json").write_text(model.config.to_json_string(use_diff=False)),
        "generation_config.json": lambda: (folder / "generation_config.json").write_text(
            json.dumps(generation.to_diff_dict() if generation is not None else {}, default=str)
        ),
        "the tokenizer's files": lambda: tokenizer.save_pretrained(folder),
    }
    for name, write in parts.items():
        try:
            write()
        except Exception:  # each part is tried for itself: what can be written is worth having
            missing.append(name)
    return missing


def replace_folder(fresh: Path, target: Path) -> None:
    """Rename `fresh` to `target` once its bytes are on disk; an older `target` is removed after that.

    Directories cannot be swapped in one step everywhere, so for an instant neither has the name. A reader that finds
    nothing there should look again, and never use the hidden names beside it.
    """
    for file in fresh.rglob("*"):
        if file.is_file():
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


def _dtype(name: str) -> torch.dtype:
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise ModelError(f"dtype is {name!r}; use one of {', '.join(known)}.")
    return known[name]


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Without the progress bars of transformers: one for a file of a few megabytes would tear a run's display."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
