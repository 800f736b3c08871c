"""The machine of a run: what the record says of it, and how busy its GPUs were."""

import pytest
from recorded import Recording

from funreason.record import events as ev
from funreason.runtime.machine import GpuUsage, described


def test_readings_of_several_gpus_are_averaged_until_the_phase_ends():
    usage = GpuUsage()
    usage.add("90, 20000\n70, 10000\n")
    usage.add("50, 9000\n30, 1000\n")
    used = usage.taken(2, "sample")
    assert (used.round, used.phase, used.readings) == (2, "sample", 2)
    assert used.busy == pytest.approx(0.6)
    assert used.memory_gb == pytest.approx(21.0, abs=0.1)  # 20,000 MiB
    assert usage.taken(2, "train") is None


@pytest.mark.parametrize("text", ["", "[N/A], 5\n", "No devices were found", "1,2,3\n"])
def test_what_is_not_a_reading_counts_as_none(text):
    usage = GpuUsage()
    usage.add(text)
    assert usage.taken(1, "sample") is None


def test_phases_of_one_name_in_a_round_are_added_up(tmp_path):
    run = Recording(tmp_path / "run")
    for busy, readings in ((0.2, 1), (0.8, 3)):
        run(ev.GpuUsed(round=1, phase="sample", busy=busy, memory_gb=busy, readings=readings))
    run.log.close()
    used = run.folder.state().rounds[1].gpu["sample"]
    assert (used.busy, used.memory_gb, used.readings) == (pytest.approx(0.65), 0.8, 4)


def test_a_run_names_its_command_only_where_it_is_our_own(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/funreason", "loop", "--tasks", "my file.jsonl"])
    found = described()
    assert found.command == "funreason loop --tasks 'my file.jsonl'"
    assert found.cores >= 1
    assert {"python", "torch"} <= found.versions.keys()
    monkeypatch.setattr("sys.argv", ["/usr/lib/ipykernel_launcher.py", "-f", "secret.json"])
    assert described().command == ""
