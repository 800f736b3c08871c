"""Tasks made from others: what each kind takes away, what it must leave, and how much of it a pool gets."""

import json
import random
import re
import time
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from funreason.calls.schema import check_call
from funreason.config import Config, ConfigError, Contamination, check_config
from funreason.data.composed import compose
from funreason.data.task_variants import (
    ToolIndex,
    holds,
    label_of,
    masked,
    may_replace,
    with_other_tools,
    without_needed_tools,
    without_value,
)
from funreason.gate.contamination import ContaminationCheck
from funreason.loops.session import require_something_to_learn
from funreason.sources.augmenting import augmented
from funreason.sources.tasks import HELD_OUT, Pool, hold_out, read_pool
from funreason.types import Call, Message, Task

CALLS = {"simple": 1, "multiple": 1, "parallel": 1, "live_multiple": 1}
TASKS = compose("dev", 160, 11, shares=CALLS)
INDEX = ToolIndex(TASKS)
any_task = st.sampled_from(TASKS)
seeds = st.integers(0, 10_000)


def tool(name: str, description: str = "", required: tuple[str, ...] = ("city",), **extra) -> dict:
    properties = {key: {"type": "string", "description": f"The {key}."} for key in required} | extra
    shape = {"type": "object", "properties": properties, "required": list(required)}
    return {"name": name, "description": description or f"Does the thing called {name}.", "parameters": shape}


def asked(query: str, arguments: dict, *others: dict, needed: dict | None = None, **fields) -> Task:
    one = needed or tool("weather_now", "Tells the weather of a city right now.", tuple(arguments))
    return Task.of("t1", query, [one, *others], [Call(one["name"], arguments)], **fields)


def rng(seed: int = 0) -> random.Random:
    return random.Random(seed)


# Taking the needed tools away


@given(any_task, seeds)
def test_without_its_needed_tools_no_call_is_right_and_no_needed_tool_is_left(task, seed):
    variant = without_needed_tools(task, rng(seed))
    assume(variant is not None)
    needed = {call.name for call in task.reference}
    assert not needed & {tool["name"] for tool in variant.tools}
    assert all(tool in task.tools for tool in variant.tools)
    assert variant.tools
    assert (variant.reference, variant.messages) == ([], task.messages)
    assert variant.reference_text


def test_a_second_tool_that_does_the_same_goes_with_the_needed_one():
    twin = tool("current_weather", "Tells the weather of a city right now.")
    task = asked("How is the weather in Lima?", {"city": "Lima"}, twin, tool("play_song"))
    assert [left["name"] for left in without_needed_tools(task, rng()).tools] == ["play_song"]
    assert without_needed_tools(asked("How is the weather in Lima?", {"city": "Lima"}, twin), rng()) is None


def test_what_has_no_right_call_or_called_before_is_left_alone():
    plain = asked("How is the weather in Lima?", {"city": "Lima"}, tool("play_song"))
    refused = Task.of("t2", plain.query, plain.tools, [], reference_text="No.")
    unknown = Task.of("t3", plain.query, plain.tools, None)
    elsewhere = Task.of("t4", plain.query, plain.tools[1:], plain.reference)
    earlier = (Message("user", "And Oslo?"), Message("assistant", "", calls=(Call("play_song", {"city": "x"}),)))
    later = Task("t5", (*earlier, Message("user", plain.query)), plain.tools, plain.reference)
    for task in (refused, unknown, elsewhere, later):
        assert without_needed_tools(task, rng()) is None
        assert with_other_tools(task, INDEX, rng()) is None
        assert without_value(task, rng()) is None
        assert masked(task, rng()) is None


# Other tools


@given(any_task, seeds)
def test_other_tools_are_as_many_and_none_can_do_what_is_needed(task, seed):
    variant = with_other_tools(task, INDEX, rng(seed))
    needed = [tool for tool in task.tools if tool["name"] in {call.name for call in task.reference}]
    assert len(variant.tools) == len({tool["name"] for tool in variant.tools}) == len(task.tools)
    assert not any(may_replace(tool, other) for tool in variant.tools for other in needed)
    assert (variant.reference, variant.query) == ([], task.query)


