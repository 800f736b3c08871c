"""What a broken-off round had come to: no judgement is made twice, and every end that was written is told."""

import asyncio

import pytest

from funreason.agents.sinks import Sink
from funreason.bus.graph import Graph
from funreason.bus.scheduler import Bus
from funreason.record import events as ev
from funreason.record.folder import RunFolder
from funreason.record.log import LogReader
from funreason.record.sample_files import PendingVerdict
from funreason.runtime.journal import Journal
from funreason.runtime.resume import RecordedVerdicts, backfill_end_events
from funreason.types import Sample, Task, Verdict, changed

GRAPH = """
one pass two
one drop end
one error end
two pass end
two drop end
two error end
"""


def graph(max_batch: int) -> Graph:
    judge = {"outcomes": ["pass", "drop", "error"], "max_batch": max_batch, "retries": 0}
    return Graph.from_mapping(
        {"start": "one", "nodes": {"one": judge, "two": judge, "end": {}}, "edges": GRAPH.strip().splitlines()}
    )


class Judge:
    """Counts whom it was asked about; says `pass`, or what it is told to say."""

    def __init__(self, node: str, said: dict[str, Verdict] | None = None, broken: bool = False) -> None:
        self.node, self.said, self.broken = node, said or {}, broken
        self.asked: list[str] = []

    def _one(self, sample: Sample) -> Verdict:
        self.asked.append(sample.id)
        if self.broken:
            raise ValueError("no model there")
        return self.said.get(sample.id, Verdict(self.node, "pass", judge="rules"))

    async def single(self, sample: Sample) -> Verdict:
        return self._one(sample)

    async def many(self, samples: list[Sample]) -> list[Verdict]:
        return [self._one(sample) for sample in samples]


class Killed(Exception):
    """What stands for a kill: raised where the sample would end."""


def sample(i: int) -> Sample:
    return Sample.of(f"s{i}", Task.of(f"t{i}", "q", []), "[f()]", round=1)


def play(folder: RunFolder, one: Judge, two: Judge, batch: int, killed: bool) -> list[Sample]:
    """One life of a round of three samples; those that ended."""
    journal, past, ended = Journal(folder), folder.state(), []
    texts = folder.texts(1)
    backfill_end_events(Sink(texts, journal.write), past, 1, {})
    recall = RecordedVerdicts(journal, texts, 1, past)

    async def end(sample: Sample) -> None:
        if killed and sample.id != "s0":
            raise Killed
        Sink(texts, journal.write)(sample, "kept")
        ended.append(sample)

    judges = {j.node: j.many if batch > 1 else j.single for j in (one, two)}
    agents = {name: recall.judge(name, agent, batched=batch > 1) for name, agent in judges.items()}
    bus = Bus(graph(batch), {**agents, "end": end}, observe=recall.observe, error_limit=1.0)
    owed = [s for s in map(sample, range(3)) if (1, s.id) not in past.ended]
    try:
        asyncio.run(bus.drain(owed))
    except Exception:
        assert killed
    folder.close()
    journal.log.close()
    return ended


def judgements(folder: RunFolder) -> list[tuple[str, str, str]]:
    told = LogReader(folder.events).events()
    return [(event.sample, event.node, event.outcome) for event in told if isinstance(event, ev.Judged)]


@pytest.mark.parametrize("batch", [1, 8])
def test_a_judgement_in_the_log_is_not_made_again(tmp_path, batch):
    folder = RunFolder(tmp_path)
    odd = {"s1": Verdict("two", "drop", "odd", "one is odd", judge="a model")}
    first, second = Judge("one"), Judge("two", odd)
    play(folder, first, second, batch, killed=True)
    told = judgements(folder)
    assert len(told) > 2
    again = Judge("one"), Judge("two", {"s1": Verdict("two", "pass", "changed its mind")})
    ended = play(RunFolder(tmp_path), *again, batch, killed=False)
    for before, after in zip((first, second), again, strict=True):
        assert not set(before.asked) & set(after.asked)
        assert sorted(before.asked + after.asked) == ["s0", "s1", "s2"]
    assert len(judgements(folder)) == len(set(judgements(folder))) == 6
    if "s1" in second.asked:
        assert next(s for s in ended if s.id == "s1").verdicts[-1] == odd["s1"]


def test_a_recorded_verdict_is_its_own_nodes_and_only_the_rest_of_a_batch_is_asked(tmp_path):
    folder = RunFolder(tmp_path)
    texts, odd = folder.texts(1), Verdict("one", "drop", "odd")
    texts.append_verdict(PendingVerdict("s1", 0, "one", odd))
    recall = RecordedVerdicts(Journal(folder), texts, 1, folder.state())
    judges = Judge("one"), Judge("two")
    ask = {judge.node: recall.judge(judge.node, judge.many, batched=True) for judge in judges}
    batch = list(map(sample, range(3)))
    assert [verdict.outcome for verdict in asyncio.run(ask["one"](batch))] == ["pass", "drop", "pass"]
    assert [verdict.outcome for verdict in asyncio.run(ask["two"](batch))] == ["pass"] * 3
    assert asyncio.run(ask["one"](batch[1:2])) == [odd]
    assert [judge.asked for judge in judges] == [["s0", "s2"], ["s0", "s1", "s2"]]


def test_an_agent_that_failed_is_asked_again(tmp_path):
    play(RunFolder(tmp_path), Judge("one", broken=True), Judge("two"), 1, killed=True)
    mended = Judge("one")
    play(RunFolder(tmp_path), mended, Judge("two"), 1, killed=False)
    assert sorted(mended.asked) == ["s1", "s2"]
    assert RunFolder(tmp_path).state().rounds[1].fates == {"kept": 3}


def test_an_end_whose_text_was_written_is_told_and_the_sample_is_not_drawn_again(tmp_path):
    folder = RunFolder(tmp_path)
    journal = Journal(folder)
    dead = changed(sample(0), verdicts=(Verdict("one", "drop", "why"),))
    folder.texts(1).append("dropped", dead)  # killed here, before its event
    past = folder.state()
    backfill_end_events(Sink(folder.texts(1), journal.write), past, 1, {})
    assert past.rounds[1].fates == folder.state().rounds[1].fates == {"dropped": 1}
    assert past.rounds[1].dead_reasons == {"why": 1}


def test_the_old_end_of_a_sample_that_was_put_back_is_not_taken_for_a_new_one(tmp_path):
    folder = RunFolder(tmp_path)
    journal = Journal(folder)
    end = Sink(folder.texts(1), journal.write)
    end(changed(sample(0), attempt=1), "dead")
    journal.write(ev.SampleRequeued(sample="s0", round=1))
    past = folder.state()
    backfill_end_events(end, past, 1, {"s0": 3})
    assert not past.ended
    folder.texts(1).append("kept", changed(sample(0), attempt=3))
    backfill_end_events(end, past, 1, {"s0": 3})
    assert past.rounds[1].fates == {"kept": 1}
