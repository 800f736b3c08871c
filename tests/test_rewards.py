"""Rewards: what each pays for, how a custom one is loaded and refused, and which hacks the audit finds."""

import json
import math
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from funreason.agents.judges.contract import adversarial_samples
from funreason.agents.references import reference_sample
from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.calls.dialects.catalogue import dialect_named
from funreason.calls.render import render_calls
from funreason.cli import app
from funreason.evaluation.reward_audit import audit, audit_tasks
from funreason.evaluation.reward_hacks import HACKS
from funreason.objectives.rewards import REWARDS, RewardError, RewardScore, load_reward
from funreason.plugins import PluginError
from funreason.types import Call, Sample, Task, Verdict, changed

HERMES = CallFormat(dialect_named("hermes"))
TOOLS = [
    {
        "name": "book",
        "description": "Books a table.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string"},
                "guests": {"type": "integer", "default": 2},
                "budget": {"type": "number"},
                "outside": {"type": "boolean", "default": False},
            },
            "required": ["place"],
        },
    },
    {
        "name": "call_taxi",
        "description": "Calls a taxi.",
        "parameters": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
    },
]
BOOK, TAXI = Call("book", {"place": "Adler", "budget": 40.0}), Call("call_taxi", {"to": "Fulda"})
CALLS = Task.of("calls", "Book a table at the Adler for 40 euros and call a taxi to Fulda.", TOOLS, [BOOK, TAXI])
NO_CALL = Task.of("none", "What is the tallest mountain?", TOOLS, [], reference_text="No function answers that.")
EVERY = pytest.mark.parametrize("name", REWARDS)
BINARY = pytest.mark.parametrize("name", ["egpo", "tool_n1"])


def answered(task, answer, thinking="I think so.", **fields):
    return Sample.of(f"s/{task.id}", task, answer, thinking, **fields)


def called(*calls, task=CALLS, **fields):
    return answered(task, render_calls(calls), **fields)


@EVERY
def test_the_reference_earns_the_most_in_any_order(name):
    reward = load_reward(name)
    most = 4.0 if name == "toolrl" else 1.0
    assert reward(called(BOOK, TAXI)).value == reward(called(TAXI, BOOK)).value == most
    assert reward(called(BOOK, TAXI)).reason == ""


@EVERY
def test_an_omitted_default_and_a_written_one_are_the_same_call(name):
    reward = load_reward(name)
    written = Call("book", {**BOOK.arguments, "guests": 2, "outside": False})
    assert reward(called(written, TAXI)) == reward(called(BOOK, TAXI))
    asked = Task.of("d", "q", TOOLS, [written, TAXI])
    assert reward(called(BOOK, TAXI, task=asked)) == reward(called(written, TAXI, task=asked))


@EVERY
def test_an_int_is_a_float_where_a_number_is_wanted_and_nowhere_else(name):
    reward = load_reward(name)
    best = reward(called(BOOK, TAXI)).value
    assert reward(called(Call("book", {"place": "Adler", "budget": 40}), TAXI)).value == best
    for wrong in ({"guests": 2.0}, {"outside": 0}, {"outside": "False"}, {"budget": "40.0"}, {"budget": True}):
        assert reward(called(Call("book", {**BOOK.arguments, **wrong}), TAXI)).value < best


@EVERY
def test_calls_are_counted(name):
    reward = load_reward(name)
    best = reward(called(BOOK, TAXI)).value
    for calls in ([BOOK, BOOK], [BOOK, TAXI, TAXI], [BOOK], [TAXI], [BOOK, TAXI, Call("book", {"place": "Krone"})]):
        assert reward(called(*calls)).value < best


@BINARY
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"thinking": None}, "template.no_thinking"),
        ({"thinking": " \n"}, "template.empty_thinking"),
        ({"thinking": "a</think><think>b"}, "template.tags"),
        ({"truncated": True}, "template.truncated"),
        ({"answer": " "}, "template.no_answer"),
    ],
)
@pytest.mark.parametrize("task", [CALLS, NO_CALL])
def test_a_broken_template_earns_nothing_whatever_the_answer(name, fields, code, task):
    score = load_reward(name)(changed(reference_sample(with_thinking(task), "s"), **fields))
    assert score.value == 0
    assert score.reason.startswith(f"{code}: ")


def with_thinking(task):
    return Task(task.id, task.messages, task.tools, task.reference, task.reference_text, "I think so.")


