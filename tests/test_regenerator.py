"""The regenerator: re-renders what parses, resamples, and repairs from the reference on the last attempt."""

import asyncio

import pytest

from funreason.agents.judges.rules.stages import CotJudge, judge_format, judge_parameters
from funreason.agents.regenerator import Regenerator
from funreason.calls.tools import normalise_tools
from funreason.types import Call, Sample, Task, changed

TOOLS = normalise_tools([{"name": "f", "parameters": {"a": {"type": "str"}, "n": {"type": "int", "required": False}}}])
OSLO = [Call("f", {"a": "Oslo"})]


def failing(
    answer, *, judge=judge_format, attempt=1, reference=None, thinking="f fits: a Oslo", reference_thinking=None
):
    task = Task.of("t", "Oslo please", TOOLS, reference, reference_thinking=reference_thinking)
    made = Sample.of("s", task, answer, thinking, attempt=attempt)
    verdict = asyncio.run(judge(made))
    assert verdict.outcome == "regenerate"
    return made.judged(verdict)


class Sampler:
    """Answers each sample with the same text and remembers how often it was asked."""

    def __init__(self, answer="[f(a='Oslo')]"):
        self.answer = answer
        self.asked = []

    async def __call__(self, samples):
        self.asked.append([sample.id for sample in samples])
        return [changed(sample, answer=self.answer, origin="resampled") for sample in samples]


def regenerate(regenerator, *samples):
    return asyncio.run(regenerator(list(samples)))


def test_what_parses_is_written_in_the_right_form_with_the_same_meaning():
    sampler = Sampler()
    [emit] = regenerate(
        Regenerator(sampler), failing('```json\n{"name": "f", "arguments": {"a": "Oslo", "n": 2}}\n```')
    )
    assert (emit.outcome, emit.message.answer) == ("reformatted", "[f(a='Oslo', n=2)]")
    assert emit.message.origin == "rerendered"
    assert emit.message.thinking == "f fits: a Oslo"
    assert asyncio.run(judge_format(emit.message)).outcome == "pass"
    assert sampler.asked == []


def test_a_wrong_meaning_is_not_re_rendered_but_resampled():
    [emit] = regenerate(Regenerator(Sampler()), failing("f(a=3)", judge=judge_parameters))
    assert (emit.outcome, emit.message.origin) == ("resampled", "resampled")


def test_all_samples_that_need_the_sampler_go_to_it_at_once():
    sampler = Sampler()
    batch = [
        changed(failing(answer), id=name) for name, answer in [("a", "[f(a="), ("b", "f(a='Oslo')"), ("c", "[f(a=x)]")]
    ]
    emits = regenerate(Regenerator(sampler), *batch)
    assert [(emit.outcome, emit.message.id) for emit in emits] == [
        ("resampled", "a"),
        ("reformatted", "b"),
        ("resampled", "c"),
    ]
    assert sampler.asked == [["a", "c"]]


@pytest.mark.parametrize(("attempt", "outcome"), [(1, "resampled"), (2, "rewritten"), (3, "rewritten")])
def test_repair_waits_for_the_last_attempt(attempt, outcome):
    made = failing("[f(a='Lima')]", judge=judge_parameters, reference=OSLO, attempt=attempt)
    [emit] = regenerate(Regenerator(Sampler(), max_attempts=3), made)
    assert emit.outcome == outcome


def test_repair_comes_first_where_the_order_says_so():
    made = failing("[f(a='Lima')]", judge=judge_parameters, reference=OSLO)
    [emit] = regenerate(Regenerator(Sampler(), order=("repair", "resample")), made)
    assert (emit.outcome, emit.message.origin) == ("rewritten", "repaired")


def test_without_a_reference_the_last_attempt_is_resampled_too():
    [emit] = regenerate(Regenerator(Sampler()), failing("[f(a=", attempt=2))
    assert emit.outcome == "resampled"


@pytest.mark.parametrize(
    ("thinking", "reference_thinking", "kept"),
    [
        ("f fits: a Oslo", "f it is, for Oslo", "f fits: a Oslo"),
        ("f fits: a Lima", "f it is, for Oslo", "f it is, for Oslo"),
        ("f fits: a Lima", None, "The query asks for f(a='Oslo')."),
        (None, "f it is, for Oslo", None),
    ],
)
def test_a_repaired_sample_keeps_a_thinking_only_if_it_leads_to_the_reference(thinking, reference_thinking, kept):
    made = failing(
        "[f(a='Lima')]",
        judge=judge_parameters,
        reference=OSLO,
        thinking=thinking,
        reference_thinking=reference_thinking,
    )
    [emit] = regenerate(Regenerator(None), made)
    assert (emit.outcome, emit.message.answer, emit.message.thinking) == ("rewritten", "[f(a='Oslo')]", kept)
    for judge in (CotJudge(require=kept is not None), judge_parameters, judge_format):
        assert asyncio.run(judge(emit.message)).outcome == "pass"


@pytest.mark.parametrize("reference", [None, [], [Call("7SN.pj", {})]])
def test_a_sample_that_nothing_can_mend_is_spent_and_keeps_its_last_verdict(reference):
    made = failing("[f(a='Lima', n='x')]", judge=judge_parameters, reference=reference)
    [emit] = regenerate(Regenerator(None), made)
    assert (emit.outcome, emit.message) == ("exhausted", made)


def test_a_sampler_that_answers_fewer_leaves_the_others_spent():
    async def half(samples):
        return samples[:1]

    emits = regenerate(Regenerator(half), changed(failing("[f("), id="a"), changed(failing("[f("), id="b"))
    assert [emit.outcome for emit in emits] == ["resampled", "exhausted"]


def test_an_unknown_way_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'guess' is not known; choose from rerender, rewrite, resample, repair"):
        Regenerator(None, order=("guess",))
