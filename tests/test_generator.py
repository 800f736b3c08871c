"""The generator, with a ten-line scripted model in place of a real one."""

import asyncio

import pytest
from tiny import tiny_tokenizer

from funreason.agents.generator import Generator, ReferenceGenerator
from funreason.policies.policy import Policy
from funreason.policies.protocol import Completion
from funreason.record.sample_files import SampleFiles
from funreason.types import Call, Decision, Sample, Task, Weights


class Scripted:
    """Answers each request with its id; counts what it was asked."""

    def __init__(self, text="<think>so f</think>\n\n[f(x='{id}/{i}')]", longest=10_000):
        self.text, self.longest, self.asked, self.weights_id = text, longest, [], "w0"

    def sample(self, requests):
        self.asked += [r.id for r in requests]
        named = {"weights_id": self.weights_id}
        return [[Completion(self.text.format(id=r.id, i=i), 5, False, **named) for i in range(r.n)] for r in requests]

    def too_long(self, request):
        return len(request.prompt) > self.longest

    def load_weights(self, folder, weights_id):
        self.weights_id = weights_id


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def make(tokenizer, tmp_path):
    def build(sampler=None, drawn=None, ended=(), k=2, **more):
        policy = Policy(sampler or Scripted(), tokenizer, seed=0)
        return Generator(policy, SampleFiles(tmp_path), k, drawn, ended, **more)

    return build


def seed(i: int, query: str = "do f") -> Sample:
    return Sample.of(f"r1/t{i}", Task.of(id=f"t{i}", query=query, tools=[]), round=1)


def emitted(generator, seeds):
    return [[(e.outcome, e.message) for e in answers] for answers in asyncio.run(generator(seeds))]


def test_each_task_becomes_k_samples_with_thinking_and_answer_apart(make):
    ((first, second),) = emitted(make(), [seed(0)])
    assert (first[0], first[1].id, first[1].thinking) == ("sampled", "r1/t0/0", "so f")
    assert second[1].answer == "[f(x='r1/t0/1')]"
    assert first[1].weights_id == "w0"


def test_thinking_that_never_ends_marks_the_sample_as_truncated(make):
    ((first, _),) = emitted(make(Scripted("<think>and on")), [seed(0)])
    assert first[1].truncated
    assert first[1].answer == ""


def test_a_task_that_does_not_fit_the_context_is_dropped_with_its_reason(make):
    long, short = emitted(make(Scripted(longest=200)), [seed(0, "x" * 500), seed(1)])
    assert [(o, m.verdicts[-1].reason) for o, m in long] == [("drop", "prompt.too_long")]
    assert len(short) == 2


def test_what_an_interrupted_run_had_drawn_is_not_drawn_again(make, tmp_path):
    first = make()
    asyncio.run(first([seed(0)]))
    drawn = {(s.id, s.attempt): s for s in SampleFiles(tmp_path).get("sampled")}
    sampler = Scripted()
    again = make(sampler, drawn)
    ((a, b), _) = emitted(again, [seed(0), seed(1)])
    assert sampler.asked == ["r1/t1"]
    assert [a[1], b[1]] == list(drawn.values())


def test_samples_that_ended_do_not_come_back(make, tmp_path):
    asyncio.run(make()([seed(0)]))
    drawn = {(s.id, s.attempt): s for s in SampleFiles(tmp_path).get("sampled")}
    ((only,),) = emitted(make(drawn=drawn, ended={"r1/t0/0"}), [seed(0)])
    assert only[1].id == "r1/t0/1"


def test_half_drawn_tasks_are_completed_without_doubling_a_text(make, tmp_path):
    asyncio.run(make()([seed(0)]))
    texts = list(SampleFiles(tmp_path).get("sampled"))
    half = {(texts[0].id, 0): texts[0]}
    (both,) = emitted(make(drawn=half), [seed(0)])
    assert len(both) == 2
    assert [s.id for s in SampleFiles(tmp_path).get("sampled")].count("r1/t0/0") == 1


def test_a_resampled_answer_keeps_its_id_and_attempt(make):
    generator = make()
    ((first, _),) = emitted(generator, [seed(0)])
    (fresh,) = asyncio.run(generator.resample([first[1].next_attempt()]))
    assert (fresh.id, fresh.attempt, fresh.origin) == ("r1/t0/0", 1, "resampled")


def test_a_requeued_sample_is_drawn_anew_and_has_no_attempt_left(make, tmp_path):
    asyncio.run(make()([seed(0)]))
    drawn = {(s.id, s.attempt): s for s in SampleFiles(tmp_path).get("sampled")}
    again = make(drawn=drawn, ended={"r1/t0/0"}, requeued={"r1/t0/1": 3})
    ((only,),) = emitted(again, [seed(0)])
    assert (only[1].id, only[1].attempt, only[1].origin) == ("r1/t0/1", 3, "resampled")


def test_after_the_gate_it_answers_with_the_accepted_weights(make, tmp_path):
    generator = make()
    current, candidate = Weights("w0", tmp_path), Weights("w1", tmp_path)
    assert asyncio.run(generator([Decision(1, "promote", "better", current, candidate)])) == [[]]
    assert generator.policy.weights_id == "w1"


def references(tokenizer, **more):
    return ReferenceGenerator(Policy(Scripted(), tokenizer), **more)


def test_references_alone_are_marked_as_references(tokenizer):
    task = Task.of(id="t", query="q", tools=[], reference=[Call("f", {"x": 1})], reference_thinking="f with 1")
    ((outcome, sample),) = (*emitted(references(tokenizer), [Sample.of("r1/t", task)])[0],)
    assert (outcome, sample.origin, sample.answer) == ("sampled", "reference", "[f(x=1)]")


def test_a_task_without_a_reference_is_dropped_with_its_reason(tokenizer):
    ((outcome, sample),) = emitted(references(tokenizer), [seed(0)])[0]
    assert (outcome, sample.verdicts[-1].reason) == ("drop", "reference.unusable")


def test_references_that_ended_do_not_come_back(tokenizer):
    task = Task.of(id="t", query="q", tools=[], reference=[Call("f", {"x": 1})])
    assert emitted(references(tokenizer, ended={"r1/t/0"}), [Sample.of("r1/t", task)]) == [[]]
