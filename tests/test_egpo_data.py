"""EGPO's data preparation: two stages in the graph, the need of a call, the funnel, and bins of difficulty."""

import asyncio
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import NO, YES, Scripted

from funreason.agents.judges.llm.panel import Panel
from funreason.agents.judges.registry import judges
from funreason.agents.judges.rules.data_rules import judge_ast, judge_grounding, need_of
from funreason.agents.regenerator import Regenerator
from funreason.calls.compare import same_calls, without_defaults
from funreason.calls.tools import normalise_tools
from funreason.cli import app
from funreason.config import ConfigError, LlmJudges, load_config
from funreason.display.funnel import funnel
from funreason.evaluation.difficulty import PassCount, count_passes, normalised_reference, sorted_into_bins
from funreason.objectives.rewards import load_reward
from funreason.policies.policy import Policy
from funreason.policies.protocol import Completion
from funreason.record.folder import RecordError, RunFolder
from funreason.runtime.agents import configured_bus
from funreason.runtime.graph import refine_graph
from funreason.types import Call, Sample, Task, Verdict

TOOLS = normalise_tools(
    [
        {
            "name": "book",
            "description": "Books a table at a place.",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string"}, "guests": {"type": "integer", "default": 2}},
                "required": ["place"],
            },
        }
    ]
)
RIGHT, REFUSAL = "[book(place='Adler')]", "No function does that."


def record(answer, query="Book a table at the Adler.", name="r", tools=TOOLS):
    return Sample.of(name, Task.of(name, query, tools), answer, origin="reference")


def prepared(samples, model=None, resample=None, asked=None, **llm):
    """What the graph of egpo-data keeps and what it drops; a `model` judges and says the need."""
    changes = {"fcdr.stages": {"query_tool": "both"}, "fcdr.llm.model": "self"} if model else {}
    settings = load_config("egpo-data", changes | (asked or {}))
    panel = Panel([model], LlmJudges(**llm), 0, None) if model else None
    kept, dead = [], []

    async def keep(sample):
        kept.append(sample)

    async def bury(sample):
        dead.append(sample)

    regenerator = Regenerator(resample, order=settings.fcdr.regenerate, max_attempts=settings.fcdr.max_attempts)
    agents = judges(settings, panel) | {"trainer": keep, "dead_letter": bury, "regenerator": regenerator}
    bus = configured_bus(refine_graph(settings), agents, settings, lambda *_: None)
    asyncio.run(bus.drain(samples))
    return kept, dead


def last(sample):
    return sample.verdicts[-1].reason


def test_right_calls_and_refusals_are_kept_with_their_need():
    kept, dead = prepared([record(RIGHT), record(REFUSAL, name="t")])
    assert not dead
    assert {sample.id: last(sample) for sample in kept} == {"r": "need.call.record", "t": "need.none.record"}


def test_a_call_in_another_form_is_regenerated_without_a_model():
    kept, _ = prepared([record('[{"name": "book", "arguments": {"place": "Adler"}}]')])
    assert [(sample.answer, sample.origin, sample.attempt) for sample in kept] == [(RIGHT, "rerendered", 1)]


@pytest.mark.parametrize(
    "answer",
    ["[book(place='Krone')]", "[walk(place='Adler')]", "[book(place=3)]", "[book()]", "[book(place='Adler'"],
    ids=["ungrounded", "unknown function", "wrong type", "missing", "broken"],
)
def test_a_faulty_answer_is_regenerated_at_most_three_times(answer):
    asked = []

    async def never_better(samples):
        asked.extend(samples)
        return samples

    kept, dead = prepared([record(answer)], resample=never_better)
    assert (kept, len(dead), len(asked)) == ([], 1, 3)
    asked.clear()

    async def better_at_last(samples):
        asked.extend(samples)
        answer_now = RIGHT if len(asked) == 3 else answer
        return [msgspec.structs.replace(s, turns=record(answer_now).turns, origin="resampled") for s in samples]

    kept, dead = prepared([record(answer)], resample=better_at_last)
    assert ([sample.attempt for sample in kept], dead) == ([3], [])


