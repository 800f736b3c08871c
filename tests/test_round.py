"""One round from inside: a scripted policy, a trainer that saves at once, the real bus, judges, gate and record."""

import asyncio
import io
import os
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console
from round_world import Killed, RoundWorld, task

from funreason.agents.approval import Approval
from funreason.display.progress import LiveProgress
from funreason.errors import NothingToLearn
from funreason.policies.protocol import Completion
from funreason.record.events import (
    GateDecided,
    Judged,
    LogMessage,
    RoundMessage,
    RunStarted,
    SampleEnded,
    WeightsTrained,
)
from funreason.record.folder import RunFolder
from funreason.record.log import EventLog
from funreason.stop import Interrupted, StopRequest
from funreason.types import Decision, Weights
from funreason.weights import START

ROUTE = [
    ("generator", "drained", "trainer"),
    ("trainer", "candidate", "evaluator"),
    ("evaluator", "accepted", "generator"),
]


class ScriptedSampler:
    """Knows the number a prompt asks about. `w0` answers half of the gate's queries wrong, later weights none."""

    def __init__(self, killed_at: int | None = None):
        self.weights_id, self.asked, self.killed_at = "w0", 0, killed_at

    def sample(self, requests):
        answers = []
        for request in requests:
            self.asked += 1
            if self.asked == self.killed_at:
                raise Killed
            number = int(request.dialogue.messages[-1]["content"].split()[-1])
            wrong = self.weights_id == "w0" and request.greedy and number % 2
            call = f"[f(x={number + 1 if wrong else number})]"
            text = f"<think>The query asks to do f to {number}, so x is {number}.</think>\n\n{call}"
            answers.append([Completion(text, 5, False, weights_id=self.weights_id) for _ in range(request.n)])
        return answers

    def too_long(self, request):
        return False

    def load_weights(self, folder, weights_id):
        self.weights_id = weights_id


class World(RoundWorld):
    """`play` plays the run from where its record ends."""

    def __init__(self, path: Path, agents=(), rounds=1, **settings):
        data = {"rounds": rounds, "agents": list(agents), "sample": {"samples_per_task": 1}}
        super().__init__(path, data | settings, [task(i) for i in range(12)])
        self.updates = 0

    def play(self, killed_at: int | None = None, stop: StopRequest | None = None):
        def update(request):
            self.updates += 1
            made = self.folder.weights / (f"w{request.round}" if request.round != START else "start")
            made.mkdir(parents=True)
            trained = WeightsTrained(round=request.round, weights=made.name, examples=len(request.samples), steps=1)
            return Weights(made.name, made), trained, 0

        return self.session_with(ScriptedSampler(killed_at), update, stop=stop)


def test_a_rounds_messages_come_in_the_order_of_the_graph(tmp_path):
    world = World(tmp_path)
    session = world.play()
    log = world.events(Judged, SampleEnded, RoundMessage, GateDecided)
    kinds = [type(event) for event in log if event.round == 1]
    first = kinds.index(RoundMessage)
    assert kinds[:first].count(SampleEnded) == 12
    assert not {Judged, SampleEnded} & set(kinds[first:])
    assert kinds[first:] == [RoundMessage, RoundMessage, GateDecided, RoundMessage]
    assert world.route() == ROUTE
    assert session.weights.accepted.id == "w1"
    assert world.folder.state().rounds[1].gate.decision == "promote"


@pytest.mark.parametrize("killed_at", [3, 20])
def test_a_killed_round_is_resumed_and_ends_as_an_uninterrupted_one(tmp_path, killed_at):
    whole, broken = World(tmp_path / "whole"), World(tmp_path / "broken")
    whole.play()
    # The base is measured first (16 items), so the 3rd request is the gate's and the 20th a sample's.
    with pytest.raises(Killed):
        broken.play(killed_at=killed_at)
    session = broken.play()
    assert session.weights.accepted.id == "w1"
    assert broken.route() == ROUTE
    assert sorted(e.sample for e in broken.events(SampleEnded)) == sorted(e.sample for e in whole.events(SampleEnded))
    assert broken.events(GateDecided)[-1].overall == whole.events(GateDecided)[-1].overall


def test_a_round_that_was_trained_and_not_gated_is_not_trained_again(tmp_path):
    world = World(tmp_path)
    with pytest.raises(Killed):
        world.play(killed_at=16 + 12 + 5)  # in the middle of measuring the candidate
    assert world.updates == 1
    session = world.play()
    assert world.updates == 1
    assert session.weights.accepted.id == "w1"


