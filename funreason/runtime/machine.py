"""The machine that a run computes on: what it is, and how busy its GPUs are while a phase runs.

All of it comes from /proc, nvidia-smi and the metadata of installed packages; no library is loaded. What a system does
not say is left out.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from threading import Lock

from funreason.record.events import GpuUsed, MachineDescribed

TIMEOUT_S = 3.0
PACKAGES = ("funreason", "torch", "transformers", "accelerate", "vllm", "deepspeed", "peft")
"""Packages whose versions change results or speed."""


def described() -> MachineDescribed:
    """This process and its machine, for the record."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    program = Path(sys.argv[0]).name if sys.argv else ""
    own = program in ("funreason", "__main__.py")  # a notebook or another program has its own arguments
    return MachineDescribed(
        command=shlex.join(["funreason", *sys.argv[1:]]) if own else "",
        versions=versions,
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        memory_gb=round_share(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        gpus=_gpus(),
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _gpus() -> list[str]:
    said = _ask_nvidia_smi("name") or ""
    return [line.strip() for line in said.splitlines() if line.strip()]


def _ask_nvidia_smi(fields: str) -> str | None:
    """What nvidia-smi says of every GPU, a line for each; None where it is missing, fails or hangs."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return None
    query = [smi, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


class GpuUsage:
    """Readings of all GPUs of this machine since the last `taken`. A machine without nvidia-smi gives none."""

    def __init__(self) -> None:
        self._answers = True
        self._turn = Lock()
        self._busy: list[float] = []
        self._memory_gb = 0.0

    def read(self) -> None:
        """Take one reading; an nvidia-smi that fails or hangs is not asked again."""
        said = _ask_nvidia_smi("utilization.gpu,memory.used") if self._answers else None
        self._answers = said is not None
        self.add(said or "")

    def add(self, csv: str) -> None:
        """A reading as nvidia-smi prints it: a line for each GPU, percent of the time busy and MiB in use."""
        rows = [[field.strip() for field in line.split(",")] for line in csv.splitlines() if line.strip()]
        if not rows or not all(len(row) == 2 and all(field.isdigit() for field in row) for row in rows):
            return
        with self._turn:
            self._busy.append(sum(int(busy) for busy, _ in rows) / len(rows) / 100)
            self._memory_gb = max(self._memory_gb, *(int(mib) * 2**20 / 1e9 for _, mib in rows))

    def taken(self, round: int, phase: str) -> GpuUsed | None:
        """The readings as an event, and begin again; None without a reading."""
        with self._turn:
            busy, memory = self._busy, self._memory_gb
            self._busy, self._memory_gb = [], 0.0
        if not busy:
            return None
        mean = round_share(sum(busy) / len(busy))
        return GpuUsed(round=round, phase=phase, busy=mean, memory_gb=round_share(memory), readings=len(busy))


def round_share(value: float) -> float:
    """To three digits: more would only be noise in the log."""
    return float(f"{value:.3f}")