@BINARY
def test_without_required_thinking_the_answer_alone_counts(name):
    reward = load_reward(name, require_thinking=False)
    assert reward(called(BOOK, TAXI, thinking=None)).value == 1
    assert reward(called(BOOK, TAXI, thinking="")).value == 1
    assert reward(called(BOOK, TAXI, thinking=None, truncated=True)).value == 0


@BINARY
@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("No function answers that.", 1),
        ("I cannot call book() for that.", 1),
        ("[]", 1),
        ("[book(place='Adler')]", 0),
        ("[book(place='Ad", 0),
        ('[{"name": "book", "arguments": {"place": "Adler"}}]', 0),
        ('Sure: <tool_call>{"name": "book", "arguments": {"place": "Adler"}}</tool_call>', 0),
        ("<tool_call>{broken", 0),
        ('```json\n[{"name": "book", "arguments": {}}]\n```', 0),
    ],
)
def test_where_no_call_is_right_text_earns_one_and_any_attempt_at_a_call_nothing(name, answer, value):
    assert load_reward(name)(answered(NO_CALL, answer)).value == value


@BINARY
def test_calls_count_in_the_taught_form_alone(name):
    pythonic, hermes = render_calls([BOOK, TAXI]), HERMES.render([BOOK, TAXI], TOOLS)
    assert load_reward(name)(answered(CALLS, pythonic)).value == 1
    assert load_reward(name)(answered(CALLS, hermes)).value == 0
    assert load_reward(name, form=HERMES)(answered(CALLS, hermes)).value == 1
    assert load_reward(name, form=HERMES)(answered(CALLS, pythonic)).value == 0
    assert load_reward(name, form=HERMES)(answered(CALLS, f"Sure. {hermes}")).value == 0


def test_egpo_checks_the_schema_and_compares_text_as_bfcl_does_tool_n1_compares_exactly():
    loose = called(Call("book", {"place": "adler.", "budget": 40.0}), TAXI)
    assert (load_reward("egpo")(loose).value, load_reward("tool_n1")(loose).value) == (1, 0)
    unknown = called(Call("book", {**BOOK.arguments, "wine": 1}), TAXI)
    assert load_reward("egpo")(unknown).reason == "schema.unknown_parameter: book has no parameter wine"


def test_egpo_says_its_parts_and_the_first_fault():
    score = load_reward("egpo")(called(BOOK, Call("call_taxi", {"to": "Kassel"}), thinking=None))
    assert score == RewardScore(
        0.0, {"template": 0.0, "answer": 0.0}, "template.no_thinking: the answer comes without thinking"
    )
    score = load_reward("egpo")(called(BOOK, Call("call_taxi", {"to": "Kassel"})))
    assert score.parts == {"template": 1.0, "answer": 0.0}
    assert score.reason.startswith("reference.value: call_taxi.to='Kassel'")


def test_egpo_reuses_the_rule_judges_verdict_on_this_answer_and_no_other():
    reward, right = load_reward("egpo"), called(BOOK, TAXI)
    refused = Verdict("parameters", "regenerate", "reference.value", "said before", judge="rules")
    assert reward(right.judged(refused)) == RewardScore(
        0.0, {"template": 1.0, "answer": 0.0}, "reference.value: said before"
    )
    by_model = Verdict("parameters", "regenerate", "llm.parameters", judge="model")
    assert reward(right.judged(by_model)).value == 1
    assert reward(right.judged(refused).next_attempt()).value == 1


@BINARY
def test_without_a_reference_the_judges_decide_and_without_judges_nothing_is_guessed(name):
    unknown = Task.of("u", "Book a table.", TOOLS, None)
    reward, sample = load_reward(name), called(BOOK, task=unknown)
    with pytest.raises(RewardError, match="'s/u' has no reference"):
        reward(sample)
    passes, drops = Verdict("parameters", "pass", judge="model"), Verdict("cot", "drop", "cot.wrong", judge="model")
    assert reward(sample.judged(passes)).value == 1
    assert reward(sample.judged(passes).judged(drops)) == RewardScore(
        0.0, reward(sample.judged(drops)).parts, "cot.wrong: "
    )


def test_toolrl_refuses_a_task_without_reference():
    with pytest.raises(RewardError, match="cannot be graded"):
        load_reward("toolrl")(called(BOOK, task=Task.of("u", "q", TOOLS, None)))


