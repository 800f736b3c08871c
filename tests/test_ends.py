"""Ways in which a run can end that nobody planned: each ends clearly, and what was written stays readable."""

import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from patience import PATIENCE_S

from funreason.record import events as ev
from funreason.record import log
from funreason.record.folder import RunFolder
from funreason.record.log import EventLog, LogReader, RecordError
from funreason.record.sample_files import ENDS, SampleFiles
from funreason.record.state import State
from funreason.types import Sample, Task

COMMAND = [sys.executable, "-m", "funreason"]


@contextmanager
def mounted(place: Path, *options: str):
    """A small file system of its own at `place`; skips where this process may not mount one."""
    place.mkdir()
    done = subprocess.run(["mount", *options, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def records(path: Path, count: int = 400) -> Path:
    tool = {"name": "f", "description": "does f " * 20, "parameters": {"x": {"type": "int", "description": "x"}}}
    with path.open("w") as file:
        for i in range(count):
            answers = json.dumps([{"name": "f", "arguments": {"x": i}}])
            file.write(
                json.dumps({"id": f"t{i}", "query": f"do f with {i}", "tools": json.dumps([tool]), "answers": answers})
                + "\n"
            )
    return path


def refine(data: Path, out: Path, **options) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "refine", str(data), "--out", str(out), "--set", "fcdr.canaries.share=0"]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def require_readable(out: Path) -> State:
    """All that was written before the end can be read: whole events, and for each end its text."""
    folder = RunFolder(out)
    state = folder.state()
    texts = {sample.id for kind in ENDS for sample in folder.texts(1).get(kind)}
    assert {sample for _, sample in state.ended} <= texts
    for path in out.rglob("*.jsonl"):
        assert not path.read_bytes() or path.read_bytes().endswith(b"\n"), path
    shown = subprocess.run([*COMMAND, "status", str(out)], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    return state


def test_a_full_disk_ends_the_run_with_a_sentence_and_whole_lines(tmp_path):
    data = records(tmp_path / "data.jsonl")
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=96k", "tmpfs") as disk:
        done = refine(data, disk / "out")
        assert done.returncode == 1
        assert "cannot be written: No space left on device" in done.stderr
        assert "Traceback" not in done.stderr + done.stdout
        assert require_readable(disk / "out").ended


def test_a_file_that_may_not_grow_ends_the_run_like_a_full_disk(tmp_path):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = refine(records(tmp_path / "data.jsonl"), tmp_path / "out", preexec_fn=limit)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert require_readable(tmp_path / "out").ended


def test_a_read_only_folder_can_be_looked_at_and_says_why_it_cannot_be_gone_on_with(tmp_path):
    runs = tmp_path / "runs"
    assert refine(records(tmp_path / "data.jsonl", 5), runs / "a").returncode == 0
    (runs / "a" / "config.yaml").write_text("rounds: 1\n")
    with mounted(tmp_path / "closed", "--bind", "-o", "ro", str(runs)) as closed:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(closed)], check=True)
        for words in (["status", "a"], ["runs", "verify"]):
            shown = subprocess.run([*COMMAND, *words, "--run-dir", str(closed)], capture_output=True, check=False)
            assert shown.returncode == 0, shown.stderr
        for words in (["loop", "--resume", "a"], ["report", "a"]):
            done = subprocess.run(
                [*COMMAND, *words, "--run-dir", str(closed)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 1
            assert "Read-only file system" in done.stderr
            assert "Traceback" not in done.stderr


LIVING = """
import asyncio, sys, time
from pathlib import Path
from funreason.runtime import journal
from funreason.stop import StopRequest
from funreason.record.folder import RunFolder

async def main():
    journal.HEARTBEAT_S = 0.05
    folder, stop = RunFolder(Path(sys.argv[1])), StopRequest()
    folder.acquire()
    pen = journal.Journal(folder)
    stop.listen()
    stop.on_stop(lambda: print("asked", flush=True))
    async with pen.heartbeat():
        with pen.phase(1, "sample"):
            print("ready", flush=True)
            while not stop.asked:
                await asyncio.sleep(0.02)
    pen.end("interrupted")
    print("ended", flush=True)

asyncio.run(main())
"""


@pytest.fixture
def living(tmp_path):
    """A process that holds a run, does nothing in it, and stops when asked."""
    folder = tmp_path / "run"
    command = [sys.executable, "-c", LIVING, str(folder)]
    # A child inherits that hangups are ignored, as under nohup; a terminal's does not.
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True, preexec_fn=_hang_up_as_ever)
    assert process.stdout.readline() == "ready\n"
    yield process, RunFolder(folder)
    process.kill()
    process.communicate()


def test_a_folder_that_is_removed_under_a_run_ends_it_with_a_sentence(living):
    process, folder = living
    while folder.path.exists():  # a heartbeat may put its file back between two removals
        shutil.rmtree(folder.path, ignore_errors=True)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert f"{folder.path} is gone" in err
    assert "Traceback" not in err
    assert not folder.path.exists()


def test_a_run_whose_file_was_removed_blames_no_other_process(living):
    """What a removal of the whole folder looks like to a heartbeat that comes in the midst of it."""
    process, folder = living
    while process.poll() is None:
        (folder.path / "run.json").unlink(missing_ok=True)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert f"{folder.path} is gone" in err
    assert "taken over" not in err


def _hang_up_as_ever():
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_a_closed_terminal_is_a_request_to_stop_however_often_it_is_told(living):
    process, folder = living
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out.split(), err) == (0, ["asked", "ended"], "")
    assert folder.state().status == folder.writer_status().status == "interrupted"


