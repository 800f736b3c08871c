"""What must survive a loss of power is on the disk before anything says that it is there."""

import os
import stat

import pytest
from recorded import finished

from funreason.policies.model_files import replace_folder
from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.runtime.journal import Journal
from funreason.types import Sample, Task


@pytest.fixture
def synced(monkeypatch):
    """The paths that were synced, in order, each with its size at that moment."""
    found, real = [], os.fsync

    def sync(handle):
        about = os.fstat(handle)
        found.append((os.readlink(f"/proc/self/fd/{handle}"), 0 if stat.S_ISDIR(about.st_mode) else about.st_size))
        real(handle)

    monkeypatch.setattr(os, "fsync", sync)
    return found


def test_saved_weights_are_on_the_disk_before_they_get_their_name(tmp_path, synced, monkeypatch):
    fresh, target = tmp_path / "fresh", tmp_path / "w1"
    (fresh / "inner").mkdir(parents=True)
    for name in ("model.safetensors", "inner/config.json"):
        (fresh / name).write_text("x" * 100)
    replace_folder(fresh, target)
    written = {path.removeprefix(f"{fresh}/") for path, size in synced if size == 100}
    assert written == {"model.safetensors", "inner/config.json"}
    assert target.is_dir()


def test_the_end_of_a_phase_puts_its_texts_on_the_disk_and_then_its_events(tmp_path, synced):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    journal = Journal(folder)
    with journal.phase(1, "sample"):
        folder.texts(1).append("kept", Sample.of("s", Task.of("t", "q", []), "[f()]"))
        assert not synced
    names = [os.path.basename(path) for path, _ in synced]
    assert names.index("kept.jsonl") < names.index("loop-000.jsonl")
    assert "tasks.jsonl" in names
    sizes = dict(synced)
    assert sizes[str(folder.round(1) / "kept.jsonl")] == (folder.round(1) / "kept.jsonl").stat().st_size
    assert sizes[str(journal.log.path)] == journal.log.path.stat().st_size
    folder.close()
    journal.log.close()


def test_closing_a_round_and_a_log_syncs_them(tmp_path, synced):
    folder = finished(tmp_path / "run")
    journal = Journal(folder)
    journal.write(ev.LogMessage(level="info", text="last"))
    journal.log.close()
    assert synced[-1] == (str(journal.log.path), journal.log.path.stat().st_size)
