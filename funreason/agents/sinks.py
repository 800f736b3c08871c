"""The two ends of the graph that write things down: the dead letter for what failed, the keeper for what is kept.

A sample ends once. Its text is written to the round's folder first and its `SampleEnded` event second, so that an end
in the log always has its text.
"""

from __future__ import annotations

from collections.abc import Callable

from funreason.record.events import SampleEnded
from funreason.record.sample_files import SampleFiles
from funreason.types import Outcome, Sample

Ending = Callable[[Sample, str], object]
"""Takes a sample and its fate: `kept`, `text`, `dropped` or `dead`."""


class Sink:
    """Writes a sample's end."""

    def __init__(self, texts: SampleFiles, write: Callable[[SampleEnded], None]) -> None:
        self.texts = texts
        self.write = write

    def __call__(self, sample: Sample, fate: str) -> None:
        """Record that `sample` ended as `fate`: `kept`, `text`, `dropped` or `dead`."""
        self.texts.append(fate, sample)
        self.tell(sample, fate)

    def tell(self, sample: Sample, fate: str) -> SampleEnded:
        """Log the end of a sample whose text is written; the event."""
        last = sample.verdicts[-1] if sample.verdicts else None
        ended = SampleEnded(
            round=sample.round,
            sample=sample.id,
            attempt=sample.attempt,
            fate=fate,
            node=last.stage if last else "",
            reason=last.reason if last else "",
            origin=sample.origin,
            category=sample.task.category,
        )
        self.write(ended)
        return ended


class DeadLetterSink:
    """Keeps what failed: `dropped` by a judge, or `dead` when attempts were spent or an agent failed."""

    def __init__(self, end: Ending) -> None:
        self.end = end

    async def __call__(self, sample: Sample) -> None:
        """Take one failed sample."""
        dropped = bool(sample.verdicts) and sample.verdicts[-1].outcome == Outcome.DROP
        self.end(sample, "dropped" if dropped else "dead")


class KeptSink:
    """Keeps what passed: `text` when stage 1 saved it as ordinary text, `kept` otherwise."""

    def __init__(self, end: Ending) -> None:
        self.end = end

    async def __call__(self, sample: Sample) -> None:
        """Take one sample that passed."""
        text = any(verdict.outcome == Outcome.KEEP_TEXT for verdict in sample.verdicts)
        self.end(sample, "text" if text else "kept")
