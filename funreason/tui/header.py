"""The header: which run, its phase and status, speed, time left, and what it uses of the host.

CPU and memory of the run's process come from /proc, GPU use from nvidia-smi when there is one. A process of another
host, a system without /proc and a dead process give an empty string; the run itself is not asked.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections import deque
from pathlib import Path
from typing import NamedTuple

from funreason.display.figures import duration, phase_name, phases_now, size
from funreason.display.spans import Line, Span, line
from funreason.display.verdict import RunVerdict
from funreason.record.folder import WriterStatus
from funreason.record.state import RoundState, State

GPU_TIMEOUT_S = 3.0
GPU_READINGS = 60
_QUERY = ("--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits")


class HostStats:
    """Reads one process; CPU is its share of one core since the last reading."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self.gpu = ""
        self.gpu_busy: deque[float] = deque(maxlen=GPU_READINGS)
        """The latest readings of how busy the first GPU is, in percent."""
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
        last, self._last = self._last, (now, busy)
        cpu = ""
        if last is not None and now > last[0]:
            cpu = f"CPU {100 * max(0.0, busy - last[1]) / (now - last[0]):.0f} %"
        parts = [cpu, f"RSS {size(pages * os.sysconf('SC_PAGE_SIZE'))}", self.gpu]
        return " · ".join(part for part in parts if part)

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
        if self.gpu:
            self.gpu_busy.append(float(self.gpu.split()[1]))


def gpu_text(csv: str) -> str:
    """nvidia-smi's `utilisation, used, total` (percent, MiB) of the first GPU as text; empty for any other form."""
    fields = [field.strip() for field in (csv.splitlines() or [""])[0].split(",")]
    if len(fields) != 3 or not all(field.isdigit() for field in fields):
        return ""
    used, total = (int(field) * 2**20 for field in fields[1:])
    return f"GPU {fields[0]} % {size(used)} of {size(total)}"


PHASE_ORDER = ("sample", "train", "gate")
ENDED = {"finished": ("✓", "good"), "refused": ("■", "warn"), "interrupted": ("‖", "warn"), "failed": ("✗", "bad")}


class HeaderContext(NamedTuple):
    """What the header shows beside the state: the time, the writing process, and how the log is read."""

    now: float
    life: WriterStatus | None = None
    per_s: float | None = None
    host: str = ""
    replay: str = ""
    unknown: int = 0
    held: bool = False
    control: bool | None = None
    opening: float | None = None
    notice: str = ""
    """What is wrong in the run, where no panel shows it."""


def header(state: State, name: str, v: HeaderContext) -> tuple[Line, Line]:
    """Two lines: state of the run, then speed, time and host."""
    where = f"round {state.round}/{state.rounds_planned}" if state.round else "start"
    phases = []
    for p in phases_now(state):
        r, progress = state.rounds.get(p.round) or RoundState(), ""
        if p.phase == "sample" and r.todo:
            progress = f" {min(r.fates.total(), r.todo)}/{r.todo}"
        elif p.phase in ("train", "start") and r.steps:
            progress = f" {r.steps[-1].step}/{r.steps[-1].steps}"
        phases.append(phase_name(state, p) + progress)
    first: list[str | Span] = [(" FunReason ", "key"), (f" {state.run or name} ", "head"), f" {where}"]
    first += [f" · {' + '.join(phases)}"] if phases else []
    first += ["   ", status_of(state, v)]
    first += [("  ‖ view held", "warn")] if v.held else []
    first += [(f"  ! {v.unknown} lines of a kind this version does not know", "warn")] if v.unknown else []
    end = v.now if running(state, v) else state.last_at
    facts = [f"elapsed {duration(state.elapsed_s(end))}"] if state.started_at else []
    left = remaining(state, v.now) if running(state, v) else None
    facts += [f"ETA {duration(left)}"] if left is not None else []
    facts += [f"{v.per_s:,.1f} samples/s"] if v.per_s else []
    facts += [f"weights {state.weights}"] if state.weights else []
    facts += [v.host] if v.host else []
    facts += ["read-only: no control socket"] if v.control is False and running(state, v) else []
    notice: list[Span] = [(f"  ! {v.notice}", "warn")] if v.notice else []
    return line(*first), line((" ", "plain"), (" · ".join(facts), "dim"), *notice)


def verdict_line(found: RunVerdict) -> Line:
    """Whether the run worked, in one line."""
    roles = {"better": "good", "worse": "bad", "unclear": "warn", "unchanged": "warn"}
    return line((" ", "plain"), (found.headline, roles.get(found.outcome, "dim")))


def status_of(state: State, v: HeaderContext) -> Span:
    """The status of the run, each with its own sign."""
    if v.opening is not None:
        return (f"… READING THE LOG {100 * v.opening:.0f} %", "warn")
    if v.replay:
        return (v.replay, "accent")
    if v.life is None:
        return ("? NO run.json: unknown writer", "warn")
    status = v.life.status
    if status == "crashed":
        return ("✗ CRASHED", "bad")
    if status == "stale":
        return (f"? STALE {duration(v.life.silent_s)}", "warn")
    if status in ENDED:
        sign, role = ENDED[status]
        return (f"{sign} {'FINISHED, NO ROUND KEPT' if status == 'refused' else status.upper()}", role)
    return ("‖ PAUSED", "warn") if state.paused else ("● RUNNING", "good")


def running(state: State, v: HeaderContext) -> bool:
    """Whether the run (or its replay) is in progress."""
    return bool(v.replay) or (v.life is not None and v.life.status in ("running", "stale"))


def remaining(state: State, now: float) -> float | None:
    """Seconds to the end of the run, estimated from finished rounds; None before the first one has finished."""
    whole = [sum(r.seconds.get(p, 0.0) for p in PHASE_ORDER) for k, r in state.rounds.items() if k and r.ended]
    if not whole or not state.rounds_planned:
        return None
    here = state.rounds.get(state.round)
    spent = 0.0
    if here is not None and not here.ended:
        spent = sum(here.seconds.get(p, 0.0) for p in PHASE_ORDER)
        spent += sum(max(0.0, now - p.at) for p in phases_now(state) if p.round == state.round)
    done = sum(1 for k, r in state.rounds.items() if k and r.ended)
    mean = sum(whole) / len(whole)
    return max(0.0, mean * (state.rounds_planned - done) - spent)