def test_other_tools_are_the_more_alike_ones():
    task = asked("How is the weather in Lima?", {"city": "Lima"})
    near = tool("hotel_prices", "Tells the price of hotels in a city right now.")
    far = [tool(f"gadget_{i}", f"Spins gadget number {i} around.") for i in range(5)]
    index = ToolIndex([Task.of("p", "q", [*far, near], [])])
    assert with_other_tools(task, index, rng()).tools == [near]


def test_a_tool_whose_name_shares_a_telling_word_is_no_other_tool():
    task = asked("How is the weather in Lima?", {"city": "Lima"})
    index = ToolIndex([Task.of("p", "q", [tool("get_weather_forecast", "Looks days ahead.")], [])])
    assert with_other_tools(task, index, rng()) is None


# A missing value


@given(any_task, seeds)
def test_the_missing_value_is_gone_from_the_query_and_the_others_are_still_there(task, seed):
    variant = without_value(task, rng(seed))
    assume(variant is not None)
    call = task.reference[0]
    missing = [
        name for name, value in call.arguments.items() if holds(task.query, value) and not holds(variant.query, value)
    ]
    assert len(missing) == 1
    assert missing[0] in variant.tools[[t["name"] for t in variant.tools].index(call.name)]["parameters"]["required"]
    assert label_of(missing[0]) in variant.reference_text
    assert variant.reference_text.endswith("?")
    assert variant.reference == []
    assert (variant.category, variant.tools) == ("missing_value", task.tools)


@pytest.mark.parametrize(
    ("query", "arguments", "left"),
    [
        ("How is the weather in Lima today?", {"city": "Lima"}, "How is the weather today?"),
        ("In Lima, how is the weather today?", {"city": "Lima"}, "How is the weather today?"),
        ('Show me the weather for "Lima" please.', {"city": "Lima"}, "Show me the weather please."),
        ("Show me the weather. The city is Lima.", {"city": "Lima"}, "Show me the weather."),
        ("Warn me of a wind with a speed of 40 km/h in the hills.", {"speed": 40}, "Warn me of a wind in the hills."),
        ("Warn me of wind from 40 miles on.", {"speed": "40"}, "Warn me of wind on."),
    ],
)
def test_the_words_that_lead_to_a_value_go_with_it(query, arguments, left):
    assert without_value(asked(query, arguments), rng()).query == left


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("Lima, Lima, how is the weather in Lima?", {"city": "Lima"}),
        ("How is the weather over there today?", {"city": "Lima"}),
        ("Compare the two: Lima weather at 2 please", {"speed": 2}),
        ("How is it around San Marcos, the town of San Marcos hill?", {"city": "San Marcos"}),
        ("Give Lima and Oslo to 3 and 4 respectively.", {"city": "Lima"}),
        ("Weather Lima.", {"city": "Lima"}),
        ("Tell me of Italy and what it is like in spring.", {"country": "it"}),
        ("Tell me which cat and dog foods may be sold.", {"code": "MAY"}),
        ("Show the vaccines for a 23-year-old dog please.", {"age": 23}),
    ],
)
def test_a_value_that_would_stay_or_leave_nothing_is_not_removed(query, arguments):
    assert without_value(asked(query, arguments), rng()) is None


def test_only_required_values_that_no_schema_gives_are_removed():
    query, free = "Show the weather of Lima in celsius by email to me.", {"type": "string", "description": "x"}
    shape = tool("show_weather", required=("city", "unit"), way=free)
    shape["parameters"]["properties"]["unit"]["enum"] = ["celsius", "kelvin"]
    arguments = {"city": "Lima", "unit": "celsius", "way": "email"}
    removed = {without_value(asked(query, arguments, needed=shape), rng(seed)).query for seed in range(20)}
    assert removed == {"Show the weather in celsius by email to me."}


# Masked names


def shapes(schema: dict) -> list:
    """Types, enums, defaults and descriptions of a schema in order, without the names of properties."""
    own = {key: value for key, value in schema.items() if key not in ("properties", "items", "required")}
    inner = [shapes(each) for each in schema.get("properties", {}).values()]
    return [own, len(schema.get("required", [])), inner, shapes(schema["items"]) if "items" in schema else None]


