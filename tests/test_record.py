"""The record: events, log, texts, run folder."""

import json
import os
import socket
import subprocess
import sys
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funreason.record import events as ev
from funreason.record.folder import TAKE_OVER_AFTER_S, RecordError, RunFolder, newest_run, open_run, write_whole
from funreason.record.log import PIECE, Clock, EventLog, LogReader
from funreason.record.sample_files import Line, SampleFiles
from funreason.record.state import State
from funreason.types import Sample, Task, Verdict


def task(i: int = 0) -> Task:
    return Task.of(id=f"t{i}", query="q", tools=[{"name": "f"}])


def sample(i: int = 0) -> Sample:
    return Sample.of(id=f"s{i}", task=task(i), answer="[f()]", thinking="so f", verdicts=(Verdict("cot", "pass"),))


def test_what_was_written_is_read_back_in_order(tmp_path):
    log = EventLog(tmp_path)
    for k in range(3):
        log.write(ev.PhaseStarted(round=k, phase="sample"))
    log.close()
    events = list(LogReader(tmp_path).events())
    assert [e.round for e in events] == [0, 1, 2]
    assert all(e.at > 0 for e in events)


def test_a_reader_gets_only_what_is_new(tmp_path):
    log, reader = EventLog(tmp_path), LogReader(tmp_path)
    log.write(ev.LogMessage(level="info", text="one"))
    assert len(list(reader.events())) == 1
    assert list(reader.events()) == []
    log.write(ev.LogMessage(level="info", text="two"))
    assert [e.text for e in reader.events()] == ["two"]


def test_a_torn_last_line_is_left_until_it_is_whole(tmp_path):
    path = tmp_path / "loop-000.jsonl"
    lines = b'{"kind":"log","format":2}\n{"kind":"log_message","level":"info","text":"whole"}\n'
    path.write_bytes(lines + b'{"kind":"log_message","lev')
    reader = LogReader(tmp_path)
    assert [e.text for e in reader.events()] == ["whole"]
    with path.open("ab") as file:
        file.write(b'el":"info","text":"later"}\n')
    assert [e.text for e in reader.events()] == ["later"]


def test_an_event_longer_than_what_is_read_at_once_is_read_whole(tmp_path):
    log, texts = EventLog(tmp_path), ["one", "x" * 3 * PIECE, "three"]
    for text in texts:
        log.write(ev.LogMessage(level="info", text=text))
    assert [event.text for event in LogReader(tmp_path).events()] == texts


def test_a_clock_that_is_set_back_continues_from_the_last_time_it_gave(monkeypatch):
    clock = Clock()
    system = iter([100.0, 40.0, 50.0, 45.0, 60.0])
    monkeypatch.setattr(time, "time", lambda: next(system))
    assert [clock.now() for _ in range(5)] == [100.0, 100.0, 110.0, 110.0, 125.0]


def test_an_event_of_a_newer_version_is_counted_and_passed_over(tmp_path):
    (tmp_path / "loop-000.jsonl").write_bytes(
        b'{"kind":"log","format":2}\n{"kind":"telepathy"}\n{"kind":"log_message","level":"info","text":"x","new":1}\n'
    )
    reader = LogReader(tmp_path)
    assert [e.text for e in reader.events()] == ["x"]
    assert reader.unknown == 1


def test_a_log_of_an_older_version_in_this_format_folds(tmp_path):
    lines = [
        '{"kind":"log","format":2}',
        '{"kind":"run_started","at":1.0,"run":"r","rounds":1,"nodes":["response"]}',
        '{"kind":"judged","at":2.0,"round":1,"sample":"a","attempt":0,"node":"response","outcome":"pass"}',
        '{"kind":"training_set_selected","at":3.0,"round":1,"kept":1,"trained":1}',
        '{"kind":"round_ended","at":4.0,"round":1,"weights":"w1"}',
    ]
    (tmp_path / "loop-000.jsonl").write_text("\n".join(lines) + "\n")
    reader = LogReader(tmp_path)
    state = State().fold(reader.events())
    assert (reader.unknown, state.weights, state.rounds[1].nodes["response"].pass_rate) == (0, "w1", 1.0)


def test_each_writer_gets_a_file_of_its_own(tmp_path):
    first, second = EventLog(tmp_path), EventLog(tmp_path)
    assert first.path != second.path


def test_what_another_writer_added_later_is_read_later(tmp_path):
    """By number across writers: a requeue stands behind the run's second log, whatever the alphabet says."""
    for writer in ("loop", "zebra", "requeue", "loop"):
        log = EventLog(tmp_path, writer)
        log.write(ev.LogMessage(level="info", text=log.path.stem))
        log.close()
    told = [e.text for e in LogReader(tmp_path).events()]
    assert told == ["loop-000", "zebra-001", "requeue-002", "loop-003"]


def test_a_log_that_was_closed_takes_no_line_more(tmp_path):
    log = EventLog(tmp_path)
    log.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        log.write(ev.LogMessage(level="info", text="late"))


