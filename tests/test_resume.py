"""Runs that were stopped, in every phase and in every way, and go on: real processes, real model, small sizes."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.record.log import LogReader
from funreason.record.texts import ENDS

SETTINGS = [
    *("tasks.per_round=6", "warmup.references.count=24", "model.threads=1", "name=cut"),
    *("gate.suites.new.count=12", "gate.suites.old.count=4"),
    *("train.learn_from=unfiltered", "train.quotas={}"),  # so few samples that judging might keep none
]
INT, TERM, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL


def start(*arguments) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "funreason", "loop", *map(str, arguments)]
    # No new session, but nothing of this process's own terminal either: signals come from the test alone.
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fresh(runs: Path) -> list[str]:
    return ["--config", "smoke", "--run-dir", str(runs), *(part for s in SETTINGS for part in ("--set", s))]


def phases(folder: RunFolder) -> int:
    return sum(isinstance(event, ev.PhaseStarted) for event in LogReader(folder.events).events())


def stop_in(process: subprocess.Popen[str], folder: RunFolder, k: int, phase: str, signals) -> tuple[int, str]:
    """Send `signals` once a phase that was not under way before has begun; the exit code and all that was said."""
    before, deadline = phases(folder), time.monotonic() + 60
    while True:
        state = folder.state()
        if phases(folder) > before and (state.round, state.phase) == (k, phase):
            break
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"round {k} never came to {phase}"
        time.sleep(0.02)
    for number in signals:
        process.send_signal(number)
        time.sleep(0.1)
    out, err = process.communicate(timeout=60)
    return process.returncode, out + err


STOPS = [
    (0, "base", [INT], 130),
    (0, "warmup", [INT], 130),
    (1, "sample", [KILL], -9),
    (1, "sample", [TERM, INT], 130),
    (1, "train", [INT], 130),
    (1, "gate", [INT], 130),
]


@pytest.mark.slow
def test_a_run_stopped_in_every_phase_comes_to_the_end_of_one_that_never_was(tmp_path):
    folder, arguments = RunFolder(tmp_path / "cut"), fresh(tmp_path)
    for k, phase, signals, code in STOPS:
        found, said = stop_in(start(*arguments), folder, k, phase, signals)
        assert found == code, (phase, said)
        assert folder.life().status == ("crashed" if code < 0 else "interrupted"), (phase, said)
        if code > 0:
            assert f"--resume {folder.path}" in said
            assert "Traceback" not in said
        arguments = ["--resume", folder.path]
    last = start(*arguments)
    out, err = last.communicate(timeout=120)
    assert last.returncode in (0, 3), err
    state = folder.state()
    assert state.status == folder.life().status == {0: "finished", 3: "refused"}[last.returncode]
    held_to_account(folder)
    steps = [s.step for s in state.rounds[0].steps]
    assert steps == list(range(1, state.rounds[0].steps[-1].steps + 1))
    assert "accounted for" in out


def held_to_account(folder: RunFolder) -> None:
    """No sample is lost, none doubled; each was drawn by the weights that were accepted; every round is sealed."""
    state = folder.state()
    accepted = state.rounds[0].weights
    for k in (1, 2):
        r, texts = state.rounds[k], folder.texts(k)
        ends = [s.id for kind in ENDS for s in texts.get(kind)]
        drawn = [(s.id, s.attempt) for s in texts.get("sampled")]
        assert r.fates.total() == r.todo == 12
        assert set(ends) == {id for id, _ in drawn} == {sample for round, sample in state.ended if round == k}
        assert len(drawn) == len(set(drawn))
        assert {s.weights_id for s in texts.get("sampled")} == {accepted}
        assert r.nodes["generator"].answered == r.nodes["response"].answered - r.nodes["regenerator"].outcomes["fresh"]
        assert (folder.round(k) / "manifest.json").exists()
        accepted = r.weights
