"""Training tasks that stand in the gate: found in any dress, counted, left out; other values are another task."""

import json
import time
from dataclasses import replace

import pytest
from command_line import funreason
from hypothesis import given, settings
from hypothesis import strategies as st

from funreason.bfcl.multi_turn_tools import FUNCTIONS, multi_turn_tools
from funreason.calls.tools import normalise_tools
from funreason.config import Contamination, check_config
from funreason.display.table import update_table
from funreason.gate.contamination import ContaminationCheck
from funreason.loops.session import screened
from funreason.record.events import ContaminationChecked, OptimizerStep, TrainingSetSelected
from funreason.record.folder import RunFolder
from funreason.record.state import State
from funreason.sources.tasks import Pool, toolbox_tasks
from funreason.types import Task

QUERY = "Book a table for 4 people at Luigi's on Friday evening."


def task(i: int, query: str) -> Task:
    return Task.of(id=f"t{i}", query=query, tools=[])


def kinds(query: str, *gate: str, near: float | None = 0.8) -> list[str]:
    return [
        finding.kind
        for finding in ContaminationCheck(gate or [QUERY], Contamination(near_threshold=near)).find([task(0, query)])
    ]


@pytest.mark.parametrize(
    "query",
    [QUERY, QUERY.upper(), "  book a table for 4 people, at Luigi's: on friday evening", QUERY.rstrip(".") + "!?"],
)
def test_a_query_of_the_gate_is_recognised_in_another_dress(query):
    assert kinds(query) == kinds(query, near=None) == ["exact"]


@pytest.mark.parametrize(
    "query",
    [
        f"Please {QUERY}",
        "Could you book the table for 4 people at Luigi's on Friday evening, thanks",
        "On Friday evening, book a table at Luigi's for 4 people.",
        "Book a tabel for 4 people at Luigi's on Friday evenings.",
    ],
)
def test_a_query_of_the_gate_is_recognised_in_slightly_other_words(query):
    assert kinds(query) == ["near"]
    assert not kinds(query, near=None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (QUERY, QUERY.replace("4", "6")),
        (QUERY, QUERY.replace("Luigi", "Mario")),
        (QUERY, QUERY.replace("Friday", "Monday")),
        (QUERY, QUERY.replace("Book", "Do not book")),
        ("Turn it by 3.5 degrees", "Turn it by 35 degrees"),
        ("Turn it by 3.5 degrees", "Turn it by 3 5 degrees"),
        ("Turn it by -3 degrees", "Turn it by 3 degrees"),
        ("Turn the light on in the hall", "Turn the light off in the hall"),
        ("", "!"),
    ],
)
def test_the_same_words_with_another_value_are_another_task(one, other):
    assert not kinds(one, other)


@given(st.text(max_size=60), st.text(max_size=60))
@settings(deadline=None)
def test_any_text_can_be_compared_and_likeness_goes_both_ways(one, other):
    assert kinds(one, other) == kinds(other, one)


def test_what_is_contaminated_does_not_depend_on_the_company():
    queries = [QUERY, f"Please {QUERY}", "Feed the cat twice", "Call Ann", QUERY.replace("4", "5")]
    screen = ContaminationCheck(["Call Ann!", QUERY], Contamination())
    together = [(f.task.id, f.kind) for f in screen.find([task(i, q) for i, q in enumerate(queries)])]
    alone = [(f.task.id, f.kind) for i, q in enumerate(queries) for f in screen.find([task(i, q)])]
    assert together == alone == [("t0", "exact"), ("t1", "near"), ("t3", "exact")]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_embedded_splits_hold_nothing_of_each_other(seed):
    gate = [
        t.query for name, n in (("new_gate", 400), ("old_gate", 200)) for t in toolbox_tasks(f"toolbox:{name}", n, 0)
    ]
    tasks = toolbox_tasks("toolbox:new_train", 600, seed) + toolbox_tasks("toolbox:old_replay", 200, seed)
    assert not ContaminationCheck(gate, Contamination()).find(tasks)


def test_thousands_of_tasks_are_screened_in_a_second():
    gate = [t.query for t in toolbox_tasks("toolbox:new_gate", 600, 0)]
    tasks = toolbox_tasks("toolbox:new_train", 2_000, 0)
    before = time.process_time()
    ContaminationCheck(gate, Contamination()).find(tasks)
    assert time.process_time() - before < 1


def test_each_round_counts_the_tasks_that_it_lost():
    pool = Pool([task(i, QUERY if i in (1, 4) else f"Feed {i} cats") for i in range(6)], per_round=2)
    clean = screened(pool, ContaminationCheck([QUERY], Contamination()), [task(9, f"Please {QUERY}")])
    assert [t.id for t in clean.tasks] == ["t0", "t2", "t3", "t5"]
    assert [(r.id, r.reason) for r in clean.refusals] == [
        ("t1", "contamination.exact"),
        ("t4", "contamination.exact"),
        ("t9", "contamination.near"),
    ]
    assert [clean.contaminated_in(k)["exact"] for k in (1, 2, 3)] == [1, 1, 0]
    assert replace(clean, per_round=None).contaminated_in(2)["exact"] == 2


