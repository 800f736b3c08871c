"""Composed tasks: broad, exact, alike where they should mislead, and apart from each other's splits and from BFCL."""

import asyncio
import gzip
import itertools
import json
import random
import re
import subprocess
import sys
import time
import zlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from funreason.agents.judges.rules.stages import (
    CotJudge,
    judge_format,
    judge_parameters,
    judge_query_tool,
    judge_response,
)
from funreason.agents.references import reference_sample
from funreason.bfcl import load_cases
from funreason.bfcl.cases import case_task, data_folder
from funreason.bfcl.suites import validate_suite, write_suite
from funreason.calls.compare import same_call
from funreason.calls.parse import parse_calls
from funreason.calls.render import render_calls
from funreason.calls.schema import check_call, tool_named
from funreason.calls.tools import normalise_tools
from funreason.cli.app import app
from funreason.config import ConfigError, Contamination, check_config
from funreason.data.composed import SHARES, SPLITS, compose, tools_of
from funreason.data.composed.composing import noisy
from funreason.data.composed.value_kinds import Kind, draw, marked, unmarked
from funreason.data.composed.wordings import templates
from funreason.data.reading import read_tasks
from funreason.data.toolbox import generate
from funreason.gate.contamination import ContaminationCheck
from funreason.sources.tasks import read_pool, toolbox_tasks
from funreason.types import Call, Task


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[Task]]:
    return {split: compose(split, 1500, 3) for split in SPLITS}


@pytest.fixture(scope="module")
def everything(drawn: dict[str, list[Task]]) -> list[Task]:
    return [task for tasks in drawn.values() for task in tasks]


OPERATIONS = {
    tool.name: (tool.entity.theme, tool.entity.name, f"{tool.operation} {tool.measure}".strip())
    for split in SPLITS
    for tool in tools_of(split)
}
"""Theme, entity and operation of each composed tool."""


EMBEDDED = 3277349405
"""The checksum of the toolbox's own tasks, which the default run and its published results are made from."""


# Breadth


def test_there_are_hundreds_of_tools_over_thirty_themes_and_each_split_has_all_themes() -> None:
    assert len(OPERATIONS) > 2000
    for split in SPLITS:
        tools = tools_of(split)
        assert len(tools) >= 400
        assert len({tool.entity.theme for tool in tools}) >= 30
        assert len({tool.operation for tool in tools}) >= 18


def test_all_shapes_of_parameters_occur_in_every_split() -> None:
    for split in SPLITS:
        schemas = [tool.schema for tool in tools_of(split)]
        shapes = [(s, n, p) for s in schemas for n, p in s["parameters"]["properties"].items()]
        types = Counter(p["type"] for _, _, p in shapes)
        assert set(types) == {"string", "integer", "number", "boolean", "array", "object"}
        assert sum(p["type"] == "array" and p["items"]["type"] == "object" for _, _, p in shapes) > 10
        assert sum("enum" in p for _, _, p in shapes) > 50
        assert sum("default" in p for _, _, p in shapes) > 50
        assert sum(n not in s["parameters"]["required"] for s, n, _ in shapes) > 0.3 * len(shapes)
        assert sum("." in s["name"] for s in schemas) > 0.1 * len(schemas)
        assert sum(len(s["description"].split()) > 30 for s in schemas) > 0.1 * len(schemas)
        assert sum(" in YYYY-MM-DD format" in p.get("description", "") for _, _, p in shapes) > 10


def test_every_tool_is_in_the_normalised_form_and_can_be_called_by_its_names() -> None:
    for split in SPLITS:
        for tool in tools_of(split):
            (normal,) = normalise_tools([tool.schema])
            assert normal == tool.schema
            every = dict.fromkeys(tool.schema["parameters"]["properties"], "x")
            assert parse_calls(render_calls([Call(tool.name, every)])) == [Call(tool.name, every)]