def test_two_seats_that_see_no_answer_overrule_the_record():
    none_serves, served = Scripted(NO), Scripted(YES)
    kept, dead = prepared([record(RIGHT), record(REFUSAL, name="t")], none_serves, samples_per_model=2)
    assert [(sample.id, last(sample)) for sample in kept] == [("t", "need.none.seats")]
    assert [(sample.id, last(sample)) for sample in dead] == [("r", "ast.call_where_none_can_serve")]
    kept, dead = prepared([record(RIGHT), record(REFUSAL, name="t")], served, samples_per_model=2)
    assert [(sample.id, last(sample)) for sample in kept] == [("r", "need.call.seats")]
    assert [(sample.id, last(sample)) for sample in dead] == [("t", "ast.no_call_where_needed")]
    shown = json.dumps(none_serves.asked)
    assert "Adler." in shown
    assert "place='Adler'" not in shown
    assert REFUSAL not in shown


def test_a_record_with_the_tools_of_bfcls_multi_turn_test_is_dropped_unless_it_is_asked_for():
    tools = normalise_tools([{"name": name, "parameters": {}} for name in ("ls", "pwd", "sort", "touch", "wc")])
    given = record("[pwd()]", "Where am I?", tools=tools)
    kept, (dropped,) = prepared([given])
    assert (kept, last(dropped)) == ([], "benchmark_tools.bfcl_multi_turn")
    assert "class GorillaFileSystem" in dropped.verdicts[-1].evidence
    kept, dead = prepared([given], asked={"fcdr.skip": ["benchmark_tools"]})
    assert ([sample.id for sample in kept], dead) == (["r"], [])


def test_what_stage_2_drops_is_never_retried():
    asked = []

    async def resample(samples):
        asked.extend(samples)
        return samples

    _, dead = prepared([record(RIGHT)], Scripted(NO), resample, samples_per_model=2)
    assert ([sample.attempt for sample in dead], asked) == ([0], [])


@pytest.mark.parametrize("votes", [(1.0,), (0.0,), (None, 0.0), (1.0, 0.0)])
@pytest.mark.parametrize(("answer", "need"), [(RIGHT, "call"), (REFUSAL, "none")])
def test_one_seat_or_two_that_disagree_leave_the_need_to_the_record(votes, answer, need):
    sample = record(answer).judged(Verdict("query_tool", "drop", "llm.cannot_be_solved", judge="m", votes=votes))
    by = "disputed" if len(set(votes) - {None}) == 2 else "record"
    assert need_of(sample) == (need, by)
    assert asyncio.run(judge_ast(sample)).outcome == "pass"


def test_the_need_of_a_regenerated_answer_is_that_of_the_records_own():
    sample = record(REFUSAL).judged(Verdict("response", "pass")).judged(Verdict("response", "keep_text"))
    assert need_of(sample) == ("call", "record")
    assert asyncio.run(judge_ast(sample)).reason == "ast.no_call_where_needed"


def test_a_known_reference_says_the_need():
    task = Task.of("k", "Book a table.", TOOLS, [])
    assert need_of(Sample.of("k", task, RIGHT)) == ("none", "record")
    task = Task.of("k", "Book a table.", TOOLS, [Call("book", {"place": "Adler"})])
    assert need_of(Sample.of("k", task, REFUSAL)) == ("call", "record")


def test_no_tool_at_all_is_a_need_and_no_fault():
    kept, dead = prepared([record(REFUSAL, tools=[]), record(RIGHT, name="c", tools=[])])
    assert [(sample.id, last(sample)) for sample in kept] == [("r", "need.none.record")]
    assert [sample.id for sample in dead] == ["c"]


