"""The loop from start to end: real model, real training, real gate, at a tenth of the default's size."""

import json
import re
from pathlib import Path

import pytest
from command_line import Done, funreason

from funreason.record.folder import RunFolder

SMALL = ["--set", "tasks.per_round=10", "--set", "start.references.count=32", "--set", "gate.suites.new.count=16"]
SMALL += ["--set", "gate.suites.old.count=8", "--set", "sample.max_new_tokens=64"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[RunFolder, Done]:
    """One small run that the tests of this module look at."""
    runs = tmp_path_factory.mktemp("runs")
    done = funreason("loop", "--config", "smoke", "--verbose", "--run-dir", runs, "--set", "name=small", *SMALL)
    assert done.returncode in (0, 3), done.stderr
    return RunFolder(runs / "small"), done


def test_a_run_ends_with_its_tables_and_the_gate_decides_the_exit_code(run):
    folder, done = run
    state = folder.state()
    assert state.status == {0: "finished", 3: "refused"}[done.returncode]
    for title in ("Stages:", "Samples:", "Update:", "Gate:", "Seconds", "accounted for"):
        assert title in done.stdout


def test_every_round_names_its_decision_losses_and_seconds(run):
    state = run[0].state()
    assert sorted(state.rounds) == [0, 1, 2]
    for k in (1, 2):
        r = state.rounds[k]
        assert r.gate.decision in ("promote", "hold", "rollback")
        assert {"sample", "train", "gate"} <= set(r.seconds)
        assert r.ended


def test_no_sample_is_lost_and_none_is_doubled(run):
    folder, _ = run
    for k, r in folder.state().rounds.items():
        if k:
            drawn = {s.id for s in folder.texts(k).get("sampled") if s.attempt == 0}
            ends = [s.id for kind in ("kept", "text", "dropped", "dead") for s in folder.texts(k).get(kind)]
            assert len(drawn) == r.todo == r.fates.total()
            assert sorted(ends) == sorted(drawn)


def test_every_sample_names_the_weights_that_made_it(run):
    folder, _ = run
    state = folder.state()
    for k in (1, 2):
        made_by = {s.weights_id for s in folder.texts(k).get("sampled")}
        assert made_by == {state.rounds[k].gate.old_weights}


def test_a_round_is_sealed_with_the_hashes_of_its_files(run):
    manifest = json.loads((run[0].round(1) / "manifest.json").read_text())
    assert {"sampled.jsonl", "tasks.jsonl"} <= set(manifest["files"])


def test_the_model_that_was_accepted_lies_where_the_run_says(run):
    from safetensors import safe_open

    folder, _ = run
    weights = folder.path / "model" / "model.safetensors"
    with safe_open(weights, "pt") as file:
        assert file.keys()
    assert folder.state().weights in (weights.parent.resolve().name, folder.state().rounds[0].gate.old_weights)


def test_status_says_the_same_as_the_run(run):
    folder, _ = run
    told = json.loads(funreason("status", folder.path, "--json").stdout)
    assert told["status"] == folder.state().status
    assert told["process"]["status"] in ("finished", "refused")
    assert told["rounds"]["1"]["fates"] == dict(folder.state().rounds[1].fates)


def test_show_tells_the_whole_story_of_a_sample(run):
    folder, _ = run
    sample = next(folder.texts(1).get("sampled"))
    told = funreason("show", sample.id, "--run", folder.path).stdout
    assert sample.task.query in told
    assert "response: " in told


def test_dead_letters_are_listed_by_reason(run):
    folder, _ = run
    state = folder.state()
    told = funreason("dlq", "list", folder.path).stdout
    assert f": {sum(r.fates['dropped'] + r.fates['dead'] for r in state.rounds.values())}" in told


def test_a_finished_run_that_is_resumed_changes_nothing(run):
    folder, done = run
    before = folder.state().summary()["rounds"]
    again = funreason("loop", "--resume", folder.path)
    assert again.returncode == done.returncode, again.stderr
    assert "Nothing to do: the run has ended, 2 of 2 rounds. --rounds 3 adds one." in " ".join(again.stderr.split())
    assert ("`funreason demo` is a round that learns" in " ".join(done.stdout.split())) == (done.returncode == 3)
    assert folder.state().summary()["rounds"] == before


def test_a_run_whose_rounds_were_all_held_is_refused_even_when_its_supervised_start_was_promoted(tmp_path):
    """Four tokens are no answer: nothing is kept and no weights change, while the supervised start may lose."""
    few = ["--set", "sample.max_new_tokens=4", "--set", "gate.min_gain=-100", "--rounds", "1", "--set", "name=r"]
    done = funreason("loop", "--config", "smoke", "--run-dir", tmp_path, *SMALL, *few)
    assert done.returncode == 3, done.stderr
    log = (tmp_path / "r" / "events" / "loop-000.jsonl").read_text().splitlines()
    gates = [event for event in map(json.loads, log) if event["kind"] == "gate_decided"]
    assert [(g["round"], g["decision"]) for g in gates] == [(0, "promote"), (1, "hold")]
    assert "the model is as the supervised start left it" in done.stdout
    assert (tmp_path / "r" / "model").resolve().name == gates[0]["new_weights"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--set", "sample.samples_per_task=3"], "--set"),
        (["--seed", "4"], "--seed"),
        (["--model", "x"], "--model"),
        (["--tasks", "x", "--config", "smoke"], "--config, --tasks"),
        (["--strict"], "--strict"),
        (["--rounds", "1"], "has played 2 rounds"),
    ],
)
def test_a_run_taken_up_again_keeps_its_settings_and_says_so(run, options, named):
    folder, _ = run
    done = funreason("loop", "--resume", folder.path, *options)
    assert done.returncode == 2
    assert named in done.stderr


