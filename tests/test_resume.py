"""Runs that were stopped, in every phase and in every way, and go on: real processes, real model, small sizes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import PATIENCE_S

from funreason.agents.references import usable_references
from funreason.agents.trainer import UpdateRequest
from funreason.agents.updating import Updating, update_job
from funreason.cli.runs import put_back
from funreason.config import Config, Update
from funreason.data.toolbox import BASE, generate
from funreason.policies.policy import Policy
from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.record.log import LogReader
from funreason.record.sample_files import ENDS
from funreason.record.state import State
from funreason.stop import Interrupted, StopRequest
from funreason.types import Weights
from funreason.weights import WeightStore

SETTINGS = [
    *("tasks.per_round=6", "start.references.count=24", "model.threads=1", "name=cut"),
    *("gate.suites.new.count=12", "gate.suites.old.count=4"),
    *("train.data=unfiltered", "train.max_category_share={}"),  # so few samples that judging might keep none
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
    before, deadline = phases(folder), time.monotonic() + PATIENCE_S
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
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out + err


STOPS = [
    (0, "base", [INT], 130),
    (0, "start", [INT], 130),
    (1, "sample", [KILL], -9),
    (1, "train", [INT], 130),
    (1, "train", [TERM, INT], 130),
    (1, "gate", [INT], 130),
]


@pytest.mark.slow
def test_a_run_stopped_in_every_phase_comes_to_the_end_of_one_that_never_was(tmp_path):
    folder, arguments = RunFolder(tmp_path / "cut"), fresh(tmp_path)
    for k, phase, signals, code in STOPS:
        found, said = stop_in(start(*arguments), folder, k, phase, signals)
        assert found == code, (phase, said)
        assert folder.writer_status().status == ("crashed" if code < 0 else "interrupted"), (phase, said)
        if code > 0:
            assert f"--resume {folder.path}" in said
            assert "Traceback" not in said
        if phase == "train":
            put_back(folder, "*")
        arguments = ["--resume", folder.path]
    last = start(*arguments)
    out, err = last.communicate(timeout=PATIENCE_S)
    assert last.returncode in (0, 3), err
    state = folder.state()
    assert state.status == folder.writer_status().status == {0: "finished", 3: "refused"}[last.returncode]
    held_to_account(folder)
    again = {(s.id, s.attempt): s for s in folder.texts(1).get("sampled") if s.attempt >= 2}
    assert {attempt for _, attempt in again} == {2, 3}, "put back twice, so drawn twice beyond its attempts"
    assert any(
        again[id, 3].answer != s.answer for (id, attempt), s in again.items() if (id, 3) in again and attempt < 3
    )
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
        assert (
            r.nodes["generator"].answered == r.nodes["response"].answered - r.nodes["regenerator"].outcomes["resampled"]
        )
        assert (folder.round(k) / "manifest.json").exists()
        accepted = r.weights


@pytest.fixture
def updating(tmp_path):
    """An update of the embedded base, its events, and a lesson of `n` references."""
    from funreason.policies.huggingface.sampler import HuggingFaceSampler
    from funreason.policies.model_files import load_model, load_tokenizer

    def make(n: int, stop_after: int | None = None):
        stop, events = StopRequest(), []

        def write(event: ev.Event) -> None:
            events.append(event)
            if isinstance(event, ev.OptimizerStep) and event.step == stop_after:
                stop.ask()

        model = load_model(BASE, "cpu", "float32")
        tokenizer = load_tokenizer(BASE, model)
        sampler = HuggingFaceSampler(model, tokenizer, weights_id="base", max_new_tokens=4)
        settings = Update(batch_size=4, checkpoint_every=1, lr_warmup_steps=0)
        config = Config(model={"threads": 1})
        update = Updating(Policy(sampler, tokenizer), RunFolder(tmp_path), write, stop, config)
        lesson = UpdateRequest(1, usable_references(generate("new_train", n, 0), 1)[0], [], Weights("base", BASE))
        return lambda: update(settings, lesson), events

    return make


def stepped(events) -> list[int]:
    return [event.step for event in events if isinstance(event, ev.OptimizerStep)]


def test_an_update_goes_on_behind_its_last_checkpoint_and_anew_when_its_samples_changed(updating, tmp_path):
    first, events = updating(12, stop_after=1)
    with pytest.raises(Interrupted):
        first()
    assert stepped(events) == [1]
    changed, events = updating(8, stop_after=1)
    with pytest.raises(Interrupted):
        changed()
    assert stepped(events) == [1]
    assert [e.level for e in events if isinstance(e, ev.LogMessage)] == ["warning"]
    again, events = updating(8)
    accepted, updated, _ = again()
    assert stepped(events) == [2]
    assert accepted.folder == tmp_path / "weights" / updated.weights
    assert RunFolder(tmp_path).checkpoint(1).exists(), "until the log says that the update was made"
    past = State().fold([updated])
    base = Weights("base", BASE)
    assert WeightStore(base, tmp_path / "weights", past).trained(1) == accepted
    assert WeightStore(base, tmp_path / "weights", past).trained(2) is None
    assert WeightStore(base, tmp_path / "elsewhere", past).trained(1) is None


def test_an_update_keeps_checkpoints_as_often_as_configured():
    assert update_job(Update(checkpoint_every=7), Config(), BASE, Path("out")).update.checkpoint_every == 7
    assert Update().checkpoint_every > 0


BEATING = """
import asyncio, sys, time
from pathlib import Path
from funreason.runtime import journal
from funreason.record.folder import RunFolder

async def main():
    journal.HEARTBEAT_S = 0.05
    folder = RunFolder(Path(sys.argv[1]))
    folder.acquire()
    async with journal.Journal(folder).heartbeat():
        print("ready", flush=True)
        time.sleep(30)  # what loading a large model does to the loop

asyncio.run(main())
"""


def test_a_busy_run_is_alive_and_one_that_was_taken_over_writes_no_more(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", BEATING, str(tmp_path)], stdout=-1, stderr=-1, text=True)
    assert process.stdout.readline() == "ready\n"
    folder = RunFolder(tmp_path)
    first, deadline = json.loads((tmp_path / "run.json").read_text()), time.monotonic() + 10
    while json.loads((tmp_path / "run.json").read_text())["heartbeat"] == first["heartbeat"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while process.poll() is None and time.monotonic() < deadline:
        folder.heartbeat("running")  # again and again: it may be in the midst of a heartbeat of its own
        time.sleep(0.05)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "was taken over by another process" in err
    assert folder.writer_status().pid == os.getpid()


WORKING = """
import asyncio, sys, time
from pathlib import Path
from funreason.stop import StopRequest
from funreason.runtime.journal import Journal
from funreason.record.folder import RunFolder

async def main():
    folder, stop = RunFolder(Path(sys.argv[1])), StopRequest()
    folder.acquire()
    journal = Journal(folder)
    stop.listen()
    stop.on_leave(lambda: journal.end("interrupted"))
    stop.on_stop(lambda: print("asked", flush=True))
    print("ready", flush=True)
    async with journal.heartbeat():
        await asyncio.to_thread(time.sleep, 60)

asyncio.run(main())
"""


def test_the_second_request_waits_for_no_thread(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WORKING, str(tmp_path)], stdout=-1, stderr=-1, text=True)
    for line in ("ready\n", "asked\n"):
        assert process.stdout.readline() == line
        process.send_signal(INT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "")
    folder = RunFolder(tmp_path)
    assert folder.state().status == folder.writer_status().status == "interrupted"