@pytest.mark.parametrize(
    ("calls", "right", "most"),
    [
        # names 2/2; book: parameter names 2/2 and one equal value; taxi: names 1/1, no value
        ([Call("book", {"place": "Krone", "budget": 40}), Call("call_taxi", {"to": "Kassel"})], Fraction(4), 6),
        # names 1/2; book: 1/2 of the parameter names and one equal value
        ([Call("book", {"place": "Adler"})], Fraction(1, 2) + Fraction(3, 2), 6),
        # names 2/3; each call right: (1 + 2) + (1 + 1); the second taxi earns nothing
        ([BOOK, TAXI, TAXI], Fraction(2, 3) + 5, 6),
        # another function
        ([Call("walk", {"to": "Fulda"})], Fraction(0), 6),
    ],
)
def test_toolrl_grades_by_names_parameters_and_values(calls, right, most):
    score = load_reward("toolrl")(called(*calls))
    assert score.parts["format"] == 1
    assert score.parts["correctness"] == pytest.approx(float(6 * right / most - 3))


def test_toolrl_takes_the_best_call_of_a_name_for_each_reference_call():
    twice = Task.of("t", "q", TOOLS, [TAXI, Call("call_taxi", {"to": "Kassel"})])
    score = load_reward("toolrl")(called(Call("call_taxi", {"to": "Bonn"}), TAXI, task=twice))
    # names 1, one call right (2), one with the right parameter name alone (1)
    assert score.parts["correctness"] == pytest.approx(6 * 4 / 5 - 3)


def test_toolrl_does_not_punish_a_spurious_call_unless_it_is_asked_to():
    spurious, text = called(TAXI, task=NO_CALL), answered(NO_CALL, "No function answers that.")
    published, fixed = load_reward("toolrl"), load_reward("toolrl", settings={"score_refusals": True})
    assert published(spurious).value == published(text).value == 1
    assert (fixed(spurious).value, fixed(text).value) == (-2, 4)
    assert fixed(changed(text, truncated=True)).value == -3


CALL = st.builds(
    Call,
    st.sampled_from(["book", "call_taxi", "walk"]),
    st.dictionaries(
        st.sampled_from(["place", "guests", "budget", "to", "outside"]),
        st.one_of(st.integers(-3, 3), st.sampled_from(["Adler", "Fulda", 2.0, 0.5, True, None, [1], {"a": 1}])),
        max_size=4,
    ),
)


@EVERY
@given(st.lists(CALL, max_size=4), st.lists(CALL, max_size=4), st.randoms())
def test_rewards_are_bounded_and_no_order_of_calls_matters_to_the_best_pay(name, calls, reference, random):
    reward, task = load_reward(name), Task.of("h", "q", TOOLS, reference)
    score = reward(called(*calls, task=task))
    low, high = (-3, 4) if name == "toolrl" else (0, 1)
    assert low <= score.value <= high
    assert name != "toolrl" or score.value == pytest.approx(sum(score.parts.values()))
    shuffled = random.sample(calls, len(calls))
    best = score.value == (4 if name == "toolrl" else 1)
    assert best == (reward(called(*shuffled, task=task)).value == (4 if name == "toolrl" else 1))


@given(st.lists(CALL, min_size=1, max_size=4), st.randoms())
def test_tool_n1_pays_for_exactly_the_references_multiset(reference, random):
    reward, task = load_reward("tool_n1"), Task.of("h", "q", TOOLS, reference)
    assert reward(called(*random.sample(reference, len(reference)), task=task)).value == 1
    assert reward(called(*reference, random.choice(reference), task=task)).value == 0


@EVERY
def test_no_answer_query_or_tool_makes_a_reward_fail_or_wait(name):
    reward, most = load_reward(name), 4 if name == "toolrl" else 1
    for sample in adversarial_samples():
        if sample.task.reference is None:
            continue
        began = time.process_time()
        score = reward(sample)
        assert time.process_time() - began < 2, sample.id
        assert score.value <= most
        assert score.reason or score.value in (most, 1), sample.id
        assert len(score.reason) < 500, sample.id


REWARD_FILE = """
from fractions import Fraction
from funreason.objectives.rewards import RewardScore

half = lambda sample: 0.5
right = lambda sample: True
scored = lambda sample: RewardScore(2, {"a": 1, "b": Fraction(1)}, "why")
nan = lambda sample: float("nan")
huge = lambda sample: 10**400
text = lambda sample: "1.0"
nothing = lambda sample: None
part = lambda sample: RewardScore(1.0, {"speed": float("inf")})
odd = lambda sample: RewardScore(1.0, [1.0])

def raises(sample):
    return sample.no_such_field

def leaves(sample):
    raise SystemExit(3)

async def waits(sample):
    return 1.0

class Configured:
    def __init__(self, pay=1.0):
        self.pay = pay
    def __call__(self, sample):
        return self.pay

def reward(sample):
    return float(len(sample.answer))

number = 3
"""