def test_only_a_rules_drop_is_the_answers_fault():
    by_rule = record(RIGHT).judged(Verdict("query_tool", "drop", "query.ungrounded_value", "x", judge="rules"))
    by_model = record(RIGHT).judged(Verdict("query_tool", "drop", "llm.cannot_be_solved", judge="m"))
    assert asyncio.run(judge_grounding(by_rule)) == Verdict(
        "grounding", "regenerate", "query.ungrounded_value", "x", judge="rules"
    )
    assert asyncio.run(judge_grounding(by_model)).outcome == "pass"


def test_refine_prints_the_funnel_as_the_paper_counts_it(tmp_path, capsys):
    answers = ['[{"name": "book", "arguments": {"place": "Adler"}}]'] * 3 + ["[]"] * 2
    answers += ['[{"name": "book", "arguments": {"place": "Krone"}}]']
    rows = [
        {"id": str(i), "query": "Book a table at the Adler.", "tools": TOOLS, "answers": a}
        for i, a in enumerate(answers)
    ]
    for row in rows[3:5]:
        row["response"] = REFUSAL
    file = tmp_path / "data.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    words = ["refine", str(file), "--out", str(tmp_path / "out"), "--config", "egpo-data"]
    assert app(words, result_action="return_value") == 0
    said = capsys.readouterr().out
    assert "EGPO's funnel: 6 in → 5 after stage 1 → 5 after stage 2" in said
    assert "need of those kept: call (by record) 3, none (by record) 2" in said


def test_the_funnel_counts_what_stage_2_dropped_and_is_absent_without_one(tmp_path):
    state = RunFolder(tmp_path).state().at_round(1)
    files = RunFolder(tmp_path).texts(1)
    assert funnel(state, files) is None
    state.nodes["ast"] = None
    state.fates.update(kept=4, text=1, dropped=3, dead=2)
    state.dead_reasons.update({"ast.no_call_where_needed": 2, "ast.call_where_none_can_serve": 1, "schema.type": 2})
    assert funnel(state, files)[:3] == (10, 8, 5)


VALUE = st.one_of(st.integers(0, 3), st.sampled_from(["Adler", "2", True, None]))


@given(st.dictionaries(st.sampled_from(["place", "guests", "other"]), VALUE))
def test_a_normalised_reference_means_the_same_and_is_normal(arguments):
    call = Call("book", arguments)
    once = without_defaults(call, TOOLS[0])
    assert same_calls([once], [call], TOOLS) is None
    assert without_defaults(once, TOOLS[0]) == once
    assert once.arguments.get("guests") != 2
    assert ("place" in once.arguments) == ("place" in arguments)


# -- bins ---------------------------------------------------------------------------------------------------------


def thought(text):
    return Completion(f"<think>I book.</think>\n\n{text}", 9, truncated=False, weights_id="w")


class Answering:
    """A sampler that gives each task's answers by turns."""

    weights_id = "w"

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def too_long(self, request):
        return request.dialogue is not None and "too long" in str(request.dialogue)

    def sample(self, requests):
        self.asked += [request.id for request in requests]
        return [[thought(text) for text in self.answers[r.id][: r.n]] for r in requests]


BOOKED = (Call("book", {"place": "Adler", "guests": 2}),)


def task(name, reference=BOOKED, query="Book at the Adler.", **fields):
    return Task.of(name, query, TOOLS, None if reference is None else list(reference), **fields)


ANSWERS = {
    "hard": ["[book(place='Krone')]", REFUSAL, "[book(place='Krone')]"],
    "mixed": [RIGHT, REFUSAL, "[book(place='Adler', guests=2)]"],
    "solved": [RIGHT, "[book(guests=2, place='Adler')]", RIGHT],
    "refused": [REFUSAL, "Not possible.", "No."],
}
TASKS = [task("hard"), task("mixed"), task("solved"), task("refused", (), reference_text="No.")]


def counted(tasks, k=3):
    found = []
    asyncio.run(count_passes(Policy(Answering(ANSWERS), None), tasks, load_reward("egpo"), k, found.append))
    return found


