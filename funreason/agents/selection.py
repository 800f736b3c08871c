"""What a round trains on, chosen from all that was kept.

In this order: nothing of a task that is mostly solved already, one of several identical answers to a task, at most
`per_task` answers of a task, at most a share of the whole for each category, and, for controls, an exact count for each
category. Every choice is made by hash of seed and sample id, so it does not depend on the order in which samples
finished.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from funreason.types import Sample


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
    the present ones are then scaled up to one, since dropping everything would help nobody. A quota of 0 forbids.
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