def plain_values(value) -> list:
    if isinstance(value, dict):
        return [part for each in value.values() for part in plain_values(each)]
    return [part for each in value for part in plain_values(each)] if isinstance(value, list) else [value]


@given(any_task, seeds)
def test_masking_gives_each_name_one_new_name_and_keeps_everything_else(task, seed):
    variant = masked(task, rng(seed))
    new, old = [tool["name"] for tool in variant.tools], [tool["name"] for tool in task.tools]
    assert len(set(new)) == len(old)
    assert not set(new) & set(old)
    for before, after in zip(task.tools, variant.tools, strict=True):
        assert shapes(before["parameters"]) == shapes(after["parameters"])
        assert before["description"] == after["description"]
        assert not set(before["parameters"]["properties"]) & set(after["parameters"]["properties"])
    offered = {tool["name"]: tool for tool in variant.tools}
    for before, after in zip(task.reference, variant.reference, strict=True):
        assert check_call(after, offered[after.name]) == []
        assert plain_values(before.arguments) == plain_values(after.arguments)
        assert new.index(after.name) == old.index(before.name)
    assert variant.query == task.query
    assert all(call.name in variant.reference_thinking for call in variant.reference)


def test_masking_reaches_into_objects_and_lists_and_keeps_undescribed_names():
    properties = {"street": {"type": "string", "description": "Where."}, "nr": {"type": "integer"}}
    inner = {"type": "object", "properties": properties, "required": ["street"]}
    shape = tool(
        "send_it", "Sends it to all of these.", (), places={"type": "array", "description": "To.", "items": inner}
    )
    shape["parameters"]["required"] = ["places"]
    task = asked("Send it to 3 Oak Lane.", {"places": [{"street": "Oak Lane", "nr": 3}]}, needed=shape)
    variant = masked(task, rng())
    (places,) = variant.reference[0].arguments.values()
    assert list(places[0].values()) == ["Oak Lane", 3]
    assert "nr" in places[0]
    assert "street" not in places[0]
    assert check_call(variant.reference[0], variant.tools[0]) == []


def test_a_tool_without_a_description_or_named_in_the_query_is_not_masked():
    assert masked(asked("Weather of Lima", {"city": "Lima"}, needed=tool("weather_now", "Go.")), rng()) is None
    assert masked(asked("Call weather_now for Lima", {"city": "Lima"}), rng()) is None


def test_a_schema_with_conditions_keeps_its_names():
    shape = tool("weather_now", "Tells the weather of a city.")
    shape["parameters"]["anyOf"] = [{"required": ["city"]}]
    variant = masked(asked("Weather of Lima", {"city": "Lima"}, needed=shape), rng())
    assert variant.tools[0]["parameters"] == shape["parameters"]
    assert variant.reference[0].arguments == {"city": "Lima"}


plain = st.text(max_size=6) | st.integers() | st.floats() | st.booleans() | st.none()
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
odd_schemas = st.recursive(
    st.sampled_from([True, {}, {"type": "string", "description": "A text."}, {"description": 7}, {"enum": ["a"]}]),
    lambda inner: st.fixed_dictionaries({}, optional={
        "type": st.sampled_from(["object", "array", ["array", "object"]]), "description": st.just("What it is."),
        "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3), "items": inner,
        "required": st.lists(st.sampled_from("abcd"), unique=True), "anyOf": st.lists(inner, max_size=2),
    }),
    max_leaves=6,
)  # fmt: skip


@given(odd_schemas, values, st.text(alphabet="ab 7.-éß漢", max_size=30), seeds)
def test_no_schema_value_or_query_breaks_a_kind_and_values_stay_as_they_are(schema, value, query, seed):
    one = tool("weather_now", "Tells the weather of a city.", ())
    one["parameters"] = {"type": "object", "properties": {"a": schema, "b": {"type": "string"}}, "required": ["a", "z"]}
    task = Task.of("t", f"{query} {value} {query}", [one, tool("play_song")], [Call("weather_now", {"a": value})])
    for variant in (
        without_needed_tools(task, rng(seed)),
        with_other_tools(task, INDEX, rng(seed)),
        without_value(task, rng()),
    ):
        assert variant is None or variant.reference == []
    variant = masked(task, rng(seed))
    if variant is not None:
        assert repr(plain_values(variant.reference[0].arguments)) == repr(plain_values({"a": value}))


