"""What a run's record knows of its judgements: each verdict, what became of each regeneration, how each sample ended.

The log says which attempt was judged where and in which order; a sample's end holds the verdicts whole, with the votes
of language models. Both are read, since neither is enough: a verdict does not name its attempt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from funreason.bus.agent import EXHAUSTED
from funreason.record.events import Judged, SampleRequeued
from funreason.record.folder import RunFolder
from funreason.record.log import LogReader
from funreason.record.sample_files import ENDS
from funreason.types import Outcome, Sample, Verdict, changed

Attempt = tuple[int, str, int]
"""Round, sample, attempt."""
REGENERATOR = "regenerator"
NO_STAGE = ("generator", "trainer", "evaluator")


class Again(NamedTuple):
    """A regeneration: which stage asked for it, and what the regenerator answered."""

    asker: str
    outcome: str


class Recorded:
    """The judgements of every sample of a run that has ended, and the samples as they came to their first judge."""

    def __init__(self, folder: RunFolder) -> None:
        self.name = folder.name
        self.state = folder.state()
        self.verdicts: dict[tuple[Attempt, str], Verdict] = {}
        self.again: dict[Attempt, Again] = {}
        self.samples: list[Sample] = []
        self.fates: Counter[str] = Counter()
        self.unjudged: Counter[str] = Counter()
        """The fates of samples that came to no judge."""
        self.outcomes: dict[str, Counter[str]] = {}
        told = _last_error(folder)
        self._read(folder, told)
        self.unfinished = len(told)

    def _read(self, folder: RunFolder, told: dict[tuple[int, str], list[Judged]]) -> None:
        for fate, sample in _ends(folder, self):
            events = told.pop((sample.round, sample.id), [])
            self.fates[fate] += 1
            if not events:
                self.unjudged[fate] += 1
                continue
            self.samples.append(changed(sample, attempt=events[0].attempt, verdicts=()))
            self._keep(events, sample.verdicts)

    def _keep(self, events: Sequence[Judged], verdicts: Sequence[Verdict]) -> None:
        asker, reached = "", 0
        for event in events:
            self.outcomes.setdefault(event.node, Counter())[event.outcome] += 1
            attempt = event.round, event.sample, event.attempt
            if event.node == REGENERATOR:
                self.again[attempt] = Again(asker, event.outcome)
                continue
            asker = event.node
            found = next((i for i in range(reached, len(verdicts)) if _of(verdicts[i], event)), None)
            reached = reached if found is None else found + 1
            self.verdicts[attempt, event.node] = _bare(event) if found is None else verdicts[found]


def _last_error(folder: RunFolder) -> dict[tuple[int, str], list[Judged]]:
    """What was judged of each sample, in order, each judgement once; of one that was put back, since then."""
    told: dict[tuple[int, str], dict[tuple[int, str], Judged]] = {}
    for event in LogReader(folder.events).events():
        if isinstance(event, Judged) and event.node not in NO_STAGE:
            told.setdefault((event.round, event.sample), {})[event.attempt, event.node] = event
        elif isinstance(event, SampleRequeued):
            told.pop((event.round, event.sample), None)
    return {sample: list(events.values()) for sample, events in told.items()}


def _ends(folder: RunFolder, recorded: Recorded) -> Iterator[tuple[str, Sample]]:
    """The samples as they ended, with their fates; each once, though one that was put back lies in two files."""
    for k in sorted(recorded.state.rounds):
        for fate in ENDS:
            for sample in {each.id: each for each in folder.texts(k).get(fate)}.values():
                end = recorded.state.ended.get((k, sample.id))
                if end is not None and end.fate == fate:
                    yield fate, changed(sample, round=k)


def _of(verdict: Verdict, event: Judged) -> bool:
    return verdict.stage == event.node and event.outcome in (verdict.outcome, EXHAUSTED)


def _bare(event: Judged) -> Verdict:
    """The verdict as far as the log has it; `exhausted` means that another attempt was wanted."""
    outcome = Outcome.REGENERATE if event.outcome == EXHAUSTED else event.outcome
    return Verdict(event.node, outcome, event.reason)
