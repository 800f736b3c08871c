"""The gate: promote, hold, rollback."""

import asyncio
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from funreason.bfcl.intervals import balanced_exact, mcnemar_exact
from funreason.config import Gate
from funreason.gate.rule import SuiteComparison, SuiteResult, balance, by_category, compare, decide, without_skill

RULE = Gate(min_gain=0.0, promote_p=1.0, p_value=0.05, max_category_loss=5.0, max_guard_loss=5.0)


def marks(right: int, total: int = 100, category: str = "simple", first: int = 0) -> SuiteResult:
    strict = [first <= i < first + right for i in range(total)]
    return SuiteResult([category] * total, strict, strict)


def pair(
    old: SuiteResult, new: SuiteResult, role: str = "decision", start: SuiteResult | None = None
) -> SuiteComparison:
    return SuiteComparison(role, role, old, new, old if start is None else start)


def test_better_weights_are_promoted():
    assert decide(RULE, [pair(marks(40), marks(50))])[0] == "promote"


def test_a_tie_keeps_the_old_weights():
    assert decide(RULE, [pair(marks(40), marks(40))])[0] == "hold"


def test_a_small_loss_holds_and_a_clear_one_rolls_back():
    assert decide(RULE, [pair(marks(40), marks(38))])[0] == "hold"
    assert decide(RULE, [pair(marks(40), marks(20))])[0] == "rollback"


def test_a_gain_that_could_be_chance_is_held_when_significance_is_asked():
    rule = RULE.model_copy(update={"promote_p": 0.05})
    assert decide(rule, [pair(marks(40), marks(42))])[0] == "hold"
    assert decide(rule, [pair(marks(40), marks(60))])[0] == "promote"


def test_a_gain_does_not_buy_off_a_fallen_category():
    def both(simple: SuiteResult, parallel: SuiteResult) -> SuiteResult:
        return SuiteResult(*(a + b for a, b in zip(simple, parallel, strict=True)))

    old = both(marks(20), marks(40, category="parallel"))
    new = both(marks(90), marks(10, category="parallel"))
    decision, reason = decide(RULE, [pair(old, new)])
    assert decision == "rollback"
    assert "parallel fell 30.0 points" in reason


def test_a_category_that_may_have_fallen_by_chance_does_not_stop_a_gain():
    def both(parallel: int) -> SuiteResult:
        parts = marks(30 + 40 * (parallel < 6)), marks(parallel, total=10, category="parallel")
        return SuiteResult(*(a + b for a, b in zip(*parts, strict=True)))

    assert decide(RULE, [pair(both(6), both(5))])[0] == "promote"  # 10 points of 10 items: p is 1
    assert decide(RULE.model_copy(update={"p_value": 1.0}), [pair(both(6), both(5))])[0] == "rollback"


def test_a_guard_forbids_but_never_promotes():
    good = pair(marks(40), marks(60))
    assert decide(RULE, [good, pair(marks(70), marks(66), "guard")])[0] == "promote"
    decision, reason = decide(RULE, [good, pair(marks(66), marks(62), "guard", start=marks(70))])
    assert decision == "rollback"
    assert "8.0 points below its start" in reason
    assert decide(RULE, [good, pair(marks(70), marks(65), "guard")])[0] == "promote"  # as much as is allowed
    assert decide(RULE, [pair(marks(40), marks(90), "guard")])[0] == "hold"


def test_a_watched_suite_changes_nothing():
    assert decide(RULE, [pair(marks(40), marks(50)), pair(marks(90), marks(0), "report")])[0] == "promote"


def test_a_comparison_counts_items_won_and_lost():
    score = compare(marks(40), marks(40, first=10))
    assert (score.old, score.new, score.gained, score.lost) == (40, 40, 10, 10)
    assert score.p == pytest.approx(1.0)
    assert score.low < 0.4 < score.high


def test_categories_are_compared_apart():
    old = SuiteResult(["a", "b"], [True, False], [True, True])
    new = SuiteResult(["a", "b"], [False, True], [True, True])
    found = by_category(old, new)
    assert (found["a"].lost, found["b"].gained) == (1, 1)
    assert found["a"].new_any == 1


