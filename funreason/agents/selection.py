"""What an update trains on: chosen from all that a round kept, or made from references.

The choice, in this order: nothing made by other weights than those the round may learn from, nothing of a task that is
mostly solved already, one of several identical answers to a task, at most `per_task` answers of a task, at most a share
of the whole for each category, and, for controls, an exact count for each category. Every choice is made by hash of
seed and sample id, so it does not depend on the order in which samples finished.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from funreason.agents.references import usable_references
from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.config import HardData, Train
from funreason.record.events import TaskSorted, TrainingSetSelected
from funreason.record.hard_tasks import ACCEPTED, DISCARDED, FIRST, HARD, QUALIFIED, UNJUDGED
from funreason.record.rounds import FAILED
from funreason.record.sample_files import KEPT, SampleFiles
from funreason.types import Outcome, Sample, Task

STALE = "stale.weights"
ANSWER_CHECK = ("parameters", "format", "panel")
"""The stages whose refusal makes a task a hard one; a custom judge after the first of them counts too."""


class StaleError(Exception):
    """Every sample of a round was made by weights it must not learn from; the message says by which."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Samples to learn from, old ones replayed beside them, what was left out and why, and warnings for a person."""

    round: int
    samples: list[Sample]
    replay: list[Sample]
    counts: dict[str, int]
    """Fields of `TrainingSetSelected`: `kept`, and how many samples each rule left out."""
    warnings: list[str] = field(default_factory=list)
    tasks: list[TaskSorted] = field(default_factory=list)
    """In hard-data rounds: what became of each task."""

    def event(self, *, refused: int, replay: int) -> TrainingSetSelected:
        """The set as an event, once it is known how many samples could not be encoded (`refused`)."""
        return TrainingSetSelected(
            round=self.round,
            trained=len(self.samples) - refused,
            refused=refused + self.counts.get("refused", 0),
            replay=replay,
            by_category=dict(Counter(s.task.category for s in self.samples)) if self.round else {},
            by_origin=dict(Counter(s.origin for s in self.samples)) if self.round else {},
            **{name: count for name, count in self.counts.items() if name != "refused"},
        )


@dataclass(frozen=True, slots=True)
class KeptSamples:
    """The training set of a round: chosen from the samples its files hold.

    `weights` are the ids a sample may have been made by; None: any.
    """

    settings: Train
    files: SampleFiles
    replay: Sequence[Sample]
    seed: int
    weights: frozenset[str] | None = None

    def __call__(self, round: int) -> TrainingSet:
        """Choose. StaleError when every kept sample is stale: no later round would have others."""
        settings = self.settings
        kept, fresh, warnings = self.fresh()
        solved: Collection[str] = ()
        if settings.data == "judged" and settings.max_solved_share < 1:
            solved = solved_tasks(self.files.get("sampled"), fresh, settings.max_solved_share)
        counts = settings.exact_counts[round - 1] if 1 <= round <= len(settings.exact_counts) else None
        chosen = select(
            fresh,
            per_task=settings.max_per_task,
            quotas=settings.max_category_share,
            solved=solved,
            counts=counts,
            seed=self.seed,
        )
        have = Counter(s.task.category for s in chosen.samples)
        short = {c: n - have[c] for c, n in (counts or {}).items() if have[c] < n}
        if short:  # a control that cannot have as many samples as asked is no fair control
            missing = ", ".join(f"{n} {c}" for c, n in short.items())
            warnings.append(f"fewer samples than train.exact_counts asks for: {missing} missing")
        left_out = {name: count for name, count in chosen._asdict().items() if name != "samples"}
        return TrainingSet(
            round, chosen.samples, list(self.replay), {"kept": kept, "stale": kept - len(fresh), **left_out}, warnings
        )

    def fresh(self) -> tuple[int, list[Sample], list[str]]:
        """How many samples were kept, those of them that are not stale, and a warning about the others.

        StaleError when all of them are stale.
        """
        kept = self.kept()
        fresh, stale = fresh_only(kept, self.weights)
        warnings = [staleness(stale, self.weights or ())] if stale else []
        if stale and not fresh:
            raise StaleError(warnings[0])
        return len(kept), fresh, warnings

    def kept(self) -> list[Sample]:
        """Each kept sample once, whatever an interrupted run wrote twice.

        The unfiltered control takes first attempts as they came, but none that was cut off: it has no end to learn.
        """
        if self.settings.data == "unfiltered":
            drawn = self.files.get("sampled")
            return list({s.id: s for s in drawn if s.attempt == 0 and not s.truncated}.values())
        return list({s.id: s for kind in KEPT for s in self.files.get(kind)}.values())


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """The training set of the supervised start: reference answers, and old ones replayed beside them."""

    tasks: Callable[[int], Sequence[Task]]
    replay: Callable[[int], Sequence[Sample]]
    form: CallFormat = PYTHONIC

    def __call__(self, round: int) -> TrainingSet:
        """All references that can be written as a call or a text."""
        tasks = self.tasks(round)
        samples, unusable = usable_references(tasks, round, form=self.form)
        return TrainingSet(round, samples, list(self.replay(round)), {"kept": len(tasks), "refused": unusable})


