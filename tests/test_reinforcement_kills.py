"""Runs of reinforcement learning that are killed in the middle of a step, and resumed: real processes, real model."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import PATIENCE_S

from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.record.log import LogReader
from funreason.record.state import State

COMMAND = [sys.executable, "-m", "funreason"]
SETTINGS = [
    *("tasks.per_round=24", "start.references=null", "model.threads=1", "sample.max_new_tokens=48", "name=cut"),
    *("gate.suites.new.count=8", "gate.suites.old.count=4", "rounds=2", "gate.min_gain=-100", "gate.promote_p=1"),
    *("reinforcement.steps_per_round=3", "reinforcement.prompts_per_step=8", "reinforcement.group_size=4"),
    # The model as it is calls nothing: what it can learn from is where no call is right.
    *("reinforcement.no_call_share=1", "tasks.mix={irrelevance: 1}", "reinforcement.update.lr=1e-4"),
    *("reinforcement.refusal_floor=null",),
]


def start(*arguments) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "loop", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def fresh(runs: Path, *settings: str) -> list[str]:
    options = ["--config", "smoke", "--method", "egpo", "--run-dir", str(runs)]
    return [*options, *(part for setting in (*SETTINGS, *settings) for part in ("--set", setting))]


def begun(folder: RunFolder) -> list[tuple[int, str]]:
    return [(e.round, e.phase) for e in LogReader(folder.events).events() if isinstance(e, ev.PhaseStarted)]


def kill_after(process: subprocess.Popen[str], folder: RunFolder, phase: str, count: int, seconds: float) -> None:
    """Kill the run some time after the phase of that name has begun for the `count`-th time in round 1."""
    deadline = time.monotonic() + PATIENCE_S
    while begun(folder).count((1, phase)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE_S)


def whole(process: subprocess.Popen[str], folder: RunFolder) -> State:
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode in (0, 3), out + err
    return folder.state()


def policies(folder: RunFolder) -> dict[tuple[int, int], str]:
    """The weights after each step; those of a step that was made twice must be the same."""
    found: dict[tuple[int, int], str] = {}
    for event in LogReader(folder.events).events():
        if isinstance(event, ev.PolicyUpdated):
            assert found.setdefault((event.round, event.step), event.weights) == event.weights
    return found


@pytest.mark.slow
def test_a_run_killed_within_steps_and_syncs_ends_with_the_same_weights_to_the_bit(tmp_path):
    one, other = RunFolder(tmp_path / "a" / "cut"), RunFolder(tmp_path / "b" / "cut")
    expected = whole(start(*fresh(tmp_path / "a")), one)
    killed = start(*fresh(tmp_path / "b"))
    for phase, count, seconds in (
        ("sample", 2, 0.05),
        ("train", 1, 0.1),
        ("train", 3, 0.3),
        ("sync", 1, 0.0),
        ("train", 4, 0.6),
        ("gate", 1, 0.0),
    ):
        if begun(other).count((1, phase)) >= count:
            continue
        kill_after(killed, other, phase, count, seconds)
        killed = start("--resume", other.path)
    state = whole(killed, other)
    assert policies(one) == policies(other)
    assert len(set(policies(one).values())) >= 4, "the steps changed the weights"
    assert state.weights == expected.weights
    assert {k: r.gate.decision for k, r in state.rounds.items()} == {
        k: r.gate.decision for k, r in expected.rounds.items()
    }
    for k in (1, 2):
        assert other.texts(k).credits() == one.texts(k).credits()
        assert sorted(s.id for s in other.texts(k).get("kept")) == sorted(s.id for s in one.texts(k).get("kept"))


@pytest.mark.slow
def test_the_optimizers_state_lives_on_only_with_weights_that_the_gate_promoted(tmp_path):
    """Which shows in what a round leaves behind: the state of its last step, or nothing."""
    one = RunFolder(tmp_path / "a" / "cut")
    state = whole(start(*fresh(tmp_path / "a", "rounds=1")), one)
    kept = [path.relative_to(one.weights).as_posix() for path in one.weights.glob("checkpoint-*/*")]
    assert kept == (["checkpoint-round-1/step-3"] if state.rounds[1].gate.decision == "promote" else [])
    other = RunFolder(tmp_path / "b" / "cut")
    state = whole(start(*fresh(tmp_path / "b", "rounds=1", "gate.min_gain=100")), other)
    assert state.rounds[1].gate.decision != "promote"
    assert not list(other.weights.glob("checkpoint-*"))
