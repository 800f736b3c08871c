"""Commands that are ended at each call on a file and given again: nothing is lost, and nothing is left."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from itertools import count
from pathlib import Path

import pytest
from patience import PATIENCE_S
from test_dead_letters import failed
from test_integrity import stopped

from funreason.agents.judges.llm.cache import Key, VerdictCache
from funreason.agents.judges.llm.prompt import Ruling
from funreason.cli.runs import dead, put_back
from funreason.record import events as ev
from funreason.record.folder import (
    TAKE_OVER_AFTER_S,
    RecordError,
    RunFolder,
    begin_run,
    open_run,
    remove_drafts,
    remove_folder,
    runs_in,
    write_json,
)
from funreason.record.log import EventLog, LogReader
from funreason.record.manifest import prune, require_unchanged, seal_run, verify
from funreason.runtime.journal import Journal

ROOT = Path(__file__).resolve().parents[1]
TOUCHING = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.truncate"}
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def ended_at(nth, act) -> bool:
    """Call `act` in a process that is killed just before its nth call on a file; False when it had ended before."""
    pid = os.fork()
    if pid:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, -signal.SIGKILL)
        return code != 0
    left, code = nth, 1

    def watch(event, arguments):
        nonlocal left
        if event in TOUCHING:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(watch)
        act()
        code = 0
    finally:
        if code:
            traceback.print_exc()
        os._exit(code)


def moments(act, folder: Path):
    """Each moment at which `act(copy)` can end, as a copy of the folder that is left then; last the whole of it."""
    for nth in count(1):
        copy = folder.with_name(f"{folder.name}-{nth}")
        shutil.copytree(folder, copy)
        killed = ended_at(nth, lambda copy=copy: act(copy))
        yield copy
        shutil.rmtree(copy)
        if not killed:
            assert nth > 3, "nothing was killed"
            return


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_loop_that_is_ended_while_it_begins_is_whole_or_can_be_begun_again(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / "runs" / f".cut.new-{gone.pid}").mkdir(parents=True)  # an earlier one was ended, too
    for runs in moments(lambda runs: begin_run(RunFolder(runs / "cut"), "rounds: 2\n"), tmp_path / "runs"):
        if not runs_in(runs):
            begin_run(RunFolder(runs / "cut"), "rounds: 2\n")
        (run,) = runs_in(runs)
        assert (run.name, (run.path / "config.yaml").read_text()) == ("cut", "rounds: 2\n")
        run.acquire()
        with pytest.raises(FileExistsError):
            begin_run(RunFolder(runs / "cut"), "rounds: 1\n")
        run.release()
        assert names(runs) == ["cut", "cut/config.yaml", "cut/events", "cut/run.json"]


def test_what_a_run_is_resumed_with_is_there_before_the_run_is(tmp_path):
    (tmp_path / "out").mkdir()

    def begin(out: Path) -> None:
        RunFolder(out).acquire(begin=lambda: write_json(out / "records.json", {"path": "x"}))

    for out in moments(begin, tmp_path / "out"):
        if RunFolder(out).writer_status() is not None:
            assert json.loads((out / "records.json").read_text()) == {"path": "x"}


def test_a_run_that_is_ended_in_its_last_lines_can_be_resumed_and_is_no_damage(tmp_path):
    folder = stopped(tmp_path / "run")
    folder.seal(1)

    def finish(copy: Path) -> None:
        run = RunFolder(copy)
        run.acquire()
        journal = Journal(run)
        journal.write(ev.RoundEnded(round=1, weights="w1"))
        journal.end("finished")

    for copy in moments(finish, folder.path):
        run = RunFolder(copy)
        require_unchanged(run, {})
        assert not verify(run).wrong
        if run.writer_status().status == "finished":
            assert not verify(run).unlisted


def test_pruning_that_is_ended_removes_the_rest_next_time_and_hides_nothing(tmp_path):
    folder = stopped(tmp_path / "run")
    (folder.weights / "bad" / "more").mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "more/tokenizer.json"):
        (folder.weights / "bad" / name).write_text("weights that the gate refused")
    seal_run(folder)
    folder.acquire()
    Journal(folder).end("interrupted")  # with marks of them
    for copy in moments(lambda copy: prune(RunFolder(copy)), folder.path):
        run = RunFolder(copy)
        gone = not (run.weights / "bad").exists()
        assert gone or len(names(run.weights / "bad")) == 4
        said = [e.text for e in LogReader(run.events).events() if isinstance(e, ev.LogMessage) and "pruned" in e.text]
        assert said or not gone
        prune(run)
        assert names(run.weights) == ["w1", "w1/model.safetensors"]
        assert not verify(run).wrong
        require_unchanged(run, {})


def test_a_run_whose_refused_weights_were_pruned_can_be_resumed(tmp_path):
    folder = stopped(tmp_path / "run")
    log = EventLog(folder.events)
    log.write(ev.RoundEnded(round=1, weights="w0"))
    log.close()
    folder.seal(1)
    assert [thing.path.name for thing in prune(folder)] == ["w1"]
    require_unchanged(folder, {})


def test_requeueing_that_is_ended_is_finished_by_the_next_and_puts_each_sample_back_once(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    log = EventLog(folder.events)
    for i in range(3):
        sample = failed(i)
        folder.texts(1).append("dropped", sample)
        log.write(ev.SampleEnded(round=1, sample=sample.id, attempt=0, fate="dropped", reason="cot.missing"))
    log.close()
    folder.close()
    folder.heartbeat("interrupted")
    for name in ("state.json", "model.safetensors"):
        write_whole = folder.checkpoint(1) / "checkpoint" / name
        write_whole.parent.mkdir(parents=True, exist_ok=True)
        write_whole.write_text("x")
    for copy in moments(lambda copy: put_back(RunFolder(copy), "*"), folder.path):
        run = RunFolder(copy)
        checkpoint = run.checkpoint(1) / "checkpoint"
        assert not checkpoint.exists() or len(names(checkpoint)) == 2
        if list(dead(run, "*")):
            put_back(run, "*")
        assert not list(dead(run, "*"))
        assert set(run.state().requeues.values()) == {1}


def test_a_folder_is_removed_whole_or_left_whole(tmp_path):
    (tmp_path / "weights" / "w" / "more").mkdir(parents=True)
    for name in ("a", "b", "more/c"):
        (tmp_path / "weights" / "w" / name).write_text("x")
    for copy in moments(lambda copy: remove_folder(copy / "w"), tmp_path / "weights"):
        assert not (copy / "w").exists() or names(copy / "w") == ["a", "b", "more", "more/c"]


def test_what_a_killed_process_left_beside_a_folder_is_removed_and_a_living_ones_is_not(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (gone.pid, os.getppid()):
        (tmp_path / f".out[1].new-{pid}").mkdir()
        (tmp_path / f".out[1].new-{pid}" / "half").write_text("x")
    remove_drafts(tmp_path / "out[1]")
    assert [path.name for path in tmp_path.iterdir()] == [f".out[1].new-{os.getppid()}"]


def test_a_link_to_the_model_that_a_kill_left_half_made_keeps_no_run_from_being_opened(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    folder = stopped(tmp_path / "run")
    (folder.path / ".model.new").symlink_to(tmp_path / "base")
    open_run(folder.path, tmp_path).clean_up()
    assert not (folder.path / ".model.new").is_symlink()
    (folder.path / ".model.new").symlink_to(tmp_path)
    with pytest.raises(RecordError, match="leads out of the run's folder"):
        open_run(folder.path, tmp_path)


def test_a_refining_that_is_ended_before_its_status_is_written_is_listed_as_it_is_in_the_end(tmp_path):
    from funreason.cli.refine import resume_refine, run_refine
    from funreason.data.toolbox import generate
    from funreason.data.writers import convert

    convert(generate("new_dev", 6, 0), "openai", tmp_path / "records.jsonl")
    out = tmp_path / "out"
    assert run_refine(tmp_path / "records.jsonl", out, "own-data", {}, [], quiet=True) == 0
    dead = subprocess.Popen(["true"])
    dead.wait()
    life = json.loads((out / "run.json").read_text())
    lines = (out / "round-1" / "kept.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) > 1
    for _ in range(2):
        (out / "run.json").write_text(json.dumps(life | {"status": "running", "pid": dead.pid}))
        ended_at(40, lambda: resume_refine(str(out), tmp_path, None, {}, [], quiet=True))
    (out / "run.json").write_text(json.dumps(life | {"status": "running", "pid": dead.pid}))
    assert resume_refine(str(out), tmp_path, None, {}, [], quiet=True) == 0
    found = verify(RunFolder(out))
    assert (found.wrong, found.unlisted) == ([], [])
    assert sum(isinstance(e, ev.RoundEnded) for e in LogReader(out / "events").events()) == 1


HOLDING = """
import os, signal, sys
from pathlib import Path
from funreason.record.folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
folder.acquire()
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture
def suspended(tmp_path):
    """A process that has acquired a run and is suspended since."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path / "run")], stdout=-1)
    assert process.stdout.readline() == b"ready\n"
    yield process, RunFolder(tmp_path / "run")
    process.kill()
    process.communicate()


def test_a_run_is_not_taken_from_a_suspended_process_however_long_it_was_silent(suspended):
    process, folder = suspended
    life = json.loads((folder.path / "run.json").read_text())
    silent = life | {"heartbeat": time.time() - 10 * TAKE_OVER_AFTER_S}
    (folder.path / "run.json").write_text(json.dumps(silent))
    with pytest.raises(RecordError, match=rf"process {process.pid} on .*It is alive"):
        folder.acquire(take_over=True)
    process.kill()
    process.wait(PATIENCE_S)
    assert folder.acquire().pid == process.pid


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_is_set_takes_no_run_from_a_living_process(suspended, monkeypatch, days):
    _, folder = suspended
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + days * 86_400)
    with pytest.raises(RecordError, match="is being written"):
        folder.acquire(take_over=True)


def test_an_id_that_another_process_has_by_now_does_not_keep_a_silent_run_for_ever(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    silent = time.time() - 2 * TAKE_OVER_AFTER_S
    life = {"pid": os.getppid(), "host": socket.gethostname(), "heartbeat": silent, "status": "running"}
    (folder.path / "run.json").write_text(json.dumps(life))
    with pytest.raises(RecordError, match="is being written"):
        folder.acquire()
    assert folder.acquire(take_over=True).pid == os.getppid()


@pytest.mark.parametrize("days", [-1, 1])
def test_times_of_a_run_never_run_backwards_though_the_clock_is_set_between_two_processes(tmp_path, monkeypatch, days):
    folder, now, shift = RunFolder(tmp_path / "run"), time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: now() + shift[0])
    for shift[0] in (0.0, days * 86_400.0, 0.0, -days * 86_400.0):
        folder.acquire()
        journal = Journal(folder)
        journal.write(ev.RunStarted(run="run", rounds=1, last_heartbeat_at=folder.last_heartbeat()))
        with journal.phase(1, "sample"):
            shift[0] += 3600.0 * days
        journal.end("interrupted")
    times = [event.at for event in LogReader(folder.events).events()]
    assert len(times) >= 16
    assert times == sorted(times)
    state = folder.state()
    assert min(state.rounds[1].seconds.values()) >= 0
    assert 0 <= state.elapsed_s(state.last_at) <= times[-1] - times[0]


WRITING = """
import sys
from pathlib import Path
from funreason.agents.judges.llm.cache import Key, VerdictCache
from funreason.agents.judges.llm.prompt import Ruling
cache = VerdictCache(Path(sys.argv[1]), 100_000)
print("ready", flush=True)
i = 0
while len(sys.argv) < 4 or i < int(sys.argv[3]):
    cache.put(Key(sys.argv[2], "p", str(i)), Ruling(i % 2 == 0, 1.0, str(i)))
    i += 1
