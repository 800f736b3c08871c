"""Hard-data rounds from inside: a scripted policy that learns with its weights; real bus, judges, gate, record."""

import asyncio
import io
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from round_world import Killed, RoundWorld, task
from scripted import Scripted

from funreason.agents.judges.canary_check import JudgeFailedCanaries
from funreason.agents.judges.llm.acceptance import PANEL, AcceptancePanel, accepted
from funreason.agents.judges.llm.factory import build_panel
from funreason.agents.judges.llm.panel import Panel
from funreason.bus.agent import BrokenAgent
from funreason.cli import main
from funreason.cli.show import story
from funreason.config import ConfigError, HardData, LlmJudges, check_config
from funreason.data.records import DataError
from funreason.display.report import report_markdown
from funreason.display.table import pool_table, repairs_table
from funreason.loops.session import require_judgeable
from funreason.policies.endpoint.budget import SharedBudget
from funreason.policies.protocol import Completion
from funreason.record.events import (
    CanaryResult,
    LabelRepaired,
    SampleEnded,
    TaskSorted,
    TrainingSetSelected,
    WeightsTrained,
)
from funreason.record.hard_tasks import TaskPool
from funreason.record.state import State
from funreason.runtime.graph import loop_graph
from funreason.sources.hard_pool import HardPool
from funreason.sources.tasks import Pool
from funreason.tui.pages import page_of
from funreason.tui.view_state import ViewState
from funreason.types import Call, Sample, Weights

EASY, LEARNABLE, NEVER, UNFIT = (range(kind, 12, 4) for kind in range(4))
"""What the sampler answers: right; right once its weights have learned; never; a text where a call is right."""
YES = "It fits. <score>0.9</score> <judge>True</judge>"
NO = "It does not. <score>0.2</score> <judge>False</judge>"


def ids(numbers) -> set[str]:
    return {f"t{i}" for i in numbers}


class ScriptedSampler:
    """Knows the number a prompt asks about; each round's weights answer two more of the gate's items right."""

    def __init__(self, learns_in=1, killed_at=None):
        self.weights_id, self.learns_in, self.killed_at = "w0", learns_in, killed_at
        self.asked, self.temperatures = 0, []

    @property
    def level(self):
        return int(self.weights_id.removeprefix("w"))

    def with_settings(self, temperature, max_new_tokens):
        self.temperatures.append(temperature)
        return self

    def sample(self, requests):
        return [[self.answer(request, i) for i in range(request.n)] for request in requests]

    def answer(self, request, i):
        self.asked += 1
        if self.asked == self.killed_at:
            raise Killed
        number = int(request.dialogue.messages[-1]["content"].split()[-1])
        if request.greedy:
            right = number - 100 < 8 + 2 * self.level
        elif number % 4 == 3:
            return Completion("<think>I cannot.</think>\n\nI cannot do that.", 5, False, weights_id=self.weights_id)
        else:
            right = number % 4 == 0 or (number % 4 == 1 and self.level >= self.learns_in)
        thinking = f"The query asks to do f to {number}, so x is {number}." + " Quite so." * (i != 1)
        call = f"[f(x={number})]" if right else f"[f(x='{number}')]"
        return Completion(f"<think>{thinking}</think>\n\n{call}", 5, False, weights_id=self.weights_id)

    def too_long(self, request):
        return False

    def load_weights(self, folder, weights_id):
        self.weights_id = weights_id