def test_queries_are_one_to_several_sentences_of_varied_words(drawn) -> None:
    for split, tasks in drawn.items():
        sentences = Counter(len(re.findall(r"[.?!](?:\s|$)", t.query)) for t in tasks if t.category == "simple")
        assert min(sentences[count] for count in (1, 2, 3)) > 5, split
        starts = Counter(" ".join(task.query.split()[:2]) for task in tasks)
        assert starts.most_common(1)[0][1] < 0.25 * len(tasks), split


# Draws


def test_the_same_seed_gives_the_same_tasks_and_another_seed_gives_others() -> None:
    assert compose("train", 60, 1) == compose("train", 60, 1)
    assert not {t.query for t in compose("train", 60, 1)} & {t.query for t in compose("train", 60, 2)}


def test_shares_are_met_and_unknown_names_are_refused() -> None:
    tasks = compose("dev", 100, 1, shares={"simple": 1, "live_irrelevance": 3})
    assert Counter(task.category for task in tasks) == {"simple": 25, "live_irrelevance": 75}
    with pytest.raises(ValueError, match="split 'test' is none of train, dev, gate"):
        compose("test", 1, 1)
    with pytest.raises(ValueError, match="category 'hard' is none of simple"):
        compose("dev", 1, 1, shares={"hard": 1})
    with pytest.raises(ValueError, match="no category could be drawn"):
        compose("dev", 1, 1, shares={"simple": 0})


@given(st.integers(0, 10_000), st.sampled_from(SPLITS), st.integers(0, 30))
def test_any_draw_has_the_number_asked_for_and_no_query_twice(seed, split, n) -> None:
    tasks = compose(split, n, seed)
    assert len(tasks) == len({task.query for task in tasks}) == len({task.id for task in tasks}) == n


def test_ten_thousand_tasks_take_seconds() -> None:
    before = time.process_time()
    compose("train", 2000, 9)
    assert time.process_time() - before < 5


def test_composing_does_not_import_torch() -> None:
    code = "import sys, funreason.data.composed as c; c.compose('dev', 5, 1); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# References


def test_every_reference_is_offered_keeps_to_its_schema_and_can_be_written(everything) -> None:
    for task in everything:
        for call in task.reference:
            assert check_call(call, tool_named(task.tools, call.name)) == []
        assert parse_calls(render_calls(task.reference)) == task.reference


def test_the_rule_judges_pass_nearly_every_reference(everything) -> None:
    judges = (judge_response, judge_query_tool, CotJudge(), judge_parameters, judge_format)

    async def failures() -> list[str]:
        found = []
        for task in (task for task in everything if task.reference):
            verdicts = [await judge(reference_sample(task, task.id)) for judge in judges]
            found += [f"{v.reason}: {v.evidence}" for v in verdicts if v.outcome != "pass"][:1]
        return found

    failed = asyncio.run(failures())
    assert len(failed) <= 0.01 * sum(bool(task.reference) for task in everything), failed[:20]


def test_a_default_may_be_given_or_left_out(everything) -> None:
    given_defaults = left_out = 0
    for tools, call in ((task.tools, call) for task in everything for call in task.reference):
        tool = tool_named(tools, call.name)
        for name, schema in tool["parameters"]["properties"].items():
            if "default" not in schema:
                continue
            if name not in call.arguments:
                left_out += 1
                assert same_call(Call(call.name, call.arguments | {name: schema["default"]}), call, tool) is None
            elif call.arguments[name] == schema["default"]:
                given_defaults += 1
                without = {key: value for key, value in call.arguments.items() if key != name}
                assert same_call(Call(call.name, without), call, tool) is None
    assert min(given_defaults, left_out) > 20


def test_a_suite_of_composed_tasks_is_solved_by_its_own_answers(tmp_path, drawn) -> None:
    write_suite(drawn["gate"][:400], tmp_path)
    assert validate_suite(tmp_path) == []
    assert {case.category for case in load_cases(tmp_path).values()} == {
        {"simple": "simple_python"}.get(name, name) for name in SHARES
    }