cache.close()
sys.exit(bool(cache.fault))
"""


def test_a_cache_that_two_runs_share_is_whole_though_one_of_them_is_killed_while_it_writes(tmp_path):
    path = tmp_path / "verdicts.sqlite"

    def writer(*arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", WRITING, str(path), *arguments], stdout=-1)
        assert process.stdout.readline() == b"ready\n"
        return process

    other = writer("other", "20000")
    for name in "ab":
        killed = writer(name)
        time.sleep(0.05)
        killed.kill()
        killed.communicate()
    assert other.wait(PATIENCE_S) == 0
    other.stdout.close()
    cache = VerdictCache(path, most=100_000)
    for name in ("other", "a", "b"):
        for i in (*range(200), 19_999):
            found = cache.get(Key(name, "p", str(i)))
            assert found == Ruling(i % 2 == 0, 1.0, str(i)) or (found is None and name != "other")
    cache.close()
    assert not cache.fault


@pytest.mark.engine
@pytest.mark.skipif(shutil.which("cc") is None, reason="the library that ends a process at a call needs a C compiler")
def test_commands_ended_at_chosen_calls_leave_what_undisturbed_ones_leave(tmp_path):
    options = ["--kills", "60", "--seed", "7", "--out", str(tmp_path / "table.md"), "--keep", str(tmp_path / "runs")]
    command = [sys.executable, "benchmarks/kill_points.py", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    kills, cases, differ = map(
        int, re.findall(r"(\d+) kills in (\d+) cases;.* (\d+) cases ended", (tmp_path / "table.md").read_text())[0]
    )
    assert kills >= 60
    assert cases > 10
    assert not differ