class World(RoundWorld):
    """`play` plays the run from where its record ends. The gate refuses the rounds in `refused`."""

    def __init__(self, path: Path, tasks=None, refused=(), models=(), rounds=10, **hdr):
        self.refused, self.models = refused, models
        train = {"exact_counts": hdr.pop("exact_counts", [])}
        llm = {"model": "self"} if hdr.get("repair_labels") else {}
        canaries = {"share": hdr.pop("canaries", 0)}
        config = {
            "method": "hdr",
            "hdr": {"max_rounds": rounds} | hdr,
            "sample": {"samples_per_task": 2},
            "gate": {"promote_p": 1.0},
            "fcdr": {"llm": llm, "canaries": canaries},
            "train": train,
        }
        tasks = [task(i) for i in range(12)] if tasks is None else tasks
        super().__init__(path, config, tasks, gate=range(100, 132))
        self.updates = []

    def policy_of(self, policy, round):
        return policy.with_temperature(0.7, 9) if round > 1 else policy

    def play(self, sampler=None, stop=None):
        self.sampler = sampler or ScriptedSampler()

        def update(request):
            self.updates.append(request)
            # Of a refused round, weights that answer fewer of the gate's items than those of the start.
            made = self.folder.weights / f"w{-request.round if request.round in self.refused else request.round}"
            made.mkdir(parents=True, exist_ok=True)
            count = len(request.samples) + len(request.replay)
            trained = WeightsTrained(round=request.round, weights=made.name, examples=count, steps=1)
            return Weights(made.name, made), trained, 0

        def labels(k):
            return {id: repair.new for j in range(1, k) for id, repair in self.folder.texts(j).repairs().items()}

        return self.session_with(
            self.sampler,
            update,
            stop=stop,
            source=HardPool.over_tasks(Pool(self.tasks), self.config.hdr, self.config.seed, labels),
            panel=Panel(self.models, LlmJudges()) if self.models else None,
        )

    @property
    def state(self) -> State:
        return self.folder.state()

    def asked(self, k):
        """The tasks that a round asked."""
        return set(self.folder.texts(k).tasks())

    def ending(self):
        return next(note.text for note in self.state.notes if note.text.startswith("hard-data rounds end"))


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A run to its end: round 2 accepts what can be learned, rounds 3 and 4 nothing."""
    world = World(tmp_path_factory.mktemp("played"))
    world.play()
    return world


def test_round_1_sorts_the_tasks_into_qualified_hard_and_discarded(played):
    pool = played.state.pool
    assert pool.counts() == {"qualified": 3, "hard": 6, "discarded": 3}
    assert set(pool.tasks("hard")) == ids([*LEARNABLE, *NEVER])
    assert set(pool.tasks("discarded")) == ids(UNFIT)
    stages = {event.task: event.stage for event in pool.fates[1].values()}
    assert stages["t1"] == "parameters"
    assert stages["t3"] == "response"


def test_later_rounds_ask_the_hard_tasks_alone_as_often_and_at_the_temperature_that_is_set(played):
    assert played.asked(1) == ids(range(12))
    assert played.asked(2) == ids([*LEARNABLE, *NEVER])
    assert len(list(played.folder.texts(2).get("sampled"))) == 6 * 3
    assert set(played.sampler.temperatures) == {0.7}


def test_what_is_accepted_is_learned_and_leaves_the_pool(played):
    second, third = played.updates[1], played.asked(3)
    assert {sample.task.id for sample in second.samples} == ids(LEARNABLE)
    assert second.replay == []
    assert third == ids(NEVER)


def test_of_several_accepted_answers_the_one_with_the_shortest_thinking_is_learned(played):
    assert len(played.updates[1].samples) == len(LEARNABLE)
    assert {sample.id.rpartition("/")[2] for sample in played.updates[1].samples} == {"1"}
    chosen = next(event for event in played.events(TrainingSetSelected) if event.round == 2)
    assert (chosen.kept, chosen.trained, chosen.over_per_task) == (9, 3, 6)


def test_two_rounds_that_accept_next_to_nothing_end_the_run_and_the_record_says_so(played):
    assert played.ending() == (
        "hard-data rounds end after round 4: rounds 3 and 4 each accepted less than 1 % of their tasks, "
        "and 3 tasks are left"
    )
    assert max(played.state.rounds) == 4


def test_the_history_of_a_hard_task_adds_up_its_rounds(played):
    history = played.state.pool.history()
    assert set(history) == ids([*LEARNABLE, *NEVER])
    learned, never = history["t1"], history["t2"]
    assert (learned.attempts, learned.passed, learned.weights) == (2 + 3, 3, "w1")
    assert (never.attempts, never.passed, never.stage) == (2 + 3 * 3, 0, "parameters")
    assert never.pass_rate == 0.0
    told = {entry["id"]: entry["pass_rate"] for entry in played.state.summary()["pool"]["tasks"]}
    assert told == {id: entry.pass_rate for id, entry in history.items()}


def test_folding_an_event_twice_counts_it_once(played):
    events = played.events(TaskSorted)
    once, twice = TaskPool(), TaskPool()
    for event in events:
        once.fold(event)
    for event in [*events, *events[5:]]:
        twice.fold(event)
    assert once.history() == twice.history()


def test_an_empty_pool_ends_the_run_after_the_round_that_emptied_it(tmp_path):
    world = World(tmp_path, tasks=[task(i) for i in (*EASY, *LEARNABLE)])
    world.play()
    assert world.ending() == "hard-data rounds end after round 2: the pool is empty"


def test_a_run_without_hard_tasks_ends_after_round_1(tmp_path):
    world = World(tmp_path, tasks=[task(i) for i in EASY])
    session = world.play()
    assert world.ending() == "hard-data rounds end after round 1: the pool is empty"
    assert session.weights.accepted.id == "w1"


def test_the_number_of_rounds_is_bounded(tmp_path):
    world = World(tmp_path, rounds=1)
    world.play()
    assert max(world.state.rounds) == 2
    assert world.ending().endswith("hdr.max_rounds=1 is reached, and 3 tasks are left")


def test_a_refused_round_gives_its_tasks_back(tmp_path):
    world = World(tmp_path, refused=(2,), rounds=2)
    world.play()
    numbers = world.state.pool.rounds(world.state.promoted)
    assert [(each.asked, each.accepted, each.returned, each.left) for each in numbers] == [(6, 3, 3, 6), (6, 3, 0, 3)]
    assert world.asked(3) == ids([*LEARNABLE, *NEVER])


@pytest.mark.parametrize("killed_at", [32 + 10, 32 + 24 + 32 + 7, 32 + 24 + 32 + 18 + 11])
def test_a_killed_run_is_resumed_and_ends_as_an_uninterrupted_one(tmp_path, played, killed_at):
    """Killed while round 1 samples, while round 2 does, and while round 2's weights are measured."""
    broken = World(tmp_path)
    with pytest.raises(Killed):
        broken.play(ScriptedSampler(killed_at=killed_at))
    broken.play()
    for pool in (lambda world: world.state.pool.history(), lambda world: world.state.summary()["pool"]):
        assert pool(broken) == pool(played)
    last = {request.round: sorted(s.id for s in request.samples) for request in broken.updates}
    assert last == {request.round: sorted(s.id for s in request.samples) for request in played.updates}
    assert broken.ending() == played.ending()


