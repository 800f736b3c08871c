"""Dead letters: listed as they stand now, put back once, and counted anew when they end again."""

import pytest

from funreason.cli.runs import dead, dlq_list, dlq_show, put_back
from funreason.record import events as ev
from funreason.record.folder import RecordError, RunFolder
from funreason.record.log import EventLog
from funreason.types import Sample, Task, Verdict


def failed(i: int, k: int = 1, reason: str = "cot.missing", outcome: str = "drop", attempt: int = 0) -> Sample:
    task = Task.of(id=f"t{i}", query="q", tools=[])
    return Sample.of(
        f"r{k}/t{i}/0", task, "[f()]", attempt=attempt, round=k, verdicts=(Verdict("cot", outcome, reason),)
    )


def end(log: EventLog, folder: RunFolder, sample: Sample, fate: str) -> None:
    folder.texts(sample.round).append(fate, sample)
    reason = "" if fate == "kept" else sample.verdicts[-1].reason
    log.write(ev.SampleEnded(round=sample.round, sample=sample.id, attempt=sample.attempt, fate=fate, reason=reason))


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    """A run that was interrupted in round 1: one sample kept, two dropped, one dead."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    log = EventLog(folder.events)
    log.write(ev.RunStarted(run="run", rounds=2))
    log.write(ev.PhaseStarted(round=1, phase="sample", todo=4))
    end(log, folder, failed(0), "kept")
    end(log, folder, failed(1), "dropped")
    end(log, folder, failed(2, reason="schema.type"), "dropped")
    end(log, folder, failed(3, outcome="regenerate", attempt=2), "dead")
    log.write(ev.RunEnded(status="interrupted"))
    log.close()
    folder.heartbeat("interrupted")
    return folder


def ids(folder: RunFolder, pattern: str = "*") -> list[str]:
    return sorted(sample.id for sample in dead(folder, pattern))


def test_dead_letters_are_chosen_by_reason(folder):
    assert ids(folder) == ["r1/t1/0", "r1/t2/0", "r1/t3/0"]
    assert ids(folder, "schema.*") == ["r1/t2/0"]


def test_what_was_put_back_is_no_dead_letter_and_counts_in_no_end(folder):
    assert put_back(folder, "cot.*") == 2
    assert ids(folder) == ["r1/t2/0"]
    r = folder.state().rounds[1]
    assert r.fates == {"kept": 1, "dropped": 1}
    assert r.dead_reasons == {"schema.type": 1}


def test_a_sample_that_was_kept_after_all_is_listed_and_put_back_no_more(folder):
    put_back(folder, "cot.*")
    log = EventLog(folder.events)
    end(log, folder, failed(1, attempt=3), "kept")
    end(log, folder, failed(3, outcome="drop", reason="cot.other", attempt=3), "dropped")
    log.close()
    assert ids(folder) == ["r1/t2/0", "r1/t3/0"]
    assert ids(folder, "cot.missing") == []  # an earlier failure of it, in the texts still
    assert folder.state().rounds[1].fates == {"kept": 2, "dropped": 2}


def test_each_time_a_sample_is_put_back_counts(folder):
    for attempt in (3, 4):
        put_back(folder, "cot.*")
        log = EventLog(folder.events)
        for i in (1, 3):
            end(log, folder, failed(i, attempt=attempt), "dropped")
        log.close()
    state = folder.state()
    assert state.requeues == {(1, "r1/t1/0"): 2, (1, "r1/t3/0"): 2}
    assert state.requeued == set()
    assert state.rounds[1].fates.total() == 4


def test_an_update_that_was_begun_or_made_without_them_is_owed_again(folder):
    (folder.checkpoint(1) / "checkpoint").mkdir(parents=True)
    log = EventLog(folder.events)
    log.write(ev.WeightsTrained(round=1, weights="w1", examples=1, steps=1))
    log.close()
    put_back(folder, "*")
    assert not folder.checkpoint(1).exists()
    assert folder.state().rounds[1].update is None


def test_a_round_that_has_ended_takes_nothing_back(folder):
    log = EventLog(folder.events)
    log.write(ev.RoundEnded(round=1, weights="w"))
    log.close()
    with pytest.raises(RecordError, match="has been trained on already"):
        put_back(folder, "*")


@pytest.mark.parametrize("method", ["grpo", "egpo"])
def test_the_steps_of_a_round_of_rewards_take_nothing_back_and_keep_their_checkpoints(folder, method):
    (folder.path / "config.yaml").write_text(f"method: {method}\n")
    (folder.checkpoint(1) / "step-2").mkdir(parents=True)
    with pytest.raises(RecordError, match=r"learns from rewards.*take no dead letter back.*--resume"):
        put_back(folder, "*")
    assert (folder.checkpoint(1) / "step-2").exists()
    assert len(ids(folder)) == 3


def test_a_run_that_is_being_written_is_left_alone(folder):
    folder.heartbeat("running")
    with pytest.raises(RecordError, match="is being written"):
        put_back(folder, "*")


def test_the_list_counts_each_sample_once(folder, capsys):
    folder.texts(1).append("dropped", failed(1))  # a line whose end a kill kept out of the log the first time
    assert dlq_list(str(folder.path)) == 0
    assert "of run: 3 " in capsys.readouterr().out


def test_the_stories_of_dead_letters_are_shown_by_reason_and_not_without_end(folder, capsys):
    dlq_show(str(folder.path), reason="cot.*", limit=1)
    said = capsys.readouterr().out
    assert "r1/t1/0" in said
    assert "schema.type" not in said
    assert "1 more" in said
    dlq_show(str(folder.path), reason="no.such", limit=1)
    assert "no dead letter" in capsys.readouterr().out