SECOND_OPINION = """
from pathlib import Path
from funreason.types import Verdict

async def second_opinion(candidate):
    seen = Path(__file__).with_name("seen.txt")
    seen.write_text(seen.read_text() + candidate.weights.id + "\\n" if seen.exists() else candidate.weights.id + "\\n")
    return Verdict("x", "drop", "too.eager", "I would not") if candidate.round == 2 else "pass"
"""


def test_an_agent_between_trainer_and_evaluator_sees_each_candidate_and_can_refuse_it(tmp_path):
    (tmp_path / "mine.py").write_text(SECOND_OPINION)
    entry = {"name": "opinion", "agent": f"{tmp_path}/mine.py:second_opinion", "after": "trainer", "edge": "candidate"}
    world = World(tmp_path, [entry], rounds=2)
    session = world.play()
    assert (tmp_path / "seen.txt").read_text().split() == ["w1", "w2"]
    assert world.route(1) == [
        *ROUTE[:1],
        ("trainer", "candidate", "opinion"),
        ("opinion", "pass", "evaluator"),
        ROUTE[2],
    ]
    assert ("opinion", "drop", "evaluator") in world.route(2)
    gate = world.folder.state().rounds[2].gate
    assert (gate.decision, gate.reason) == ("rollback", "opinion: too.eager")
    assert session.weights.accepted.id == "w1"
    outputs = world.folder.path / "gate" / "outputs"
    assert {path.name for path in outputs.iterdir()} == {"w0", "w1"}, "a refused candidate is not measured"


APPROVAL = {"name": "approval", "agent": "approval", "after": "evaluator", "edge": "accepted"}


@pytest.mark.parametrize(("answer", "accepted"), [("approve", "w1"), ("refuse", "w0")])
def test_an_agent_between_evaluator_and_generator_holds_the_round_until_a_person_has_answered(
    tmp_path, answer, accepted
):
    world = World(tmp_path, [APPROVAL])
    stop = StopRequest()

    async def stop_when_asked():
        while not world.folder.events.exists() or not world.events(LogMessage):
            await asyncio.sleep(0.01)
        stop.ask()

    # Without an answer the round waits; a stop ends the waiting with nothing accepted.
    threading.Thread(target=lambda: asyncio.run(stop_when_asked()), daemon=True).start()
    with pytest.raises(Interrupted):
        world.play(stop=stop)
    assert "approve-round-1" in world.events(LogMessage)[0].text
    assert not world.folder.state().rounds[1].ended
    # Then a file appears.
    (world.folder.path / f"{answer}-round-1").write_text("as discussed")
    session = world.play()
    assert session.weights.accepted.id == accepted
    assert world.route()[-2:] == [
        ("evaluator", "accepted", "approval"),
        ("approval", "pass" if answer == "approve" else "drop", "generator"),
    ]
    gate = world.folder.state().rounds[1].gate
    assert (gate.decision, "as discussed" in gate.reason) == (("promote", False), ("rollback", True))[
        answer == "refuse"
    ]


def test_a_custom_agent_may_stand_anywhere_among_the_samples(tmp_path):
    (tmp_path / "mine.py").write_text("async def first_look(sample):\n    return 'pass'\n")
    entry = {"name": "first_look", "agent": f"{tmp_path}/mine.py:first_look", "after": "generator", "edge": "sampled"}
    world = World(tmp_path, [entry])
    world.play()
    assert sum(event.node == "first_look" for event in world.events(Judged)) == 12


def test_the_supervised_start_travels_the_same_edges(tmp_path):
    world = World(tmp_path, start={"references": {"path": "tasks", "count": 4}})
    session = world.play()
    assert world.route(START) == ROUTE
    assert world.events(GateDecided)[0].decision == "promote"
    assert session.weights.start.id == "start"
    assert session.weights.accepted.id == "start", "nothing was left to gain in the round"


ALL_SOLVED = {"max_solved_share": 0.0}
"""Leaves every task out of the training set, since the scripted policy solves them all."""


def test_a_round_that_trains_nothing_stops_the_run_and_a_resumed_one_continues(tmp_path):
    world = World(tmp_path, rounds=3, train=ALL_SOLVED)
    with pytest.raises(NothingToLearn, match=r"Round 1 had nothing to learn: 12 of 12.*--set train.max_solved_share=1"):
        world.play()
    assert [k for k, r in world.folder.state().rounds.items() if r.ended] == [0, 1]
    with pytest.raises(NothingToLearn, match=r"Round 2 had nothing.*stopped before round 3.*funreason loop --resume"):
        world.play()
    world.play()  # after the last round there is nothing left to waste
    assert world.folder.state().rounds[3].ended
    assert world.updates == 0