def test_a_run_that_is_over_says_why_only_once(tmp_path):
    world = World(tmp_path, tasks=[task(i) for i in EASY])
    world.play()
    world.play()
    assert sum(note.text.startswith("hard-data rounds end") for note in world.state.notes) == 1


def test_replay_mixes_in_qualified_samples_in_proportion(tmp_path):
    world = World(tmp_path, replay_ratio=0.5, rounds=1)
    world.play()
    replay = world.updates[1].replay
    assert len(replay) == 2
    assert {sample.task.id for sample in replay} <= ids(EASY)
    assert len({sample.task.id for sample in replay}) == 2


def test_starting_from_the_base_learns_all_that_was_accepted_so_far(tmp_path):
    world = World(tmp_path, init_from="base", rounds=1)
    world.play()
    second = world.updates[1]
    assert second.start.id == "w0"
    assert {sample.task.id for sample in second.replay} == ids(EASY)


def test_the_control_asks_as_many_random_qualified_tasks(tmp_path):
    tasks = [task(i) for i in (*range(0, 40, 4), *LEARNABLE)]
    world = World(tmp_path, tasks=tasks, control="random_qualified", rounds=1)
    world.play()
    asked = world.asked(2)
    assert len(asked) == len(LEARNABLE)
    assert asked < ids(range(0, 40, 4))
    (numbers,) = world.state.pool.rounds(world.state.promoted)
    assert (numbers.control, numbers.accepted) == ("random_qualified", 3)


def test_a_control_with_too_few_qualified_tasks_says_so(tmp_path):
    world = World(tmp_path, control="random_qualified", rounds=1)
    world.play()
    assert world.asked(2) == ids(EASY)
    assert "the control asks 3 qualified tasks in place of 6 hard ones: there are no more" in {
        note.text for note in world.state.notes
    }


