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
def test_the_tiny_size_fills_every_row_of_the_table(tmp_path):
    done = gpu("--tiny", "--out", tmp_path / "gpu.md")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "gpu.md").read_text()
    for row in ("update: tokens/s", "update: MFU", "head, all logits", "sampling, in process", "sync by files"):
        assert row in text
    assert "–" not in text.partition("| |")[2]
    assert "out of memory" not in text


@pytest.mark.slow
def test_tiny_numbers_never_become_results(tmp_path):
    assert "needs --out" in gpu("--tiny").stderr
    if not torch.cuda.is_available():
        assert "no CUDA device" in gpu("--out", tmp_path / "gpu.md").stderr
