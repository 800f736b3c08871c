"""GGUF files, read by transformers and written once as a safetensors folder in the user's cache.

The weights of a quantised file are read as the numbers they stand for, so what is trained is an ordinary model. Writing
them once spares every update and every worker process the reading, which takes minutes for a large model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from funreason.errors import ModelError
from funreason.policies.weight_formats import is_lfs_pointer
from funreason.wheels import user_cache

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SUFFIX = ".gguf"
MAGIC = b"GGUF"
TOKENS = "tokenizer.ggml.tokens"
NAMED_TEMPLATE = "tokenizer.chat_template."


def gguf_of(path: Path) -> Path | None:
    """The GGUF file that `path` is, or that a folder without safetensors holds; None where there is none.

    Raises ModelError when a folder holds several, or one that is cut into parts.
    """
    if path.is_file():
        return path if path.suffix.lower() == SUFFIX else None
    if not path.is_dir() or any(path.glob("*.safetensors")):
        return None
    # A projector of images (mmproj) lies beside the model that it belongs to.
    found = sorted(f for f in path.iterdir() if f.suffix.lower() == SUFFIX and not f.name.startswith("mmproj"))
    if not found:
        return None
    if any("-00001-of-" in file.name for file in found):
        raise ModelError(
            f"{path}: the GGUF file is cut into {len(found)} parts, which transformers does not read. Join them with "
            "llama.cpp: llama-gguf-split --merge FIRST_PART whole.gguf"
        )
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ModelError(
            f"{path}: {len(found)} GGUF files are here: {names}. Choose one by giving its path: "
            f"--set model.path={found[0]} (in train and eval: --model)."
        )
    return found[0]


def cache_folder() -> Path:
    """Where models are kept that were converted or fetched."""
    return user_cache() / "models"


def converted(file: Path, dtype: str = "float32") -> Path:
    """The safetensors folder of a GGUF file; written by the first call, found by later ones.

    Raises ModelError when the package `gguf` is missing, the file is broken or of an architecture that transformers
    does not read, or the cache has no room.
    """
    folder = converted_folder(file, dtype)
    if not folder.is_dir():
        write_converted(file, folder, dtype)
    return folder


def converted_folder(file: Path, dtype: str = "float32") -> Path:
    """Where `converted` writes the model in a GGUF file, which may not be there yet."""
    facts = file.stat()
    key = hashlib.sha256(f"{file.resolve()} {facts.st_size} {facts.st_mtime_ns} {dtype}".encode()).hexdigest()[:12]
    return cache_folder() / f"{file.stem}-{key}"


def write_converted(file: Path, folder: Path, dtype: str = "float32") -> None:
    """Write the model in a GGUF file into `folder`, as `dtype`. Raises ModelError as `converted` does."""
    if is_lfs_pointer(file):
        raise ModelError(f"{file} is a Git LFS pointer, not the file itself. Fetch it: git lfs pull")
    with file.open("rb") as handle:
        if handle.read(len(MAGIC)) != MAGIC:
            raise ModelError(f"{file} is no GGUF file: it does not begin with the letters GGUF. Download it again.")
    for package, extra in (("gguf", "gguf"), ("accelerate", "train")):
        if find_spec(package) is None:
            raise ModelError(f"{file}: reading GGUF needs the package {package}: pip install 'funreason[{extra}]'.")
    import torch
    from transformers import AutoModelForCausalLM

    from funreason.policies.model_files import require_room, save_model

    try:
        with _quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                dtype=getattr(torch, dtype),
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            tokenizer = _tokenizer(file)
    except Exception as error:  # a stranger's file: its reader fails in any way it likes
        raise ModelError(f"{file}: the GGUF file could not be read: {type(error).__name__}: {error}") from error
    read, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise ModelError(f"{file}: the GGUF file lacks {len(missing)} tensors of the model, the first is {missing[0]}.")
    # transformers takes the model it has read for a quantised one, and would not save it.
    read.config.__dict__.pop("quantization_config", None)
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            read.config, dtype=getattr(torch, dtype)
        )
    plain.load_state_dict(read.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = read.generation_config
    folder.parent.mkdir(parents=True, exist_ok=True)
    require_room(folder.parent, sum(p.numel() * p.element_size() for p in plain.parameters()), "the converted model")
    save_model(plain, tokenizer, folder)


def _tokenizer(file: Path) -> PreTrainedTokenizerBase:
    """The tokenizer beside the file, which is the model's own; else the one that the file holds."""
    from gguf import GGUFReader
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    if (file.parent / "tokenizer.json").is_file():
        beside: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(file.parent, local_files_only=True)
        return beside
    read = PreTrainedTokenizerFast.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    fields = GGUFReader(file).fields
    # The reader builds a GPT-2 tokenizer for every byte-level one, and that adds its own end of text where the file has
    # none (Llama 3): a token that the model has no embedding for.
    known = len(fields[TOKENS].data)
    core = json.loads(read.backend_tokenizer.to_str())
    core["added_tokens"] = [token for token in core["added_tokens"] if token["id"] < known]
    if "unk_token" in core["model"] and core["model"]["unk_token"] not in core["model"]["vocab"]:
        core["model"]["unk_token"] = None
    names = {kind: token for kind, token in read.special_tokens_map.items() if isinstance(token, str)}
    special = {kind: token for kind, token in names.items() if read.convert_tokens_to_ids(token) < known}
    backend = Tokenizer.from_str(json.dumps(core))
    found = PreTrainedTokenizerFast(tokenizer_object=backend, **special)  # type: ignore[no-untyped-call]
    found.chat_template = read.chat_template
    # Besides the default template a file may hold others by name, which transformers leaves out.
    named = {
        key.removeprefix(NAMED_TEMPLATE): str(field.contents())
        for key, field in fields.items()
        if key.startswith(NAMED_TEMPLATE)
    }
    if named:
        default = {"default": found.chat_template} if isinstance(found.chat_template, str) else {}
        found.chat_template = default | named
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the reader's bars and its report of tensors, which the caller checks itself."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