def test_a_control_learns_no_more_samples_than_it_is_given_the_count_of(tmp_path):
    world = World(tmp_path, rounds=1, exact_counts=[{"simple": 3}, {"simple": 2}])
    world.play()
    assert [len(request.samples) for request in world.updates] == [3, 2]


def test_the_references_can_be_what_round_1_sorts(tmp_path):
    """As in the paper, whose first data are answers with thinking that a teacher wrote."""
    thought = [
        msgspec.structs.replace(task(i), reference_thinking=f"The query asks to do f to {i}, so x is {i}.")
        for i in range(4)
    ]
    wrong = msgspec.structs.replace(
        task(5),
        reference=[Call("f", {"x": "5"})],
        reference_thinking="The query asks to do f to 5, so x is 5.",
    )
    world = World(tmp_path, tasks=[*thought, wrong, task(6)], first_data="references", rounds=0)
    world.play()
    pool = world.state.pool
    assert pool.counts() == {"qualified": 4, "hard": 1, "discarded": 1}
    assert (pool.fates[1]["t5"].stage, pool.fates[1]["t6"].stage) == ("parameters", "cot")
    assert {sample.origin for sample in world.updates[0].samples} == {"reference"}


# -- the panel ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "unanimous", "majority", "mean"),
    [
        ((0.9, 0.8, 0.7), True, True, True),
        ((0.5, 0.5, 0.5), True, True, True),
        ((0.9, 0.8, 0.3), False, True, True),
        ((0.9, 0.6, 0.0), False, True, True),
        ((1.0, 0.2, 0.2), False, False, False),
        ((0.6, 0.6, None), False, True, True),
        ((0.9, None, None), False, False, False),
        ((0.9, 0.2, None), False, False, True),
        ((None, None, None), False, False, False),
        ((0.9, 0.8), True, True, True),
        ((0.9, 0.4), False, False, True),
        ((0.9, None), False, False, False),
    ],
)
def test_a_panel_accepts_by_its_rule_and_a_seat_without_a_reply_has_no_vote(scores, unanimous, majority, mean):
    rules = ("unanimous", "majority", "mean")
    assert [accepted(scores, rule, 0.5) for rule in rules] == [unanimous, majority, mean]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=5), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_what_is_unanimous_is_accepted_by_every_rule(scores, threshold):
    if accepted(scores, "unanimous", threshold):
        assert accepted(scores, "majority", threshold)
        assert accepted(scores, "mean", threshold)


def ask(*replies, **hdr):
    """The verdict of a panel whose seats reply so."""
    models = [Scripted(reply, name=name) for reply, name in zip(replies, "abc", strict=False)]
    judge = AcceptancePanel(Panel(models, LlmJudges(max_attempts=1)), HardData(**hdr))
    sample = Sample.of("r2/t1/0", task(1), "[f(x=1)]", "So x is 1.", round=2)
    return asyncio.run(judge(sample)), models


def test_each_seats_score_and_reason_are_stored_with_the_verdict():
    verdict, models = ask(YES, YES, NO, accept="majority", panel_temperature=0.3)
    assert (verdict.stage, verdict.outcome, verdict.votes) == (PANEL, "pass", (0.9, 0.9, 0.2))
    assert verdict.evidence.splitlines() == ["a 0.90: It fits.", "b 0.90: It fits.", "c 0.20: It does not."]
    assert [model.options[0]["temperature"] for model in models] == [0.3] * 3


def test_a_refused_answer_is_dropped_and_one_that_lacks_a_vote_is_said_to():
    assert (ask(YES, YES, NO)[0].outcome, ask(YES, YES, NO)[0].reason) == ("drop", "panel.refused")
    lacking = ask(YES, YES, "hm")[0]
    assert (lacking.outcome, lacking.reason, lacking.votes) == ("drop", "panel.no_vote", (0.9, 0.9, None))
    assert "c no vote" in lacking.evidence


def test_a_panel_in_which_no_seat_replies_is_an_error_of_the_judge():
    verdict, _ = ask("hm", "hm", "hm")
    assert (verdict.outcome, verdict.reason) == ("error", "judge.unreadable")