def test_a_line_of_text_has_the_fields_of_a_sample():
    """`Line` is `Sample` with the task's id: a field added to one alone would be lost on disk."""
    line, sample = (
        {field.name: (field.type, field.default) for field in msgspec.structs.fields(kind)} for kind in (Line, Sample)
    )
    assert list(line) == list(sample)
    assert {n: f for n, f in line.items() if n != "task"} == {n: f for n, f in sample.items() if n != "task"}


def test_a_folder_has_one_writer_for_each_text_and_closes_it_with_the_round(tmp_path):
    folder, open_files = RunFolder(tmp_path), len(os.listdir("/proc/self/fd"))
    folder.texts(1).append("kept", sample(0))
    assert folder.texts(1) is folder.texts(1)
    folder.sync()
    folder.seal(1)
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_a_round_taken_up_after_its_seal_is_whole_again_only_when_sealed_again(tmp_path):
    first = RunFolder(tmp_path)
    first.texts(1).append("kept", sample(0))
    first.seal(1)
    manifest = tmp_path / "round-1" / "manifest.json"
    before = manifest.read_text()
    again = RunFolder(tmp_path)
    again.seal(1)
    assert manifest.read_text() == before
    again.texts(1).append("kept", sample(1))
    assert not manifest.exists()
    again.seal(1)
    assert (
        json.loads(manifest.read_text())["files"]["kept.jsonl"]["bytes"]
        > json.loads(before)["files"]["kept.jsonl"]["bytes"]
    )


def test_a_round_without_any_text_can_be_sealed(tmp_path):
    RunFolder(tmp_path).seal(3)
    assert json.loads((tmp_path / "round-3" / "manifest.json").read_text())["files"] == {}


def test_texts_give_back_the_samples_with_their_tasks(tmp_path):
    texts = SampleFiles(tmp_path)
    for i in (0, 1, 0):
        texts.append("kept", sample(i))
    texts.close()
    assert list(SampleFiles(tmp_path).get("kept")) == [sample(0), sample(1), sample(0)]
    assert (tmp_path / "tasks.jsonl").read_bytes().count(b"\n") == 2


def test_a_text_torn_by_a_kill_is_dropped_before_the_next_is_written(tmp_path):
    texts = SampleFiles(tmp_path)
    texts.append("kept", sample(0))
    texts.close()
    with (tmp_path / "kept.jsonl").open("ab") as file:
        file.write(b'{"id":"half')
    again = SampleFiles(tmp_path)
    again.append("kept", sample(1))
    assert [s.id for s in again.get("kept")] == ["s0", "s1"]


