"""Which weights a sample was made by, and whether a round may learn from it."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from funreason.agents.selection import KeptSamples, StaleError
from funreason.agents.trainer import Trainer
from funreason.config import ConfigError, Train, check_config
from funreason.display.table import seconds_table, update_table
from funreason.record.events import LogMessage, OptimizerStep, TrainingSetSelected, WeightsSynced, WeightsTrained
from funreason.record.sample_files import SampleFiles
from funreason.record.state import State
from funreason.types import Call, Decision, Drained, Sample, Task, Weights
from funreason.weights import WeightStore


def sample(i: int, weights_id: str, **more) -> Sample:
    task = Task.of(id=f"t{i}", query="do f", tools=[], reference=[Call("f", {"x": i})], category="simple")
    return Sample.of(id=f"r1/t{i}/0", task=task, answer=f"[f(x={i})]", round=1, weights_id=weights_id, **more)


@pytest.fixture
def drained(tmp_path):
    """A trainer that was handed samples and is told the round is over: what it learnt from, and its events."""

    def run(samples: list[Sample], allowed: frozenset[str] | None) -> tuple[list[Sample], list]:
        texts, learnt, events = SampleFiles(tmp_path), [], []
        for each in samples:
            texts.append("kept", each)

        def update(lesson):
            learnt.extend(lesson.samples)
            return (
                Weights("w2", tmp_path),
                WeightsTrained(round=1, weights="w2", examples=len(lesson.samples), steps=1),
                0,
            )

        chosen = KeptSamples(Train(max_per_task=9), texts, [], 0, allowed)
        store = WeightStore(Weights("w1", tmp_path), tmp_path)
        asyncio.run(Trainer(texts.append, chosen, update, store, events.append)(Drained(1)))
        return learnt, events

    return run


def test_samples_of_the_weights_in_use_are_learnt_and_none_is_refused(drained):
    learnt, events = drained([sample(1, "w1"), sample(2, "w1")], frozenset({"w1"}))
    assert len(learnt) == 2
    assert [event.stale for event in events if isinstance(event, TrainingSetSelected)] == [0]


def test_samples_of_other_weights_are_refused_counted_and_named(drained):
    learnt, events = drained([sample(1, "w1"), sample(2, "w0"), sample(3, "endpoint:big")], frozenset({"w1"}))
    assert [s.id for s in learnt] == ["r1/t1/0"]
    (chosen,) = [event for event in events if isinstance(event, TrainingSetSelected)]
    assert (chosen.kept, chosen.stale, chosen.trained) == (3, 2, 1)
    (note,) = [event.text for event in events if isinstance(event, LogMessage)]
    assert "stale.weights" in note
    assert "1 by w0" in note
    assert "1 by endpoint:big" in note


def test_a_round_of_nothing_but_stale_samples_stops_with_a_sentence(drained):
    with pytest.raises(StaleError, match=r"2 samples not trained on, stale\.weights: made 2 by w0.*max_staleness"):
        drained([sample(1, "w0"), sample(2, "w0")], frozenset({"w1"}))


def test_a_sample_that_names_no_weights_is_stale_and_a_reference_never_is(drained):
    learnt, _ = drained([sample(1, ""), sample(2, "", origin="reference")], frozenset({"w1"}))
    assert [s.origin for s in learnt] == ["reference"]


def test_without_a_limit_samples_of_any_weights_are_learnt(drained):
    learnt, _ = drained([sample(1, "w0"), sample(2, "endpoint:big")], None)
    assert len(learnt) == 2


def test_the_limit_is_a_count_of_updates_or_null():
    assert check_config({}, "here").sample.max_staleness == 0
    assert check_config({"sample": {"max_staleness": None}}, "here").sample.max_staleness is None
    with pytest.raises(ConfigError, match="max_staleness"):
        check_config({"sample": {"max_staleness": -1}}, "here")


def test_weights_age_by_accepted_updates_not_by_rounds(tmp_path):
    base, warm, w1 = (Weights(id, tmp_path) for id in ("base", "warm", "w1"))
    store = WeightStore(base, tmp_path)
    store.settle(Decision(0, "promote", "", base, warm))
    store.settle(Decision(1, "hold", "", warm, w1))
    store.settle(Decision(2, "promote", "", warm, w1))
    assert store.recent(0) == {"w1"}
    assert store.recent(1) == {"w1", "warm"}
    assert store.recent(9) == {"base", "warm", "w1"}
    assert store.recent(None) is None


def test_the_rounds_table_counts_stale_samples_where_there_are_any():
    told = [
        OptimizerStep(round=1, step=1, steps=1, metrics={"loss": 1.0}),
        TrainingSetSelected(round=1, kept=9, trained=8, stale=7),
    ]
    assert [column.header.plain for column in update_table(State().fold(told)).columns][2] == "stale"
    fresh = [told[0], TrainingSetSelected(round=1, kept=9, trained=9)]
    assert "stale" not in [column.header.plain for column in update_table(State().fold(fresh)).columns]


def test_what_an_engine_took_is_told_in_seconds_and_in_the_summary():
    started = WeightsSynced(round=0, weights="base", seconds=9.0, proof_seconds=0.2, proved=128, started=True)
    later = [WeightsSynced(round=1, weights=w, seconds=0.03, proof_seconds=0.2, proved=128) for w in ("w1", "base")]
    state = State().fold([started, *later, TrainingSetSelected(round=1, kept=1, trained=1)])
    (seconds,) = [column for column in seconds_table(state).columns if column.header.plain == "sync"]
    assert [cell.plain for cell in seconds.cells] == ["–", "0.46 (2)"]
    assert [sync["weights"] for sync in state.summary()["rounds"][1]["syncs"]] == ["w1", "base"]
    assert "sync" not in [column.header.plain for column in seconds_table(State()).columns]


def test_endpoints_that_answer_for_the_model_need_a_word_that_their_samples_may_be_learnt(tmp_path):
    settings = ["--set", "sample.endpoints=[{url: 'http://127.0.0.1:9/v1'}]", "--run-dir", str(tmp_path)]
    command = [sys.executable, "-m", "funreason", "loop", "--config", "smoke", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "sample.max_staleness=null" in done.stderr
    assert not list(tmp_path.iterdir())