def test_a_round_whose_panel_never_replies_is_stopped(tmp_path):
    world = World(tmp_path, models=[Scripted("hm")], rounds=1, samples=8)
    with pytest.raises(BrokenAgent, match="panel"):
        world.play()


def test_a_panel_of_models_decides_and_is_named_in_the_record(tmp_path):
    world = World(tmp_path, models=[Scripted(YES, name="a"), Scripted(NO, name="b")], rounds=2)
    world.play()
    numbers = world.state.pool.rounds(world.state.promoted)
    assert [(each.judges, each.accepted) for each in numbers] == [("llm:a+b", 0), ("llm:a+b", 0)]
    refused = [event for event in world.events(SampleEnded) if event.reason == "panel.refused"]
    assert {event.round for event in refused} == {2, 3}
    assert world.state.pool.fates[2]["t1"].stage == PANEL


def by_answer(messages):
    """A model that knows what is wrong: x must be the number that the query names."""
    said = messages[1]["content"]
    wanted = re.search(r"f to (\d+)", said) or re.search(r"(\d+)", said)
    return YES if f"x={wanted.group(1)})" in said.replace(" ", "") else NO


def test_a_model_that_accepts_known_bad_answers_loses_its_seat_for_the_round(tmp_path):
    models = [Scripted(by_answer, name="careful"), Scripted(YES, name="easy")]
    world = World(tmp_path, models=models, rounds=1, canaries=0.02)
    world.play()
    found = next(event for event in world.events(CanaryResult) if event.node == PANEL)
    assert (found.seats, found.suspended) == ({"careful": 0.0, "easy": 1.0}, ["easy"])
    assert any("without easy: easy accepted 100 %" in note.text for note in world.state.notes)
    judged = [verdict for sample in world.folder.texts(2).get("kept") for verdict in sample.verdicts]
    assert {(verdict.judge, len(verdict.votes)) for verdict in judged if verdict.stage == PANEL} == {("llm:careful", 1)}


def test_a_panel_that_loses_every_seat_stops_the_round_before_it_samples(tmp_path):
    world = World(tmp_path, models=[Scripted(YES, name="a"), Scripted(YES, name="b")], rounds=1, canaries=0.02)
    with pytest.raises(JudgeFailedCanaries, match=r"no model of the panel may judge round 2: a accepted 100 %"):
        world.play()
    assert not list(world.folder.texts(2).get("sampled"))


def test_seats_are_kept_whatever_they_accept_where_no_limit_is_set(tmp_path):
    settings = {"canaries": 0.02, "max_seat_false_pass": None}
    world = World(tmp_path, models=[Scripted(YES, name="a")], rounds=1, **settings)
    world.play()
    found = next(event for event in world.events(CanaryResult) if event.node == PANEL)
    assert (found.seats, found.suspended) == ({"a": 1.0}, [])


def test_the_models_of_the_panel_are_those_that_are_named_though_rules_judge_the_stages():
    servers = [{"url": f"http://localhost:{port}/v1", "model": name} for port, name in enumerate("abc", 1)]
    asked = check_config({"method": "hdr", "fcdr": {"llm": {"endpoints": servers, "cache": False}}}, "test")
    panel = build_panel(asked, None, SharedBudget())
    assert panel is not None
    assert len(panel.seats) == 3
    assert build_panel(check_config({"method": "hdr"}, "test"), None, SharedBudget()) is None
    assert build_panel(asked.model_copy(update={"method": "srml"}), None, SharedBudget()) is None


def test_the_highest_mean_score_is_learned_first_of_all(tmp_path):
    def by_length(messages):
        return (
            "<score>0.9</score> <judge>True</judge>"
            if "Quite so." in messages[1]["content"]
            else YES[:9] + (" <score>0.6</score> <judge>True</judge>")
        )

    world = World(tmp_path, models=[Scripted(by_length)], rounds=1)
    world.play()
    assert {sample.id.rpartition("/")[2] for sample in world.updates[1].samples} == {"0"}


def test_without_models_a_task_without_a_reference_stays_in_the_pool(tmp_path):
    judge = AcceptancePanel(None, HardData())
    unknown = msgspec.structs.replace(task(1), reference=None)
    verdict = asyncio.run(judge(Sample.of("r2/t1/0", unknown, "[f(x=1)]", "So x is 1.", round=2)))
    assert (verdict.outcome, verdict.reason) == ("drop", "panel.no_reference")


