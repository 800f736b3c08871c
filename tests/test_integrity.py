"""A byte that changed between a stop and its resume is noticed before it is used, and named with file and place."""

import json
import random
import shutil

import pytest
from recorded import finished

from funreason.config import load_config
from funreason.loops.self_refinement import config_of
from funreason.loops.session import inputs_of
from funreason.record import events as ev
from funreason.record import integrity
from funreason.record.folder import RecordError, RunFolder
from funreason.record.integrity import MARKS, Marks, changes, mark_of, was_moved
from funreason.record.log import EventLog
from funreason.record.manifest import require_unchanged, seal_run
from funreason.record.sample_files import PendingVerdict
from funreason.runtime.journal import Journal
from funreason.types import Sample, Task, Verdict

WRITTEN = (
    *("config.yaml", "events/loop-000.jsonl", "round-1/kept.jsonl", "round-1/tasks.jsonl", "round-1/judged.jsonl"),
    "round-1/canaries.jsonl",
)
WEIGHTS = "weights/w1/model.safetensors"


def stopped(path, end="interrupted") -> RunFolder:
    """A run that was stopped in its first round, after it had trained."""
    folder = RunFolder(path)
    (path / WEIGHTS).parent.mkdir(parents=True)
    (path / WEIGHTS).write_bytes(b"weights" * 100)
    (path / "config.yaml").write_text("rounds: 2\n")
    folder.acquire()
    journal = Journal(folder)
    journal.write(ev.RunStarted(run=path.name, rounds=2, base_weights="w0"))
    with journal.phase(1, "sample"):
        texts = folder.texts(1)
        for i in range(20):
            texts.append("kept", Sample.of(f"s{i}", Task.of(f"t{i}", "q" * 50, []), "[f()]"))
        texts.append("canaries", Sample.of("c1", Task.of("c1", "q", []), "[f()]"))
        texts.append_verdict(PendingVerdict("s30", 0, "cot", Verdict("cot", "drop", "cot.empty")))
    journal.write(ev.WeightsTrained(round=1, weights="w1", examples=1, steps=1))
    if end == "killed":
        journal.sync()
        folder.close()
        journal.log.close()
    else:
        journal.end(end)
    return folder


def flip(path, at=None):
    data = bytearray(path.read_bytes())
    at = random.Random(len(data)).randrange(len(data)) if at is None else at
    data[at] ^= 0x04
    path.write_bytes(data)
    return at


@pytest.mark.parametrize("end", ["interrupted", "killed"])
def test_a_run_that_nothing_touched_may_be_resumed(tmp_path, end):
    folder = stopped(tmp_path / "run", end)
    require_unchanged(folder, {})
    assert {*WRITTEN, WEIGHTS} <= json.loads((folder.path / MARKS).read_text())["files"].keys()


@pytest.mark.parametrize("end", ["interrupted", "killed"])
@pytest.mark.parametrize("name", [*WRITTEN, WEIGHTS])
def test_a_flipped_byte_is_named_with_its_file_and_place(tmp_path, name, end):
    folder = stopped(tmp_path / "run", end)
    for _ in range(3):
        before = (folder.path / name).read_bytes()
        flip(folder.path / name)
        with pytest.raises(RecordError, match=rf"{name}.*(between byte|cannot be read).*Nothing was done with it"):
            require_unchanged(folder, {})
        (folder.path / name).write_bytes(before)
    require_unchanged(folder, {})


@pytest.mark.parametrize("name", [*WRITTEN, WEIGHTS])
def test_a_file_that_was_cut_or_removed_is_named(tmp_path, name):
    folder = stopped(tmp_path / "run")
    path = folder.path / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RecordError, match=rf"{name} has [\d,]+ bytes, and had"):
        require_unchanged(folder, {})
    path.unlink()
    if name != "round-1/judged.jsonl":  # which goes when every sample has ended
        with pytest.raises(RecordError, match=f"{name} is missing"):
            require_unchanged(folder, {})


