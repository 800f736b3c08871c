"""Reads a file of tasks with their answers as samples to judge: what `refine` works on.

The record's own answer becomes the sample's, and the task forgets its reference: a record is judged on its own merit,
not against itself. Calls that cannot be written down (`7SN.pj()`) are refused here, since no model could be taught
to write them.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from funreason.calls.render import CallRenderError, render_calls
from funreason.data.form import RecordRead
from funreason.data.reading import read_entries, refuse_if, require_some, summary_line
from funreason.data.refusal import RecordRefused, Refusal
from funreason.record.types import Sample


class SampleReading(msgspec.Struct, frozen=True):
    """What a file held: its samples and what was refused."""

    path: str
    samples: list[Sample]
    refusals: list[Refusal]

    def summary(self) -> str:
        """One line for people: how many were kept, how many not, the first reasons with their lines."""
        return summary_line(self.path, len(self.samples), self.refusals)


def read_samples(path: str | Path, *, format: str = "auto", strict: bool = False) -> SampleReading:
    """One sample of origin `reference` per record that has an answer; raises DataError as `read_tasks` does."""
    samples, refusals = [], []
    for entry in read_entries(Path(path), format):
        refusal = entry.refusal
        if entry.read is not None:
            try:
                samples.append(_sample(entry.read))
            except RecordRefused as error:
                refusal = Refusal(entry.line, entry.read.task.id, error.reason, error.message)
        if refusal is not None:
            refusals.append(refusal)
            refuse_if(strict, path, refusal)
    require_some(path, samples, refusals)
    return SampleReading(str(path), samples, refusals)


def _sample(read: RecordRead) -> Sample:
    task = msgspec.structs.replace(read.task, reference=None, reference_text=None, reference_thinking=None)
    return Sample(
        id=task.id,
        task=task,
        answer=_answer(read),
        thinking=read.task.reference_thinking,
        origin="reference",
    )


def _answer(read: RecordRead) -> str:
    if read.answer is not None:
        return read.answer
    if read.task.reference is None:
        raise RecordRefused("answer.missing", "the record has no answer to judge")
    try:
        return render_calls(read.task.reference)
    except CallRenderError as error:
        reason = "name.not_callable" if "cannot be" in str(error) else "answer.not_writable"
        raise RecordRefused(reason, str(error)) from error