@pytest.mark.parametrize("style", ["YYYY-MM-DD", "DD/MM/YYYY", "MM/DD/YYYY", "DD.MM.YYYY"])
def test_a_date_has_the_format_that_its_description_states(style) -> None:
    pattern = re.escape(style).replace("YYYY", r"\d{4}").replace("MM", r"\d\d").replace("DD", r"\d\d")
    drawn = [draw(Kind("date", style=style), random.Random(seed)) for seed in range(60)]
    assert all(re.fullmatch(pattern, one.value) for one in drawn)
    assert sum(unmarked(one.said) != one.value for one in drawn) > 20


# Categories and distractors


def test_categories_are_what_they_say(everything) -> None:
    for task in everything:
        calls, offered, plain = len(task.reference), len(task.tools), task.category.removeprefix("live_")
        names = {call.name for call in task.reference}
        assert len({tool["name"] for tool in task.tools}) == offered
        if plain == "irrelevance":
            assert (calls, bool(task.reference_text)) == (0, True)
        elif plain == "parallel_multiple":
            assert calls >= 2
            assert len(names) >= 2
        elif plain == "parallel":
            assert (len(names), offered) == (1, 1)
            assert calls >= 2
        else:
            assert calls == 1
            assert (offered == 1) == (plain == "simple")


def test_no_distractor_does_the_same_as_a_tool_that_is_needed(everything) -> None:
    for task in everything:
        needed = {call.name for call in task.reference}
        acts = [OPERATIONS[tool["name"]][1:] for tool in task.tools if tool["name"] in needed]
        others = [OPERATIONS[tool["name"]][1:] for tool in task.tools if tool["name"] not in needed]
        assert not set(acts) & set(others)


def test_most_distractors_are_alike(everything) -> None:
    alike = total = 0
    for task in everything:
        if not task.category.endswith("multiple") or len(task.reference) != 1:
            continue
        theme, entity, operation = OPERATIONS[task.reference[0].name]
        for tool in task.tools:
            if tool["name"] != task.reference[0].name:
                other = OPERATIONS[tool["name"]]
                total += 1
                alike += other[0] == theme or other[1] == entity or other[2] == operation
    assert alike > 0.6 * total


# Noise


@given(st.lists(st.text(alphabet="abc XYZ-7.é", min_size=1, max_size=12), min_size=1, max_size=4), st.integers(0, 9999))
def test_noise_leaves_every_value_as_it_is(values, seed) -> None:
    text = "Please look up " + " together with ".join(marked(value) for value in values) + " for me, thanks."
    rest = unmarked(noisy(text, random.Random(seed)))
    for value in values:
        assert value in rest
        rest = rest.split(value, 1)[1]


def test_live_queries_are_typed_carelessly_and_the_others_are_not(drawn) -> None:
    def careless(tasks: list[Task]) -> float:
        return sum(task.query[-1] not in ".!?" or task.query[0].islower() for task in tasks) / len(tasks)

    live, plain = ([t for t in drawn["train"] if t.category.startswith("live_") is live] for live in (True, False))
    assert careless(live) > 0.4
    assert careless(plain) == 0


# Splits and contamination


def test_no_two_splits_share_a_tool_a_template_or_a_query(drawn) -> None:
    for one, other in itertools.combinations(SPLITS, 2):
        assert not {tool.name for tool in tools_of(one)} & {tool.name for tool in tools_of(other)}
        assert not templates(one) & templates(other)
        offered = [{tool["name"] for task in drawn[split] for tool in task.tools} for split in (one, other)]
        assert not offered[0] & offered[1]
        assert not ContaminationCheck([t.query for t in drawn[one]], Contamination()).find(drawn[other])


