"""The record: events, log, texts, run folder."""

import os
import subprocess
import sys

import pytest

from funreason.record import events as ev
from funreason.record.folder import RecordError, RunFolder, newest_run, open_run
from funreason.record.log import EventLog, LogReader
from funreason.record.state import State
from funreason.record.texts import Texts
from funreason.record.types import Sample, Task, Verdict


def task(i: int = 0) -> Task:
    return Task(id=f"t{i}", query="q", tools=[{"name": "f"}])


def sample(i: int = 0) -> Sample:
    return Sample(id=f"s{i}", task=task(i), answer="[f()]", thinking="so f", verdicts=(Verdict("cot", "pass"),))


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
    log.write(ev.Noted(level="info", text="one"))
    assert len(list(reader.events())) == 1
    assert list(reader.events()) == []
    log.write(ev.Noted(level="info", text="two"))
    assert [e.text for e in reader.events()] == ["two"]


def test_a_torn_last_line_is_left_until_it_is_whole(tmp_path):
    path = tmp_path / "loop-000.jsonl"
    path.write_bytes(b'{"kind":"noted","level":"info","text":"whole"}\n{"kind":"noted","lev')
    reader = LogReader(tmp_path)
    assert [e.text for e in reader.events()] == ["whole"]
    with path.open("ab") as file:
        file.write(b'el":"info","text":"later"}\n')
    assert [e.text for e in reader.events()] == ["later"]


def test_an_event_of_a_newer_version_is_counted_and_passed_over(tmp_path):
    (tmp_path / "loop-000.jsonl").write_bytes(
        b'{"kind":"telepathy"}\n{"kind":"noted","level":"info","text":"x","new":1}\n'
    )
    reader = LogReader(tmp_path)
    assert [e.text for e in reader.events()] == ["x"]
    assert reader.unknown == 1


def test_each_writer_gets_a_file_of_its_own(tmp_path):
    first, second = EventLog(tmp_path), EventLog(tmp_path)
    assert first.path != second.path


def test_texts_give_back_the_samples_with_their_tasks(tmp_path):
    texts = Texts(tmp_path)
    for i in (0, 1, 0):
        texts.put("kept", sample(i))
    texts.close()
    assert list(Texts(tmp_path).get("kept")) == [sample(0), sample(1), sample(0)]
    assert (tmp_path / "tasks.jsonl").read_bytes().count(b"\n") == 2


def test_a_text_torn_by_a_kill_is_dropped_before_the_next_is_written(tmp_path):
    texts = Texts(tmp_path)
    texts.put("kept", sample(0))
    texts.close()
    with (tmp_path / "kept.jsonl").open("ab") as file:
        file.write(b'{"id":"half')
    again = Texts(tmp_path)
    again.put("kept", sample(1))
    assert [s.id for s in again.get("kept")] == ["s0", "s1"]


def test_a_second_writer_is_refused_with_the_first_ones_pid(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    imports = "from pathlib import Path\nfrom funreason.record.folder import RunFolder\n"
    claim = f"{imports}RunFolder(Path({str(folder.path)!r})).claim()"
    other = subprocess.Popen(
        [sys.executable, "-c", claim + "\nprint('ready', flush=True)\ninput()"], stdin=-1, stdout=-1
    )
    assert other.stdout.readline() == b"ready\n"
    with pytest.raises(RecordError, match=f"process {other.pid} on "):
        folder.claim()
    other.kill()
    other.communicate()
    assert folder.life().status == "crashed"
    folder.claim()
    assert folder.life()[:2] == ("running", os.getpid())


def test_a_run_is_found_by_name_by_folder_and_as_the_newest(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        RunFolder(tmp_path / name).claim()
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
            ev.Ended(round=1, sample="a", attempt=0, fate="kept", origin="sampled"),
            ev.Ended(round=1, sample="b", attempt=1, fate="dropped", reason="cot.missing"),
        ]
    )
    r = state.rounds[1]
    assert r.nodes["cot"].pass_rate == 0.5
    assert r.nodes["cot"].reasons["cot.missing"] == 1
    assert r.fates == {"kept": 1, "dropped": 1}
    assert r.origins == {"sampled": 1}
    assert r.todo == 4


def test_an_end_told_twice_counts_once():
    end = ev.Ended(round=1, sample="a", attempt=0, fate="kept")
    assert State().fold([end, end]).rounds[1].fates == {"kept": 1}


def test_a_requeued_sample_may_end_again():
    end = ev.Ended(round=1, sample="a", attempt=0, fate="dead")
    state = State().fold([end, ev.Requeued(sample="a", round=1)])
    assert (1, "a") not in state.ended


def test_losses_are_weighted_by_tokens_and_a_resumed_update_replaces_its_own_steps():
    def step(i, think, tokens):
        return ev.Stepped(round=1, step=i, steps=2, loss=1.0, think=think, think_tokens=tokens, result=None)

    state = State().fold([step(1, 2.0, 10), step(2, 9.0, 10), step(2, 1.0, 30)])
    assert state.rounds[1].loss("think") == pytest.approx((2.0 * 10 + 1.0 * 30) / 40)
    assert state.rounds[1].loss("result") is None


def test_a_summary_is_plain_json_data():
    import json

    state = State().fold([ev.RunStarted(run="r", rounds=1), judged("cot", "pass"), ev.RunEnded(status="finished")])
    assert json.loads(json.dumps(state.summary()))["status"] == "finished"
