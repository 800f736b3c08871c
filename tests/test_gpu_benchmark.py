"""The GPU benchmark, at no size worth a number: the script itself works."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"


def gpu(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_quick_run_fills_every_row_of_the_table(tmp_path):
    done = gpu("--device", "cpu", "--quick", "--out", tmp_path / "gpu.md")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "gpu.md").read_text()
    lines = text.splitlines()
    for model in ("smollm2-135m", "0.5B", "7B"):
        for row in ("update: tokens/s", "update: MFU", "head, 64 tokens, naive", "recorded steps: tokens/s", "sync by"):
            assert any(line.startswith(f"| {model} |") and row in line for line in lines)
    for row in ("float32 with TF32: tokens/s", "layers compiled: tokens/s"):
        assert any(row in line for line in lines)
    assert "ended early" not in text
    assert "not run" not in text


@pytest.mark.slow
def test_a_run_whose_time_is_over_keeps_what_it_has_and_names_the_rest(tmp_path):
    done = gpu("--device", "cpu", "--quick", "--out", tmp_path / "gpu.md", "--seconds", 0, "--widths", "135m")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "gpu.md").read_text().count("not run: 0 s were over") == 6


@pytest.mark.slow
def test_quick_numbers_never_become_results(tmp_path):
    assert "needs --out" in gpu("--device", "cpu", "--quick").stderr
    assert "needs --quick" in gpu("--device", "cpu", "--out", tmp_path / "gpu.md").stderr
    if not torch.cuda.is_available():
        assert "no CUDA device" in gpu("--out", tmp_path / "gpu.md").stderr