def test_where_nothing_could_accept_an_answer_the_run_does_not_start():
    unknown = Pool([msgspec.structs.replace(task(1), reference=None)])
    with pytest.raises(DataError, match=r"none of 1 tasks has a reference answer, and fcdr.llm names no model"):
        require_judgeable(check_config({"method": "hdr"}, "test"), unknown)
    require_judgeable(check_config({"method": "hdr", "fcdr": {"llm": {"model": "self"}}}, "test"), unknown)
    require_judgeable(check_config({"method": "hdr"}, "test"), Pool([task(1)]))


def test_a_judges_error_makes_no_task_a_discarded_one(tmp_path):
    (tmp_path / "mine.py").write_text("async def look(sample):\n    raise OSError('no disk')\n")
    world = World(tmp_path, tasks=[task(i) for i in range(4)], rounds=0)
    entry = {"name": "look", "agent": f"{tmp_path}/mine.py:look", "after": "query_tool"}
    data = world.config.model_dump() | {"agents": [entry]}
    data["fcdr"]["max_error_rate"] = 1.0
    world.config = check_config(data, "test")
    world.play()
    fates = {id: (event.fate, event.stage) for id, event in world.state.pool.fates[1].items()}
    assert fates == {
        "t0": ("hard", "error"),
        "t1": ("hard", "error"),
        "t2": ("hard", "error"),
        "t3": ("discarded", "response"),
    }


# -- labels -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def repaired(tmp_path_factory):
    """A run over tasks of which one has a wrong reference, which the panel sees."""
    tasks = [task(0), task(4, right=8), task(2)]

    def reply(messages):
        return NO if "<thinking" not in messages[1]["content"] and "x=4" not in messages[1]["content"] else YES

    world = World(
        tmp_path_factory.mktemp("repaired"), tasks=tasks, models=[Scripted(reply)], repair_labels=True, rounds=3
    )
    world.play()
    return world


def test_a_reference_that_the_panel_rules_against_is_replaced_in_later_rounds(repaired):
    events = repaired.events(LabelRepaired)
    assert [(event.round, event.task, event.votes) for event in events] == [(2, "t4", [0.9])]
    repair = repaired.folder.texts(2).repairs()["t4"]
    assert (repair.old[0].arguments, repair.new[0].arguments) == ({"x": 8}, {"x": 4})
    before, after = (repaired.folder.texts(k).tasks()["t4"] for k in (2, 3))
    assert (before.reference, before.flags) == ([Call("f", {"x": 8})], [])
    assert (after.reference, after.flags) == ([Call("f", {"x": 4})], ["label.repaired"])
    assert repaired.state.pool.fates[3]["t4"].fate == "accepted"
    assert repaired.state.pool.history()["t4"].repaired


def test_the_record_counts_the_references_that_were_asked_about(repaired):
    said = {note.round: note.text for note in repaired.state.notes if "most answers contradict" in note.text}
    assert said == {2: "1 reference(s) that most answers contradict: 1 replaced"}


def test_a_reference_stays_where_no_seat_replies(tmp_path):
    world = World(tmp_path, tasks=[task(4, right=8)], models=[Scripted("hm")], repair_labels=True, rounds=1)
    world.play()
    assert world.events(LabelRepaired) == []
    said = [note.text for note in world.state.notes if "most answers contradict" in note.text]
    assert said == ["1 reference(s) that most answers contradict: 1 kept (judge.unreadable)"]


def test_the_round_message_passes_the_agent_that_repairs_labels(repaired):
    graph = loop_graph(repaired.config)
    assert ("generator", "drained", "labels") in [(e.source, e.outcome, e.target) for e in graph.edges if e.per_round]
    assert "labels" in repaired.state.rounds[2].seconds


def test_labels_are_repaired_by_models_only():
    with pytest.raises(ConfigError, match=r"hdr\.repair_labels is true, and fcdr.llm names no model"):
        check_config({"method": "hdr", "hdr": {"repair_labels": True}}, "test")


# -- configuration -------------------------------------------------------------------------------------------------