@pytest.fixture
def rewards(tmp_path):
    path = tmp_path / "my_reward.py"
    path.write_text(REWARD_FILE)
    return path


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("half", RewardScore(0.5)),
        ("right", RewardScore(1.0)),
        ("scored", RewardScore(2.0, {"a": 1.0, "b": 1.0}, "why")),
        ("Configured", RewardScore(1.0)),
    ],
)
def test_a_custom_reward_returns_a_number_or_a_score(rewards, name, score):
    found = load_reward(f"{rewards}:{name}")(called(BOOK))
    assert found == score
    assert all(type(value) is float for value in (found.value, *found.parts.values()))


def test_a_file_alone_names_its_function_reward_and_a_class_takes_settings(rewards):
    assert load_reward(str(rewards))(answered(NO_CALL, "four")).value == 4
    assert load_reward(f"{rewards}:Configured", settings={"pay": 7})(called(BOOK)).value == 7


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nan", "returned nan for 'value'; a reward must be a finite number"),
        ("huge", "returned inf for 'value'"),
        ("text", "returned str for 'value'; expected a float or RewardScore"),
        ("nothing", "returned NoneType for 'value'"),
        ("part", "returned inf for 'speed'"),
        ("odd", "parts are no dict"),
        (
            "raises",
            r"raised AttributeError: 'Sample' object has no attribute 'no_such_field' \(my_reward.py, line 16\)",
        ),
        ("leaves", "raised SystemExit: 3"),
    ],
)
def test_a_custom_reward_that_fails_is_named_with_its_sample_in_one_sentence(rewards, name, said):
    with pytest.raises(RewardError, match=said) as caught:
        load_reward(f"{rewards}:{name}")(called(BOOK))
    assert f"my_reward.py:{name} on sample 's/calls'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("egpp", None, "expected one of egpo, tool_n1, toolrl, `module:function`"),
        ("egpo", {"lam": 1}, "'egpo' takes no settings, found lam"),
        ("toolrl", {"lam": 1}, "takes score_refusals, found lam"),
        ("FILE:missing", None, "has no 'missing'"),
        ("FILE:number", None, "is a int; expected a function"),
        ("FILE:waits", None, "is an async function; write it with `def`"),
        ("FILE:half", {"pay": 1}, "is a function and takes no settings"),
        ("FILE:Configured", {"wage": 1}, "building the class failed"),
    ],
)
def test_what_is_no_reward_is_refused_when_it_is_loaded(rewards, name, settings, said):
    with pytest.raises(PluginError, match=said):
        load_reward(name.replace("FILE", str(rewards)), settings=settings)


TASKS = audit_tasks(60, seed=3)


@BINARY
@pytest.mark.parametrize("form", [PYTHONIC, HERMES], ids=lambda form: form.name)
def test_the_binary_rewards_pay_for_no_known_hack(name, form):
    found = audit(load_reward(name, form=form), TASKS, form=form)
    assert (found.paying, found.failing, found.tasks) == ([], [], 60)
    assert {hack.name for hack in found.hacks} == {hack.name for hack in HACKS}
    refused = [hack.name for hack in found.hacks if hack.is_right and hack.less_on]
    assert not refused


def test_the_audit_finds_the_spurious_call_that_toolrl_pays_for():
    found = audit(load_reward("toolrl"), TASKS)
    assert "spurious call" in found.paying
    assert "doubled calls" not in found.paying
    row = next(hack for hack in found.hacks if hack.name == "spurious call")
    assert (row.pay, row.right, row.wrong, row.pays_on) == (1, 1, 1, row.tasks)
    fixed = load_reward("toolrl", settings={"score_refusals": True})
    assert audit(fixed, TASKS).paying == []


def subset(sample):
    """Pays when every right call is among the calls."""
    return float(all(render_calls([call])[1:-1] in sample.answer for call in sample.task.reference))


def name_alone(sample):
    return float(bool(sample.answer) and all(call.name in sample.answer for call in sample.task.reference))