def test_a_supervised_start_is_measured_on_guards_but_not_refused_by_them(tmp_path):
    from funreason.agents.evaluator import Evaluator
    from funreason.gate.items import GateSuite
    from funreason.record.folder import write_json
    from funreason.types import Candidate, Weights
    from funreason.weights import WeightStore

    suites = [GateSuite("new", [], []), GateSuite("old", [], [], role="guard")]
    marked = {"w0": (10, 90), "w1": (50, 70), "w2": (60, 60), "w3": (60, 68)}
    for name, (new, old) in marked.items():
        write_json(tmp_path / f"{name}.json", {"new": list(marks(new)), "old": list(marks(old))})
    said = []
    store = WeightStore(Weights("w0", tmp_path), tmp_path)
    evaluator = Evaluator(None, suites, RULE, tmp_path, store, said.append)

    async def play():
        for round in range(3):
            answer = await evaluator(Candidate(round, Weights(f"w{round + 1}", tmp_path)))
            store.settle(answer.message)

    asyncio.run(play())
    assert [gated.decision for gated in said] == ["promote", "rollback", "promote"]
    assert store.accepted.id == "w3"


def test_a_prompt_without_room_for_an_answer_is_not_asked_and_counts_as_no_call(tmp_path):
    from funreason.agents.evaluator import Evaluator
    from funreason.bfcl import Case
    from funreason.bfcl.cases import case_task
    from funreason.gate.items import GateSuite
    from funreason.policies.policy import Policy
    from funreason.policies.protocol import Completion
    from funreason.types import Weights
    from funreason.weights import WeightStore

    doc = {"name": "f", "description": "", "parameters": {"type": "dict", "properties": {}, "required": []}}

    class Small:
        """Has room for short prompts, and calls f."""

        weights_id = "w0"

        def too_long(self, request):
            return "long" in request.dialogue.messages[-1]["content"]

        def sample(self, requests):
            assert not any(map(self.too_long, requests))
            return [[Completion("[f()]", 3, False, weights_id="w0")] for _ in requests]

        def load_weights(self, folder, weights_id):
            raise AssertionError("these weights are loaded")

    def case(kind, text, answer):
        return Case(f"{kind}_{text}", kind, [[{"role": "user", "content": text}]], [doc], answer)

    cases = [case("simple_python", text, [{"f": {}}]) for text in ("short", "long")]
    cases += [case("irrelevance", text, None) for text in ("short", "long")]
    said, base = [], Weights("w0", tmp_path)
    suite = GateSuite("new", cases, list(map(case_task, cases)))
    evaluator = Evaluator(Policy(Small(), None), [suite], RULE, tmp_path, WeightStore(base, tmp_path), said.append)
    found = asyncio.run(evaluator.measure(base))["new"]
    assert found.strict == [True, False, False, True]
    assert "2 of 4 prompts of new leave no room" in said[0].text


