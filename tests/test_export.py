"""A run for others: its model opens in transformers, its data in datasets, and the cards say what the record says."""

import json
import os
from collections import Counter

import pytest
import yaml
from command_line import funreason

from funreason.calls.parse import parse_calls
from funreason.data.reading import read_samples
from funreason.export import COLUMNS, About, dataset_card, export_run, model_card, row
from funreason.record.folder import RecordError, RunFolder
from funreason.record.state import State
from funreason.types import Sample, Task


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A real run of the embedded model, the smallest that keeps something: it answers familiar tools."""
    runs = tmp_path_factory.mktemp("runs")
    settings = ["name=small", "tasks.path=toolbox:old_dev", "tasks.per_round=10", "start.references=null"]
    settings += ["train.update.replay=null", "gate.suites.new.count=8", "gate.suites.old.count=4"]
    command = ["loop", "--config", "smoke", "--rounds", "1", "--run-dir", str(runs)]
    command += [word for setting in settings for word in ("--set", setting)]
    done = funreason(*command)
    assert done.returncode in (0, 3), done.stderr
    return RunFolder(runs / "small")


def test_the_exported_model_opens_in_transformers_and_the_data_in_datasets(run, tmp_path):
    os.environ.setdefault("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = export_run(run, tmp_path / "out", license="apache-2.0")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    assert AutoTokenizer.from_pretrained(tmp_path / "out" / "model").eos_token_id is not None
    assert sum(p.numel() for p in model.parameters()) > 900_000
    data = load_dataset(str(tmp_path / "out" / "data"), split="train", cache_dir=str(tmp_path / "cache"))
    kept = [s for kind in ("kept", "text") for s in run.texts(1).get(kind)]
    assert data.num_rows == made.rows == len(kept)
    assert data.column_names == list(COLUMNS)
    assert sorted(data["answer"]) == sorted(s.answer for s in kept)
    assert all(parse_calls(r["answer"]) for r in data if r["kind"] == "kept")


def test_the_share_gpt_file_is_read_back_by_the_projects_own_reader(run, tmp_path):
    made = export_run(run, tmp_path / "out")
    info = json.loads((tmp_path / "out" / "llamafactory" / "dataset_info.json").read_text())["funreason"]
    assert info["formatting"] == "sharegpt"
    read = read_samples(tmp_path / "out" / "llamafactory" / info["file_name"])
    assert len(read.samples) == made.rows


def test_the_cards_name_gate_data_and_licences(run, tmp_path):
    export_run(run, tmp_path / "out", license="apache-2.0")
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "apache-2.0"
    gate = run.state().at_round(1).gate
    assert f"| {gate.overall.total} | {100 * gate.overall.old / gate.overall.total:.1f} |" in card
    data = (tmp_path / "out" / "data" / "README.md").read_text()
    assert yaml.safe_load(data.split("---")[1])["license"] == "unknown"
    assert all(f"`{name}`" in data for name in COLUMNS)


def test_names_from_outside_cannot_write_markup_into_a_card():
    about = About("<script>x</script> [a](b) | c", "`base`\n# heading", "t|asks", None, None, "w0")
    for card in (model_card(State(), about), dataset_card(State(), about, 0, Counter())):
        assert "<script>" not in card
        assert "\n# heading" not in card
        assert "[a](b)" not in card


def test_text_that_is_no_unicode_still_makes_a_row():
    made = row("kept", Sample.of(id="a", task=Task.of("a", "say \ud800", []), answer="[f(x='\ud800')]"))
    made["query"].encode()
    assert made["answer"] == "[f(x='?')]"


def test_a_folder_that_is_there_is_not_touched(run, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(RecordError, match="fresh folder"):
        export_run(run, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_run_without_weights_of_its_own_has_nothing_to_export(tmp_path):
    empty = RunFolder(tmp_path / "run")
    empty.path.mkdir()
    empty.heartbeat("crashed")
    with pytest.raises(RecordError, match="no model to export"):
        export_run(empty, tmp_path / "out")
    assert not (tmp_path / "out").exists()