def lengthy(sample):
    return load_reward("egpo")(sample).value * (1 + len(sample.thinking or "") / 1e4)


def parses(sample):
    try:
        return float(bool(PYTHONIC.parse(sample.answer)) or not sample.task.reference)
    except ValueError:
        return float(not sample.task.reference)


@pytest.mark.parametrize(
    ("reward", "hacks"),
    [
        (
            subset,
            {"doubled calls", "hedged calls", "call in prose", "spurious call", "truncated answer", "empty thinking"},
        ),
        (name_alone, {"wrong value", "wrong types", "broken call", "minimal answer"}),
        (lengthy, {"filler thinking"}),
        (parses, {"plainly wrong call", "minimal answer", "copied schema", "options filled"}),
        (lambda sample: 1.0, {hack.name for hack in HACKS if not hack.is_right}),
        (lambda sample: 1.0 - sample.truncated, {"refusal", "praise", "no answer"}),
    ],
)
def test_the_audit_finds_what_careless_rewards_pay_for(reward, hacks):
    assert hacks <= set(audit(reward, TASKS).paying)


def test_the_audit_counts_only_the_filler_where_length_is_paid():
    assert audit(lengthy, TASKS).paying == ["filler thinking"]


def test_an_equal_answer_that_is_refused_is_shown_and_does_not_pay():
    def exact(sample):
        right = reference_sample(sample.task, "right").answer
        return float(sample.answer == right and bool(sample.thinking) and not sample.truncated)

    found = audit(exact, TASKS)
    assert found.paying == []
    assert {hack.name for hack in found.hacks if hack.is_right and hack.less_on} == {"defaults filled", "other order"}


def test_without_thinking_an_answer_without_thinking_is_no_hack():
    found = audit(load_reward("egpo", require_thinking=False), TASKS, require_thinking=False)
    assert found.paying == []
    assert "empty thinking" not in {hack.name for hack in found.hacks}


def test_a_reward_that_raises_on_a_hack_fails_there_and_one_that_raises_on_the_right_answer_ends_the_audit():
    found = audit(lambda sample: math.sqrt(len(sample.thinking.split())), TASKS)
    assert found.failing == ["empty thinking"]
    assert "'NoneType' object has no attribute 'split'" in next(h for h in found.hacks if h.failed_on).example
    with pytest.raises(RewardError, match="raised ZeroDivisionError"):
        audit(lambda sample: 1 / 0, TASKS)


def test_an_audit_without_a_usable_task_is_refused_and_others_are_counted():
    unknown = Task.of("u", "q", TOOLS, None)
    with pytest.raises(ValueError, match="2 tasks have none"):
        audit(load_reward("egpo"), [unknown, Task.of("v", "q", [], [])])
    assert audit(load_reward("egpo"), [unknown, CALLS]).left_out == 1


def run(capsys, *words):
    code = app(["reward", *words], result_action="return_value")
    return code, capsys.readouterr().out


def test_the_command_prints_a_row_for_each_hack_and_exits_with_1_where_one_pays(capsys, rewards):
    code, out = run(capsys, "audit", "egpo", "--count", "40")
    assert code == 0
    assert all(hack.name in out for hack in HACKS)
    assert "egpo: pays for no hack, on 40 tasks" in out
    code, out = run(capsys, "audit", f"{rewards}:half", "--count", "10")
    assert code == 1
    assert "pays on" in out


def test_the_commands_json_holds_the_numbers(capsys):
    code, out = run(capsys, "audit", "toolrl", "--count", "40", "--json")
    found = json.loads(out)
    assert code == 1
    assert found["paying"] == [row["name"] for row in found["hacks"] if row["verdict"] == "pays"]
    code, out = run(capsys, "audit", "toolrl", "--count", "40", "--json", "--set", "score_refusals=true")
    assert (code, json.loads(out)["paying"]) == (0, [])


def test_the_command_audits_on_a_file_of_the_users(capsys, tmp_path):
    record = {
        "query": "Call a taxi to Fulda.",
        "tools": TOOLS,
        "answers": [{"name": "call_taxi", "arguments": {"to": "Fulda"}}],
    }
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(record) + "\n")
    code, out = run(capsys, "audit", "egpo", "--tasks", str(path), "--json")
    assert (code, json.loads(out)["tasks"]) == (0, 1)


def test_the_rewards_are_listed(capsys):
    code, out = run(capsys, "list")
    assert code == 0
    assert all(name in out for name in REWARDS)
