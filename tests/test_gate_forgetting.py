"""Suites of programs and of text in the gate: what an update makes a model forget can refuse it."""

import asyncio
import json

import pytest
import torch
from tiny import tiny_model, tiny_tokenizer

from funreason.agents.evaluator import Evaluator
from funreason.config import ConfigError, Gate, Suite, check_config
from funreason.evaluation.sandbox import CannotSandbox, run_program
from funreason.evaluation.text import DocumentLoss, TextLoss
from funreason.gate.items import gate_suites
from funreason.gate.rule import SuiteComparison, SuiteResult, TextComparison, decide
from funreason.policies.policy import Policy
from funreason.policies.protocol import Completion
from funreason.types import Candidate, Weights
from funreason.weights import WeightStore

PROGRAM = {
    "task_id": "T/0",
    "prompt": "def square(x):\n",
    "entry_point": "square",
    "test": "def check(candidate):\n    assert candidate(3) == 9\n",
}
RULE = Gate(promote_p=1.0)


def loss(nats: float) -> TextLoss:
    return TextLoss([DocumentLoss(nats, 100, 400)])


def text(start: float, new: float, role: str = "guard") -> TextComparison:
    return TextComparison("prose", role, loss(start), loss(new), loss(start))


def better() -> SuiteComparison:
    old, new = ([i < right for i in range(100)] for right in (40, 60))
    return SuiteComparison(
        "new", "decision", *(SuiteResult(["simple"] * 100, marks, marks) for marks in (old, new, old))
    )


def test_text_that_became_less_likely_than_allowed_refuses_a_better_caller():
    assert decide(RULE, [better()], [text(100.0, 104.0)])[0] == "promote"
    decision, reason = decide(RULE, [better()], [text(100.0, 107.0)])
    assert decision == "rollback"
    assert "7.0 % above its start; 5 % are allowed" in reason
    assert decide(RULE, [better()], [text(100.0, 107.0, "report")])[0] == "promote"
    assert decide(RULE, [better()], [text(100.0, 107.0)], start=True)[0] == "promote"


def test_programs_that_no_longer_pass_refuse_a_better_caller():
    was, now = ([i < passed for i in range(50)] for passed in (20, 10))
    old, new = (SuiteResult(["humaneval"] * 50, marks, marks) for marks in (was, now))
    decision, reason = decide(RULE, [better(), SuiteComparison("code", "guard", old, new, old, "humaneval")])
    assert decision == "rollback"
    assert reason == "guard code is 20.0 points below its start; 5 are allowed"


def test_a_suite_of_another_kind_is_a_guard_unless_it_is_only_reported():
    def role(**suite):
        return check_config({"gate": {"suites": {"s": suite}}}, "test").gate.suites["s"].role

    assert role(kind="text", path="held-out.txt") == "guard"
    assert role(kind="mbpp", path="mbpp.jsonl", role="report") == "report"
    with pytest.raises(ConfigError, match="cannot decide"):
        role(kind="text", path="held-out.txt", role="decision")


def test_no_configuration_alone_runs_what_a_model_writes(tmp_path):
    path = tmp_path / "HumanEval.jsonl"
    path.write_text(json.dumps(PROGRAM))
    suites = {"code": Suite(path=str(path), kind="humaneval")}
    with pytest.raises(ConfigError, match="--allow-code-execution"):
        gate_suites(suites, [], tmp_path / "gate")
    try:
        run_program("", "")
    except CannotSandbox:
        with pytest.raises(ConfigError, match=r"gate\.suites\.code cannot be measured"):
            gate_suites(suites, [], tmp_path / "gate", allow_code_execution=True)
    else:
        (suite,) = gate_suites(suites, [], tmp_path / "gate", allow_code_execution=True)
        assert [task.id for task in suite.tasks] == ["T/0"]
        assert (suite.cases, suite.role) == ([], "guard")


class Writer:
    """A sampler that writes a right program under the first weights and a wrong one under any other."""

    def __init__(self):
        self.weights_id, self.prompts = "w0", []
        self.model = tiny_model()

    def sample(self, requests):
        self.prompts += [request.prompt for request in requests]
        body = "return x * x" if self.weights_id == "w0" else "return x"
        return [[Completion(f"```python\ndef square(x):\n    {body}\n```", 9, False)] for _ in requests]

    def too_long(self, request):
        return False

    def load_weights(self, folder, weights_id):
        self.weights_id = weights_id
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.mul_(float("nan") if weights_id == "broken" else 3.0)


def measured(tmp_path, candidate: str):
    """What the gate writes about these weights, and how many prompts it asked: calls, programs and text."""
    (tmp_path / "HumanEval.jsonl").write_text(json.dumps(PROGRAM))
    (tmp_path / "prose.txt").write_text("The quick brown fox jumps over the lazy dog.")
    suites = {
        "new": Suite(path="toolbox:new_gate", count=4),
        "code": Suite(path=str(tmp_path / "HumanEval.jsonl"), kind="humaneval"),
        "prose": Suite(path=str(tmp_path / "prose.txt"), kind="text"),
    }
    loaded = gate_suites(suites, [], tmp_path / "gate", allow_code_execution=True)
    said: list = []
    store = WeightStore(Weights("w0", tmp_path), tmp_path)
    policy = Policy(Writer(), tiny_tokenizer())
    evaluator = Evaluator(policy, loaded, RULE, tmp_path, store, said.append)

    asyncio.run(evaluator(Candidate(1, Weights(candidate, tmp_path))))
    (gated,) = said
    return gated, len(policy.sampler.prompts)


@pytest.fixture
def can_sandbox():
    try:
        run_program("", "")
    except CannotSandbox as error:
        pytest.skip(str(error))


def test_the_gate_runs_programs_and_reads_text_under_old_and_new_weights(tmp_path, can_sandbox):
    gated, asked = measured(tmp_path, "w1")
    assert asked == 10
    code, prose = gated.by_slice["code"], gated.text["prose"]
    assert (code.total, code.old, code.new) == (1, 1, 0)
    assert gated.decision == "rollback"
    assert "guard code is 100.0 points below its start" in gated.reason
    assert prose.tokens > 20
    assert prose.old == prose.start != prose.new
    assert "code" not in gated.balance_by_slice
    assert gated.overall.total == 4


def test_weights_that_make_text_not_finite_are_rolled_back(tmp_path, can_sandbox):
    gated, _ = measured(tmp_path, "broken")
    assert gated.decision == "rollback"
    assert "not finite" in gated.reason


def test_measurements_of_programs_and_text_are_read_back_and_not_repeated(tmp_path, can_sandbox):
    first, _ = measured(tmp_path, "w1")
    again, asked = measured(tmp_path, "w1")
    assert asked == 0
    assert (again.text, again.by_slice) == (first.text, first.by_slice)