def test_the_place_is_given_in_pieces_and_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(integrity, "PIECE", 1000)
    folder = stopped(tmp_path / "run")
    path = folder.path / "round-1/kept.jsonl"
    at = path.stat().st_size - 5
    flip(path, at)
    (said,) = changes(folder, {})
    first, last = (at // 1000 * 1000, path.stat().st_size)
    line = 1 + path.read_bytes()[:first].count(b"\n")
    assert f"between byte {first:,} and {last:,}, lines {line} to 20" in said


def test_lines_after_the_last_mark_must_be_events(tmp_path):
    folder = stopped(tmp_path / "run", "killed")
    log = folder.events / "loop-000.jsonl"
    count = len(log.read_text().splitlines())
    with log.open("a") as file:
        file.write('{"kind":"log_message","level":"info","text":"late","at":1.0}\n{"kind":"sample_endee"}\n')
    with pytest.raises(RecordError, match=rf"events/loop-000\.jsonl, line {count + 2}, cannot be read as an event"):
        require_unchanged(folder, {})


def test_what_was_appended_after_the_last_mark_and_half_a_line_are_no_damage(tmp_path):
    folder = stopped(tmp_path / "run", "killed")
    for name in ("events/loop-000.jsonl", "round-1/kept.jsonl"):
        with (folder.path / name).open("a") as file:
            file.write((folder.path / name).read_text().splitlines()[-1] + "\n" + '{"id":"s')
    (folder.path / "round-1/judged.jsonl").unlink()
    require_unchanged(folder, {})


def test_marks_that_are_torn_are_damage_and_none_are_not(tmp_path):
    folder = stopped(tmp_path / "run")
    for torn in ("", "{", "[]", '{"files": {"a": 1}, "inputs": {}}', '{"files": 7}'):
        (folder.path / MARKS).write_text(torn)
        with pytest.raises(RecordError, match=r"marks\.json cannot be read"):
            require_unchanged(folder, {})
    (folder.path / MARKS).unlink()
    require_unchanged(folder, {})  # of a version that kept none


def test_complete_rounds_are_compared_with_their_manifests(tmp_path):
    folder = finished(tmp_path / "run")
    for k in (1, 2):
        folder.seal(k)
    seal_run(folder, ended=True)
    require_unchanged(folder, {})
    flip(folder.path / "round-2/tasks.jsonl")
    with pytest.raises(RecordError, match=r"round-2/tasks\.jsonl has other bytes"):
        require_unchanged(folder, {})


def test_weights_that_no_round_uses_are_not_read(tmp_path):
    folder = stopped(tmp_path / "run")
    (folder.weights / "old").mkdir()
    (folder.weights / "old/model.safetensors").write_bytes(b"x" * 100)
    Marks(folder).take()
    flip(folder.weights / "old/model.safetensors")
    require_unchanged(folder, {})


def test_a_file_that_grows_is_marked_without_reading_its_beginning_again(tmp_path, monkeypatch):
    monkeypatch.setattr(integrity, "PIECE", 100)
    path = tmp_path / "grows.jsonl"
    path.write_bytes(b"x" * 249 + b"\n")
    before = mark_of(path, lines=True)
    with path.open("ab") as file:
        file.write(b"y" * 99 + b"\nhalf")
    again = mark_of(path, lines=True, before=before)
    assert again == mark_of(path, lines=True)
    assert (before.bytes, again.bytes) == (250, 350)
    assert again.pieces[:2] == before.pieces[:2]


def test_files_that_a_run_was_made_from_are_compared_too(tmp_path):
    tasks, model = tmp_path / "tasks.jsonl", tmp_path / "model"
    tasks.write_text('{"id": 1}\n')
    model.mkdir()
    (model / "config.json").write_text("{}")
    weights = [model / "model.safetensors", model / "model.gguf"]
    for file in weights:
        file.write_bytes(b"w")
    folder = stopped(tmp_path / "run")
    inputs = inputs_of(load_config("default", {"tasks.path": str(tasks), "model.path": str(model)}))
    assert inputs["tasks.path"] == tasks
    Marks(folder, inputs).take()
    for file in weights:  # they are known by an id made from their bytes, and are not read here
        file.write_bytes(b"other")
    require_unchanged(folder, inputs)
    moved = tasks.rename(tmp_path / "elsewhere.jsonl")
    require_unchanged(folder, {**inputs, "tasks.path": moved})
    with pytest.raises(RecordError, match=r"tasks\.path \(a file\), from which the run was made, is missing"):
        require_unchanged(folder, {name: path for name, path in inputs.items() if path.exists()})
    moved.write_text('{"id": 2}\n')
    with pytest.raises(RecordError, match=r"tasks\.path .*elsewhere\.jsonl.* has other bytes"):
        require_unchanged(folder, {**inputs, "tasks.path": moved})
    moved.write_text('{"id": 1}\n')
    (model / "config.json").write_text('{"a": 1}')
    with pytest.raises(RecordError, match=r"model\.path/config\.json .* has 8 bytes, and had 2"):
        require_unchanged(folder, {**inputs, "tasks.path": moved})


def test_canaries_that_are_shown_again_are_not_compared(tmp_path):
    folder = stopped(tmp_path / "run")
    log = EventLog(folder.events)
    log.write(ev.PhaseStarted(round=2, phase="sample"))
    folder.texts(2).append("canaries", Sample.of("c1", Task.of("c1", "q", []), "[f()]"))
    Marks(folder).take()
    log.close()
    folder.texts(2).delete("canaries")
    require_unchanged(folder, {})


@pytest.mark.parametrize("change", ["rounds: [\n", "rouds: 2\n", "rounds: 3\n"])
def test_a_configuration_that_changed_is_named_as_changed_whatever_it_says_now(tmp_path, change):
    folder = stopped(tmp_path / "run")
    (folder.path / "config.yaml").write_text(change)
    with pytest.raises(RecordError, match=r"config\.yaml has .*Put the file back"):
        config_of(folder)


def test_a_folder_that_was_moved_or_copied_is_noticed(tmp_path):
    folder = stopped(tmp_path / "run")
    assert was_moved(folder) == ""
    copy = RunFolder(shutil.copytree(folder.path, tmp_path / "copy"))
    assert was_moved(copy) == str(folder.path)
    require_unchanged(copy, {})
    Marks(copy).take()
    assert was_moved(copy) == ""
