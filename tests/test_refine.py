"""FCDR over real records, and over malformed ones."""

import json
import subprocess
import sys

import pytest

from funreason.record.folder import RunFolder


def refine(file, out, *more):
    command = [sys.executable, "-m", "funreason", "refine", str(file), "--out", str(out), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("name", "records"), [("open-dev.jsonl.gz", 2204), ("nasty.jsonl", 254)])
def test_every_real_record_is_kept_dropped_dead_or_refused_with_a_reason(shared_data, tmp_path, name, records):
    done = refine(shared_data / "real" / name, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    state = RunFolder(tmp_path / "out").state()
    r = state.rounds[1]
    assert r.fates.total() + state.refused.total() == records
    assert sum(r.dead_reasons.values()) == r.fates["dropped"] + r.fates["dead"]
    assert all(r.dead_reasons)
    assert all(state.refused)
    assert r.nodes["cot"].outcomes["error"] == 0


def test_refined_records_can_be_refined_again_and_all_stay(shared_data, tmp_path):
    assert refine(shared_data / "real" / "open-dev.jsonl.gz", tmp_path / "one").returncode == 0
    kept = tmp_path / "one" / "refined-xlam.jsonl"
    assert refine(kept, tmp_path / "two").returncode == 0
    first, second = (RunFolder(tmp_path / name).state().rounds[1].fates for name in ("one", "two"))
    assert second.total() == first["kept"] + first["text"] == second["kept"] + second["text"]


def test_the_same_records_are_written_for_other_trainers(shared_data, tmp_path):
    refine(shared_data / "real" / "nasty.jsonl", tmp_path / "out")
    kept = RunFolder(tmp_path / "out").state().rounds[1].fates
    rows = json.loads((tmp_path / "out" / "refined-sharegpt.json").read_text())
    assert len(rows) == kept["kept"] + kept["text"]
    assert {turn["from"] for row in rows for turn in row["conversations"]} == {"human", "gpt"}


def test_strict_refuses_a_file_with_one_bad_record(shared_data, tmp_path):
    done = refine(shared_data / "real" / "nasty.jsonl", tmp_path / "out", "--strict")
    assert done.returncode == 1
    assert "line 1 " in done.stderr
    assert not (tmp_path / "out").exists()
