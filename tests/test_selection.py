"""What a round trains on."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from funreason.agents.selection import KeptSamples, select, solved_tasks, within_quotas
from funreason.config import Config
from funreason.record.sample_files import SampleFiles
from funreason.types import Sample, Task


def sample(i: int, category: str = "simple", task: str | None = None, answer: str | None = None) -> Sample:
    return Sample.of(
        id=f"s{i}",
        task=Task.of(id=task or f"t{i}", query="q", tools=[], category=category),
        answer=answer or f"[f(x={i})]",
    )


def test_identical_answers_to_one_task_are_trained_on_once():
    chosen = select([sample(i, task="t", answer="[f(x=1)]") for i in range(5)], per_task=5, quotas={})
    assert len(chosen.samples) == 1
    assert chosen.duplicates == 4


def test_a_task_gives_no_more_than_its_cap():
    chosen = select([sample(i, task="t") for i in range(5)], per_task=2, quotas={})
    assert len(chosen.samples) == 2
    assert chosen.over_per_task == 3


def test_the_choice_does_not_depend_on_the_order_in_which_samples_finished():
    kept = [sample(i, task=f"t{i % 7}") for i in range(40)]
    forward = select(kept, per_task=2, quotas={"simple": 1.0}, counts={"simple": 9}, seed=3)
    backward = select(kept[::-1], per_task=2, quotas={"simple": 1.0}, counts={"simple": 9}, seed=3)
    assert forward == backward
    assert len(forward.samples) == 9


def test_the_easiest_class_cannot_take_over():
    kept = [sample(i, "irrelevance") for i in range(300)] + [sample(1000 + i, "simple") for i in range(70)]
    chosen = select(kept, per_task=1, quotas={"irrelevance": 0.3}).samples
    counts = Counter(s.task.category for s in chosen)
    assert counts["simple"] == 70
    assert counts["irrelevance"] <= 0.3 * len(chosen) < counts["irrelevance"] + 1


def test_quotas_that_cannot_be_kept_are_scaled_rather_than_dropping_everything():
    kept = [sample(i, "irrelevance") for i in range(10)]
    assert len(select(kept, per_task=1, quotas={"irrelevance": 0.3}).samples) == 10


def test_a_category_with_a_quota_of_zero_is_left_out():
    kept = [sample(i, "irrelevance") for i in range(4)]
    assert select(kept, per_task=1, quotas={"irrelevance": 0}).samples == []


def test_a_control_gets_exactly_the_counts_it_asks_for():
    kept = [sample(i, "simple" if i % 2 else "parallel") for i in range(40)]
    chosen = select(kept, per_task=1, quotas={}, counts={"simple": 3, "parallel": 5}).samples
    assert Counter(s.task.category for s in chosen) == {"simple": 3, "parallel": 5}


def test_tasks_that_are_mostly_solved_teach_nothing_and_are_left_out():
    drawn = [sample(i, task="easy") for i in range(4)] + [sample(10 + i, task="hard") for i in range(4)]
    kept = [*drawn[:4], drawn[4]]
    solved = solved_tasks(drawn, kept, most=0.75)
    assert solved == {"easy"}
    chosen = select(kept, per_task=4, quotas={}, solved=solved)
    assert [s.task.id for s in chosen.samples] == ["hard"]
    assert chosen.solved == 4


@given(
    st.lists(st.sampled_from("abcd"), max_size=60),
    st.dictionaries(st.sampled_from("abcd"), st.floats(0.05, 1), max_size=4),
)
def test_no_category_exceeds_its_share_when_the_shares_can_be_kept(categories, quotas):
    samples = [sample(i, c) for i, c in enumerate(categories)]
    chosen = within_quotas(samples, quotas)
    counts = Counter(s.task.category for s in chosen)
    present = set(categories)
    if sum(quotas.get(c, 1.0) for c in present) >= 1 and len(chosen) > 1:
        assert all(n <= quotas.get(c, 1.0) * len(chosen) + 1e-6 for c, n in counts.items())
    assert bool(chosen) == bool(samples)


def test_a_replayed_sample_that_is_too_long_is_not_counted_as_one_of_the_round(tmp_path):
    from funreason.agents.selection import TrainingSet
    from funreason.agents.trainer import Trainer
    from funreason.record.events import TrainingSetSelected, WeightsTrained
    from funreason.types import Drained, Weights
    from funreason.weights import WeightStore

    def one(id):
        return Sample.of(id, Task.of("t", "do f", []), "[f()]")

    def update(request):  # one of the two replayed samples could not be encoded
        assert (len(request.samples), len(request.replay)) == (1, 2)
        return Weights("w1", tmp_path), WeightsTrained(round=1, weights="w1", examples=2, steps=1), 0

    def chosen(round):
        return TrainingSet(round, [one("a")], [one("replay/b"), one("replay/c")], {"kept": 1})

    events, store = [], WeightStore(Weights("w0", tmp_path), tmp_path)
    asyncio.run(Trainer(None, chosen, update, store, events.append)(Drained(1)))
    (event,) = [event for event in events if isinstance(event, TrainingSetSelected)]
    assert (event.trained, event.replay, event.refused) == (1, 1, 0)


@pytest.mark.parametrize(("data", "kind"), [("judged", "kept"), ("judged", "text"), ("unfiltered", "sampled")])
def test_a_sample_that_an_interrupted_run_wrote_twice_is_trained_on_once(tmp_path, data, kind):
    files = SampleFiles(tmp_path)
    for i in (1, 2, 1):
        files.append(kind, sample(i))
    files.append(kind, sample(2, answer="[f(x=9)]"))  # written last: that one counts
    files.close()
    settings = Config().train.model_copy(update={"data": data, "max_per_task": 5})
    chosen = KeptSamples(settings, files, [], 0, None)(1)
    assert sorted((s.id, s.answer) for s in chosen.samples) == [("s1", "[f(x=1)]"), ("s2", "[f(x=9)]")]
    assert (chosen.counts["kept"], chosen.counts["duplicates"]) == (2, 0)