def test_passes_are_counted_against_what_the_reference_earns():
    found = counted(TASKS)
    assert [(count.id, count.right, count.bin) for count in found] == [
        ("hard", 0, "hard"),
        ("mixed", 2, "mixed"),
        ("solved", 3, "solved"),
        ("refused", 3, "solved"),
    ]
    assert (found[0].majority, found[0].majority_count) == ("[book(place='Krone')]", 2)


def test_a_task_that_cannot_be_sampled_or_rewarded_is_unusable_with_a_reason():
    found = counted([task("u", None), task("l", query="too long")])
    assert [(count.bin, bool(count.unusable)) for count in found] == [("unusable", True)] * 2
    bins = sorted_into_bins([task("u", None)], found)
    assert not any(bins.values())


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60), st.floats(0, 1), st.integers(0, 3))
def test_every_counted_task_is_in_exactly_one_bin(rights, anchors, seed):
    tasks = [task(str(number)) for number in range(len(rights))]
    counts = [PassCount(str(number), right, 8) for number, right in enumerate(rights)]
    bins = sorted_into_bins(tasks, counts, anchors=anchors, seed=seed)
    assert sorted(task.id for group in bins.values() for task in group) == sorted(task.id for task in tasks)
    assert len(bins["mixed"]) == sum(0 < right < 8 for right in rights)
    assert len(bins["hard"]) == rights.count(0)
    solved = rights.count(8)
    assert anchors * solved <= len(bins["anchors"]) <= min(solved, anchors * solved + 1)
    assert all(task.reference == [Call("book", {"place": "Adler"})] for group in bins.values() for task in group)


def test_a_task_without_tools_is_counted_like_any_other():
    without = msgspec.structs.replace(TASKS[3], tools=[])
    assert [(count.right, count.bin) for count in counted([without])] == [(3, "solved")]


def test_a_text_reference_stays_as_it_is():
    assert normalised_reference(TASKS[3]) == TASKS[3]


def run_bins(capsys, file, out, k=2):
    words = ["reward", "bins", str(file), "--out", str(out), "--k", str(k), "--set", "sample.max_new_tokens=48"]
    code = app(words, result_action="return_value")
    return code, capsys.readouterr().out


def test_the_command_writes_each_bin_and_continues_where_it_was_broken_off(tmp_path, capsys):
    file, out = tmp_path / "tasks.jsonl", tmp_path / "bins"
    assert (
        app(["toolbox", "make", "old_replay", "--out", str(file), "--count", "12"], result_action="return_value") == 0
    )
    assert run_bins(capsys, file, out)[0] == 0
    whole = (out / "passes.jsonl").read_bytes()
    written = [
        line for name in ("train", "hard", "solved") for line in (out / f"{name}.jsonl").read_text().splitlines()
    ]
    assert sorted(json.loads(line)["id"] for line in written) == sorted(
        json.loads(line)["id"] for line in whole.splitlines()
    )
    assert len(written) == 12
    cut = whole[: len(whole) // 2]
    (out / "passes.jsonl").write_bytes(cut)
    assert run_bins(capsys, file, out)[0] == 0
    again = (out / "passes.jsonl").read_bytes()
    assert again.startswith(cut)
    counts = {}
    for line in again.splitlines():
        try:
            count = json.loads(line)
        except ValueError:
            continue
        counts[count["id"]] = count
    assert counts == {json.loads(line)["id"]: json.loads(line) for line in whole.splitlines()}


def test_a_folder_of_other_bins_is_refused(tmp_path, capsys):
    file, out = tmp_path / "tasks.jsonl", tmp_path / "bins"
    app(["toolbox", "make", "old_replay", "--out", str(file), "--count", "2"], result_action="return_value")
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(RecordError, match=r"is not empty and holds no bins\.json"):
        run_bins(capsys, file, out)
    (out / "mine.txt").rename(out / "bins.json")
    (out / "bins.json").write_text('{"k": 3}')
    with pytest.raises(RecordError, match="holds bins of another tasks, weights, reward, k"):
        run_bins(capsys, file, out)
    with pytest.raises(ConfigError, match="expected at least 2 answers"):
        run_bins(capsys, file, out, k=1)
