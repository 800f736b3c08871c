"""What tests that play rounds from inside share: tasks, a gate, and the parts of a session around a scripted policy."""

import asyncio
from pathlib import Path

from funreason.agents.evaluator import Evaluator
from funreason.bfcl import load_cases
from funreason.bfcl.suites import write_suite
from funreason.calls.tools import normalise_tools
from funreason.config import check_config
from funreason.gate.contamination import ContaminationCheck
from funreason.gate.items import GateSuite, case_task
from funreason.loops.self_refinement import play_session
from funreason.loops.session import Session
from funreason.policies.policy import Policy
from funreason.record.events import RoundMessage
from funreason.record.folder import RunFolder
from funreason.record.log import LogReader
from funreason.runtime.agents import Learner
from funreason.runtime.graph import loop_graph
from funreason.runtime.journal import Journal
from funreason.sources.tasks import Pool
from funreason.stop import StopRequest
from funreason.types import Call, Task, Weights
from funreason.weights import WeightStore

TOOLS = normalise_tools([{"name": "f", "description": "does f to a number", "parameters": {"x": {"type": "int"}}}])


def task(i: int, right: int | None = None) -> Task:
    """The task to do f to `i`; its reference says `right`, by default `i`."""
    calls = [Call("f", {"x": i if right is None else right})]
    return Task.of(id=f"t{i}", query=f"do f to {i}", tools=TOOLS, reference=calls, category="simple")


class Killed(BaseException):
    """What a test ends a run with in the middle: nothing of the product catches it."""


class RoundWorld:
    """A run's folder and the parts that a round needs, the policy apart. `gate` numbers the gate's items."""

    def __init__(self, path: Path, config: dict, tasks: list[Task], gate=range(100, 116)):
        self.path, self.folder = path, RunFolder(path / "run")
        self.base = Weights("w0", path / "base")
        self.config, self.tasks = check_config(config, "test"), tasks
        write_suite([task(i) for i in gate], path / "suite", "gate")
        cases = list(load_cases(path / "suite").values())
        self.suite = GateSuite("new", cases, [case_task(case) for case in cases])

    def session_with(self, sampler, *updates, stop=None, source=None, **parts) -> Session:
        """Play the run from where its record ends. `updates` make the weights: those of a round, and of a step.

        `source` and `parts` are the session's, where they differ from the usual.
        """
        journal, policy = Journal(self.folder), Policy(sampler, None)
        weights = WeightStore(self.base, self.folder.weights, self.folder.state())
        gate = self.folder.path / "gate"
        gate.mkdir(parents=True, exist_ok=True)
        session = Session(
            config=self.config,
            graph=loop_graph(self.config),
            journal=journal,
            stop=stop or StopRequest(),
            past=self.folder.state(),
            sampler=lambda round: self.policy_of(policy, round),
            learner=Learner(
                policy,
                weights,
                Evaluator(policy, [self.suite], self.config.gate, gate, weights, journal.write),
                lambda round: session.training_set(round),
                lambda round: updates[0],
                *updates[1:],
            ),
            source=source or Pool(self.tasks),
            screen=ContaminationCheck([], self.config.gate.contamination),
            **parts,
        )
        try:
            asyncio.run(play_session(session))
        finally:
            self.folder.close()
            journal.log.close()
        return session

    def policy_of(self, policy: Policy, round: int) -> Policy:
        """The policy that samples in a round."""
        return policy

    def events(self, *kinds):
        return [event for event in LogReader(self.folder.events).events() if isinstance(event, kinds)]

    def route(self, round=1):
        return [(e.node, e.outcome, e.target) for e in self.events(RoundMessage) if e.round == round]
