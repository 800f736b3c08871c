"""Runs a program that a model wrote, in a child process that can reach nothing.

Only `funreason eval --allow-code-execution` gets here. The child has no environment, no network, no other processes, a
scratch folder that is deleted, and bounds on time, memory and files (see `sandbox_child`). It needs Linux 5.13 or later
with Landlock and seccomp; elsewhere programs are not run and the result says so.

It is made for the programs that a language model writes when asked to solve a task. A program that reads its own
process's memory could claim to have passed; it could not get out.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from funreason.evaluation import sandbox_child

SECONDS, MEMORY_BYTES, FILE_BYTES, FOLDER_BYTES, FILES = 10.0, 1 << 30, 1 << 20, 16 << 20, 64
_LOOK_S, _ENTRY_BYTES = 0.05, 4096
_SAID_BYTES = 400
_CANNOT = {
    sandbox_child.CANNOT_LANDLOCK: "this system cannot keep a program from files (Landlock, Linux 5.13 or later)",
    sandbox_child.CANNOT_SECCOMP: "this system cannot keep a program from the network (seccomp on x86-64 or arm64)",
}


class CannotSandbox(OSError):
    """Programs cannot be run safely here; the message says what is missing."""


class ProgramResult(NamedTuple):
    """Whether a program's test passed, and what went wrong otherwise: an error's text, or a limit."""

    passed: bool
    reason: str = ""


def run_program(
    program: str, test: str, *, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES
) -> ProgramResult:
    """Run `program` and then `test` in the same namespace. Raises CannotSandbox where that is not safe.

    `seconds` bounds the wall time of both together, from the child's start.
    """
    if sys.platform != "linux":
        raise CannotSandbox("programs of a model are run on Linux only, where a process can give up its rights")
    token = secrets.token_hex(16)
    paths = {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib")} | {"/usr", "/lib", "/lib64", "/dev/null"}
    asked = {
        "program": program,
        "test": test,
        "token": token,
        "memory_bytes": memory_bytes,
        "seconds": max(1, int(seconds) + 1),
        "file_bytes": FILE_BYTES,
        "files": FILES,
        "readable": [*sorted(paths), "/dev/urandom"],
    }
    reading, writing = os.pipe()
    try:
        with TemporaryDirectory(prefix="program-") as scratch:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", str(Path(sandbox_child.__file__)), str(writing)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=scratch,
                env={},
                pass_fds=[writing],
                start_new_session=True,
            )
            try:
                over = _watch(child, json.dumps(asked).encode(), Path(scratch), seconds)
            finally:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
            if over:
                return ProgramResult(False, over)
        os.close(writing)
        writing = -1
        said = os.read(reading, _SAID_BYTES).decode("utf-8", "replace")
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    if child.returncode in _CANNOT and not said:
        raise CannotSandbox(_CANNOT[child.returncode])
    if said == token and child.returncode == 0:
        return ProgramResult(True)
    if child.returncode < 0:
        return ProgramResult(False, f"ended by {signal.Signals(-child.returncode).name}")
    return ProgramResult(False, said or f"ended with status {child.returncode} before the test was over")


def _watch(child: subprocess.Popen[bytes], asked: bytes, scratch: Path, seconds: float) -> str:
    """Give the child its program and wait for its end; returns the limit it went over, or ""."""
    assert child.stdin is not None
    end = time.monotonic() + seconds
    with suppress(BrokenPipeError), child.stdin as pipe:
        pipe.write(asked)
    while True:
        try:
            child.wait(min(_LOOK_S, max(0.0, end - time.monotonic())))
            return ""
        except subprocess.TimeoutExpired:
            if time.monotonic() >= end:
                return f"took longer than {seconds:g} s"
        # No limit of the kernel's counts the files of a folder.
        if sum(file.stat().st_size + _ENTRY_BYTES for file in scratch.rglob("*")) > FOLDER_BYTES:
            return f"wrote more than {FOLDER_BYTES >> 20} MB"
