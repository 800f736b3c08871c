"""`funreason train`: SRML alone, from a file to a model folder."""

import json
import subprocess
import sys

import pytest


def funreason(*arguments, **where):
    command = [sys.executable, "-m", "funreason", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **where)


@pytest.fixture
def records(tmp_path):
    tools = [
        {"name": "book", "description": "book seats", "parameters": {"n": {"type": "int", "description": "seats"}}}
    ]
    rows = [
        {
            "id": f"r{i}",
            "query": f"Book {i} seats.",
            "tools": json.dumps(tools),
            "answers": json.dumps([{"name": "book", "arguments": {"n": i}}]),
            "cot": f"The query asks to book {i} seats.",
        }
        for i in range(6)
    ]
    file = tmp_path / "records.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


def test_it_shows_the_mask_trains_and_saves_safetensors(records, tmp_path):
    done = funreason("train", records, "--out", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert "think" in done.stdout
    assert "result" in done.stdout
    assert "trained on 6 samples" in done.stdout
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert not list((tmp_path / "model").glob("*.bin"))


def test_without_a_folder_the_model_is_named_after_the_file(records, tmp_path):
    done = funreason("train", records, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "records-model" / "model.safetensors").exists()


def test_it_does_not_write_over_a_folder_that_holds_something(records, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("precious")
    done = funreason("train", records, "--out", tmp_path / "model")
    assert done.returncode == 1
    assert "is not empty" in done.stderr
