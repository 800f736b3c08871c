"""CPU and memory of the run's process from /proc, GPU use from nvidia-smi when there is one.

A process of another host, a system without /proc and a dead process give an empty string; the run itself is not asked.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from pathlib import Path

from funreason.display.figures import size
from funreason.record.folder import WriterStatus

GPU_TIMEOUT_S = 3.0
_QUERY = ("--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits")


class HostStats:
    """Reads one process; CPU is its share of one core since the last reading."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self.gpu = ""
        self._smi = shutil.which("nvidia-smi")

    def read(self, life: WriterStatus | None, now: float) -> str:
        """One short text such as `CPU 97 % · RSS 812 MB`."""
        if life is None or life.status not in ("running", "stale") or life.host != socket.gethostname():
            return ""
        try:
            stat = Path(f"/proc/{life.pid}/stat").read_text()
        except OSError:
            return ""
        fields = stat.rpartition(")")[2].split()
        ticks = os.sysconf("SC_CLK_TCK")
        busy, pages = (int(fields[11]) + int(fields[12])) / ticks, int(fields[21])
        parts = [self._cpu(busy, now), f"RSS {size(pages * os.sysconf('SC_PAGE_SIZE'))}", self.gpu]
        return " · ".join(part for part in parts if part)

    def _cpu(self, busy: float, now: float) -> str:
        last, self._last = self._last, (now, busy)
        if last is None or now <= last[0]:
            return ""
        return f"CPU {100 * max(0.0, busy - last[1]) / (now - last[0]):.0f} %"

    async def read_gpu(self) -> None:
        """Read the first GPU, when there is one; a failing nvidia-smi is ignored."""
        if self._smi is None:
            return
        asked = await asyncio.create_subprocess_exec(
            self._smi, *_QUERY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            out, _ = await asyncio.wait_for(asked.communicate(), GPU_TIMEOUT_S)
        except TimeoutError:
            asked.kill()
            await asked.wait()
            self._smi = None
            return
        self.gpu = gpu_text(out.decode(errors="replace")) if asked.returncode == 0 else ""


def gpu_text(csv: str) -> str:
    """nvidia-smi's `utilisation, used, total` (percent, MiB) of the first GPU as text; empty for any other form."""
    fields = [field.strip() for field in (csv.splitlines() or [""])[0].split(",")]
    if len(fields) != 3 or not all(field.isdigit() for field in fields):
        return ""
    used, total = (int(field) * 2**20 for field in fields[1:])
    return f"GPU {fields[0]} % {size(used)} of {size(total)}"
