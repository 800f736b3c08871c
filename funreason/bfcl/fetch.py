"""The official data, fetched once: a wheel of 2 MB by pip, of which only the single-turn files are kept.

The checksum is pinned, since another release of the data is another benchmark; no benchmark file is part of this
project. The unpacked folder appears by one rename, so its existence means that it is whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from funreason.bfcl.categories import CATEGORIES, BfclError, has_answers

REQUIREMENT = "bfcl-eval==2026.3.23"
SHA256 = "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a"
PREFIX = "BFCL_v4_"
DOWNLOAD_LIMIT_S = 300
_INSIDE = "bfcl_eval/data/"
_FOLDER = "bfcl-2026.3.23"


def fetch(wheel: Path | None = None, cache: Path | None = None) -> Path:
    """The folder of official files, fetched if it is not there yet.

    `wheel` is a local copy of the wheel, then no network is used; `cache` replaces the user's cache folder.
    Raises BfclError that says what to do when offline, or when the wheel is not the pinned one.
    """
    folder = data_folder(cache)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as offloaded:
        found = Path(wheel) if wheel is not None else _download(Path(offloaded))
        _unpack(found, Path(offloaded) / "data")
        _put_in_place(Path(offloaded) / "data", folder)
    return folder


def data_folder(cache: Path | None = None) -> Path:
    """Where the official files stand once fetched."""
    if cache is None:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = Path(home) / "funreason"
    return Path(cache) / _FOLDER


def fetched_data() -> Path:
    """The folder of official files. Raises BfclError when they are not fetched: this never uses the network."""
    folder = data_folder()
    if not folder.is_dir():
        raise BfclError(f"{folder}: the official data is not here yet; run: funreason bfcl fetch")
    return folder


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), REQUIREMENT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BfclError(_offline(str(error))) from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise BfclError(_offline(done.stderr.strip()[-400:] or f"pip ended with {done.returncode}"))
    return wheels[0]


def _offline(reason: str) -> str:
    return (
        f"pip could not fetch {REQUIREMENT}: {reason}\n"
        "Behind a proxy, set HTTPS_PROXY or pip's index settings. Offline, fetch the wheel on another machine with "
        f"`pip download --no-deps {REQUIREMENT}` and give it here: funreason bfcl fetch --wheel FILE"
    )


def _unpack(wheel: Path, folder: Path) -> None:
    if not wheel.is_file():
        raise BfclError(f"{wheel}: there is no such wheel")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != SHA256:
        raise BfclError(f"{wheel}: expected sha256 {SHA256} ({REQUIREMENT}), found {digest}")
    with zipfile.ZipFile(wheel) as archive:
        for name in _wanted():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(_INSIDE + name))


def _wanted() -> list[str]:
    questions = [f"{PREFIX}{category}.json" for category in CATEGORIES]
    answers = [f"possible_answer/{PREFIX}{category}.json" for category in CATEGORIES if has_answers(category)]
    return questions + answers


def _put_in_place(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError:
        # Somebody else was faster: then theirs is as good, it passed the same checksum.
        if not folder.is_dir():
            raise
        shutil.rmtree(made)
