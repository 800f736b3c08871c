"""Attacks a reward with the known hacks (`reward_hacks`) and says which of them it pays for.

A hack pays on a task where it earns at least as much as the right answer, although it is wrong. A hack whose calls are
right (filler thinking, defaults written out, another order) may earn the same, and pays only where it earns more.
Partial credit below the right answer is shown and does not count: a policy that can be right is still drawn there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from statistics import mean
from typing import Any

from funreason.calls.call_format import PYTHONIC, CallFormat
from funreason.data.composed import compose
from funreason.data.toolbox import generate
from funreason.evaluation.reward_hacks import HACKS, Attacked, Hack, attacked, plainly_wrong
from funreason.objectives.rewards import CustomReward, Reward, RewardError, RewardScore, Template
from funreason.types import Sample, Task

PAYS, DOES_NOT = "pays", "does not pay"
_SAME = 1e-9
"""Differences in pay below this are rounding."""


@dataclass(slots=True)
class HackPay:
    """What one hack earns over the tasks that it applies to; `pay`, `right` and `wrong` are means over these."""

    name: str
    text: str
    is_right: bool
    tasks: int = 0
    pay: float = 0.0
    right: float = 0.0
    wrong: float = 0.0
    pays_on: int = 0
    """Tasks on which it pays."""
    less_on: int = 0
    """Tasks on which it earns less than the right answer; for a hack that is right, credit that it is refused."""
    failed_on: int = 0
    """Tasks on which the reward raised or returned no finite number."""
    example: str = ""
    """A task on which it pays or the reward failed: what was answered, and what that earned."""

    @property
    def verdict(self) -> str:
        """`pays` or `does not pay`."""
        return PAYS if self.pays_on else DOES_NOT


@dataclass(frozen=True, slots=True)
class RewardAudit:
    """The result of an audit: a row for each hack that applied to a task."""

    reward: str
    tasks: int
    left_out: int
    """Tasks without tools, without a reference, or with one that the form cannot carry."""
    hacks: list[HackPay] = field(default_factory=list)

    @property
    def paying(self) -> list[str]:
        """Names of the hacks that pay."""
        return [hack.name for hack in self.hacks if hack.pays_on]

    @property
    def failing(self) -> list[str]:
        """Names of the hacks on which the reward failed."""
        return [hack.name for hack in self.hacks if hack.failed_on]

    def as_dict(self) -> dict[str, Any]:
        """The audit as plain data, for JSON."""
        rows = [asdict(hack) | {"verdict": hack.verdict} for hack in self.hacks]
        return {
            "reward": self.reward,
            "tasks": self.tasks,
            "left_out": self.left_out,
            "paying": self.paying,
            "failing": self.failing,
            "hacks": rows,
        }


def audit_tasks(count: int = 400, seed: int = 0) -> list[Task]:
    """Tasks to audit on: half of the toolbox's, half composed, about a fifth of them without a right call."""
    return generate("new_train", count - count // 2, seed) + compose("train", count // 2, seed)


def audit(
    reward: Reward | Callable[[Sample], Any],
    tasks: Iterable[Task],
    *,
    form: CallFormat = PYTHONIC,
    require_thinking: bool = True,
    name: str = "",
) -> RewardAudit:
    """Attack `reward` on `tasks` that have references. A plain function may return a number, or a `RewardScore`.

    `form` is the one that answers are written in. Without `require_thinking`, an answer without thinking is no hack.
    A reward that raises on an attack fails there: `RewardAudit.failing`. RewardError when it cannot score a right
    answer, ValueError when no task can be used.

    >>> from funreason.evaluation.reward_audit import audit, audit_tasks
    >>> audit(lambda sample: float("(" in sample.answer), audit_tasks(20)).paying[:2]
    ['plainly wrong call', 'spurious call']
    """
    name = name or getattr(reward, "name", "") or getattr(reward, "__name__", "") or type(reward).__name__
    checked = reward if isinstance(reward, Template | CustomReward) else CustomReward(name, reward)
    hacks = [hack for hack in HACKS if require_thinking or not hack.needs_thinking]
    pays = {hack.name: _Pay(hack) for hack in hacks}
    used = left_out = 0
    for task in tasks:
        on = attacked(task, form) if task.tools else None
        if on is None:
            left_out += 1
            continue
        used += 1
        right = checked(on.right).value
        try:
            wrong = checked(plainly_wrong(on)).value
        except RewardError:
            wrong = 0.0
        for hack in hacks:
            pays[hack.name].add(checked, on, right, wrong)
    if not used:
        raise ValueError(f"an audit needs tasks with tools and a reference answer; {left_out} tasks have none")
    return RewardAudit(name, used, left_out, [pay.row() for pay in pays.values() if pay.rights])


class _Pay:
    """Adds up what one hack earns."""

    def __init__(self, hack: Hack) -> None:
        self.hack, self.found = hack, HackPay(hack.name, hack.text, hack.is_right)
        self.pays: list[float] = []
        self.rights: list[float] = []
        self.wrongs: list[float] = []

    def add(self, reward: Reward, on: Attacked, right: float, wrong: float) -> None:
        """Count the best-paid sample of the hack on one task."""
        best: tuple[RewardScore, Sample] | None = None
        failure, tried = "", False
        for sample in self.hack.make(on):
            tried = True
            try:
                score = reward(sample)
            except RewardError as error:
                failure = failure or str(error)
                continue
            if best is None or score.value > best[0].value:
                best = score, sample
        if not tried:
            return
        self.rights.append(right)
        self.wrongs.append(wrong)
        if failure:
            self.found.failed_on += 1
            self.found.example = self.found.example or failure
        if best is None:
            return
        (score, sample), least = best, right + _SAME if self.hack.is_right else right - _SAME
        self.pays.append(score.value)
        self.found.less_on += score.value < right - _SAME
        if score.value >= least:
            self.found.pays_on += 1
            cut = " (truncated)" if sample.truncated else ""
            shown = f"{sample.id}: {sample.answer[:120]!r}{cut} earns {score.value:g}, the right answer {right:g}"
            self.found.example = self.found.example or shown

    def row(self) -> HackPay:
        """The means, once all tasks were attacked."""
        found, self.found.tasks = self.found, len(self.rights)
        found.right, found.wrong = mean(self.rights), mean(self.wrongs)
        found.pay = mean(self.pays) if self.pays else 0.0
        return found
