"""The judgements in a run's record: each verdict, what became of each regeneration, how each sample ended.

The log holds which attempt was judged where and in which order; a sample's end holds the verdicts whole, with the votes
of language models. Both are read, since neither is enough: a verdict does not name its attempt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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


class Regeneration(NamedTuple):
    """A regeneration: which stage asked for it, and what the regenerator answered."""

    asker: str
    outcome: str


class Recorded:
    """The judgements of every sample of a run that has ended, and the samples as they came to their first judge."""

    def __init__(self, folder: RunFolder) -> None:
        self.name = folder.name
        self.state = folder.state()
        self.verdicts: dict[tuple[Attempt, str], Verdict] = {}
        self.again: dict[Attempt, Regeneration] = {}
        self.samples: list[Sample] = []
        self.fates: Counter[str] = Counter()
        self.unjudged: Counter[str] = Counter()
        """The ends of samples that came to no judge."""
        self.outcomes: dict[str, Counter[str]] = {}
        # The judgements of each sample, in order, each once; of a sample that was put back, those since then.
        found: dict[tuple[int, str], dict[tuple[int, str], Judged]] = {}
        for event in LogReader(folder.events).events():
            if isinstance(event, Judged) and event.node not in NO_STAGE:
                found.setdefault((event.round, event.sample), {})[event.attempt, event.node] = event
            elif isinstance(event, SampleRequeued):
                found.pop((event.round, event.sample), None)
        judged = {sample: list(events.values()) for sample, events in found.items()}
        for k in sorted(self.state.rounds):
            for fate in ENDS:
                # A sample that was put back is in two files: only its last end counts.
                for sample in {each.id: each for each in folder.texts(k).get(fate)}.values():
                    end = self.state.ended.get((k, sample.id))
                    if end is None or end.fate != fate:
                        continue
                    events = judged.pop((k, sample.id), [])
                    self.fates[fate] += 1
                    if not events:
                        self.unjudged[fate] += 1
                        continue
                    self.samples.append(changed(sample, round=k, attempt=events[0].attempt, verdicts=()))
                    self._keep(events, sample.verdicts)
        self.unfinished = len(judged)

    def _keep(self, events: Sequence[Judged], verdicts: Sequence[Verdict]) -> None:
        asker, reached = "", 0
        for event in events:
            self.outcomes.setdefault(event.node, Counter())[event.outcome] += 1
            attempt = event.round, event.sample, event.attempt
            if event.node == REGENERATOR:
                self.again[attempt] = Regeneration(asker, event.outcome)
                continue
            asker = event.node
            for place in range(reached, len(verdicts)):
                found = verdicts[place]
                if found.stage == event.node and event.outcome in (found.outcome, EXHAUSTED):
                    self.verdicts[attempt, event.node], reached = found, place + 1
                    break
            else:  # the verdict as far as the log has it; `EXHAUSTED` means that another attempt was wanted
                outcome = Outcome.REGENERATE if event.outcome == EXHAUSTED else event.outcome
                self.verdicts[attempt, event.node] = Verdict(event.node, outcome, event.reason)