def test_a_query_of_a_million_letters_costs_nothing():
    before = time.process_time()
    assert without_value(asked("a" * 1_000_000 + " Lima", {"city": "Lima"}), rng()) is None
    long = "weather " * 2000 + "of the city of Lima please"
    assert "Lima" not in without_value(asked(long, {"city": "Lima"}), rng()).query
    assert time.process_time() - before < 2


# A pool


def settings(augment=None, path: str = "mine.jsonl", **data) -> Config:
    given = {"tasks": {"path": path}} | ({"data": {"augment": augment}} if augment is not None else {}) | data
    return check_config(given, "x.yaml")


def kinds(pool: Pool) -> Counter:
    return Counter(flag.removeprefix("augment.") for task in pool.tasks for flag in task.flags if ":" not in flag)


def test_a_pool_of_calls_gets_no_call_cases_by_itself_and_says_how_many():
    pool = augmented(Pool(TASKS, summary="mine.jsonl: 160 kept"), settings(), list)
    assert kinds(pool) == {"irrelevance": 8, "other_tools": 8, "missing_value": 5, "masking": 16}
    assert pool.summary.startswith(
        "mine.jsonl: 160 kept. data.augment added 5 missing_value, 8 irrelevance, 16 masking"
    )
    assert "0.0 % had no right call" in pool.summary


def test_a_pool_that_has_refusals_and_the_toolboxs_own_splits_stay_as_they_are():
    mixed = Pool(compose("dev", 100, 1))
    assert augmented(mixed, settings(), list) is mixed
    for path in ("toolbox:new_train", "toolbox:old_replay"):
        config = settings(path=path)
        pool = read_pool(config.tasks, 1, 0)
        only_calls = Pool([task for task in pool.tasks if task.reference], per_round=pool.per_round)
        assert augmented(only_calls, config, list) is only_calls


def test_composed_tasks_without_refusals_are_augmented_each_round_alike():
    mix = {"simple": 1, "multiple": 1}
    config = check_config({"tasks": {"path": "toolbox:composed_train", "per_round": 40, "mix": mix}}, "x.yaml")
    two, three = (augmented(read_pool(config.tasks, rounds, 3), config, list) for rounds in (2, 3))
    assert two.per_round == three.per_round == 40 + 2 + 2 + 1 + 4
    assert [two.next(k) for k in (1, 2)] == [three.next(k) for k in (1, 2)]
    assert sum("~" in task.id for task in two.next(2)) == 9


@pytest.mark.parametrize("kind", ["irrelevance", "other_tools", "missing_value", "masking"])
def test_each_kind_can_be_made_alone(kind):
    pool = augmented(Pool(TASKS), settings({kind: 0.1}), list)
    assert kinds(pool) == {kind: 16}


def test_a_variant_says_what_it_is_and_what_it_was_made_from():
    pool = augmented(Pool(TASKS), settings({"masking": 0.5, "irrelevance": 0.1}), list)
    known = {task.id for task in TASKS}
    for task in pool.tasks:
        if task.id not in known:
            kind, source = task.flags
            assert source.removeprefix("augment.from:") in known
            assert task.id == f"{source.removeprefix('augment.from:')}~{kind.removeprefix('augment.')}"
    assert len({task.id for task in pool.tasks}) == len(pool.tasks)


def test_the_same_seeds_make_the_same_variants_and_other_seeds_make_others():
    one, again, other = (
        augmented(Pool(TASKS), settings({"irrelevance": 0.1, "seed": seed}), list) for seed in (1, 1, 2)
    )
    assert one.tasks == again.tasks != other.tasks


def test_what_cannot_be_made_is_said():
    calls = [Call("weather_now", {"city": "Lima"})]
    lonely = Pool([Task.of(f"t{i}", f"Weather of Lima {i}", [tool("weather_now")], calls) for i in range(20)])
    pool = augmented(lonely, settings({"irrelevance": 0.2}), list)
    assert pool.tasks == lonely.tasks
    assert "0 irrelevance (of 4 asked for)" in pool.summary


