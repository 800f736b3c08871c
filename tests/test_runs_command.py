"""`funreason runs`: what there is, whether it is what it was, and what can go."""

import json
import re

import pytest
from recorded import Recording, finished

from funreason.cli.runs import runs_list, runs_prune, runs_verify
from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.record.log import RecordError
from funreason.record.manifest import prunable, prune, seal_run, verify


def weigh(folder: RunFolder, *names: str) -> None:
    for name in names:
        (folder.weights / name).mkdir(parents=True)
        (folder.weights / name / "model.safetensors").write_bytes(name.encode() * 1000)


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    """A finished run of two rounds that ended with w1 and w2, sealed; the gate refused `bad`."""
    folder = finished(tmp_path / "runs" / "a")
    weigh(folder, "w1", "w2", "bad")
    (folder.path / "gate").mkdir()
    (folder.path / "gate" / "w1.json").write_text("{}")
    (folder.path / "config.yaml").write_text("rounds: 2\n")
    for k in (1, 2):
        folder.seal(k)
    seal_run(folder, ended=True)
    return folder


def test_a_list_names_status_rounds_accuracy_and_size(folder, capsys):
    assert runs_list(run_dir=folder.path.parent) == 0
    line = capsys.readouterr().out.splitlines()[1].split()
    assert line[:5] == ["a", "finished", "2/2", "40.0", "%"]
    assert re.fullmatch(r"2025-06-1\d \d\d:\d\d", " ".join(line[7:9]))  # when it began, in local time


def test_where_there_are_no_runs_that_is_said(tmp_path):
    with pytest.raises(RecordError, match="no run in "):
        runs_list(run_dir=tmp_path)


def test_a_run_whose_files_are_what_they_were_is_verified(folder, capsys):
    assert runs_verify(run_dir=folder.path.parent) == 0
    assert "files verified" in capsys.readouterr().out
    assert not verify(folder).unlisted


@pytest.mark.parametrize(
    "name",
    [
        "round-2/dropped.jsonl",
        "weights/w2/model.safetensors",
        "gate/w1.json",
        "events/loop-000.jsonl",
        "config.yaml",
    ],
)
def test_the_first_file_that_does_not_match_is_named(folder, name, capsys):
    path = folder.path / name
    old = path.read_bytes()
    path.write_bytes(old[:-2] + bytes([old[-2] ^ 1]) + old[-1:])
    assert runs_verify("a", run_dir=folder.path.parent) == 1
    assert f"a: {name} has other bytes" in capsys.readouterr().out
    path.write_bytes(old + b"x")
    assert f"{name} has {len(old) + 1} bytes" in verify(folder).wrong[0]
    path.unlink()
    if not name.startswith("events"):
        assert f"{name} is missing" in verify(folder).wrong[0]


def test_a_round_that_ended_without_a_manifest_is_named(folder):
    (folder.round(2) / "manifest.json").unlink()
    assert verify(folder).wrong == ["round-2/manifest.json is missing, though the round has ended"]


def test_a_run_that_ended_without_a_manifest_is_named(folder):
    (folder.path / "manifest.json").unlink()
    assert verify(folder).wrong == ["manifest.json is missing, though the run has ended"]


def test_a_manifest_that_a_loss_of_power_tore_is_named(folder):
    (folder.round(1) / "manifest.json").write_text("")
    assert verify(folder).wrong[0].startswith("round-1/manifest.json cannot be read")


def test_a_run_whose_life_a_loss_of_power_tore_is_listed_among_the_others(folder, capsys):
    (folder.path / "run.json").write_text("")
    assert runs_list(run_dir=folder.path.parent) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["a", "finished", "2/2"]


def test_pruning_says_what_would_go_and_removes_it_only_when_told(folder, capsys):
    before = folder.state().summary()
    assert runs_prune(run_dir=folder.path.parent) == 0
    said = capsys.readouterr().out
    assert "weights/bad" in said
    assert "nothing was removed" in said
    assert runs_prune(yes=True, run_dir=folder.path.parent) == 0
    assert sorted(path.name for path in folder.weights.iterdir()) == ["w1", "w2"]
    assert not verify(folder).wrong
    after = folder.state().summary()
    assert after["rounds"] == before["rounds"]
    assert "bad" in after["notes"][-1]["text"]
    assert prunable(folder) == []


def test_pruning_leaves_a_run_that_is_being_written_and_what_an_open_round_has_trained(tmp_path):
    run = Recording(tmp_path / "runs" / "b", 2)
    run.round(1)
    run(ev.WeightsTrained(round=2, weights="fresh", examples=1, steps=1))
    folder = run.life("running", pid=1, heartbeat=10**12)
    weigh(folder, "w1", "fresh", "checkpoint-round-2", "checkpoint-round-1")
    with pytest.raises(RecordError, match="is being written by process 1"):
        prune(folder)
    run.life("interrupted")
    assert [thing.path.name for thing in prune(folder)] == ["checkpoint-round-1"]
    assert (folder.checkpoint(2) / "model.safetensors").exists()


def test_pruning_keeps_the_optimizers_state_that_the_next_round_of_rewards_continues_from(tmp_path):
    run = Recording(tmp_path / "runs" / "b", 2)
    run.round(1)
    folder = run.life("interrupted")
    (folder.checkpoint(1) / "step-3").mkdir(parents=True)
    assert prune(folder) == []
    run.round(2)
    assert [thing.path.name for thing in prune(folder)] == ["checkpoint-round-1"]


def test_what_a_killed_writer_left_half_made_is_swept_and_a_retired_folder_takes_its_place_again(tmp_path):
    folder = RunFolder(tmp_path)
    weigh(folder, ".fresh-round-1.new-7", "fresh-round-2")
    (tmp_path / ".run.json.new").write_text("{")
    (folder.checkpoint(1) / ".checkpoint.old-7").mkdir(parents=True)
    (folder.checkpoint(2) / ".checkpoint.old-7").mkdir(parents=True)
    (folder.checkpoint(2) / "checkpoint").mkdir()
    folder.clean_up()
    left = sorted(path.relative_to(folder.weights).as_posix() for path in folder.weights.rglob("*"))
    assert left == [
        "checkpoint-round-1",
        "checkpoint-round-1/checkpoint",
        "checkpoint-round-2",
        "checkpoint-round-2/checkpoint",
    ]
    assert json.dumps(left)
    assert not (tmp_path / ".run.json.new").exists()