def test_a_second_writer_is_refused_with_the_first_ones_pid(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    imports = "from pathlib import Path\nfrom funreason.record.folder import write_whole, RunFolder\n"
    claim = f"{imports}RunFolder(Path({str(folder.path)!r})).acquire()"
    other = subprocess.Popen(
        [sys.executable, "-c", claim + "\nprint('ready', flush=True)\ninput()"], stdin=-1, stdout=-1
    )
    assert other.stdout.readline() == b"ready\n"
    with pytest.raises(RecordError, match=f"process {other.pid} on "):
        folder.acquire()
    other.kill()
    other.communicate()
    assert folder.writer_status().status == "crashed"
    folder.acquire()
    assert folder.writer_status()[:2] == ("running", os.getpid())


@pytest.mark.parametrize("pid", [os.getpid(), 1], ids=["own", "other"])
def test_a_writer_on_another_host_is_taken_for_dead_only_after_long_silence(tmp_path, pid):
    """Its process cannot be asked, and its number may be anybody's here: even this one's."""
    folder = RunFolder(tmp_path)
    for silent, taken in ((10, False), (TAKE_OVER_AFTER_S - 10, False), (TAKE_OVER_AFTER_S + 10, True)):
        life = {"pid": pid, "host": "elsewhere", "heartbeat": time.time() - silent, "status": "running"}
        (tmp_path / "run.json").write_text(json.dumps(life))
        with pytest.raises(RecordError, match=f"process {pid} on elsewhere"):
            folder.acquire()
        if taken:
            assert folder.acquire(take_over=True)[1:3] == (pid, "elsewhere")
            assert folder.writer_status()[:3] == ("running", os.getpid(), socket.gethostname())
        else:
            with pytest.raises(RecordError, match="--resume takes over"):
                folder.acquire(take_over=True)


def test_a_run_is_found_by_name_by_folder_and_as_the_newest(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        RunFolder(tmp_path / name).acquire()
    os.utime(tmp_path / "a" / "run.json", (1, 1))
    assert newest_run(tmp_path).name == "b"
    assert open_run("a", tmp_path).path == open_run(tmp_path / "a", tmp_path).path == tmp_path / "a"
    with pytest.raises(RecordError, match="no run called nope"):
        open_run("nope", tmp_path)


def judged(node: str, outcome: str, reason: str = "", sample: str = "s", round: int = 1) -> ev.Judged:
    return ev.Judged(round=round, sample=sample, attempt=0, node=node, outcome=outcome, reason=reason)


def test_the_reducer_counts_passes_reasons_and_ends():
    state = State().fold(
        [
            ev.RunStarted(run="r", rounds=2, nodes=["cot"]),
            ev.PhaseStarted(round=1, phase="sample", todo=4),
            judged("cot", "pass"),
            judged("cot", "drop", "cot.missing", "t"),
            judged("cot", "error", "agent.ValueError", "u"),
            ev.SampleEnded(round=1, sample="a", attempt=0, fate="kept", origin="sampled"),
            ev.SampleEnded(round=1, sample="b", attempt=1, fate="dropped", reason="cot.missing"),
        ]
    )
    r = state.rounds[1]
    assert r.nodes["cot"].pass_rate == 0.5
    assert r.nodes["cot"].reasons["cot.missing"] == 1
    assert r.fates == {"kept": 1, "dropped": 1}
    assert r.origins == {"sampled": 1}
    assert r.todo == 4


def test_an_end_told_twice_counts_once():
    end = ev.SampleEnded(round=1, sample="a", attempt=0, fate="kept")
    assert State().fold([end, end]).rounds[1].fates == {"kept": 1}


def test_a_requeued_sample_may_end_again():
    end = ev.SampleEnded(round=1, sample="a", attempt=0, fate="dead")
    state = State().fold([end, ev.SampleRequeued(sample="a", round=1)])
    assert (1, "a") not in state.ended


def test_a_judgement_made_again_after_a_kill_counts_once():
    once = [judged("response", "pass", sample="a"), judged("cot", "drop", "cot.missing", "a")]
    state = State().fold([once[0], judged("response", "pass", sample="b"), once[0], *once])
    nodes = state.rounds[1].nodes
    assert (nodes["response"].answered, nodes["cot"].answered) == (2, 1)
    state.apply(ev.Judged(round=1, sample="a", attempt=1, node="cot", outcome="pass"))
    assert nodes["cot"].answered == 2


def test_what_was_judged_is_forgotten_with_the_end_of_its_sample():
    state = State()
    for i in range(100):
        state.fold(
            [judged("cot", "pass", sample=f"s{i}"), ev.SampleEnded(round=1, sample=f"s{i}", attempt=0, fate="kept")]
        )
    state.apply(judged("cot", "pass", sample="last"))
    assert list(state.rounds[1].unfinished) == ["last"]
    state.apply(ev.RoundEnded(round=1, weights="w"))
    assert not state.rounds[1].unfinished


def test_refusals_of_a_start_that_broke_off_among_them_are_told_again_and_count_once():
    began, refused = ev.RunStarted(run="r", rounds=1), ev.TaskRefused(where="line 1", reason="json")
    state = State().fold([began, refused, began, refused, refused, ev.TasksRead(refused=2), began])
    assert state.tasks_read
    assert state.refused == {"json": 2}


FATES = ["kept", "text", "dropped", "dead"]


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([*FATES, "requeue"])), max_size=40))
def test_ends_and_requeues_in_any_order_leave_each_sample_with_at_most_one_end(told):
    state = State()
    for i, what in told:
        again = ev.SampleRequeued(sample=f"s{i}", round=1)
        state.apply(
            again if what == "requeue" else ev.SampleEnded(round=1, sample=f"s{i}", attempt=0, fate=what, reason="x")
        )
    r = state.at_round(1)
    assert r.fates.total() == len(state.ended) == r.origins.total() + r.dead_reasons.total()
    assert all(n > 0 for n in r.fates.values())
    assert not state.requeued & state.ended.keys()


def test_losses_are_weighted_by_tokens_and_a_resumed_update_replaces_its_own_steps():
    def step(i, think, tokens):
        return ev.OptimizerStep(round=1, step=i, steps=2, metrics={"loss_think": think, "think_tokens": tokens})

    state = State().fold([step(1, 2.0, 10), step(2, 9.0, 10), step(2, 1.0, 30)])
    assert state.rounds[1].mean("loss_think") == pytest.approx((2.0 * 10 + 1.0 * 30) / 40)
    assert state.rounds[1].mean("loss_result") is None


def test_a_summary_is_plain_json_data():
    state = State().fold([ev.RunStarted(run="r", rounds=1), judged("cot", "pass"), ev.RunEnded(status="finished")])
    assert json.loads(json.dumps(state.summary()))["status"] == "finished"


def test_who_claims_the_run_of_a_dead_process_is_told_whose_it_was(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.acquire() is None
    gone = subprocess.Popen(["true"])
    gone.wait()
    life = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps(life | {"pid": gone.pid}))
    dead = folder.acquire()
    assert dead is not None
    assert (dead.status, dead.pid) == ("crashed", gone.pid)


def test_what_a_killed_process_had_half_written_is_gone_when_the_file_is_written_again(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / f".report.md.new-{gone.pid}").write_text("hal")
    (tmp_path / f".report.md.new-{os.getppid()}").write_text("another process writes this now")
    write_whole(tmp_path / "report.md", "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".report.md.new-{os.getppid()}", "report.md"]
