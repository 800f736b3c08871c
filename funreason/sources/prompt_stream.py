"""Which tasks the steps of a round of reinforcement learning ask, with a fixed share of tasks where no call is right.

Tasks with and without a right call are two streams. Each gives all of its tasks in a shuffled order, then again in
another one. What a step gets follows from the seed, the round, and how many of each were drawn before, so a resumed run
gets the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from funreason.types import Task

CALL, NO_CALL = "call", "none"


class PromptStream:
    """The prompts of one round.

    Args:
        tasks: at least one, each with a reference, or where judges decide without one.
        no_call_share: the share of prompts where no call is right; None takes tasks of both kinds as they come.
    """

    def __init__(self, tasks: Sequence[Task], no_call_share: float | None, seed: int, round: int) -> None:
        kinds = {kind: [task for task in tasks if kind_of(task) == kind] for kind in (CALL, NO_CALL)}
        self.kinds = {kind: some for kind, some in kinds.items() if some}
        natural = len(kinds[NO_CALL]) / len(tasks)
        self.no_call_share = natural if no_call_share is None else no_call_share
        self._key = f"{seed}/{round}"
        self._orders: dict[tuple[str, int], list[Task]] = {}

    def take(self, drawn: Mapping[str, int], count: int) -> list[Task]:
        """The next `count` tasks, after `drawn` of each kind.

        Where one kind has no task, all are of the other.
        """
        wanted = round(self.no_call_share * (sum(drawn.values()) + count)) - drawn.get(NO_CALL, 0)
        refusals = min(max(wanted, 0), count)
        if len(self.kinds) == 1:
            refusals = count if NO_CALL in self.kinds else 0
        parts = ((CALL, count - refusals), (NO_CALL, refusals))
        return [self._at(kind, drawn.get(kind, 0) + i) for kind, part in parts for i in range(part)]

    def _at(self, kind: str, place: int) -> Task:
        tasks = self.kinds[kind]
        epoch, within = divmod(place, len(tasks))
        if (kind, epoch) not in self._orders:
            self._orders[kind, epoch] = sorted(tasks, key=lambda task: self._rank(epoch, task))
        return self._orders[kind, epoch][within]

    def _rank(self, epoch: int, task: Task) -> bytes:
        return hashlib.blake2b(f"{self._key}/{epoch}/{task.id}".encode(), digest_size=8).digest()


def kind_of(task: Task) -> str:
    """`none` for a task where no call is right, `call` for any other."""
    return NO_CALL if task.reference == [] else CALL
