"""The Python front door: objects in, objects out."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import funreason
from funreason import Loop, Sample, Task, Verdict, bfcl, judge, refine
from funreason.config import ConfigError
from funreason.record.folder import RecordError, RunFolder
from tests.serving import ScriptedServer, completion

TOOL = {"name": "add", "description": "adds two numbers", "parameters": {"a": {"type": "int"}, "b": {"type": "int"}}}


def record(i: int, b: int | None = None) -> dict:
    """A record in xLAM's form; its call is right unless another `b` is given."""
    call = {"name": "add", "arguments": {"a": i, "b": 7 if b is None else b}}
    return {"id": f"r{i}", "query": f"Add {i} and 7.", "tools": [TOOL], "answers": [call]}


RECORDS = [record(3), record(4), record(5, b="seven")]


def test_every_public_name_can_be_imported_and_is_documented():
    assert set(funreason.__all__) <= set(dir(funreason))
    for name in funreason.__all__:
        if name not in ("srml_loss", "SrmlLoss"):  # bring torch
            assert getattr(funreason, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        funreason.nope  # noqa: B018


def test_importing_the_package_is_quick_and_loads_no_torch():
    code = (
        "import sys, time; start = time.process_time()\n"
        "from funreason import Task, Sample, Verdict\n"
        "print(time.process_time() - start < 0.15, 'torch' in sys.modules, 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]


@pytest.mark.parametrize("form", ["list", "path", "dataset"])
def test_records_of_any_kind_are_refined_and_each_has_a_result(form, tmp_path):
    records = RECORDS
    if form == "path":
        records = tmp_path / "mine.jsonl"
        records.write_text("".join(json.dumps(each) + "\n" for each in RECORDS))
    if form == "dataset":
        datasets = pytest.importorskip("datasets")
        texts = ("tools", "answers")
        rows = [{key: json.dumps(value) if key in texts else value for key, value in r.items()} for r in RECORDS]
        records = datasets.Dataset.from_list(rows)
    found = refine(records)
    assert [result.id for result in found if result.kept] == ["r3", "r4"]
    assert [(lost.id, lost.end) for lost in found.lost] == [("r5", "dropped")]
    assert found.lost[0].reason == "query.ungrounded_value"
    assert found["r3"].sample.answer == "[add(a=3, b=7)]"
    assert (len(found), found.refused, found.folder) == (3, {}, None)
    assert repr(found).startswith("2 kept · 1 lost · 0 refused; query.ungrounded_value 1")
    assert repr(found.kept) == "<Kept: 2 samples>"
    with pytest.raises(KeyError, match="no sample 'r9'"):
        found["r9"]


def test_what_was_kept_and_lost_become_tables_and_each_sample_tells_its_story():
    pytest.importorskip("datasets")
    found = refine(RECORDS)
    assert found.kept.to_dataset()["id"] == ["r3", "r4"]
    assert {"query", "answer", "tools"} <= set(found.kept.to_dataset().column_names)
    assert dict(found.lost.to_pandas().value_counts("reason")) == {"query.ungrounded_value": 1}
    assert "query_tool: drop query.ungrounded_value" in found["r5"].story()
    assert "Add 5 and 7." in found["r5"].story()


def test_one_word_says_who_judges_and_a_server_judges_where_it_is_given():
    assert len(refine(RECORDS, judging="rules").kept) == len(refine(RECORDS, stages={"cot": "rules"}).kept) == 2
    with pytest.raises(ConfigError, match="stages and judging are the same"):
        refine(RECORDS, judging="rules", stages="both")
    replies = {"cot": '{"score": 1.0, "problem": "", "evidence": "fine"}'}
    with ScriptedServer(lambda heard: completion(replies["cot"], heard.body.get("n", 1))) as server:
        refine(RECORDS, judge=server.url, config={"fcdr.llm.cache": False, "fcdr.max_error_rate": 1.0})
    assert server.heard


def test_answers_are_scored_and_two_models_compared_by_bfcls_rules(tmp_path):
    (tmp_path / "possible_answer").mkdir()
    names = [f"multiple_{i}" for i in range(4)]
    doc = {"name": "f", "parameters": {"type": "dict", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}
    asked = [{"id": n, "question": [[{"role": "user", "content": "Do it"}]], "function": [doc]} for n in names]
    right = [{"id": n, "ground_truth": [{"f": {"a": [1]}}]} for n in names]
    for path, entries in (("MINE_multiple.json", asked), ("possible_answer/MINE_multiple.json", right)):
        (tmp_path / path).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    cases = bfcl.load(tmp_path, ["multiple"])
    answers = {c.id: f"[f(a={len(c.messages) + len(c.tools) - 1})]" for c in cases}
    old, s = bfcl.score(dict.fromkeys(names, "[f(a=2)]"), cases), bfcl.score(answers, cases)
    assert "| multiple | 4 | 4 | 100.00 |" in str(s)
    assert s["multiple"].accuracy == 1
    assert 0.5 < s["multiple"].interval.low < s["multiple"].interval.high == pytest.approx(1)
    assert bfcl.compare(old, s).p == 2 / 2**4


def test_a_record_that_cannot_be_read_is_counted_with_its_reason(tmp_path):
    found = refine([*RECORDS, {"nonsense": 1}], out=tmp_path / "out")
    assert sum(found.refused.values()) == 1
    assert RunFolder(found.folder).state().status == "finished"
    with pytest.raises(RecordError, match="holds a run already"):
        refine(RECORDS, out=tmp_path / "out")


@judge(after="cot")
def only_three(sample: Sample) -> bool:
    """Keeps what speaks of three."""
    return "a=3" in sample.answer


async def drops_four(sample: Sample) -> Verdict | str:
    return Verdict("x", "drop", "four.found") if "a=4" in sample.answer else "pass"


def test_a_function_is_a_judge_sync_or_async_decorated_or_plain():
    assert [result.id for result in refine(RECORDS, judges=[only_three]) if result.kept] == ["r3"]
    found = refine(RECORDS, judges=[drops_four])
    assert found["r4"].reason == "four.found"
    assert only_three.__doc__ == "Keeps what speaks of three."
    with pytest.raises(ConfigError, match=r"judges\[0\] is 3"):
        refine(RECORDS, judges=[3])


def test_a_judge_is_tested_as_the_command_does():
    report = only_three.test()
    assert report.passed
    assert "✓ outcomes" in str(report)
    assert not judge(lambda sample: 3).test().passed


def test_it_works_inside_a_running_event_loop():
    async def notebook():
        return refine(RECORDS)

    assert len(asyncio.run(notebook()).kept) == 2


def test_a_sample_and_a_task_are_built_by_hand():
    task = Task.of("t", "Add 3 and 7.", [TOOL])
    sample = Sample.of("s", task, "[add(a=3, b=7)]", "3 and 7")
    assert (task.query, sample.answer, sample.thinking) == ("Add 3 and 7.", "[add(a=3, b=7)]", "3 and 7")


BASE_INSTALL = """
import sys
from importlib.machinery import PathFinder

class WithoutTorch(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in ("torch", "transformers", "safetensors")
        return None if hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTorch
import funreason
for act in (
    lambda: funreason.run_loop(rounds=1), lambda: list(funreason.Loop(rounds=1)), lambda: funreason.srml_loss,
    lambda: funreason.evaluate("toolbox", "toolbox:new_dev"), lambda: funreason.SrmlLoss,
):
    try:
        act()
    except ImportError as error:
        print(error)
"""


def test_without_torch_each_says_in_one_sentence_which_extra_to_install(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BASE_INSTALL], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    said = done.stdout.splitlines()
    assert len(said) == 5, done.stdout
    for sentence in said:
        assert re.fullmatch(r"\w+ is not installed; it comes with an extra: pip install 'funreason\[train\]'", sentence)


SMALL = {
    "model": {"threads": 1},
    "tasks": {"per_round": 4},
    "start": {"references.count": 8},
    "sample": {"max_new_tokens": 48},
    "gate": {"suites.new.count": 6, "suites.old.count": 4},
}


def test_a_loop_is_planned_before_it_runs(tmp_path):
    loop = Loop("smoke", run_dir=tmp_path, rounds=1, **SMALL)
    assert (loop.config.rounds, loop.config.tasks.per_round, loop.folder) == (1, 4, None)
    assert re.search(r"on 1 × rtx4090, 24 GiB each\n(\w+ +[\d.]+ GiB +\d+ s +fits\n?)+$", str(loop.plan(gpu="rtx4090")))
    with pytest.raises(ConfigError, match="known are a100-80"):
        loop.plan(gpu="abacus")
    with pytest.raises(RecordError, match="has not begun"):
        loop.result  # noqa: B018
    with pytest.raises(ConfigError, match="config is a Config, so sample cannot be given"):
        Loop(loop.config, sample={"samples_per_task": 3})
    with pytest.raises(ConfigError, match="resume keeps the settings"):
        Loop(resume="mine", run_dir=tmp_path, model="other")
    assert not list(tmp_path.iterdir())


def test_tasks_from_python_are_written_where_runs_are_and_played_as_own_data(tmp_path):
    loop = Loop(model="toolbox", tasks=RECORDS, rounds=3, run_dir=tmp_path, config={"sample.samples_per_task": 5})
    assert (loop.config.rounds, loop.config.sample.samples_per_task) == (3, 5)
    assert loop.config.start.references.path == "tasks"
    lines = Path(loop.config.tasks.path).read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["r3", "r4", "r5"]


@pytest.mark.slow
def test_a_loop_is_played_round_by_round_stopped_and_resumed_in_a_notebook(tmp_path):
    fine = judge(lambda sample: True, name="fine")

    async def notebook():
        loop, seen = Loop("smoke", run_dir=tmp_path / "runs", rounds=2, judges=[fine], **SMALL), []
        for round in loop:
            seen.append(round)
            assert loop.result.state.status == "running"
            loop.stop()
        return loop, seen

    loop, (first,) = asyncio.run(notebook())
    assert (first.number, loop.result.status, loop.folder) == (1, "interrupted", first.folder)
    assert len(first.kept) + len(first.lost) == first.state.fates.total() > 0
    (second,) = Loop(resume=loop.folder.name, run_dir=tmp_path / "runs", judges=[fine])
    found = loop.result
    assert [round.number for round in found.rounds] == [1, 2]
    assert str(second.gate).startswith(second.gate.decision)
    assert found.status in ("finished", "refused")
    assert (found.model / "config.json").exists()
    assert "fine" in found.state.nodes
    assert "round 1: " in str(found)
    assert found.verdict.title in found.report(tmp_path / "report").with_name("report.md").read_text()
    assert list(loop) == []
    run = loop.run_folder
    assert (run.folder, run.verdict) == (found.folder, found.verdict)
    assert run.report() == found.folder / "report.html"
    pytest.importorskip("pyarrow")
    assert (run.export(tmp_path / "out") / "model" / "config.json").exists()


def test_a_model_is_scored_from_python():
    found = funreason.evaluate("toolbox", "toolbox:new_gate", limit=2, max_new_tokens=32)
    assert set(found.valid) == set(found.outputs)
    assert 0 <= found.accuracy <= 1
    assert "| simple_python |" in str(found)
    assert Path(found.model).is_dir()