def test_a_measurement_that_is_interrupted_keeps_its_suites_and_writes_its_results_once(tmp_path):
    from funreason.agents.evaluator import Evaluator
    from funreason.bfcl import Case
    from funreason.bfcl.cases import case_task
    from funreason.gate.items import GateSuite
    from funreason.policies.policy import Policy
    from funreason.policies.protocol import Completion
    from funreason.types import Weights
    from funreason.weights import WeightStore

    class Failing:
        """Refuses what it is asked, and fails at `fails_at`."""

        weights_id, fails_at = "w0", ""

        def __init__(self):
            self.asked = []

        def too_long(self, request):
            return False

        def sample(self, requests):
            texts = [request.dialogue.messages[-1]["content"] for request in requests]
            if self.fails_at in texts:
                raise KeyboardInterrupt
            self.asked += texts
            return [[Completion("No tool does that.", 3, False, weights_id="w0")] for _ in requests]

    def suite(name):
        case = Case(name, "irrelevance", [[{"role": "user", "content": name}]], [], None)
        return GateSuite(name, [case], [case_task(case)])

    base, suites = Weights("w0", tmp_path), [suite("one"), suite("two")]

    def measure(fails_at):
        sampler = Failing()
        sampler.fails_at = fails_at
        evaluator = Evaluator(Policy(sampler, None), suites, RULE, tmp_path, WeightStore(base, tmp_path), [].append)
        try:
            asyncio.run(evaluator.measure(base))
        except KeyboardInterrupt:
            assert not (tmp_path / "w0.json").exists()
        return sampler.asked

    assert measure("two") == ["one"]
    (unfinished,) = tmp_path.glob(".w0.*")
    assert measure("two") == []
    unfinished.write_text(unfinished.read_text().replace("true", "null"))
    assert measure("two") == ["one"], "damaged results are measured again"
    assert measure("") == ["two"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs", "w0.json"]
    assert measure("") == []


SAID = {"text": "No tool here can do that.", "none": "[]", "call": "[f()]", "garbled": "[f(a=", "json": '{"name": "f'}


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """Which of `SAID` count as calling nothing, by the gate's rule and whether the suite is the leaderboard's."""
    from funreason.agents.evaluator import Evaluator
    from funreason.bfcl import Case
    from funreason.bfcl.cases import case_task
    from funreason.gate.items import GateSuite
    from funreason.policies.policy import Policy
    from funreason.policies.protocol import Completion
    from funreason.types import Weights
    from funreason.weights import WeightStore

    class Parrot:
        weights_id = "w0"

        def too_long(self, request):
            return False

        def sample(self, requests):
            return [[Completion(SAID[r.dialogue.messages[-1]["content"]], 3, False, weights_id="w0")] for r in requests]

    doc = {"name": "f", "description": "", "parameters": {"type": "dict", "properties": {}, "required": []}}
    cases = [Case(name, "irrelevance", [[{"role": "user", "content": name}]], [doc], None) for name in SAID]

    def measured(refusals: str, official: bool) -> set[str]:
        folder = tmp_path_factory.mktemp("gate")
        base, rule = Weights("w0", folder), Gate(refusals=refusals)
        suite = GateSuite("new", cases, list(map(case_task, cases)), official=official)
        evaluator = Evaluator(Policy(Parrot(), None), [suite], rule, folder, WeightStore(base, folder), [].append)
        found = asyncio.run(evaluator.measure(base))["new"]
        return {name for name, right in zip(SAID, found.strict, strict=True) if right}

    return measured


def test_an_attempt_at_a_call_is_no_refusal(refused):
    assert refused("strict", official=False) == {"text", "none"}


def test_the_leaderboards_rule_takes_what_cannot_be_decoded_for_a_refusal(refused):
    assert refused("bfcl", official=False) == set(SAID) - {"call"}


def test_the_official_data_is_always_measured_by_the_leaderboards_rule(refused):
    assert refused("strict", official=True) == refused("bfcl", official=True) == set(SAID) - {"call"}


def answers(calls: tuple[int, int], refusals: tuple[int, int]) -> SuiteResult:
    """Results with so many right of so many calls, and of so many items where calling nothing is right."""
    strict = [i < right for right, total in (calls, refusals) for i in range(total)]
    return SuiteResult(["simple"] * calls[1] + ["irrelevance"] * refusals[1], strict, strict)


def test_a_model_that_only_refuses_has_no_more_skill_than_the_trivial_one():
    found = balance(answers((0, 1000), (300, 300)), answers((224, 1000), (31, 300)))
    assert found.old == pytest.approx(0.5)
    assert found.new == pytest.approx((0.224 + 31 / 300) / 2)
    assert found.trivial == {"always_refuse": 0.5, "always_call": 0.0}
    assert (found.kinds["calls"].gained, found.kinds["refusals"].lost) == (224, 269)


def test_a_model_that_always_calls_is_right_where_any_call_is():
    old = SuiteResult(["simple", "live_relevance", "irrelevance"], [False, True, False], [False] * 3)
    assert balance(old, old).trivial == {"always_refuse": 0.5, "always_call": 0.25}


def test_a_supervised_start_is_not_refused_for_refusals_that_took_no_skill():
    pairs = [pair(answers((0, 1000), (300, 300)), answers((224, 1000), (31, 300)))]
    decision, reason = decide(RULE, pairs, start=True)
    assert decision == "promote"
    assert "calls 0.0 → 22.4 %, refusals 100.0 → 10.3 %" in reason
    assert decide(RULE, pairs)[0] == "rollback"  # a round is held to the balanced number


def test_a_supervised_start_without_a_right_call_is_refused_as_worse_than_both_trivial_models():
    decision, reason = decide(RULE, [pair(answers((0, 100), (40, 40)), answers((0, 100), (1, 40)))], start=True)
    assert decision == "rollback"
    assert "worse than both trivial models" in reason


def test_a_supervised_start_from_a_skilled_model_is_held_to_the_usual_rule():
    decision, reason = decide(RULE, [pair(answers((80, 100), (35, 40)), answers((60, 100), (35, 40)))], start=True)
    assert decision == "rollback"
    assert "simple fell 20.0 points" in reason


def test_calling_more_at_the_price_of_refusals_is_no_gain():
    """Plain accuracy rises by 100 items and loses 40; the balanced one says what it cost."""
    rule = RULE.model_copy(update={"max_category_loss": 100.0, "max_refusals_loss": 100.0})
    assert decide(rule, [pair(answers((400, 900), (90, 100)), answers((500, 900), (50, 100)))])[0] == "rollback"


def test_calls_and_refusals_each_have_their_own_guard():
    both = answers((300, 900), (80, 100))
    fewer_refusals, fewer_calls = answers((600, 900), (60, 100)), answers((200, 900), (99, 100))
    rule = RULE.model_copy(update={"max_category_loss": 100.0})
    assert "refusals fell 20.0 points" in decide(rule, [pair(both, fewer_refusals)])[1]
    assert "calls fell 11.1 points" in decide(rule, [pair(both, fewer_calls)])[1]
    allowed = rule.model_copy(update={"max_refusals_loss": 25.0})
    assert decide(allowed, [pair(both, fewer_refusals)])[0] == "promote"
    good = pair(marks(40), marks(60))
    decision, reason = decide(rule, [good, pair(both, fewer_refusals, "guard")])
    assert decision == "rollback"
    assert "refusals fell 20.0 points since the start on guard" in reason


def test_a_gain_that_could_be_chance_is_not_promoted_by_default():
    assert decide(Gate(), [pair(marks(40), marks(44, first=2))])[0] == "hold"
    assert decide(Gate(), [pair(marks(40), marks(60))])[0] == "promote"


@given(st.tuples(*[st.integers(0, 12)] * 2), st.tuples(*[st.integers(0, 8)] * 2))
def test_the_balanced_test_is_mcnemars_for_one_group_and_symmetric_for_two(first, second):
    assert balanced_exact([(*first, 40)]) == pytest.approx(mcnemar_exact(*first))
    p = balanced_exact([(*first, 40), (*second, 15)])
    assert 0 < p <= 1
    assert p == pytest.approx(balanced_exact([(*second[::-1], 15), (*first[::-1], 40)]))


def test_the_balanced_test_is_the_sum_over_all_flips():
    """Three differing items in one group of 4, two in one of 2: 32 equally likely outcomes, counted by hand."""
    outcomes = [sum(a) / 4 + sum(b) / 2 for a in product((-1, 1), repeat=3) for b in product((-1, 1), repeat=2)]
    reached = (2 - 1) / 4 + (2 - 0) / 2
    assert balanced_exact([(2, 1, 4), (2, 0, 2)]) == sum(abs(o) >= reached for o in outcomes) / 32


@pytest.mark.parametrize(
    ("calls", "refusals", "said"),
    [((0, 50), (20, 20), "never to call"), ((10, 50), (0, 20), "always to call"), ((5, 50), (15, 20), "")],
)
def test_a_base_that_never_calls_or_always_calls_is_named_before_the_first_round(calls, refusals, said):
    found = answers(calls, refusals)
    text = without_skill([pair(found, found)])
    assert said in text
    assert bool(text) == bool(said)
