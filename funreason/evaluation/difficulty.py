"""Difficulty of tasks for the present model: `k` answers of each, rewarded, and a bin for what to do with the task.

- `mixed` (1 to k-1 of k right): train on these. Only a group with right and wrong answers has a gradient.
- `hard` (0 of k): keep apart, and try again with a better model. A wrong label looks the same, so the answer that the
  model gives most often is noted beside it.
- `solved` (k of k): keep 5 % as anchors against forgetting, leave out the rest.

The pass rate should be that of the model that training starts from, after its supervised start.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from funreason.calls.compare import without_defaults
from funreason.calls.schema import tool_named
from funreason.environments.rollout import SingleTurn, Start, rollout
from funreason.evaluation.reward_hacks import attacked
from funreason.objectives.rewards import Reward
from funreason.policies.policy import Policy
from funreason.types import Sample, Task

ANCHORS = 0.05
"""Share of the solved tasks that stays in training."""
_SAME = 1e-9
_BATCH = 32
"""Tasks sampled in one call, between two records of what was found."""


class PassCount(msgspec.Struct, frozen=True):
    """How many of `k` answers to a task were right. `k` 0: the task cannot be used, and `unusable` says why."""

    id: str
    right: int
    k: int
    majority: str = ""
    """The answer given most often."""
    majority_count: int = 0
    unusable: str = ""

    @property
    def bin(self) -> Literal["hard", "mixed", "solved", "unusable"]:
        """The bin of the task."""
        if self.unusable:
            return "unusable"
        if self.right == 0:
            return "hard"
        return "solved" if self.right == self.k else "mixed"


async def count_passes(
    policy: Policy, tasks: Sequence[Task], reward: Reward, k: int, on_counted: Callable[[PassCount], None]
) -> None:
    """Sample `k` answers of each task and report the count of each; an answer is right if it earns what is most.

    What is most is what the reference answer earns. A task whose reference cannot be written in the policy's form, or
    whose prompt does not fit, is reported as unusable.
    """
    for first in range(0, len(tasks), _BATCH):
        most: dict[str, float] = {}
        starts = []
        for task in tasks[first : first + _BATCH]:
            on = attacked(task, policy.call_format)
            if on is None:
                on_counted(PassCount(task.id, 0, 0, unusable="no reference that can be written in this form of calls"))
            elif not policy.fits(task):
                on_counted(PassCount(task.id, 0, 0, unusable="the prompt leaves no room for an answer"))
            else:
                most[task.id] = reward(on.right).value
                starts.append(Start(task.id, [Sample.of(f"{task.id}/{i}", task) for i in range(k)]))
        found = await rollout(policy, SingleTurn(), starts, lambda sample: None)
        for id, seeds in starts:
            answers = [found[seed.id] for seed in seeds]
            right = sum(reward(answer).value >= most[id] - _SAME for answer in answers)
            majority, count = Counter(answer.answer for answer in answers).most_common(1)[0]
            on_counted(PassCount(id, right, k, majority, count))


def sorted_into_bins(
    tasks: Iterable[Task], counts: Iterable[PassCount], *, anchors: float = ANCHORS, seed: int = 0
) -> dict[str, list[Task]]:
    """The tasks by bin: `mixed`, `hard`, `anchors` (a share of the solved, chosen by hash), `solved` (the others).

    References lose optional arguments that equal their defaults, so that an omitted default matches everywhere.
    """
    bins: dict[str, list[Task]] = {"mixed": [], "hard": [], "anchors": [], "solved": []}
    found = {count.id: count.bin for count in counts}
    for task in tasks:
        if (name := found.get(task.id, "unusable")) != "unusable":
            bins[name].append(normalised_reference(task))
    ranked = sorted(bins["solved"], key=lambda t: hashlib.blake2b(f"{seed}/{t.id}".encode(), digest_size=8).digest())
    kept = {task.id for task in ranked[: math.ceil(anchors * len(ranked))]}
    bins["anchors"] = [task for task in bins["solved"] if task.id in kept]
    bins["solved"] = [task for task in bins["solved"] if task.id not in kept]
    return bins


def normalised_reference(task: Task) -> Task:
    """The task with a reference whose calls leave out optional arguments that equal their defaults."""
    if not task.reference:
        return task
    calls = [without_defaults(call, tool_named(task.tools, call.name)) for call in task.reference]
    return msgspec.structs.replace(task, reference=calls)