def test_automatic_shares_that_cannot_be_made_become_other_tools():
    simple = Pool(compose("dev", 200, 4, shares={"simple": 1}))
    assert kinds(augmented(simple, settings(), list)) == {"other_tools": 20, "missing_value": 6, "masking": 20}


def test_nothing_of_the_gate_is_in_what_is_made_for_training():
    def marked(task: Task) -> Task:
        return Task.of(
            task.id, task.query, [*task.tools, tool(f"only_in_{task.id}", f"Only in {task.id}.")], task.reference
        )

    whole = Pool([marked(task) for task in TASKS])
    config = settings({"irrelevance": 0.3, "other_tools": 0.3, "masking": 0.3, "missing_value": 0.1})
    held = hold_out(whole, [check_config({"gate": {"suites": {"h": {"path": HELD_OUT}}}}, "x.yaml").gate.suites["h"]])
    screen = ContaminationCheck([task.query for task in held.gate], Contamination())
    pool = augmented(Pool(held.train), config, screen.clean)
    secret = {f"only_in_{task.id}" for task in held.gate}
    assert len(held.gate) == 16
    assert not secret & {offered["name"] for task in pool.tasks for offered in task.tools}
    assert not {task.query for task in held.gate} & {task.query for task in pool.tasks}
    assert not {task.id for task in held.gate} & {re.sub("~.*", "", task.id) for task in pool.tasks}


def test_a_variant_that_came_to_ask_what_the_gate_asks_is_left_out():
    task = asked("How is the weather in Lima today?", {"city": "Lima"})
    screen = ContaminationCheck(["How is the weather today?"], Contamination())
    pool = augmented(Pool([task]), settings({"missing_value": 1}), screen.clean)
    assert pool.tasks == [task]


def test_the_places_of_contaminated_tasks_move_with_the_tasks_around_them():
    before = Pool(TASKS[:40], contaminated=[(0, "exact"), (17, "near"), (40, "near")])
    after = augmented(before, settings({"masking": 1}), list)
    for (old, kind), (new, same) in zip(before.contaminated, after.contaminated, strict=True):
        assert kind == same
        assert after.tasks[new : new + 1] == before.tasks[old : old + 1]


def test_a_file_of_calls_alone_can_start_with_references_that_refuse(tmp_path):
    file = tmp_path / "calls.jsonl"
    rows = [
        {"id": task.id, "query": task.query, "tools": json.dumps(task.tools),
         "answers": json.dumps([{"name": call.name, "arguments": call.arguments} for call in task.reference])}
        for task in TASKS
    ]  # fmt: skip
    file.write_text("\n".join(map(json.dumps, rows)))
    config = settings(path=str(file), start={"references": {"path": "tasks", "count": 400}})
    pool = augmented(read_pool(config.tasks, 1, 0), config, list)
    require_something_to_learn(config, pool, ContaminationCheck([], Contamination()))
    assert sum(task.reference == [] and bool(task.reference_text) for task in pool.tasks) == 21


@pytest.mark.parametrize("off", [None, False, "off"])
def test_augmentation_can_be_switched_off(off):
    pool = Pool(TASKS)
    assert (
        augmented(pool, check_config({"tasks": {"path": "m.jsonl"}, "data": {"augment": off}}, "x.yaml"), list) is pool
    )


@pytest.mark.parametrize(
    ("augment", "told"),
    [
        ({"irelevance": 0.1}, r"unknown key data\.augment\.irelevance\. Did you mean irrelevance"),
        ({"irrelevance": 1.5}, r"data\.augment\.irrelevance is 1\.5"),
        ({"masking": -0.1}, r"data\.augment\.masking is -0\.1"),
        ("sometimes", r"data\.augment is 'sometimes': expected auto, off, or shares such as \{irrelevance: 0\.1\}"),
    ],
)
def test_a_share_that_cannot_be_used_is_refused_by_name(augment, told):
    with pytest.raises(ConfigError, match=told):
        settings(augment)