@dataclass(frozen=True, slots=True)
class HardSamples:
    """The training set of a hard-data round: of each accepted task its best sample, and qualified ones replayed.

    The best has the highest mean score of the panel, then the shortest thinking, then the lowest number. The others are
    never trained on.

    Args:
        kept: the samples of the round that passed.
        before: what each earlier round chose to learn from, round 1 included.
    """

    kept: KeptSamples
    settings: HardData
    before: Callable[[], Mapping[int, Sequence[Sample]]]

    def __call__(self, round: int) -> TrainingSet:
        """Choose. StaleError when every kept sample is stale."""
        (kept, fresh, warnings), seed = self.kept.fresh(), self.kept.seed
        best: dict[str, Sample] = {}
        for sample in sorted(fresh, key=_quality):
            best.setdefault(sample.task.id, sample)
        chosen = sorted(best.values(), key=lambda sample: _rank(seed, sample))
        exact = self.kept.settings.exact_counts
        if len(exact) >= round:
            chosen = _counted(chosen, exact[round - 1])
        counts = {
            "kept": kept,
            "stale": kept - len(fresh),
            "over_per_task": len(fresh) - len(best),
            "over_count": len(best) - len(chosen),
        }
        replay = [*self.kept.replay, *self._earlier(round, len(chosen))] if chosen else list(self.kept.replay)
        return TrainingSet(round, chosen, replay, counts, warnings)

    def _earlier(self, round: int, accepted: int) -> list[Sample]:
        settings, seed = self.settings, self.kept.seed
        if settings.init_from == "base":  # nothing of what earlier rounds taught is in the base weights
            return [sample for samples in self.before().values() for sample in samples]
        if not settings.replay_ratio:
            return []
        qualified = self.before().get(FIRST, ())
        # Others each round, and no task twice before each had its turn.
        ranked = sorted(qualified, key=lambda s: hashlib.blake2b(f"{seed}/{round}/{s.id}".encode()).digest())
        turns: Counter[str] = Counter()
        order = []
        for sample in ranked:
            order.append((turns[sample.task.id], sample))
            turns[sample.task.id] += 1
        ranked = [sample for _, sample in sorted(order, key=lambda pair: pair[0])]
        return ranked[: math.ceil(settings.replay_ratio * accepted)]


@dataclass(frozen=True, slots=True)
class SortedTasks:
    """The training set of a hard-data round, with what became of each of the round's tasks.

    Round 1 sorts by the paper's two checks: a task is qualified if an answer passed, hard if none did and one failed in
    the answer check (stages 4 and 5), and discarded if all failed before it. A judge's error is no failure of the task:
    it stays, as a hard one.

    Args:
        choose: what to learn from.
        files: where the samples of the round ended.
        order: the nodes of the graph in the order a sample meets them.
    """

    choose: Callable[[int], TrainingSet]
    files: SampleFiles
    order: Sequence[str]

    def __call__(self, round: int) -> TrainingSet:
        """Choose and sort."""
        chosen = self.choose(round)
        learned = {sample.task.id for sample in chosen.samples}
        places = {name: place for place, name in enumerate(self.order)}
        answer_check = min((places[name] for name in ANSWER_CHECK if name in places), default=len(places))
        ended = {s.id: (s, kind) for kind in (*FAILED, *KEPT) for s in self.files.get(kind)}
        by_task: defaultdict[str, list[tuple[Sample, str]]] = defaultdict(list)
        for sample, kind in ended.values():
            by_task[sample.task.id].append((sample, kind))
        events = []
        for task, samples in sorted(by_task.items()):  # whatever finished first
            passed = sum(kind in KEPT for _, kind in samples)
            last = [sample.verdicts[-1] for sample, kind in samples if kind not in KEPT and sample.verdicts]
            failed = [places.get(verdict.stage, 0) for verdict in last if verdict.outcome != Outcome.ERROR]
            furthest = max(failed, default=-1)
            unjudged = not passed and furthest < answer_check and len(failed) < len(samples)
            if round > FIRST:
                fate = ACCEPTED if task in learned else HARD
            elif passed:
                fate = QUALIFIED
            else:
                fate = HARD if unjudged or furthest >= answer_check else DISCARDED
            events.append(
                TaskSorted(
                    round=round,
                    task=task,
                    fate=fate,
                    attempts=sum(bool(sample.turns) for sample, _ in samples),
                    passed=passed,
                    stage=UNJUDGED if unjudged else self.order[furthest] if furthest >= 0 else "",
                    weights=samples[-1][0].weights_id,
                )
            )
        return replace(chosen, tasks=events)


