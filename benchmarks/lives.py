"""The lives of a run: each a forked process that plays a command, and is killed where a plan says.

A fork costs a hundredth of a second, loading the libraries several seconds; so the parent loads them once and never
computes anything itself, since a process with running threads must not be forked.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from funreason.record import events as ev
from funreason.record.log import LogReader

PHASES = (
    *("begin", "base", "start", "gate of the start", "weight sync", "sample and judge", "train", "gate"),
    *("between phases", "manifest", "last link", "report"),
)
LONGEST_S = 120.0


class Plan(NamedTuple):
    """When to kill: at the `file`-th file, or `wait` seconds into `phase`; never with neither."""

    phase: str = ""
    wait: float = 0.0
    file: int = 0


def load_libraries() -> None:
    """Import what a run imports; without a parallel computation, so that children may be forked."""
    from funreason.policies.factory import wait_passively

    wait_passively()
    import torch
    import transformers  # noqa: F401

    import funreason.cli.export
    import funreason.cli.loop
    import funreason.cli.refine
    import funreason.cli.runs
    import funreason.cli.track
    import funreason.cli.watch
    import funreason.display.progress
    import funreason.display.report
    import funreason.export
    import funreason.loops.refine
    import funreason.loops.self_refinement
    import funreason.objectives.grpo
    import funreason.objectives.srml
    import funreason.policies.huggingface.sampler
    import funreason.training.engine
    import funreason.training.launch
    import funreason.training.scoring  # noqa: F401

    with suppress(ImportError):  # accelerate imports it when the first model is saved
        import deepspeed  # noqa: F401

    torch.set_num_threads(1)


def live(folder: Path, play: Callable[[], int], plan: Plan) -> int:
    """Play in a process of its own, killed as planned; its exit code, -9 when the kill landed."""
    pid = os.fork()
    if pid == 0:
        _child(folder, play, plan.file)
    if plan.phase:
        _kill_in(pid, folder, plan)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _child(folder: Path, play: Callable[[], int], file: int) -> None:
    code = 70
    try:
        said = os.open(folder.with_suffix(".out"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(said, 1)
        os.dup2(said, 2)
        if file:
            _die_at(folder, file)
        code = play()
    except BaseException as error:  # a forked child must never come back into its parent's code
        print(f"{type(error).__name__}: {error}", flush=True)
    finally:
        sys.stdout.flush()
        os._exit(code)


def _die_at(folder: Path, file: int) -> None:
    """Kill this process when it is about to touch its `file`-th file of the run."""
    left, inside = file, os.fsencode(folder)
    touching = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.truncate"}

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        path = arguments[0] if event in touching and arguments else None
        if isinstance(path, str | bytes | os.PathLike) and os.fsencode(path).startswith(inside):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def _kill_in(pid: int, folder: Path, plan: Plan) -> None:
    seen, before = LogReader(folder / "events"), len(list((folder / "events").glob("*.jsonl")))
    phase, end = "begin", time.monotonic() + LONGEST_S
    while time.monotonic() < end and not _gone(pid):
        if len(list((folder / "events").glob("*.jsonl"))) > before:
            for event in seen.events():
                phase = after(phase, event)
        else:
            for _ in seen.events():
                pass  # what earlier lives wrote
        if phase == plan.phase:
            time.sleep(plan.wait)
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.001)


def _gone(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def after(phase: str, event: ev.AnyEvent) -> str:
    """The phase after `event`, in the words of the table."""
    match event:
        case ev.PhaseStarted(phase="start"):
            return "start"
        case ev.PhaseStarted(phase="gate", round=0):
            return "gate of the start"
        case ev.PhaseStarted(phase="sample"):
            return "weight sync"
        case ev.PhaseStarted():
            return event.phase
        case ev.PhaseEnded(phase="gate") if event.round:
            return "manifest"
        case ev.PhaseEnded() | ev.RunStarted():
            return "between phases"
        case ev.RoundEnded(round=2):
            return "last link"
        case ev.RoundEnded():
            return "between phases"
        case ev.Judged() | ev.SampleEnded():
            return "sample and judge"
    return phase


def phase_at_death(folder: Path, before: int) -> str:
    """In which phase the last life ended; `before` is how many log files there were before it."""
    logs = sorted((folder / "events").glob("*.jsonl"))
    if len(logs) <= before:
        return "begin"
    phase = "begin"
    for event in LogReader(folder / "events").events():
        phase = "begin" if isinstance(event, ev.RunStarted) else phase
        phase = after(phase, event)
    return phase
