"""The toolbox domain: what its tasks look like and that its splits never meet."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funreason.calls.parse import parse_calls
from funreason.calls.render import render_calls
from funreason.data.toolbox import SPLITS, generate
from funreason.data.toolbox.tasks import bucket
from funreason.data.toolbox.tools import familiar_tools, unseen_tools
from funreason.data.toolbox.values import held_out
from funreason.types import Task

TRAINING = ("pretrain", "old_replay", "new_warmup", "new_train")
MEASURING = ("old_dev", "old_gate", "new_dev", "new_gate")


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[Task]]:
    return {split: generate(split, 600, seed=3) for split in SPLITS}


def normalised(query: str) -> str:
    return " ".join(sorted(re.findall(r"\w+", query.lower())))


def test_there_are_sixty_tools_in_twelve_themes_and_no_name_twice() -> None:
    tools = familiar_tools() + unseen_tools()
    assert len(tools) >= 60
    assert len({tool.theme for tool in tools}) >= 12
    assert len({tool.name for tool in tools}) == len(tools)


def test_the_unseen_themes_share_no_theme_name_and_description_with_the_familiar_ones() -> None:
    familiar, unseen = familiar_tools(), unseen_tools()
    assert len(unseen) >= 14
    assert len({tool.theme for tool in unseen}) >= 3
    for fact in ("theme", "name", "does"):
        assert not {getattr(tool, fact) for tool in familiar} & {getattr(tool, fact) for tool in unseen}


def test_all_types_of_parameters_occur() -> None:
    kinds = Counter(
        "enum" if "enum" in shape else shape["type"]
        for tool in familiar_tools() + unseen_tools()
        for shape in tool.schema()["parameters"]["properties"].values()
    )
    assert set(kinds) == {"string", "integer", "number", "boolean", "enum", "array"}


def test_the_same_seed_gives_the_same_tasks_and_another_seed_gives_others() -> None:
    assert generate("new_train", 50, seed=1) == generate("new_train", 50, seed=1)
    first = {task.query for task in generate("new_train", 50, seed=1)}
    assert len(first & {task.query for task in generate("new_train", 50, seed=2)}) < 5


def test_quotas_are_met_and_unknown_names_are_refused() -> None:
    tasks = generate("new_warmup", 100, seed=1, quotas={"simple": 1, "irrelevance": 3})
    assert Counter(task.category for task in tasks) == {"simple": 25, "irrelevance": 75}
    with pytest.raises(ValueError, match="split 'new' is none of pretrain"):
        generate("new", 1, seed=1)
    with pytest.raises(ValueError, match="category 'hard' is none of simple"):
        generate("new_dev", 1, seed=1, quotas={"hard": 1.0})
    with pytest.raises(ValueError, match="no category could be drawn"):
        generate("new_train", 10, seed=0, quotas={"simple": 0.0})


@given(st.integers(0, 10_000), st.sampled_from(sorted(SPLITS)), st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_any_draw_has_the_number_asked_for_and_no_query_twice(seed: int, split: str, n: int) -> None:
    tasks = generate(split, n, seed)
    assert len(tasks) == len({task.query for task in tasks}) == len({task.id for task in tasks}) == n


def test_every_reference_is_offered_and_keeps_to_its_schema(drawn: dict[str, list[Task]]) -> None:
    for task in (task for tasks in drawn.values() for task in tasks):
        offered = {tool["name"]: tool["parameters"] for tool in task.tools}
        for call in task.reference or []:
            shape = offered[call.name]
            assert set(shape["required"]) <= set(call.arguments) <= set(shape["properties"])
            assert list(call.arguments) == [name for name in shape["properties"] if name in call.arguments]
        assert parse_calls(render_calls(task.reference or [])) == task.reference


def test_categories_are_what_they_say(drawn: dict[str, list[Task]]) -> None:
    for task in (task for tasks in drawn.values() for task in tasks):
        assert task.reference is not None
        calls, offered = len(task.reference), len(task.tools)
        if task.category == "simple":
            assert (calls, offered) == (1, 1)
        elif task.category == "multiple":
            assert calls == 1
            assert 2 <= offered <= 5
        elif task.category == "parallel":
            assert calls in (2, 3)
        else:
            assert calls == 0
            assert task.reference_text


def test_the_thinking_names_the_function_and_its_values(drawn: dict[str, list[Task]]) -> None:
    for task in (task for tasks in drawn.values() for task in tasks):
        thinking = task.reference_thinking or ""
        for call in task.reference or []:
            values = [v for value in call.arguments.values() for v in (value if isinstance(value, list) else [value])]
            for part in [call.name, *map(str, values)]:
                assert re.search(rf"(?<!\w){re.escape(part)}(?!\w)", thinking), (part, thinking)


def test_a_query_never_says_a_value_in_another_case_than_the_call(drawn: dict[str, list[Task]]) -> None:
    for task in drawn["new_dev"]:
        for value in (value for call in task.reference or () for value in call.arguments.values()):
            if isinstance(value, str) and value.lower() in task.query.lower():
                assert value in task.query


def test_no_query_of_a_measuring_split_nor_its_reordered_twin_occurs_in_a_training_split() -> None:
    large = {split: {normalised(task.query) for task in generate(split, 500, seed=11)} for split in SPLITS}
    for split in MEASURING:
        for other in SPLITS:
            assert split == other or not large[split] & large[other], (split, other)


def test_the_queries_of_the_rounds_are_none_of_the_references() -> None:
    drawn = [
        {normalised(task.query) for task in generate(split, 1500, seed=5)} for split in ("new_warmup", "new_train")
    ]
    assert not drawn[0] & drawn[1]


def test_splits_that_share_tools_own_different_buckets() -> None:
    for one in SPLITS:
        for other in SPLITS:
            pretraining = SPLITS[one].augmented and SPLITS[other].augmented
            if one < other and SPLITS[one].tools is SPLITS[other].tools and not pretraining:
                assert not set(SPLITS[one].buckets) & set(SPLITS[other].buckets)


@given(st.lists(st.sampled_from("book a table at Zorvik for 4".split()), min_size=1, max_size=7), st.randoms())
def test_a_bucket_does_not_depend_on_order_case_or_signs(words: list[str], rng) -> None:
    shuffled = [word.upper() for word in words]
    rng.shuffle(shuffled)
    assert bucket(" ".join(words)) == bucket(", ".join(shuffled) + "!")


def test_measuring_splits_use_only_held_out_words_and_training_splits_none(drawn: dict[str, list[Task]]) -> None:
    open_words = {
        (tool.name, parameter.name): parameter
        for tool in familiar_tools() + unseen_tools()
        for parameter in tool.parameters
        if parameter.kind in ("word", "city", "person", "text", "amount", "count", "words", "numbers", "code")
    }
    for split in ("old_replay", "new_warmup", "new_train", *MEASURING):
        for task in drawn[split]:
            for call in task.reference or []:
                for name, value in call.arguments.items():
                    if (call.name, name) in open_words:
                        items = value if isinstance(value, list) else [value]
                        assert {held_out(str(item)) for item in items} == {split in MEASURING}


def test_the_pretraining_never_shows_an_unseen_tool(drawn: dict[str, list[Task]]) -> None:
    unseen = {tool.name for tool in unseen_tools()} | {tool.does for tool in unseen_tools()}
    for split in ("pretrain", "old_replay", "old_dev", "old_gate"):
        shown = {tool[fact] for task in drawn[split] for tool in task.tools for fact in ("name", "description")}
        assert not shown & unseen


def test_importing_the_domain_does_not_import_torch() -> None:
    code = "import sys, funreason.data.toolbox as t; t.generate('new_dev', 5, 1); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tasks_survive_being_written_as_json(drawn: dict[str, list[Task]]) -> None:
    for task in drawn["new_gate"][:20]:
        assert json.loads(json.dumps(task.tools)) == task.tools