def test_composed_tasks_share_no_query_and_no_function_name_with_bfcl(everything) -> None:
    if not data_folder().is_dir():
        pytest.skip("the official data is not here; run: funreason bfcl fetch")
    cases = load_cases()
    assert not ContaminationCheck([case_task(case).query for case in cases.values()], Contamination()).find(everything)
    assert not {function["name"] for case in cases.values() for function in case.functions} & set(OPERATIONS)


def test_no_output_recorded_for_bfcl_calls_a_composed_tool(shared_data) -> None:
    called: set[str] = set()
    with gzip.open(shared_data / "bfcl" / "parity_open.jsonl.gz", "rt") as file:
        for line in file:
            called.update(re.findall(r"[A-Za-z_][\w.]*(?=\()", json.loads(line)["output"]))
    assert len(called) > 500
    assert not called & set(OPERATIONS)


def test_the_tasks_of_the_embedded_default_are_those_they_always_were() -> None:
    splits = ("new_train", "new_warmup", "old_replay", "new_gate", "old_gate")
    tasks = [task for split in splits for task in generate(split, 40, 0)]
    text = repr([(task.id, task.query, task.tools, task.reference, task.reference_thinking) for task in tasks])
    assert zlib.crc32(text.encode()) == EMBEDDED


# Where they are used


def test_composed_tasks_are_a_split_like_the_toolboxs_own() -> None:
    config = check_config(
        {
            "tasks": {
                "path": "toolbox:composed_train",
                "per_round": 30,
                "mix": {"live_simple": 1, "parallel_multiple": 1},
            }
        },
        "x.yaml",
    )
    pool = read_pool(config.tasks, 2, 5)
    assert Counter(task.category for task in pool.next(1)) == {"live_simple": 15, "parallel_multiple": 15}
    assert not {task.query for task in pool.next(1)} & {task.query for task in pool.next(2)}
    assert toolbox_tasks("toolbox:composed_dev", 5, 1) == compose("dev", 5, 1)
    with pytest.raises(
        ConfigError, match="no split 'composed_test'; it has composed_dev, composed_gate, composed_train"
    ):
        toolbox_tasks("toolbox:composed_test", 1, 0)


def test_a_mix_of_categories_that_a_split_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(
        ConfigError, match=r"path is 'toolbox:new_train'.*no category 'live_simple'.*It has simple, multi"
    ):
        check_config({"tasks": {"path": "toolbox:new_train", "mix": {"live_simple": 1}}}, "x.yaml")
    shares = {"tasks": {"path": "toolbox:composed_train"}, "train": {"max_category_share": {"live_irrelevance": 0.3}}}
    assert check_config(shares, "x.yaml").train.max_category_share == {"live_irrelevance": 0.3}


@pytest.mark.parametrize("form", ["xlam", "sharegpt", "openai"])
def test_tasks_are_written_to_a_file_and_read_back_whole(form, tmp_path, capsys) -> None:
    out = tmp_path / "tasks.jsonl"
    command = ["toolbox", "make", "composed_dev", "--count", "60", "--seed", "4", "--out", str(out), "--format", form]
    assert app(command, result_action="return_value") == 0
    assert "60 tasks written" in capsys.readouterr().out
    read = read_tasks(out).tasks
    assert [(t.query, t.tools, t.reference, t.reference_text) for t in read] == [
        (t.query, t.tools, t.reference, t.reference_text) for t in compose("dev", 60, 4)
    ]


def test_tasks_are_written_as_a_suite(tmp_path) -> None:
    command = ["toolbox", "make", "composed_gate", "--count", "50", "--out", str(tmp_path / "s"), "--format", "bfcl"]
    assert app(command, result_action="return_value") == 0
    assert len(load_cases(tmp_path / "s")) == 50


def test_what_a_split_is_like_can_be_shown(capsys) -> None:
    assert (
        app(["toolbox", "show", "composed_gate", "--count", "100", "--samples", "2"], result_action="return_value") == 0
    )
    shown = capsys.readouterr().out
    for part in ("words in a query", "parameters optional", "category live_multiple", "pass stage 4 parameters", "->"):
        assert part in shown
