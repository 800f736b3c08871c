"""The things that travel: tasks, samples, verdicts. Data only, no behaviour beyond making a changed copy.

All are frozen msgspec structs: a message that two nodes hold cannot be changed under either of them,
and encoding one costs well under a microsecond.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

Origin = Literal["reference", "sampled", "rerendered", "resampled", "rewritten", "repaired"]
"""How an answer came to be. `rewritten` is a judge's; `reference` and `repaired` are supervised. All counted apart."""


class Outcome(StrEnum):
    """The words a judge may answer with; each is taken to a node by an edge of the graph."""

    PASS = "pass"
    DROP = "drop"
    REGENERATE = "regenerate"
    KEEP_TEXT = "keep_text"
    ERROR = "error"


class Call(msgspec.Struct, frozen=True):
    """One function call: a name and keyword arguments, already plain Python literals."""

    name: str
    arguments: dict[str, Any]


class Task(msgspec.Struct, frozen=True, omit_defaults=True):
    """A query, the tools offered, and what is known of the right answer.

    `tools` are normalised: `{"name", "description", "parameters": {"type": "object", "properties", "required"}}`.
    `reference` None means nobody knows the answer; `[]` means no call is right (see `reference_text`).
    """

    id: str
    query: str
    tools: list[dict[str, Any]]
    reference: list[Call] | None = None
    reference_text: str | None = None
    reference_thinking: str | None = None
    category: str = ""
    source: str = ""
    flags: list[str] = []


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """One judge's word on one attempt. `reason` is a dotted code such as `schema.missing_required`."""

    stage: str
    outcome: str
    reason: str = ""
    evidence: str = ""
    judge: str = ""
    answer: str | None = None
    """A regenerated answer, where the judge offers one."""
    votes: tuple[float | None, ...] = ()
    """What each vote of language models scored, 0 to 1; None for one that was not heard."""


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt at a task. `answer` is all behind the thinking, stripped; `thinking` None without tags."""

    id: str
    task: Task
    answer: str
    thinking: str | None = None
    attempt: int = 0
    round: int = 0
    origin: Origin = "sampled"
    weights_id: str = ""
    truncated: bool = False
    verdicts: tuple[Verdict, ...] = ()

    def judged(self, verdict: Verdict) -> Sample:
        """This sample with one more verdict."""
        return msgspec.structs.replace(self, verdicts=(*self.verdicts, verdict))

    def next_attempt(self) -> Sample:
        """The same sample on its next attempt; the bus calls it when a retry edge is taken."""
        return msgspec.structs.replace(self, attempt=self.attempt + 1)


def changed(sample: Sample, **fields: Any) -> Sample:
    """A copy of `sample` with some fields replaced."""
    return msgspec.structs.replace(sample, **fields)


class Weights(NamedTuple):
    """A set of weights: its id, made from the bytes, and the model folder that holds it."""

    id: str
    folder: Path


class Drained(msgspec.Struct, frozen=True):
    """Every sample of the round has ended. The generator's message to the trainer."""

    round: int


class Candidate(msgspec.Struct, frozen=True):
    """New weights of a round, on their way from the trainer to the evaluator.

    `failure` says why the update gave no weights that could be measured. A verdict with the outcome `drop` refuses the
    candidate: the evaluator rolls back without measuring it.
    """

    round: int
    weights: Weights
    failure: str = ""
    verdicts: tuple[Verdict, ...] = ()

    def judged(self, verdict: Verdict) -> Candidate:
        """This candidate with one more verdict."""
        return msgspec.structs.replace(self, verdicts=(*self.verdicts, verdict))


class Decision(msgspec.Struct, frozen=True):
    """What the gate decided, on its way from the evaluator to the generator: `promote`, `hold` or `rollback`.

    A verdict with the outcome `drop` overrules a promotion: the round continues with `current`, the weights accepted
    before it.
    """

    round: int
    decision: str
    reason: str
    current: Weights
    candidate: Weights
    verdicts: tuple[Verdict, ...] = ()

    def judged(self, verdict: Verdict) -> Decision:
        """This decision with one more verdict."""
        return msgspec.structs.replace(self, verdicts=(*self.verdicts, verdict))

    @property
    def accepted(self) -> Weights:
        """The weights to continue with."""
        promoted = self.decision == "promote" and refusal(self.verdicts) is None
        return self.candidate if promoted else self.current


def refusal(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The first verdict that refuses what it judges; None when none does."""
    return next((verdict for verdict in verdicts if verdict.outcome == Outcome.DROP), None)
