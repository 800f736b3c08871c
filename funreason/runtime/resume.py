"""Resume a round: reuse recorded verdicts, and log endings whose event was lost.

A sample that was in flight starts at its first judge again, but each verdict in the record is reused: it may have cost
money, and another one would contradict the log. An agent is asked again where it failed, and where it answered with
something other than a verdict. While a round samples, each verdict that is more than a rule's plain
`pass` is kept in `judged.jsonl`, before its event; the plain ones follow from their events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from funreason.agents.judges.rules.verdicts import passed
from funreason.agents.sinks import Sink
from funreason.record.events import Judged
from funreason.record.log import LogReader
from funreason.record.sample_files import ENDS, PendingVerdict, SampleFiles
from funreason.record.state import State
from funreason.runtime.journal import Journal
from funreason.types import Outcome, Sample, Verdict

Key = tuple[str, int, str]
"""A judgement: sample, attempt, node."""


class RecordedVerdicts:
    """The judgements of one round: those made before the run was taken up again, and those made now."""

    def __init__(self, journal: Journal, texts: SampleFiles, k: int, past: State) -> None:
        self._journal = journal
        self._texts = texts
        self._logged = _logged(journal, k, past)
        self._verdicts = _verdicts(texts, self._logged, {sample for round, sample in past.ended if round == k})

    def observe(self, node: str, before: Sample, outcome: str, after: Sample | None, seconds: float) -> None:
        """Write one answer on the bus down, unless the log has it."""
        if after is None:
            return
        if self._logged and self._logged.pop((after.id, before.attempt, node), None) is not None:
            return
        verdict = after.verdicts[-1] if len(after.verdicts) > len(before.verdicts) else None
        if verdict is not None and verdict != passed(verdict.stage) and outcome != Outcome.ERROR:
            self._texts.append_verdict(PendingVerdict(after.id, before.attempt, node, verdict))
        self._journal.observe(node, before, outcome, after, seconds)

    def judge(self, node: str, agent: Callable[..., Any], *, batched: bool) -> Callable[..., Any]:
        """`agent`, asked only for what is not known; it takes lists of samples when `batched`."""
        known = {(s, attempt): verdict for (s, attempt, at), verdict in self._verdicts.items() if at == node}
        if not known:
            return agent

        async def one(sample: Sample) -> Any:
            found = known.get((sample.id, sample.attempt))
            return found if found is not None else await agent(sample)

        async def many(samples: list[Sample]) -> list[Any]:
            found = [known.get((sample.id, sample.attempt)) for sample in samples]
            pending = [sample for sample, verdict in zip(samples, found, strict=True) if verdict is None]
            answers = iter(await agent(pending) if pending else ())
            return [next(answers) if verdict is None else verdict for verdict in found]

        return many if batched else one


def backfill_end_events(end: Sink, past: State, k: int, first_attempt: Mapping[str, int]) -> None:
    """Log the ends of round `k` whose text was written and whose event was not: a kill came between the two.

    `first_attempt` says, of samples that were put back, from which attempt on an end is a new one.
    """
    for fate in ENDS:
        for sample in end.texts.get(fate):
            if (k, sample.id) not in past.ended and sample.attempt >= first_attempt.get(sample.id, 0):
                past.apply(end.tell(sample, fate))


def first_attempts(past: State, k: int, max_attempts: int) -> dict[str, int]:
    """Of the samples of round `k` that were requeued, the attempt each begins at: after all it may have had."""
    return {s: max_attempts + past.requeues[round, s] - 1 for round, s in past.requeued if round == k}


def _logged(journal: Journal, k: int, past: State) -> dict[Key, str]:
    """The outcome of each judgement in the log whose sample has not ended; errors do not count."""
    unfinished = past.rounds[k].unfinished if k in past.rounds else {}
    if not unfinished:
        return {}
    logged = (event for event in LogReader(journal.folder.events).events() if isinstance(event, Judged))
    return {
        (event.sample, event.attempt, event.node): event.outcome
        for event in logged
        if event.round == k and (event.attempt, event.node) in unfinished.get(event.sample, ())
    }


def _verdicts(texts: SampleFiles, logged: Mapping[Key, str], ended: set[str]) -> dict[Key, Verdict]:
    plain = {key: passed(key[2]) for key, outcome in logged.items() if outcome == Outcome.PASS}
    return plain | {(s.id, s.attempt, s.node): s.verdict for s in texts.verdicts() if s.id not in ended}


__all__ = ["RecordedVerdicts", "backfill_end_events", "first_attempts"]
