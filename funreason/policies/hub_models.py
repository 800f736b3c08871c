"""Models on a hub: which files of a repository make a model folder, and where the cache has it.

Only safetensors, tokenizer, configurations and chat templates are fetched; never a pickle, never code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from funreason.hub import HubError, HubName, Listing, Report, cached, fetch, look

FILES = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template"
    r"|adapter_config)\.json|chat_template\.jinja|additional_chat_templates/[\w.-]+\.jinja|merges\.txt|vocab\.txt"
    r"|[\w.-]*\.model"
)
"""The files of a model folder beside its weights."""
TOKENIZERS = {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "adapter_config.json"}
"""A repository without any of these gives no model folder; an adapter may use its base model's."""
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"model-\d{5}-of-(\d{5})\.safetensors")
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".h5", ".msgpack", ".npz", ".pkl")
"""Endings by which a refusal names the weights that a repository has instead."""


def hub_folder(name: HubName) -> Path | None:
    """The folder with a model that is whole in the cache; None where it is not."""
    found = cached(name)
    if found is None or not TOKENIZERS & found.files.keys():  # another tool may have fetched the weights alone
        return None
    try:
        files = model_files(found.name, found.files)
    except HubError:
        return None
    return None if found.missing(files) else found.folder


def fetch_model(name: HubName, report: Report | None = None) -> Listing:
    """Fetch what the cache lacks of a model. HubError says what is wrong."""
    found = look(name)
    fetch(found, model_files(name, found.files), report, branch=name.branch)
    return found


def model_files(name: HubName, files: Iterable[str]) -> list[str]:
    """Those of a repository's `files` that make its model folder, small ones first.

    HubError where it has no safetensors that transformers reads, or not all shards of them.
    """
    every = list(files)
    beside = sorted(file for file in every if FILES.fullmatch(file))
    if "adapter_config.json" in every:  # the reader of folders says what to do with an adapter
        return beside
    if "config.json" not in every or not TOKENIZERS & set(every):
        lacking = "no config.json" if "config.json" not in every else "no tokenizer"
        raise HubError(f"{name} holds {lacking}, so it is no model folder for transformers. Nothing of it is fetched.")
    if WHOLE in every:
        return [*beside, WHOLE]
    shards = sorted(file for file in every if SHARD.fullmatch(file))
    if INDEX not in every or not shards:
        other = sorted(file for file in every if file.endswith(WEIGHTS))
        has = f"It has {', '.join(other[:3])}{' and others' * (len(other) > 3)}" if other else "It has no weights"
        advice = "Take a release with safetensors."
        if gguf := next((file for file in other if file.endswith(".gguf")), None):
            advice += f" Or fetch one file, `hf download {name.repo} {gguf} --local-dir .`, and give its path."
        if any(file.endswith((".bin", ".pt", ".pth", ".pkl")) for file in other):
            advice = f"A pickle can run code, so none is fetched. {advice}"
        raise HubError(f"{name} holds no {WHOLE} (nor shards of one), so nothing of it is fetched. {has}. {advice}")
    for count in {int(found[1]) for file in shards if (found := SHARD.fullmatch(file))}:
        there = sum(file.endswith(f"-of-{count:05}.safetensors") for file in shards)
        if there < count:
            raise HubError(f"{name}: {there} of {count} shards of its weights are there. Take another revision.")
    return [*beside, INDEX, *shards]