def _quality(sample: Sample) -> tuple[float, int, int, str]:
    """What the best sample of a task has least of."""
    votes = next((verdict.votes for verdict in sample.verdicts if verdict.stage == ANSWER_CHECK[-1]), ())
    scores = [vote for vote in votes if vote is not None]
    mean = sum(scores) / len(scores) if scores else 1.0
    number = sample.id.rpartition("/")[2]
    return -mean, len(sample.thinking or ""), int(number) if number.isdecimal() else 0, sample.id


def fresh_only(samples: Sequence[Sample], weights: Collection[str] | None) -> tuple[list[Sample], list[Sample]]:
    """The samples that `weights` made, and the stale ones. ReferenceSet were made by no model; None allows all."""
    if weights is None:
        return list(samples), []
    fresh = [s for s in samples if s.origin == "reference" or s.weights_id in weights]
    stale = [s for s in samples if s.origin != "reference" and s.weights_id not in weights]
    return fresh, stale


def staleness(stale: Sequence[Sample], weights: Collection[str]) -> str:
    """A sentence: how many samples are refused, which weights made them, and which would be allowed."""
    makers = Counter(sample.weights_id for sample in stale)
    named = ", ".join(f"{n} by {maker or 'no named weights'}" for maker, n in makers.most_common())
    return (
        f"{len(stale)} samples not trained on, {STALE}: made {named}; sample.max_staleness allows "
        f"{' and '.join(sorted(weights))}. Raise it, or set it to null to learn from samples of any weights."
    )


class Selection(NamedTuple):
    """The chosen samples, and how many each rule left out."""

    samples: list[Sample]
    solved: int
    duplicates: int
    over_per_task: int
    over_quota: int
    over_count: int


def select(
    kept: Iterable[Sample],
    *,
    per_task: int,
    quotas: Mapping[str, float],
    solved: Collection[str] = (),
    counts: Mapping[str, int] | None = None,
    seed: int = 0,
) -> Selection:
    """Choose what to train on.

    `quotas` maps a category to the largest share of the whole it may have, `counts` to the number of samples it must
    not exceed (a category that is not named gets none); `solved` are ids of tasks to leave out.
    """
    whole = sorted(kept, key=lambda sample: _rank(seed, sample))
    everything = [sample for sample in whole if sample.task.id not in solved]
    single = list({(s.task.id, s.thinking, s.answer): s for s in reversed(everything)}.values())[::-1]
    few = _cap(single, per_task)
    fair = within_quotas(few, quotas)
    chosen = fair if counts is None else _counted(fair, counts)
    return Selection(
        chosen,
        solved=len(whole) - len(everything),
        duplicates=len(everything) - len(single),
        over_per_task=len(single) - len(few),
        over_quota=len(few) - len(fair),
        over_count=len(fair) - len(chosen),
    )


def within_quotas(samples: list[Sample], quotas: Mapping[str, float]) -> list[Sample]:
    """The longest choice in which no category has more than its share; earlier samples win.

    With fewer categories present than the quotas need to add up to one, the shares cannot be kept; the quotas of
    the present ones are then scaled up to one, since dropping everything would be useless. A quota of 0 forbids.
    """
    samples = [s for s in samples if quotas.get(s.task.category, 1.0) > 0]
    have = Counter(s.task.category for s in samples)
    share = {c: quotas.get(c, 1.0) for c in have}
    room = sum(share.values())
    if 0 < room < 1:
        share = {c: s / room for c, s in share.items()}
    total = len(samples)
    while total:
        allowed = {c: min(n, int(share[c] * total + 1e-9)) for c, n in have.items()}
        reached = sum(allowed.values())
        if reached >= total:
            break
        total = reached if reached < total - 1 else total - 1
    if not total:
        return samples[:1]
    taken: Counter[str] = Counter()
    chosen = []
    for sample in samples:
        category = sample.task.category
        if taken[category] < allowed[category]:
            taken[category] += 1
            chosen.append(sample)
    return chosen


def solved_tasks(drawn: Iterable[Sample], kept: Iterable[Sample], most: float) -> set[str]:
    """Ids of tasks of which more than `most` of the first attempts were kept: they teach next to nothing new."""
    asked = Counter(sample.task.id for sample in drawn if sample.attempt == 0)
    right = Counter(sample.task.id for sample in kept if sample.attempt == 0)
    return {task for task, count in right.items() if asked[task] and count / asked[task] > most}


def _counted(samples: list[Sample], counts: Mapping[str, int]) -> list[Sample]:
    taken: Counter[str] = Counter()
    chosen = []
    for sample in samples:
        category = sample.task.category
        if taken[category] < counts.get(category, 0):
            taken[category] += 1
            chosen.append(sample)
    return chosen


def _cap(samples: list[Sample], per_task: int) -> list[Sample]:
    seen: defaultdict[str, int] = defaultdict(int)
    few = []
    for sample in samples:
        seen[sample.task.id] += 1
        if seen[sample.task.id] <= per_task:
            few.append(sample)
    return few


def _rank(seed: int, sample: Sample) -> bytes:
    return hashlib.blake2b(f"{seed}/{sample.id}/{sample.attempt}".encode(), digest_size=8).digest()