def test_the_second_of_two_processes_is_refused_and_the_first_goes_on(living):
    process, folder = living
    with pytest.raises(RecordError, match=f"process {process.pid} on "):
        folder.acquire()
    assert process.poll() is None


def claims(path: Path, go, won) -> None:
    folder = RunFolder(path)
    go.wait()
    try:
        folder.acquire()
    except RecordError:
        won.put(None)
        return
    won.put(os.getpid())
    time.sleep(30)  # whoever has it lives until all have asked


def test_of_many_processes_that_claim_a_run_at_once_one_gets_it(tmp_path):
    fork = multiprocessing.get_context("fork")
    for attempt in range(5):
        go, won = fork.Event(), fork.Queue()
        rivals = [fork.Process(target=claims, args=(tmp_path / str(attempt), go, won)) for _ in range(6)]
        for rival in rivals:
            rival.start()
        go.set()
        winners = [pid for pid in [won.get(timeout=20) for _ in rivals] if pid is not None]
        assert [RunFolder(tmp_path / str(attempt)).writer_status().pid] == winners
        for rival in rivals:
            rival.kill()
            rival.join()


def test_a_clock_that_is_set_back_makes_no_event_earlier_than_the_one_before(tmp_path, monkeypatch):
    told = iter([1000.0, 1001.0, 400.0, 402.0, 401.0, 403.0])
    monkeypatch.setattr(log.time, "time", lambda: next(told))
    pen = EventLog(tmp_path)
    for _ in range(6):
        pen.write(ev.LogMessage(level="info", text="x"))
    assert [event.at for event in LogReader(tmp_path).events()] == [1000, 1001, 1001, 1003, 1003, 1005]


def test_a_run_taken_up_under_an_earlier_clock_has_no_negative_time():
    state = State().fold(
        [
            ev.RunStarted(at=1000, run="r", rounds=1),
            ev.PhaseStarted(at=1010, round=1, phase="sample"),
            ev.RunStarted(at=300, run="r", rounds=1, resumed=True, last_heartbeat_at=1020),
            ev.PhaseStarted(at=301, round=1, phase="sample"),
            ev.PhaseEnded(at=310, round=1, phase="sample", seconds=9.0),
            ev.RunEnded(at=311, status="finished"),
        ]
    )
    assert state.rounds[1].seconds == {"sample": 19.0}
    assert state.away_s == 0
    assert state.elapsed_s(311) == 0 <= state.elapsed_s(state.last_at)


def test_the_time_of_a_phase_that_was_killed_counts_and_the_night_between_does_not():
    state = State().fold(
        [
            ev.RunStarted(at=100, run="r", rounds=1),
            ev.PhaseStarted(at=110, round=1, phase="gate"),
            ev.RunStarted(at=9000, run="r", rounds=1, resumed=True, last_heartbeat_at=150),
            ev.PhaseStarted(at=9010, round=1, phase="gate"),
            ev.PhaseEnded(at=9015, round=1, phase="gate", seconds=5.0),
        ]
    )
    assert state.rounds[1].seconds == {"gate": 45.0}
    assert state.elapsed_s(9015) == (150 - 100) + (9015 - 9000)


def test_a_line_that_was_changed_by_hand_is_named(tmp_path):
    texts = SampleFiles(tmp_path)
    for i in range(2):
        texts.append("kept", Sample.of(id=f"s{i}", task=Task.of(id="t", query="q", tools=[]), answer="a"))
    texts.close()
    with (tmp_path / "kept.jsonl").open("a") as file:
        file.write("not json\n")
    with pytest.raises(RecordError, match=r"kept.jsonl, line 3: .*runs verify"):
        list(SampleFiles(tmp_path).get("kept"))
    (tmp_path / "tasks.jsonl").unlink()
    with pytest.raises(RecordError, match=r"tasks.jsonl has no task 't'"):
        next(SampleFiles(tmp_path).get("kept"))


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_live_view_nobody_reads_any_more_does_not_stop_the_run(tmp_path, closed):
    command = [*COMMAND, "refine", str(records(tmp_path / "data.jsonl", 50)), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    getattr(process, closed).close()
    with process.stderr if closed == "stdout" else process.stdout as other:
        other.read()
    process.wait(timeout=30)
    assert RunFolder(tmp_path / "out").state().status == "finished"