def test_a_round_that_trains_nothing_is_followed_by_the_next_one_where_the_configuration_says_so(tmp_path):
    world = World(tmp_path, rounds=2, train=ALL_SOLVED, when_nothing_learned="continue")
    world.play()
    assert world.folder.state().rounds[2].ended


@pytest.mark.parametrize(("typed", "played"), [(b"what?\ny\n", 2), (b"n\n", 1), (b"\x04", 1)])
def test_at_a_terminal_a_person_decides_whether_to_play_on_after_a_round_that_trained_nothing(
    tmp_path, monkeypatch, capsys, typed, played
):
    person, terminal = os.openpty()
    stdin = os.fdopen(terminal, "r")
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    os.write(person, typed)
    world = World(tmp_path, rounds=2, train=ALL_SOLVED)
    if played == 2:
        world.play()
    else:
        with pytest.raises(NothingToLearn):
            world.play()
    assert sum(r.ended for k, r in world.folder.state().rounds.items() if k) == played
    assert "Play round 2 all the same? [y/n]" in capsys.readouterr().err
    os.close(person)
    stdin.close()


@pytest.mark.parametrize(("typed", "outcome"), [("maybe\ny\n", "pass"), ("NO\n", "drop")])
def test_a_person_at_the_terminal_is_asked_until_the_answer_is_yes_or_no(tmp_path, monkeypatch, capsys, typed, outcome):
    person, terminal = os.openpty()
    stdin = os.fdopen(terminal, "r")
    monkeypatch.setattr("sys.stdin", stdin)
    approval = Approval("approval", tmp_path, lambda event: None, StopRequest(), terminal=True)
    current, candidate = Weights("w0", tmp_path), Weights("w1", tmp_path)
    os.write(person, typed.encode())
    verdict = asyncio.run(approval(Decision(1, "promote", "+3.0 points", current, candidate)))
    assert verdict.outcome == outcome
    assert capsys.readouterr().err.count("Accept these weights? [y/n]") == typed.count("\n")
    os.close(person)
    stdin.close()


def test_the_question_is_the_last_thing_on_the_terminal_until_it_is_answered(tmp_path, monkeypatch):
    person, terminal = os.openpty()
    stdin, screen = os.fdopen(terminal, "r"), io.StringIO()
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr("sys.stderr", screen)
    folder = RunFolder(tmp_path)
    log = EventLog(folder.events, "test")
    log.write(RunStarted(run="mine", nodes=["judge"], rounds=1))
    approval = Approval("approval", tmp_path, log.write, StopRequest(), terminal=True)
    current, candidate = Weights("w0", tmp_path), Weights("w1", tmp_path)

    async def asked() -> str:
        work = asyncio.ensure_future(approval(Decision(1, "promote", "+3.0 points", current, candidate)))
        await asyncio.sleep(0.7)  # the view would repaint several times
        before = screen.getvalue()
        os.write(person, b"y\n")
        await work
        return before

    with LiveProgress(folder, Console(file=screen, force_terminal=True, width=100)):
        before = asyncio.run(asked())
        answered = len(screen.getvalue())
        deadline = time.monotonic() + 5
        while "mine" not in screen.getvalue()[answered:] and time.monotonic() < deadline:
            time.sleep(0.05)
    assert before.endswith("Accept these weights? [y/n] ")
    assert "create" in before, "the note on files is above the question"
    assert "mine" in screen.getvalue()[answered:], "the view resumes"
    os.close(person)
    stdin.close()


def test_a_decision_that_promotes_nothing_needs_no_approval(tmp_path):
    approval = Approval("approval", tmp_path, lambda event: None, StopRequest(), terminal=False)
    weights = Weights("w0", tmp_path)
    assert asyncio.run(approval(Decision(1, "hold", "", weights, weights))).outcome == "pass"


COUNTING = """
class Counting:
    def __init__(self, most):
        self.seen, self.most = 0, most
    async def __call__(self, candidate):
        self.seen += 1
        return "pass" if self.seen <= self.most else "drop"
"""


def test_an_agent_on_a_round_edge_is_built_once_a_run_with_its_settings(tmp_path):
    (tmp_path / "mine.py").write_text(COUNTING)
    entry = {"name": "count", "agent": f"{tmp_path}/mine.py:Counting", "after": "trainer", "edge": "candidate"}
    world = World(tmp_path, [entry | {"settings": {"most": 1}}], rounds=2)
    world.play()
    assert ("count", "pass", "evaluator") in world.route(1)
    assert ("count", "drop", "evaluator") in world.route(2)
