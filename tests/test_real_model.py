"""The configurations of the real small model: what they promise, and the whole path on a CPU with the real weights."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_S

from funreason.config import find_config, load_config
from funreason.policies.fetched_models import MODELS
from funreason.record.folder import RunFolder
from funreason.sources.tasks import toolbox_tasks

BOTH = ("smollm2", "smollm2-smoke")


@pytest.mark.parametrize("name", BOTH)
def test_the_model_is_fetched_by_name_and_trained_on_tasks_that_its_gate_does_not_share(name):
    config = load_config(name)
    assert config.model.path in MODELS
    assert config.model.prompt == "text"  # its chat template shows no tools
    assert config.tasks.path == config.start.references.path == "toolbox:composed_train"
    deciding = {suite.path for suite in config.gate.suites.values() if suite.role == "decision"}
    assert deciding == {"toolbox:composed_gate"}


@pytest.mark.parametrize("name", BOTH)
def test_training_tasks_and_gate_hold_calls_and_refusals(name):
    config = load_config(name)
    drawn = [
        toolbox_tasks(config.tasks.path, config.tasks.per_round, 1, config.tasks.mix),
        toolbox_tasks(config.start.references.path, config.start.references.count, 1, config.start.references.mix),
        toolbox_tasks("toolbox:composed_gate", config.gate.suites["composed"].count, 0),
    ]
    for tasks in drawn:
        refusals = sum(not task.reference for task in tasks) / len(tasks)
        assert 0.1 < refusals < 0.9


def test_the_benchmark_is_reported_and_never_chooses_weights():
    suites = load_config("smollm2").gate.suites
    assert (suites["bfcl"].path, suites["bfcl"].role) == ("bfcl-v4", "report")


def test_every_number_that_no_run_has_tried_says_so():
    said = find_config("smollm2").read_text()
    assert "has not run on a GPU yet" in said
    for key in ("per_round", "count: 8000", "lr: 1.0e-4", "batch_size", "alpha", "max_new_tokens"):
        (line,) = [line for line in said.splitlines() if key in line and not line.startswith("#")]
        assert re.search("measured|counted|untried", line.partition("#")[2]), key


@pytest.mark.engine
@pytest.mark.slow
def test_the_real_model_passes_through_the_whole_loop_on_a_cpu(tmp_path):
    """Fetches 93 MB where they are not in the cache yet; without a network it fails with the command's sentence."""
    run = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]) + os.pathsep + os.environ.get("PYTHONPATH", "")}

    def funreason(*words):
        command = [sys.executable, "-m", "funreason", *words]
        done = subprocess.run(command, cwd=tmp_path, env=run, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "Apache-2.0" in funreason("models", "fetch", "smollm2-135m")
    printed = funreason("loop", "--config", "smollm2-smoke")
    (folder,) = (tmp_path / "runs").iterdir()
    state = RunFolder(folder).state()
    assert state.status == "finished"
    start, first = state.rounds[0], state.rounds[1]
    assert start.chosen.trained == 8
    assert first.chosen.trained > 0
    for past in (start, first):
        assert past.gate.decision == "promote"
        assert past.gate.old_weights != past.gate.new_weights
        assert set(past.gate.balance.kinds) == {"calls", "refusals"}
    assert "Gate: % right of calls and of refusals" in printed
    assert (folder / "model" / "model.safetensors").is_file()