def test_a_start_that_fails_removes_only_what_it_made(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for name, code, said in (("mine", 1, "exists already"), ("new", 1, "no such file"), ("../up", 2, "name is")):
        done = funreason("loop", "--tasks", "/nonexistent", "--run-dir", tmp_path, "--set", f"name={name}")
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["mine", "mine/thesis.txt"]


@pytest.mark.slow
def test_real_records_run_through_the_loop_and_all_are_accounted_for(shared_data, tmp_path):
    import gzip

    with gzip.open(shared_data / "real" / "open-dev.jsonl.gz", "rt") as file:
        lines = [next(file) for _ in range(60)]
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text("".join(lines) + '{"id": "torn", "query": "a')
    more = ["--set", "sample.max_new_tokens=32", "--set", "sample.samples_per_task=1"]
    done = funreason("loop", "--tasks", tasks, "--rounds", "1", "--run-dir", tmp_path, "--set", "name=own", *more)
    assert done.returncode in (0, 3), done.stderr
    assert "at line 61" in done.stderr
    assert "data.augment added" in done.stderr
    state = RunFolder(tmp_path / "own").state()
    r = state.rounds[1]
    note = next(note.text for note in state.notes if "data.augment added" in note.text)
    made = sum(map(int, re.findall(r"(\d+) (?:missing_value|irrelevance|masking|other_tools)", note)))
    assert made > 0
    assert r.fates.total() + state.refused.total() == 61 + made
    assert state.refused["held_out"] > 0
    assert state.rounds[0].chosen.trained > 0


def test_a_graph_that_cannot_end_is_refused_with_a_sentence(tmp_path):
    graph = Path(__file__).parents[1] / "funreason" / "configs" / "fcdr.yaml"
    broken = tmp_path / "graph.yaml"
    broken.write_text(graph.read_text().replace("regenerate regenerator retry", "regenerate regenerator"))
    done = funreason("loop", "--set", f"fcdr.graph={broken}", "--run-dir", tmp_path)
    assert done.returncode == 2
    assert "cycle" in done.stderr
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "no such file"), ("", "is empty"), ('{"id": 1, "que', "at line 1"), (b"\xff\xfe\x00", "UTF-8")],
)
def test_a_task_file_that_cannot_be_used_is_explained(tmp_path, text, said):
    file = tmp_path / "tasks.jsonl"
    if text is not None:
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    done = funreason("loop", "--tasks", file, "--run-dir", tmp_path / "runs")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_folder_without_a_tokenizer_is_explained(tmp_path):
    from funreason.data.toolbox import BASE

    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(BASE / name)
    done = funreason("loop", "--model", tmp_path, "--run-dir", tmp_path / "runs", "--config", "smoke")
    assert done.returncode == 1
    assert "no tokenizer here" in done.stderr


@pytest.mark.parametrize("arguments", [["lop"], ["loop", "--roundz", "3"], ["config", "check", "--set", "sed=1"]])
def test_wrong_usage_is_exit_code_2(arguments):
    assert funreason(*arguments).returncode == 2


def test_a_custom_judge_stands_where_the_configuration_puts_it(tmp_path):
    judge = tmp_path / "mine.py"
    judge.write_text("async def no_seven(sample):\n    return 'drop' if '7' in sample.answer else 'pass'\n")
    settings = [f"agents=[{{name: no_seven, agent: '{judge}:no_seven', after: cot}}]"]
    drawn = funreason("graph", *[x for s in settings for x in ("--set", s)]).stdout
    assert "cot          pass → no_seven" in drawn


def test_a_broken_judge_is_named_with_its_own_error(tmp_path):
    judge = tmp_path / "mine.py"
    judge.write_text("import nowhere_to_be_found\n")
    done = funreason("config", "check", "--set", f"agents=[{{name: mine, agent: '{judge}:x'}}]")
    assert done.returncode == 2
    assert "nowhere_to_be_found" in done.stderr


@pytest.mark.parametrize(("lr", "samples"), [(1e30, 10), (1e30, 40)], ids=["in the last steps", "early"])
def test_an_update_that_breaks_the_weights_ends_its_round_with_a_rollback(lr, samples, tmp_path):
    broken = ["tasks.path=toolbox:old_dev", "start.references=null", f"train.update.lr={lr}", "name=broken"]
    broken += ["train.update.replay={path: toolbox:old_replay, count: " + str(samples) + "}"]
    settings = [*SMALL, *[word for setting in broken for word in ("--set", setting)]]
    done = funreason("loop", "--config", "smoke", "--rounds", "1", "--run-dir", tmp_path, *settings)
    assert done.returncode == 3, done.stderr
    state = RunFolder(tmp_path / "broken").state()
    assert (state.status, state.rounds[1].gate.decision) == ("refused", "rollback")
    assert "not finite" in state.rounds[1].gate.reason
    assert state.rounds[1].weights == state.rounds[0].weights