def test_hard_data_rounds_learn_their_alpha_unless_told_otherwise():
    assert check_config({"method": "hdr"}, "test").train.update.alpha_mode == "learnable"
    assert check_config({}, "test").train.update.alpha_mode == "fixed"
    fixed = {"method": "hdr", "train": {"update": {"alpha_mode": "fixed"}}}
    assert check_config(fixed, "test").train.update.alpha_mode == "fixed"


def test_planned_rounds_are_the_first_one_and_the_bound():
    config = check_config({"method": "hdr", "rounds": 3, "hdr": {"max_rounds": 4}}, "test")
    assert (config.planned_rounds, config.with_rounds(3).planned_rounds) == (5, 3)
    assert check_config({"rounds": 3}, "test").planned_rounds == 3


def test_a_control_of_the_plain_loop_is_refused():
    with pytest.raises(ConfigError, match=r"hdr\.control=random_qualified"):
        check_config({"method": "hdr", "train": {"data": "unfiltered"}}, "test")


def test_a_graph_without_the_panel_is_refused(tmp_path):
    config = check_config({"method": "hdr", "fcdr": {"graph": "grpo"}}, "test")
    with pytest.raises(Exception, match=r"no node 'panel', which a loop needs: add it as in configs/hdr.yaml"):
        loop_graph(config)


# -- what a person sees --------------------------------------------------------------------------------------------


def printed(part) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(part)
    return "\n".join(" ".join(line.split()) for line in console.file.getvalue().splitlines())


def test_the_tables_show_the_pool_by_round_and_who_accepted(played, repaired):
    lines = [line.split() for line in printed(pool_table(played.state)).splitlines()]
    assert ["1", "12", "3", "25.0", "0", "6", "0", "0"] in lines
    assert ["2", "6", "3", "50.0", "0", "3", "0", "0"] in lines
    assert "No model judged: rules and references accepted." in printed(pool_table(played.state)).replace("\n", " ")
    assert "Accepted by llm:scripted." in printed(pool_table(repaired.state)).replace("\n", " ")


def test_the_report_and_the_dashboard_show_the_pool(played):
    report = report_markdown(played.state, played.folder, "finished")
    assert "Round 1 sorted 12 tasks: 3 qualified, 6 hard, 3 discarded." in report
    assert "| 2 | 6 | 3 | 50.0 | 0 | 3 | 0 | 0 |" in report
    page = page_of("flow", played.state, ViewState(round=2), 100, 30)
    assert "".join(text for text, _ in page.head[0]) == "hard tasks: 6 tasks · 3 accepted (50.0 %) · 3 left"


def test_every_repaired_reference_is_listed_and_shown_with_its_samples(repaired, capsys):
    assert "t4" in printed(repairs_table(repaired.state))
    repaired.folder.heartbeat("finished")
    with pytest.raises(SystemExit):
        main(["show", "r2/t4/0", "--run", str(repaired.folder.path)])
    said = capsys.readouterr().out
    assert "reference replaced after round 2: [f(x=8)] → [f(x=4)]" in said
    assert "scripted 0.90: It fits." in said


def test_show_prints_each_seats_score_and_reason_on_a_line_of_its_own():
    verdict, _ = ask(YES, YES, NO)
    sample = Sample.of("r2/t1/0", task(1), "[f(x=1)]", "So x is 1.", round=2, verdicts=(verdict,))
    lines = [str(line) for line in story([sample], sample, "dropped")]
    assert lines[-4:] == [
        "  panel: drop panel.refused [llm:a+b+c]",
        "    a 0.90: It fits.",
        "    b 0.90: It fits.",
        "    c 0.20: It does not.",
    ]


def test_the_drawn_graph_and_the_plan_say_who_accepts_and_what_is_counted(capsys):
    for command in ("graph", "plan"):
        with pytest.raises(SystemExit):
            main([command, "--set", "method=hdr"])
    said = capsys.readouterr().out
    assert "panel        pass → trainer" in said
    assert "hard tasks are accepted by references, as fcdr.llm names no model" in said
    assert "counted is round 1, which sorts all tasks" in " ".join(said.split())


def test_a_plain_run_has_nothing_to_say_of_a_pool():
    assert pool_table(State()).row_count == 0
    assert State().summary()["pool"] == {}