def test_contamination_that_is_only_reported_refuses_nothing():
    pool = Pool([task(0, QUERY), task(1, "Feed the cat")])
    kept = screened(pool, ContaminationCheck([QUERY], Contamination(mode="report")), [])
    assert kept.tasks == pool.tasks
    assert not kept.refusals
    assert kept.contaminated_in(1) == {"exact": 1}


def offering(i: int, *names: str) -> Task:
    return Task.of(f"t{i}", f"Feed {i} cats", normalise_tools([{"name": n, "parameters": {}} for n in names]))


@pytest.mark.parametrize("of", FUNCTIONS)
def test_the_functions_of_a_multi_turn_class_are_recognised_in_any_spelling(of):
    names = FUNCTIONS[of].split()
    camel = ["".join(part.title() for part in name.split("_")) for name in names]
    for offered in (names, camel, ["feed_cats", *names[:5]], ["feed_cats", f"{of}.{names[0]}"]):
        found = multi_turn_tools(offered)
        assert found is not None
        assert (found.of, found.names) == (of, tuple(name for name in offered if name != "feed_cats"))
        assert len(str(found)) < 240


@pytest.mark.parametrize(
    "names", [["add", "subtract", "multiply", "divide", "feed_cats"], ["ls", "cd", "add", "comment", "logout"], []]
)
def test_names_that_everyone_uses_are_no_benchmarks_tools(names):
    assert multi_turn_tools(names) is None


def test_tasks_with_a_benchmarks_tools_are_left_out_with_their_reason_unless_they_are_asked_for():
    files, dotted = FUNCTIONS["GorillaFileSystem"].split(), "TwitterAPI.post_tweet"
    pool = Pool([offering(0, "feed"), offering(1, *files), offering(2, dotted)], per_round=1)
    clean = screened(pool, ContaminationCheck([QUERY], Contamination()), [])
    assert [t.id for t in clean.tasks] == ["t0"]
    assert [(r.id, r.reason) for r in clean.refusals] == [("t1", "contamination.tools"), ("t2", "contamination.tools")]
    assert "cat, cd, cp, diff, du and 13 more: functions of BFCL's multi-turn class GorillaFileSystem" in (
        clean.refusals[0].message
    )
    assert dotted in clean.refusals[1].message
    assert screened(pool, ContaminationCheck([], Contamination(bfcl_tools="allow")), []).tasks == pool.tasks


@pytest.mark.parametrize("given", ["report", {"mode": "report"}])
def test_the_configuration_takes_the_mode_alone(given):
    config = check_config({"gate": {"contamination": given}}, "here")
    assert config.gate.contamination == Contamination(mode="report")


@pytest.mark.parametrize(("dropped", "said"), [(True, "7"), (False, "7 trained on")])
def test_the_table_of_a_round_says_how_many_tasks_the_gate_asks_too(dropped, said):
    chosen, screened = (
        TrainingSetSelected(round=1, kept=9, trained=8),
        ContaminationChecked(round=1, exact=2, near=1, tools=4, dropped=dropped),
    )
    table = update_table(
        State().fold([OptimizerStep(round=1, step=1, steps=1, metrics={"loss": 1.0}), chosen, screened])
    )
    column = next(column for column in table.columns if str(column.header) == "in gate")
    assert [str(cell) for cell in column.cells] == [said]


def test_a_run_leaves_contaminated_tasks_out_and_says_how_many(tmp_path):
    tool = {
        "name": "cats.feed",
        "description": "Feeds.",
        "parameters": {"cats": {"type": "int", "description": "How many."}},
    }
    rows = [
        {
            "id": i,
            "query": query,
            "tools": json.dumps([tool]),
            "answers": json.dumps([{"name": "cats.feed", "arguments": {"cats": i}}]),
        }
        for i, query in enumerate(["Feed 0 cats", "Feed 1 cats", "please feed 2 cats", "Feed 3 cats", "Feed 4 cats"])
    ]
    tasks, gate = tmp_path / "tasks.jsonl", tmp_path / "gate.jsonl"
    tasks.write_text("\n".join(map(json.dumps, rows)))
    gate.write_text("\n".join(json.dumps(row | {"query": f"Feed {row['id']} cats!"}) for row in rows[1:3]))
    assert funreason("bfcl", "make", gate, "--out", tmp_path / "suite").returncode == 0
    options = [
        "--set",
        f"gate={{suites: {{mine: {{path: {tmp_path / 'suite'}}}}}}}",
    ]
    options += [
        "--set",
        "sample={samples_per_task: 1, max_new_tokens: 16}",
        "--set",
        "start.references.count=5",
        "--set",
        "name=run",
    ]
    done = funreason("loop", "--tasks", tasks, "--rounds", "1", "--run-dir", tmp_path, *options)
    assert done.returncode in (0, 3), done.stderr
    state = RunFolder(tmp_path / "run").state()
    found = state.rounds[1].screened
    assert (found.exact, found.near, found.dropped) == (1, 1, True)
    assert dict(state.refused) == {"contamination.exact": 1, "contamination.near": 1}
    assert state.rounds[1].todo == 3
    assert "contamination.near" in done.stdout
