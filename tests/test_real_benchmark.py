"""The benchmark of the real model, at no size worth a number: every arm runs, is kept, and is read back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from funreason.bfcl.cases import data_folder
from funreason.bfcl.suites import write_suite
from funreason.sources.tasks import toolbox_tasks

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "real.py"


def real(folder, *arguments):
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--size", "smoke", *map(str, arguments)]
    path = os.pathsep.join([str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)


@pytest.mark.slow
def test_every_arm_runs_once_and_what_has_not_run_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "run: funreason bfcl fetch" in real(tmp_path, "--out", "r.md").stderr
    write_suite(toolbox_tasks("toolbox:new_gate", 20, 5), data_folder(), "BFCL_v4")
    assert "needs --out" in real(tmp_path).stderr
    (tmp_path / "held-out.txt").write_text("The quick brown fox jumps over the lazy dog. " * 20)
    asked = ("--part", 0, "--out", "r.md", "--text", "held-out.txt")

    first = real(tmp_path, *asked, "--arms", "judged", "references")
    assert first.returncode == 0, first.stderr
    part = (tmp_path / "r.md").read_text()
    assert "| judged | 0 | base |" in part
    assert "| references | 0 | last |" in part
    assert "| unfiltered |" not in part
    assert "bits per byte" in part
    assert "humaneval: not run (--humaneval FILE)" in part

    runs = {path.name: path.stat().st_mtime for path in (tmp_path / "runs").iterdir()}
    whole = real(tmp_path, *asked)
    assert whole.returncode == 0, whole.stderr
    assert "Not run yet" not in (tmp_path / "r.md").read_text()
    for row in ("unfiltered | 0 | last", "sft | 0 | start", "judged last − references last"):
        assert row in (tmp_path / "r.md").read_text()
    after = {path.name: path.stat().st_mtime for path in (tmp_path / "runs").iterdir()}
    assert {name: after[name] for name in runs} == runs

    other = real(tmp_path, "--part", 1, "--out", "other.md", "--arms", "judged", "sft", "--minutes", "0")
    assert "Not run yet: sft 1." in (tmp_path / "other.md").read_text(), other.stderr
