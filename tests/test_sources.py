"""Where tasks come from, and which of them may be trained on."""

import json

import msgspec
import pytest

from funreason.config import Config, ConfigError, Contamination, References, Suite, Tasks, check_config, load_config
from funreason.data.records import DataError
from funreason.gate.contamination import ContaminationCheck
from funreason.loops.session import require_something_to_learn
from funreason.sources.tasks import HELD_OUT, Pool, hold_out, read_pool, references, toolbox_tasks
from funreason.types import Call, Message, Task


def task(i: int, query: str = "", reference: list[Call] | None = None) -> Task:
    tools = [{"name": "f", "description": "", "parameters": {"type": "object", "properties": {}, "required": []}}]
    return Task.of(id=f"t{i}", query=query or f"query {i}", tools=tools, reference=reference)


def test_each_round_takes_new_tasks_and_starts_again_at_the_end():
    pool = Pool([task(i) for i in range(5)], per_round=2)
    taken = [[t.id for t in pool.next(k)] for k in (1, 2, 3)]
    assert taken == [["t0", "t1"], ["t2", "t3"], ["t4", "t0"]]


def test_without_a_number_a_round_takes_all():
    pool = Pool([task(i) for i in range(5)])
    assert len(pool.next(2)) == 5


def test_the_order_of_tasks_depends_on_the_seed_alone(tmp_path):
    file = tmp_path / "tasks.jsonl"
    tools = json.dumps([{"name": "f", "description": "", "parameters": {"x": {"type": "int", "description": ""}}}])
    answers = json.dumps([{"name": "f", "arguments": {"x": 1}}])
    rows = [{"id": i, "query": f"q {i}", "tools": tools, "answers": answers} for i in range(20)]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    one, again, other = ([t.id for t in read_pool(Tasks(path=str(file)), 1, seed).tasks] for seed in (0, 0, 1))
    assert one == again != other
    assert sorted(one) == sorted(other)


def test_a_split_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(ConfigError, match="new_train"):
        toolbox_tasks("toolbox:nope", 3, 0)


def test_held_out_tasks_are_never_trained_on_and_always_have_a_reference():
    pool = Pool([task(i, reference=[Call("f", {})] if i % 2 else None) for i in range(60)])
    held = hold_out(pool, [Suite(path=HELD_OUT, count=7)])
    assert len(held.gate) == 7
    assert all(t.reference for t in held.gate)
    assert {t.id for t in held.gate} | {t.id for t in held.train} == {t.id for t in pool.tasks}
    assert not {t.id for t in held.gate} & {t.id for t in held.train}


def test_nothing_is_held_out_unless_a_suite_asks():
    pool = Pool([task(i) for i in range(3)])
    assert hold_out(pool, [Suite(path="some/folder")]).train == pool.tasks


def test_more_rounds_leave_the_tasks_of_earlier_ones_as_they_are():
    two, three = (read_pool(Tasks(path="toolbox:new_train", per_round=20), rounds, 5) for rounds in (2, 3))
    for k in (1, 2):
        assert two.next(k) == three.next(k)


def test_each_round_replays_other_references():
    source = References(path="toolbox:old_replay", count=20)
    first, second = (references(source, 5, k) for k in (1, 2))
    assert len(first) == len(second) == 20
    assert not {t.query for t in first} & {t.query for t in second}


def test_a_record_that_no_answer_could_satisfy_is_not_held_out():
    odd = task(0, reference=[Call("not_offered", {})])
    pool = Pool([odd, task(1, reference=[Call("f", {})])])
    assert [t.id for t in hold_out(pool, [Suite(path=HELD_OUT)]).gate] == ["t1"]


def test_a_small_file_still_holds_one_task_out():
    pool = Pool([task(i, reference=[Call("f", {})]) for i in range(5)])
    assert len(hold_out(pool, [Suite(path=HELD_OUT)]).gate) == 1


def test_a_file_without_references_says_what_to_name_instead():
    with pytest.raises(DataError, match=r"gate\.suites\.held_out\.path=FOLDER --set start\.references=null"):
        hold_out(Pool([task(0)]), [Suite(path=HELD_OUT)])


def screen(*queries: str) -> ContaminationCheck:
    return ContaminationCheck(queries, Contamination())


def own_records(**start) -> Config:
    return check_config({"tasks": {"path": "mine.jsonl"}, "start": {"references": start or None}}, "x.yaml")


def test_a_supervised_start_on_records_without_references_is_refused_with_how_to_go_without():
    config, pool = own_records(path="tasks", count=400), Pool([task(0), task(1)])
    with pytest.raises(ConfigError, match=r"of the 2 tasks to train on none has.*--set start\.references=null"):
        require_something_to_learn(config, pool, screen())
    require_something_to_learn(own_records(), pool, screen())
    require_something_to_learn(config, Pool([*pool.tasks, task(2, reference=[Call("f", {})])]), screen())


def test_a_supervised_start_that_the_gate_leaves_nothing_is_refused_beforehand():
    config, pool = own_records(path="tasks", count=400), Pool([task(0), task(1, reference=[Call("f", {})])])
    with pytest.raises(ConfigError, match="none has a reference"):
        require_something_to_learn(config, pool, screen("query 1"))


def test_a_supervised_start_on_a_file_without_references_is_refused_beforehand(tmp_path):
    file = tmp_path / "old.jsonl"
    tools = [{"name": "f", "parameters": {"x": {"type": "int"}}}]
    file.write_text(json.dumps({"id": 1, "query": "q", "tools": tools}))
    with pytest.raises(ConfigError, match=r"old\.jsonl, and of its records none has a reference"):
        require_something_to_learn(own_records(path=str(file), count=4), Pool([task(0)]), screen())


def test_a_run_that_has_no_task_left_for_its_rounds_is_refused_beforehand():
    with pytest.raises(DataError, match=r"1 record.*no task is left to train on"):
        require_something_to_learn(own_records(), Pool([], summary="1 record"), screen())


def test_a_configuration_for_ones_own_records_says_how_to_name_them():
    with pytest.raises(ConfigError, match="give --tasks FILE"):
        read_pool(load_config("own-data").tasks, 1, 0)


def test_no_turn_of_a_dialogue_is_trained_on_whose_other_turn_the_gate_has():
    call = [Call("f", {})]
    said = (Message("user", "f, please"), Message("assistant", "", calls=(Call("f", {}),)), Message("tool", "done"))
    later = msgspec.structs.replace(task(7, reference=call), messages=(*said, Message("user", "again")))
    first = msgspec.structs.replace(task(7, reference=call), id="t7.t1")
    held = hold_out(Pool([later, first, task(8, reference=call)]), [Suite(path=HELD_OUT, count=1)])
    assert [[t.id for t in part] for part in (held.train, held.gate, held.siblings)] == [["t8"], ["t7.t1"], ["t7"]]


def test_a_run_can_take_the_last_answer_of_each_dialogue_alone(tmp_path):
    file = tmp_path / "tasks.jsonl"
    call = {"role": "tool_call", "content": '{"name": "f", "arguments": {}}'}
    asked = {"role": "user", "content": "f, please"}
    file.write_text(json.dumps({"id": "d", "messages": [asked, call, asked, call], "tools": [{"name": "f"}]}))
    settings = Tasks(path=str(file))
    assert sorted(t.id for t in read_pool(settings, 1, 0).tasks) == ["d", "d.t1"]
    pool = read_pool(settings, 1, 0, check_config({"data": {"turns": "last"}}, "here").data.turns)
    assert ([t.id for t in pool.tasks], pool.left) == (["d"], {"turns.before_the_last": 1})
