"""Runs that are killed at random moments: the benchmark itself, at a size for every day."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_killed_runs_end_as_the_one_that_never_was(tmp_path):
    options = ["--kills", "8", "--seed", "3", "--keep", str(tmp_path / "runs"), "--out", str(tmp_path / "table.md")]
    command = [sys.executable, "benchmarks/kills.py", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    table = (tmp_path / "table.md").read_text()
    kills, runs, same, all_runs = map(
        int, re.findall(r"(\d+) kills in (\d+) runs[\s\S]*\*\*all\*\*.* (\d+) of (\d+) ", table)[0]
    )
    assert kills >= 8
    assert same == all_runs == runs
